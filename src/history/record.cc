#include "history/record.h"

namespace narke::history {

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::kTask: return "NORMAL_TASK";
    case Kind::kActorTask: return "ACTOR_TASK";
    case Kind::kActorCreation: return "ACTOR_CREATION_TASK";
    case Kind::kProfile: return "PROFILE";
  }
  return "";
}

std::string_view name_of(State state) {
  switch (state) {
    case State::kPendingArgs: return "PENDING_ARGS_AVAIL";
    case State::kPendingNode: return "PENDING_NODE_ASSIGNMENT";
    case State::kSubmitted: return "SUBMITTED_TO_WORKER";
    case State::kRunning: return "RUNNING";
    case State::kFinished: return "FINISHED";
    case State::kFailed: return "FAILED";
  }
  return "";
}

}  // namespace narke::history
