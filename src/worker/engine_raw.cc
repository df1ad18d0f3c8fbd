// Raw calls: see raw_call.h.
#include "worker/engine.h"

namespace narke::worker {

TaskPtr Engine::submit_raw(const ActorId& id, CallSpecPtr spec, std::span<const rpc::Bytes> argument, RawSink& sink) {
  TaskPtr task = new_task(std::move(spec), 0);
  task->sink = &sink;
  Arg arg;
  size_t size = 0;
  for (rpc::Bytes piece : argument) size += piece.size();
  arg.size = static_cast<uint32_t>(size);
  task->args.push_back(std::move(arg));
  uint8_t* to = task->values.extend(size);
  for (rpc::Bytes piece : argument) to = std::copy(piece.begin(), piece.end(), to);
  Lock held = lock();
  Actor& actor = actors_.get(id);
  actor.by_id_only = actor.handle == nullptr;
  task->actor = &actor;
  streams_[task->id] = task.get();
  task->ref();
  if (stopped_ || !node())
    fail(*task, make_failure("ActorDiedError", "the node is gone: " + stop_reason_, id.hex()));
  else
    actors_.submit(actor, task);
  return task;
}

void Engine::flush() {
  Lock held = lock();
  reactor_.flush_all();
}

void Engine::cancel_raw(Task& task) {
  Lock held = lock();
  cancel_task(task, false, true);
}

void Engine::consumed_raw(Task& task, uint64_t count) {
  Lock held = lock();
  send_ack(task, count, false);
}

void Engine::end_raw(Task& task, bool is_error, rpc::Bytes value) {
  TaskPtr alive(&task);
  if (streams_.erase(task.id) > 0) task.unref();
  task.state = Task::State::kDone;
  std::exchange(task.sink, nullptr)->on_end(is_error, value);
}

void Engine::finish_raw(Task& task, const wire::TaskReply& reply, rpc::Bytes raw) {
  const wire::Result* result =
      reply.results() != nullptr && reply.results()->size() == 1 ? reply.results()->Get(0) : nullptr;
  bool is_here = result != nullptr && result->kind() != wire::ResultKind::Store && result->size() <= raw.size();
  if (is_here) return end_raw(task, result->kind() == wire::ResultKind::Error, raw.first(result->size()));
  ValuePtr error = make_failure(
      "RaySystemError",
      "the result of " + task.spec->method + " is too large for a raw call: it has to be yielded in pieces",
      task.id.hex());
  end_raw(task, true, error->bytes());
}

}  // namespace narke::worker
