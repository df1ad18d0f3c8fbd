// Hooks that libraries ask Python to run around forks (os.register_at_fork), without those of the zygote's own forks.
//
// Such hooks put locks and generators right that other threads may have left halfway. The zygote has one thread and
// holds no lock when it forks, and seeds its children itself; the hooks would only touch, and so copy, their pages.
// Forks that a worker's own code makes later run them all.
#pragma once

#include "bindings/py_util.h"

namespace narke::py {

// fork(2) as os.fork() does it, but for the hooks; the child's pid, 0 in the child, -1 with errno set.
int fork_quietly();

int init_fork_hooks(PyObject* module);

}  // namespace narke::py
