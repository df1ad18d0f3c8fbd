// The engine's lineage: what can be made again by its task, and what is kept so that it can.
//
// While a task is under way, its arguments are in use: each has a use of the task's. When it has ended and left values
// in stores, its arguments may be needed once more. Those that can be made again themselves are then remembered rather
// than kept: their values go when nobody else uses them, and come back, the first of a chain first, when a value that
// was made of them is lost. One that comes back with another stays until it is needed too: its task need not run for
// each of them. So a program that turns one large value into the next keeps one of them, not all.
#include <algorithm>

#include "worker/engine.h"

namespace narke::worker {
namespace {

constexpr size_t kMostRemembering = 200'000;  // tasks, of some kilobyte each; beyond, the oldest cannot run again

// A call that might have to wait for a lost object while it holds up the actor, which may be the one to make that.
bool reads_stored(const Task& task) {
  const auto is_stored = [](const ObjectPtr& ref) { return ref && ref->state.load() == ObjectState::kStore; };
  return std::any_of(task.args.begin(), task.args.end(), [&](const Arg& arg) { return is_stored(arg.ref); }) ||
         std::any_of(task.nested.begin(), task.nested.end(), is_stored);
}

void for_each_ref(Task& task, const auto& visit) {
  for (Arg& arg : task.args)
    if (arg.ref) visit(*arg.ref);
  for (ObjectPtr& ref : task.nested) visit(*ref);
}

}  // namespace

// ---- what a task holds ----

void Engine::pin(Task& task) {
  task.args_pinned = true;
  for_each_ref(task, [](Object& object) { Objects::add_use(object); });
}

void Engine::unpin(Task& task) {
  if (!std::exchange(task.args_pinned, false)) return;
  recall(task);
  for_each_ref(task, [this](Object& object) { objects_.drop_use(object); });
}

// The uses of an ended task's arguments that can be made again become memories of them.
void Engine::remember(Task& task) {
  if (!task.args_pinned) return;
  for_each_ref(task, [&](Object& object) {
    if (Objects::can_be_remade(object)) task.remembered.emplace_back(&object);
  });
  if (task.remembered.empty()) return;
  task.remembering = ++last_remembering_;
  remembering_.emplace_hint(remembering_.end(), task.remembering, &task);
  for (ObjectPtr& object : task.remembered) objects_.remember(*object);
  while (remembering_.size() > kMostRemembering) forget_how(*remembering_.begin()->second);
}

// The reverse.
void Engine::recall(Task& task) {
  if (task.remembered.empty()) return;
  remembering_.erase(task.remembering);
  for (ObjectPtr& object : std::exchange(task.remembered, {})) objects_.recall(*object);
}

// What it made stays as long as it is not lost.
void Engine::forget_how(Task& task) {
  TaskPtr alive(&task);
  task.retries_left = 0;
  task.forgotten = true;
  unpin(task);
}

// ---- when it is kept ----

// A value in a store may be lost, and is then made again by its task, or by its actor if the call needs no other
// such value.
void Engine::keep_lineage_of(Task& task, Object& object) {
  if (task.actor != nullptr && reads_stored(task)) return;
  if (task.retries_left == 0 || object.uses.load() == 0 || object.extra().task) return;
  object.extra().task = TaskPtr(&task);
  ++task.lineage_holders;
}

void Engine::settle_lineage(Task& task) {
  if (task.lineage_holders > 0 && task.retries_left != 0) return remember(task);
  unpin(task);
}

// A long chain of tasks is given up link by link here, not one within the other.
void Engine::drop_lineage(TaskPtr task) {
  if (--task->lineage_holders != 0 || task->state != Task::State::kDone) return;
  unneeded_.push_back(std::move(task));
  if (unneeded_.size() > 1) return;
  for (; !unneeded_.empty(); unneeded_.pop_front()) unpin(*unneeded_.front());
}

// ---- making a value again ----

void Engine::give_up(Object& object, const char* kind, const std::string& why) {
  objects_.set_value(object,
                     make_failure(kind, "the object's value is gone from the store and " + why, object.id.hex()),
                     ObjectState::kError);
}

void Engine::recover(Object& object) {
  std::vector<ObjectPtr> gone{ObjectPtr(&object)};
  while (!gone.empty()) {
    const ObjectPtr next = std::move(gone.back());
    gone.pop_back();
    std::ranges::move(recover_one(*next), std::back_inserter(gone));
  }
}

// Gives what its task needs and is gone too.
std::vector<ObjectPtr> Engine::recover_one(Object& object) {
  Task* task = object.find_extra() == nullptr ? nullptr : object.find_extra()->task.get();
  if (const auto [kind, why] = why_not_again(object, task); kind != nullptr)
    return give_up(object, kind, why), std::vector<ObjectPtr>();
  if (task->stream) task->stream->lost.emplace_back(&object);
  if (task->state != Task::State::kDone) return {};
  if (task->stream) {
    std::vector<ObjectPtr>& lost = task->stream->lost;
    task->stream->remade.insert(task->stream->remade.end(), lost.begin(), lost.end());
    lost.clear();
    open_stream(*task);
  }
  if (task->retries_left > 0) --task->retries_left;
  ++task->attempt;
  recall(*task);
  std::vector<ObjectPtr> gone;
  for_each_ref(*task, [&](Object& ref) {
    if (Objects::begin_remaking(ref)) gone.emplace_back(&ref);
  });
  task->actor = task->actor_id.is_nil() ? nullptr : actors_.find(task->actor_id);
  if (task->actor != nullptr) {
    queue_call(*task->actor, TaskPtr(task));
  } else {
    task->state = Task::State::kWaiting;
    resolve(task);
  }
  return gone;
}

// Kind and text of the error; a null kind: its task can run again.
std::pair<const char*, const char*> Engine::why_not_again(const Object& object, const Task* task) {
  constexpr const char* kFailed = "ObjectReconstructionFailedError";
  if (task == nullptr && (index_of(object.id) & kPutBit) != 0)
    return {"ObjectLostError", "it was made by put(), which can't be repeated"};
  if (task == nullptr)
    return {kFailed,
            "the call that made it may not be repeated (max_retries of a task; max_task_retries of an actor, whose "
            "calls with large arguments are not repeated)"};
  if (task->forgotten) return {kFailed, "how to make it has been forgotten: 200,000 later values are remembered"};
  if (task->retries_left == 0) return {kFailed, "the task that made it may not run again (max_retries)"};
  if (task->actor_id.is_nil()) return {};
  const Actor* actor = actors_.find(task->actor_id);
  if (actor == nullptr || actor->state == wire::ActorState::Dead) return {kFailed, "the actor that made it is dead"};
  return {};
}

}  // namespace narke::worker
