// What the engine tells the node about tasks, and when. See task_log.h.
#include "worker/engine.h"

namespace narke::worker {
namespace {

using history::State;
constexpr auto kEventsPeriod = std::chrono::milliseconds(100);
constexpr size_t kMostTold = 10'000;  // waiting tasks told of in one batch

}  // namespace

void Engine::arm_events_timer() {
  if (events_timer_armed_) return;
  events_timer_armed_ = true;
  reactor_.after(kEventsPeriod, [this] {
    events_timer_armed_ = false;
    send_task_events();
  });
}

void Engine::send_task_events() {
  rpc::ConnectionPtr link = node();
  if (!link || stopped_) return;
  const bool more = tell_waiting();
  if (!task_log_.empty()) {
    task_log_.send(*link);
    link->flush();
  }
  if (more || !task_log_.empty()) arm_events_timer();
}

// Tells of what has been waiting or running since the last batch; the newest first, until one that was told of.
// True when something may change without being noticed otherwise.
bool Engine::tell_waiting() {
  size_t told = 0;
  const auto tell = [&](Task& task, State state) {
    if (task.told || told >= kMostTold) return false;
    task.told = task.told_once = true;
    ++told;
    task_log_.task(task, state);
    return true;
  };
  for (TaskPtr& task : std::exchange(waiting_, {}))
    if (task->state == Task::State::kWaiting) tell(*task, State::kPendingArgs);
  bool any_queued = false;
  submitter_.for_each_queue([&](std::deque<TaskPtr>& queue) {
    any_queued |= !queue.empty();
    for (auto at = queue.rbegin(); at != queue.rend() && tell(**at, State::kPendingNode); ++at) {
    }
  });
  actors_.for_each([&](Actor& actor) {
    any_queued |= !actor.queue.empty();
    for (auto at = actor.queue.rbegin(); at != actor.queue.rend(); ++at)
      if (!tell(**at, (*at)->unresolved > 0 ? State::kPendingArgs : State::kPendingNode)) break;
  });
  for (auto& [link, peer] : links_) peer->calls.for_newest([&](Task& task) { return tell(task, State::kSubmitted); });
  for (const InboundPtr& call : executor_.all_running())
    if (!std::exchange(call->told, true)) task_log_.call(*call, executor_, State::kRunning), ++told;
  return any_queued || told > 0;
}

void Engine::tell_failed(const Task& task, const ValuePtr& error) {
  if (stopped_) return;
  arm_events_timer();
  const auto [exception, message] = read_failure(error);
  if (exception.empty())
    task_log_.task(task, State::kFailed, "TASK_EXECUTION_EXCEPTION", "a task that made one of its arguments failed");
  else
    task_log_.task(task, State::kFailed, error_type_of(exception), message);
}

void Engine::profile(const std::string& name, const std::string& extra, int64_t began_us, int64_t ended_us) {
  Lock held = lock();
  task_log_.profile(running_here().task, executor_.actor(), name, extra, began_us, ended_us);
  arm_events_timer();
}

}  // namespace narke::worker
