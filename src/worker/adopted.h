// Processes that came to this one when their parents ended (a worker is a subreaper): they are waited for here, as
// nobody else does. Children that the program itself started are the program's: their statuses stay for it.
//
// How they are told apart: a child is in its parent's session or, after setsid(), in one of its own that bears its id.
// One in a third session was started by somebody else, which is how daemons are made. A stray in the worker's own
// session cannot be told from a child and stays until the worker ends.
#pragma once

namespace narke::worker {

// Waits for adopted processes that have ended, and returns how many there were. Any thread. One system call while no
// child has ended; else a look at all processes of the host, for not every kernel lists children.
int reap_adopted();

}  // namespace narke::worker
