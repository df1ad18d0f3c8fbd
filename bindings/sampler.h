// What the Python threads of this process are doing, found out by another thread that needs neither Python's lock nor
// any answer of theirs: so it also tells of a thread that hangs in a C extension, with the lock held.
//
// How: the interpreter's frames are read as a debugger reads them, through the kernel (process_vm_readv(2) on this very
// process), so that a pointer which has become stale is an error and no crash. A thread that runs meanwhile may show a
// stack that is torn; a stack whose top changed while it was read is read again.
#pragma once

#include <atomic>
#include <string>
#include <tuple>
#include <vector>

#include "base/result.h"

namespace narke::py {

struct StackFrame {
  std::string function, file;
  int line = 0;
  bool operator<(const StackFrame& o) const {
    return std::tie(function, file, line) < std::tie(o.function, o.file, o.line);
  }
};

struct ThreadStack {
  int native_id = 0;  // as ps -L shows it
  std::string name;  // of the thread, for the system
  char state = '?';  // as in proc_pid_stat(5): R runs, S sleeps, D waits for a device
  bool holds_lock = false;  // Python's
  bool is_main = false;
  std::vector<StackFrame> frames;  // the innermost first
};

// The stacks of all threads that Python knows. Fails where the interpreter's layout is not known, or the kernel does
// not let this process read itself.
Result<std::vector<ThreadStack>> sample_stacks();

// Answers the node's questions "stack" and "cpu_profile" (a FlexBuffers body, see sampler.cc), and, with Python's help,
// "memory_profile" and "torch_profile" (narke/_private/probes.py); `stop` ends a profile. Runs on a thread of its own,
// for as long as a profile takes. REQUIRES: Python's lock is not held.
struct Sampled {
  std::string error_kind, error, body;
};
Sampled answer_sampling(const std::string& what, const std::string& body, const std::atomic<bool>& stop);

}  // namespace narke::py
