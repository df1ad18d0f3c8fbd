// What the programs of a simulated cluster were promised, and what became of it.
//
// Contracts: a task is begun no more often than its retries allow, and ends once, done or with a cause; of an actor
// each incarnation is begun once; a call without retries is run at most once, and every call ends. A broken contract
// throws.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/id.h"
#include "schema/narke_generated.h"

namespace narke::sim {

class Broken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
inline void expect(bool holds, const std::string& what) {
  if (!holds) throw Broken(what);
}

enum class Outcome : uint8_t { kOpen, kDone, kFailed, kOrphaned };  // orphaned: its owner is gone

struct Task {
  uint64_t cls = 0;  // of Program
  int32_t duration_us = 0;
  int16_t max_retries = 0;
  int16_t pushed = 0, begun = 0;
  uint8_t children = 0;
  Outcome outcome = Outcome::kOpen;
};

struct ActorRecord {
  ActorId id;
  int max_restarts = 0;
  bool call_retries = false;
  bool detached = false;
  std::set<int> begun;                // incarnations
  std::map<int, WorkerId> instances;  // processes that are, or become, the actor
};

struct Call {
  uint32_t actor = 0;
  int begun = 0;
  Outcome outcome = Outcome::kOpen;
};

class Ledger {
 public:
  uint32_t add(Task task) {
    tasks.push_back(task);
    return static_cast<uint32_t>(tasks.size() - 1);
  }
  uint32_t add(ActorRecord actor) {
    const auto index = static_cast<uint32_t>(actors.size());
    by_id[actor.id] = index;
    actors.push_back(std::move(actor));
    return index;
  }
  uint32_t add(Call call) {
    calls.push_back(call);
    return static_cast<uint32_t>(calls.size() - 1);
  }

  void task_begins(uint32_t index);
  void task_ends(uint32_t index, Outcome outcome);
  // A worker is told to become the actor; its process is gone.
  void actor_begins(const ActorId& id, int incarnation, const WorkerId& worker);
  void actor_process_gone(const ActorId& id, int incarnation);
  void call_begins(uint32_t index);
  void call_ends(uint32_t index, Outcome outcome);
  std::string summary() const;

  bool is_closed = false;  // nothing is looked at any more
  std::vector<Task> tasks;
  std::vector<ActorRecord> actors;
  std::vector<Call> calls;
  std::unordered_map<ActorId, uint32_t> by_id;
  uint64_t executions = 0, actor_starts = 0, call_runs = 0, groups_created = 0, retried = 0;
};

}  // namespace narke::sim
