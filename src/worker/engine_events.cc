// What the engine tells the node about tasks, and when. See task_log.h.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "worker/engine.h"

namespace narke::worker {
namespace {

using history::State;
constexpr auto kEventsPeriod = std::chrono::milliseconds(100);
constexpr size_t kMostTold = 10'000;  // waiting tasks told of in one batch
constexpr size_t kMostVisited = 100'000;  // calls under way that are looked at for one batch

// Tasks stand in queues in the order of their making, nearly. What was made after `time_us` comes from here on.
auto first_young(std::deque<TaskPtr>& queue, int64_t time_us) {
  return std::partition_point(queue.begin(), queue.end(),
                              [&](const TaskPtr& task) { return task->created_us <= time_us; });
}

}  // namespace

// Ray's switch for the same: 0 turns the recording of tasks off.
bool Engine::records_events() {
  const char* period = std::getenv("RAY_task_events_report_interval_ms");
  return period == nullptr || std::strcmp(period, "0") != 0;
}

void Engine::arm_events_timer() {
  if (events_timer_armed_) return;
  events_timer_armed_ = true;
  reactor_.after(kEventsPeriod, [this] {
    events_timer_armed_ = false;
    show_running();
    send_task_events();
  });
}

// What runs now is shown to tools such as ps: looked at now and then, so it costs a task nothing.
void Engine::show_running() {
  if (!title_hook_) return;
  const InboundPtr call = executor_.any_running();
  const auto* name = call && call->push != nullptr ? call->push->name() : nullptr;
  title_hook_(name != nullptr ? name->str() : call ? executor_.function_of(*call) : std::string());
  if (call) executor_.at_next_end([this] { arm_events_timer(); });
}

void Engine::send_task_events() {
  rpc::ConnectionPtr link = node();
  if (!link || stopped_ || !records_events_) return;
  const bool more = tell_waiting();
  if (!task_log_.empty()) {
    task_log_.send(*link);
    link->flush();
  }
  // Between two calls nothing runs: what is queued will end without a message that arms the timer.
  const bool is_between_calls = executor_.has_queued() && !executor_.any_running();
  if (more || !task_log_.empty() || is_between_calls) arm_events_timer();
}

// Tells of what has been waiting or running for a while; the newest first, until one that was told of. Tasks younger
// than a period are left for the next time: most will have ended. True when something may change without being noticed
// otherwise.
bool Engine::tell_waiting() {
  size_t told = 0;
  bool any = false;
  const int64_t young_us = coarse_epoch_us() - std::chrono::microseconds(kEventsPeriod).count();
  const auto tell = [&](Task& task, State state) {
    if (task.told || told >= kMostTold) return false;
    task.told = task.told_once = true;
    ++told;
    task_log_.task(task, state);
    return true;
  };
  const auto tell_queue = [&](std::deque<TaskPtr>& queue, auto state_of) {
    any |= !queue.empty();
    for (auto at = first_young(queue, young_us); at != queue.begin();)
      if (--at; !tell(**at, state_of(**at))) break;
  };
  for (TaskPtr& task : std::exchange(waiting_, {})) {
    if (task->state != Task::State::kWaiting) continue;
    if (task->created_us > young_us)
      waiting_.push_back(std::move(task)), any = true;
    else
      tell(*task, State::kPendingArgs);
  }
  submitter_.for_each_queue(
      [&](std::deque<TaskPtr>& queue) { tell_queue(queue, [](Task&) { return State::kPendingNode; }); });
  actors_.for_each([&](Actor& actor) {
    tell_queue(actor.queue, [](Task& task) { return task.unresolved > 0 ? State::kPendingArgs : State::kPendingNode; });
  });
  size_t visited = 0;
  for (auto& [link, peer] : links_)
    peer->calls.for_newest([&](Task& task) {
      if (++visited > kMostVisited) return false;
      if (task.created_us > young_us) return any = true;
      return tell(task, State::kSubmitted);
    });
  for (const InboundPtr& call : executor_.all_running())
    if (!std::exchange(call->told, true)) task_log_.call(*call, executor_, State::kRunning), ++told;
  return any || told > 0;
}

void Engine::tell_failed(const Task& task, const ValuePtr& error) {
  if (stopped_ || !records_events_) return;
  arm_events_timer();
  const auto [exception, message] = read_failure(error);
  if (exception.empty())
    task_log_.task(task, State::kFailed, "TASK_EXECUTION_EXCEPTION", "a task that made one of its arguments failed");
  else
    task_log_.task(task, State::kFailed, error_type_of(exception), message);
}

void Engine::profile(const std::string& name, const std::string& extra, int64_t began_us, int64_t ended_us) {
  Lock held = lock();
  if (!records_events_) return;
  task_log_.profile(running_here().task, executor_.actor(), name, extra, began_us, ended_us);
  arm_events_timer();
}

}  // namespace narke::worker
