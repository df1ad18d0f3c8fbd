#include "controller/fate.h"

#include <string.h>
#include <sys/wait.h>

namespace narke::controller {

static std::string process(int pid) { return "The worker process (pid " + std::to_string(pid) + ") "; }

static std::string signal_text(int signal) {
  const char* name = sigabbrev_np(signal);
  std::string text = name ? "signal " + std::to_string(signal) + " (SIG" + name + ")" : std::to_string(signal);
  if (signal == 9)
    text += "; it was killed from outside: look for the system's out-of-memory killer (dmesg), or kill -9";
  if (signal == 11 || signal == 6)
    text += "; native code in it crashed: its .err file in the session's logs may say where";
  return text;
}

Fate fate_of_status(int pid, int status) {
  Fate fate;
  fate.pid = pid;
  if (WIFSIGNALED(status)) {
    fate.cause = Fate::Cause::kKilled;
    fate.signal = WTERMSIG(status);
    fate.message = process(pid) + "was ended by " + signal_text(fate.signal) + ".";
    return fate;
  }
  fate.cause = Fate::Cause::kExit;
  fate.exit_code = WEXITSTATUS(status);
  fate.message = process(pid) + "exited with code " + std::to_string(fate.exit_code) + ".";
  return fate;
}

Fate unknown_fate(int pid) {
  Fate fate;
  fate.pid = pid;
  fate.message = process(pid) + "ended, and its exit status could not be read.";
  return fate;
}

const char* cause_name(Fate::Cause cause) {
  switch (cause) {
    case Fate::Cause::kUnknown: return "unknown";
    case Fate::Cause::kExit: return "exit";
    case Fate::Cause::kKilled: return "killed";
    case Fate::Cause::kOutOfMemory: return "oom";
  }
  return "unknown";
}

}  // namespace narke::controller
