// Tasks on their way out and back: PushTask from a Task, results from a TaskReply.
#pragma once

#include "worker/objects.h"
#include "worker/peer.h"
#include "worker/task.h"

namespace narke::worker {

// Sends the task over the peer's link, with its function first where the peer has not seen it, and records the
// call. REQUIRES: every reference among the arguments is ready and none is an error.
void push_task(Peer& peer, const TaskPtr& task, Objects& objects);

// The failed dependency whose error this task inherits, or null.
Object* failed_argument(Task& task);

}  // namespace narke::worker
