// How a process ended, in words a person can act on.
#pragma once

#include <cstdint>
#include <string>

namespace narke::controller {

struct Fate {
  enum class Cause : uint8_t { kUnknown, kExit, kKilled, kOutOfMemory };
  Cause cause = Cause::kUnknown;
  int pid = 0;
  int exit_code = 0;  // kExit
  int signal = 0;     // kKilled
  std::string message;
  bool node_died = false;  // and the process with it
  bool intended = false;  // the node ended it, for it was of no more use
};

// From a status as waitpid gives it.
Fate fate_of_status(int pid, int status);
// No status could be had.
Fate unknown_fate(int pid);
const char* cause_name(Fate::Cause cause);  // "unknown", "exit", "killed", "oom"

}  // namespace narke::controller
