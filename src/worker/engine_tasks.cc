// The engine's tasks: dependencies, sending, replies, streams, cancelling.
#include <algorithm>

#include <flatbuffers/flexbuffers.h>

#include "worker/engine.h"
#include "worker/wire_task.h"

namespace narke::worker {
namespace {

constexpr int kPollEvery = 64;  // submissions between two looks at what has come back
constexpr uint32_t kStreamFirstIndex = 2;
constexpr auto kFateLimit = std::chrono::seconds(5);  // for a node to tell how a worker ended
constexpr uint64_t kNearBytes = 1 << 20;  // more than elsewhere: what makes a node the better place for a task

struct Fate {
  std::string kind = "WorkerCrashedError", message = "its end was not seen by the node";
};

// The node's answer to worker_fate; null when the node is gone too.
Fate read_fate(const rpc::Frame* frame) {
  Fate fate;
  const auto* reply = frame == nullptr ? nullptr : frame->as<wire::ControlReply>();
  if (reply == nullptr || reply->body() == nullptr || reply->body()->size() == 0) return fate;
  auto map = flexbuffers::GetRoot(reply->body()->data(), reply->body()->size()).AsMap();
  if (map["cause"].AsString().str() == "oom") fate.kind = "OutOfMemoryError";
  if (std::string message = map["message"].AsString().str(); !message.empty()) fate.message = message;
  return fate;
}

}  // namespace

// Waits, under the lock, until all references among a task's arguments are ready.
struct Engine::Dependent : ReadyListener {
  Engine* engine;
  TaskPtr task;
  void on_ready(Object&) override {
    if (--task->unresolved > 0) return;
    TaskPtr ready = task;
    Engine* e = engine;
    delete this;
    if (ready->state == Task::State::kWaiting) return e->dispatch_task(ready);
    if (ready->state == Task::State::kQueued && ready->actor != nullptr) e->actors_.pump(*ready->actor);
  }
};

TaskPtr Engine::new_task(CallSpecPtr spec, size_t return_count) {
  TaskPtr task = new Task;
  task->spec = std::move(spec);
  task->id = new_task_id();
  const Running& here = running_here();
  task->parent = here.task;
  task->depth = here.depth + 1;
  task->retries_left = task->spec->max_retries;
  task->created_us = coarse_epoch_us();
  for (size_t i = 0; i < return_count; ++i) {
    ObjectPtr object = objects_.make_owned(object_of(task->id, static_cast<uint32_t>(i) + 1));
    object->producer = task.get();
    if (i == 0)
      task->first_return = std::move(object);
    else
      task->more_returns.push_back(std::move(object));
  }
  if (task->spec->num_returns == kStreaming) task->stream = std::make_unique<Task::Stream>();
  return task;
}

// The references among its arguments that it waits for; it knows their number before any of them can become ready.
std::vector<ObjectPtr> Engine::count_unready(Task& task) {
  std::vector<ObjectPtr> unready;
  for (Arg& arg : task.args)
    if (arg.ref && !arg.ref->is_ready()) unready.push_back(arg.ref);
  task.unresolved = static_cast<int>(unready.size());
  return unready;
}

// REQUIRES: `unready`, not empty, is what was counted.
void Engine::await(const TaskPtr& task, const std::vector<ObjectPtr>& unready) {
  auto* dependent = new Dependent;
  dependent->engine = this;
  dependent->task = task;
  for (const ObjectPtr& object : unready) objects_.listen(*object, dependent);
}

void Engine::resolve(const TaskPtr& task) {
  const std::vector<ObjectPtr> unready = count_unready(*task);
  if (unready.empty()) return dispatch_task(task);
  waiting_.push_back(task);
  await(task, unready);
}

void Engine::dispatch_task(TaskPtr task) {
  if (task->cancelled) return fail(*task, make_failure("TaskCancelledError", "the task was cancelled", task->id.hex()));
  if (task->unresolved == 0 && !task->args.empty()) task->ready_us = coarse_epoch_us();
  if (Object* failed = failed_argument(*task)) return fail_for_argument(std::move(task), failed->value);
  if (!task->args.empty() && has_neighbours()) task->near = nearest(*task);
  submitter_.enqueue(std::move(task));
  arm_idle_timer();
}

// A long chain of tasks fails link by link here, not one within the other.
void Engine::fail_for_argument(TaskPtr task, ValuePtr error) {
  failing_.emplace_back(std::move(task), std::move(error));
  if (failing_.size() > 1) return;
  for (; !failing_.empty(); failing_.pop_front()) fail(*failing_.front().first, failing_.front().second);
}

// The node whose store has most of the bytes that the task reads, if that is worth a thought.
NodeId Engine::nearest(const Task& task) {
  const LeaseShape& shape = task.spec->lease_class->shape;
  if (shape.strategy != wire::StrategyKind::Default || !shape.pg.is_nil()) return {};
  std::map<NodeId, uint64_t> bytes;
  for (const Arg& arg : task.args) {
    Object::Extra* extra = arg.ref ? arg.ref->find_extra() : nullptr;
    if (extra == nullptr || extra->size == 0 || arg.ref->state.load() != ObjectState::kStore) continue;
    bytes[objects_.node_of(*arg.ref)] += extra->size;
    for (const NodeId& copy : extra->copies) bytes[copy] += extra->size;
  }
  const uint64_t here = bytes.contains(self_.node) ? bytes[self_.node] : 0;
  NodeId best = here >= kNearBytes ? self_.node : NodeId();
  uint64_t most = here + kNearBytes;
  for (const auto& [node, sum] : bytes)
    if (sum >= most && (best.is_nil() || sum > most)) best = node, most = sum;
  return best;
}

void Engine::submit(TaskPtr task) {
  Lock held = lock();
  arm_events_timer();
  pin(*task);
  if (task->stream) open_stream(*task);
  if (stopped_ || !node())
    return fail(*task, make_failure("LocalRayletDiedError", "the node is gone: " + stop_reason_, task->id.hex()));
  if (task->args.empty())
    dispatch_task(std::move(task));
  else
    resolve(task);
  after_submission();
}

// Sends what must not lie in a buffer, and looks now and then at what has come back.
void Engine::after_submission() {
  if (polled_ || leader_ != Leader::kNone) return flush_if_needed();
  if (++submitted_since_poll_ < kPollEvery) return;
  submitted_since_poll_ = 0;
  reactor_.wait(0);
  dispatch_arrived();
}

Engine::SubmitResult Engine::submit_call(const ActorId& id, TaskPtr task, int max_pending) {
  Lock held = lock();
  arm_events_timer();
  Actor& actor = actors_.get(id);
  if (max_pending >= 0 && actors_.pending(actor) >= static_cast<size_t>(max_pending)) {
    for (size_t i = 0; i < task->return_count(); ++i) task->returned(i)->producer = nullptr;
    return {false, "the actor " + actor.class_name + " has " + std::to_string(max_pending) +
                       " calls under way, its max_pending_calls; wait for some of them"};
  }
  pin(*task);
  task->actor = &actor;
  task->actor_id = id;
  if (task->stream) open_stream(*task);
  if (stopped_ || !node()) {
    fail(*task, make_failure("ActorDiedError", "the node is gone: " + stop_reason_, id.hex()));
    return {};
  }
  queue_call(actor, std::move(task));
  after_submission();
  return {};
}

void Engine::queue_call(Actor& actor, TaskPtr task) {
  task->state = Task::State::kQueued;
  const std::vector<ObjectPtr> unready = count_unready(*task);
  if (unready.empty()) return actors_.submit(actor, std::move(task));
  actors_.submit(actor, task);
  await(task, unready);
}

// ---- replies ----

void Engine::on_task_reply(rpc::Connection& link, const rpc::Frame& frame) {
  const auto* reply = frame.as<wire::TaskReply>();
  auto* peer = static_cast<Peer*>(link.context);
  if (reply == nullptr || peer == nullptr) return link.close({ErrorCode::kRefused, "a damaged TaskReply"});
  TaskPtr task = peer->calls.take(frame.call_id);
  if (!task) return;
  if (task->told_once && reply->status() != wire::TaskStatus::NotStarted) task_log_.answered(*task);
  Lease* lease = task->lease;
  task->lease = nullptr;
  ActorId actor_id = task->actor == nullptr ? ActorId() : task->actor->id;  // the reply may end the actor
  wire::TaskStatus status = reply->status();
  if (status == wire::TaskStatus::NotStarted) {
    if (task->actor != nullptr) {  // the actor is leaving: its end decides
      task->not_started = true;
      task->actor->in_doubt.push_back(task);
      task->actor->broken_since = Clock::now();
      arm_doubt_timer();
    } else if (task->cancelled) {
      fail(*task, make_failure("TaskCancelledError", "the task was cancelled", task->id.hex()));
    } else {
      if (lease != nullptr) lease->stalled = true;
      submitter_.requeue(task);
    }
  } else if (status == wire::TaskStatus::Done || status == wire::TaskStatus::Exiting) {
    finish(*task, *reply, frame.raw, peer->address.node);
  } else {
    finish_failed(*task, *reply, frame.raw);
  }
  if (lease != nullptr) {
    if (status == wire::TaskStatus::Exiting)
      submitter_.on_worker_leaves(*lease);
    else
      submitter_.on_finished(*lease, reply->duration_ns(), status == wire::TaskStatus::NotStarted);
  }
  if (Actor* actor = actors_.find(actor_id)) maybe_end_actor(*actor);
}

void Engine::settled(Task& task) {
  task.state = Task::State::kDone;
  for (size_t i = 0; i < task.return_count(); ++i) {
    Object& object = *task.returned(i);
    object.producer = nullptr;
    if (object.uses.load(std::memory_order_relaxed) == 0) objects_.maybe_release(object);
  }
  settle_lineage(task);
  if (task.stream) settle_lost_items(task);
}

void Engine::finish(Task& task, const wire::TaskReply& reply, rpc::Bytes raw, const NodeId& node) {
  if (task.sink != nullptr) return finish_raw(task, reply, raw);
  size_t at = 0;
  size_t count = reply.results() == nullptr ? 0 : reply.results()->size();
  TaskPtr alive(&task);
  for (size_t i = 0; i < count && i < task.return_count(); ++i) {
    const wire::Result* result = reply.results()->Get(static_cast<flatbuffers::uoffset_t>(i));
    Object& object = *task.returned(i);
    if (result->contained() != nullptr) objects_.set_contained(object, objects_.receive_contained(result->contained()));
    if (result->kind() == wire::ResultKind::Store) {
      if (has_neighbours()) object.extra().size = result->size();
      keep_lineage_of(task, object);
      objects_.set_stored(object, node);
      if (task.attempt > 0) promote(node, {object.id});  // it may be a copy that had been there already
      continue;
    }
    size_t size = std::min<size_t>(result->size(), raw.size() - at);
    bool is_error = result->kind() == wire::ResultKind::Error;
    objects_.set_value(object, Value::copy(raw.subspan(at, size)),
                       is_error ? ObjectState::kError : ObjectState::kValue);
    at += size;
  }
  if (task.stream) {
    task.stream->total = task.stream->received;
    finish_stream(task);
  }
  settled(task);
}

void Engine::finish_failed(Task& task, const wire::TaskReply& reply, rpc::Bytes raw) {
  TaskPtr alive(&task);
  bool again =
      reply.status() == wire::TaskStatus::Failed && reply.retriable() && task.retries_left != 0 && !task.cancelled;
  if (again) {
    if (task.retries_left > 0) --task.retries_left;
    ++task.attempt;
    if (task.actor == nullptr) return submitter_.requeue(alive);
    if (task.actor->state == wire::ActorState::Dead) return fail(task, task.actor->death);  // nobody to run it again
    task.state = Task::State::kQueued;
    task.actor->queue.push_front(alive);
    return actors_.pump(*task.actor);
  }
  end_in_error(task, Value::copy(raw));  // the worker has told the node
}

void Engine::fail(Task& task, ValuePtr error) {
  tell_failed(task, error);
  end_in_error(task, std::move(error));
}

void Engine::end_in_error(Task& task, ValuePtr error) {
  if (task.sink != nullptr) return end_raw(task, true, error->bytes());
  TaskPtr alive(&task);
  for (size_t i = 0; i < task.return_count(); ++i) objects_.set_value(*task.returned(i), error, ObjectState::kError);
  if (task.stream && task.stream->total) {
    for (auto* items : {&task.stream->remade, &task.stream->lost})
      for (ObjectPtr& item : std::exchange(*items, {})) objects_.set_value(*item, error, ObjectState::kError);
    finish_stream(task);
  }
  if (task.stream && !task.stream->total) {
    uint32_t index = kStreamFirstIndex + static_cast<uint32_t>(task.stream->received);
    ObjectPtr item = objects_.make_owned(object_of(task.id, index));
    Objects::add_use(*item);
    objects_.set_value(*item, error, ObjectState::kError);
    add_stream_item(task, item);
    task.stream->total = task.stream->received;
    finish_stream(task);
  }
  settled(task);
}

void Engine::fail_worker_died(TaskPtr task, const Address& worker) {
  flexbuffers::Builder body;
  body.Map([&] {
    body.Blob("worker_id", worker.worker.data(), WorkerId::kSize);
    body.Blob("node_id", worker.node.data(), NodeId::kSize);
  });
  body.Finish();
  flatbuffers::FlatBufferBuilder b(256);
  auto method = b.CreateString("worker_fate");
  b.Finish(wire::CreateControl(b, method, b.CreateVector(body.GetBuffer())));
  const uint32_t call_id = call_node(wire::MessageType::Control, b, {}, [this, task](const rpc::Frame* frame) {
    Fate fate = read_fate(frame);
    std::string name = task->spec->function ? task->spec->function->name : task->spec->method;
    fail(*task,
         make_failure(fate.kind, "the worker process that ran " + name + " ended: " + fate.message, task->id.hex()));
  });
  // The worker's node may end, or be out of reach, before it tells.
  reactor_.after(kFateLimit, [this, call_id] {
    auto unanswered = node_calls_.extract(call_id);
    if (unanswered) unanswered.mapped()(nullptr);
  });
}

// ---- streams ----

void Engine::open_stream(Task& task) {
  if (streams_.emplace(task.id, &task).second) task.ref();
}

void Engine::finish_stream(Task& task) {
  auto found = streams_.find(task.id);
  if (found == streams_.end()) return;
  streams_.erase(found);
  wake_stream(task);
  task.unref();
}

void Engine::settle_lost_items(Task& task) {
  for (ObjectPtr& item : std::exchange(task.stream->remade, {})) {
    if (item->is_ready()) continue;
    objects_.set_value(*item,
                       make_failure("ObjectReconstructionFailedError",
                                    "the value is gone from the store, and the generator that had yielded it did not "
                                    "yield it again",
                                    item->id.hex()),
                       ObjectState::kError);
  }
  for (ObjectPtr& item : std::exchange(task.stream->lost, {}))  // it was missed after it had come by
    if (!item->is_ready() && item->uses.load() > 0) recover(*item);
}

void Engine::wake_stream(Task& task) {
  for (uint64_t token : std::exchange(task.stream->tokens, {})) add_token(token);
  became_ready();
}

// Takes over one use of the item.
void Engine::add_stream_item(Task& task, ObjectPtr item) {
  task.stream->items.push_back(std::move(item));
  ++task.stream->received;
  wake_stream(task);
}

void Engine::on_stream_item(rpc::Connection& link, const rpc::Frame& frame) {
  const auto* message = frame.as<wire::StreamItem>();
  if (message == nullptr || message->task() == nullptr || message->result() == nullptr) return;
  auto found = streams_.find(TaskId::from_wire(message->task()));
  if (found == streams_.end()) return;
  Task& task = *found->second;
  if (task.sink != nullptr) return task.sink->on_item(frame.raw);
  const wire::Result& result = *message->result();
  const NodeId node = static_cast<Peer*>(link.context)->address.node;
  const ObjectId id = object_of(task.id, kStreamFirstIndex + static_cast<uint32_t>(message->index()));
  const bool is_new = message->index() >= task.stream->received;  // one that runs again starts at the beginning
  ObjectPtr item = is_new ? objects_.make_owned(id) : objects_.find(id);
  if (!is_new && task.spec->backpressure > 0) send_ack(task, std::max(task.stream->first, message->index() + 1), false);
  if (!item || item->is_ready()) return drop_surplus_item(id, item, result, node);
  if (is_new) Objects::add_use(*item);
  objects_.set_contained(*item, objects_.receive_contained(result.contained()));
  if (result.kind() == wire::ResultKind::Store) {
    if (has_neighbours()) item->extra().size = result.size();
    keep_lineage_of(task, *item);
    objects_.add_to_table(*item);
    objects_.set_stored(*item, node);
  } else {
    const bool is_error = result.kind() == wire::ResultKind::Error;
    objects_.set_value(*item, Value::copy(frame.raw), is_error ? ObjectState::kError : ObjectState::kValue);
  }
  if (!is_new) return;
  if (!task.stream->abandoned) return add_stream_item(task, std::move(item));
  ++task.stream->received;
  objects_.drop_use(*item);
}

// An item that is here already, or was given up, came once more: what came with it is given back.
void Engine::drop_surplus_item(const ObjectId& id, const ObjectPtr& known, const wire::Result& result,
                               const NodeId& node) {
  for (ObjectPtr& inner : objects_.receive_contained(result.contained())) objects_.maybe_release(*inner);
  const bool is_the_one = known && known->state.load() == ObjectState::kStore && objects_.node_of(*known) == node;
  if (result.kind() == wire::ResultKind::Store && !is_the_one) erase_stored(id, node, false);
}

void Engine::ack_stream(Task& task, bool stop) { send_ack(task, task.stream->first, stop); }

void Engine::send_ack(Task& task, uint64_t consumed, bool stop) {
  if (task.state == Task::State::kDone) return;  // nobody listens, and its actor may be forgotten
  auto send_to = [&](rpc::ConnectionPtr link) {
    if (!link) return;
    flatbuffers::FlatBufferBuilder b(64);
    auto id = task.id.to_wire<wire::TaskId>();
    b.Finish(wire::CreateStreamAck(b, &id, consumed, stop));
    link->send(wire::MessageType::StreamAck, 0, b);
    if (task.sink == nullptr && !may_gather()) link->flush();  // raw calls have a flush of their own
  };
  if (task.lease != nullptr && task.lease->peer != nullptr) return send_to(task.lease->peer->link);
  if (task.actor != nullptr && task.actor->peer != nullptr) send_to(task.actor->peer->link);
}

Engine::StreamNext Engine::stream_next(Task& task, Deadline deadline) {
  Lock held = lock();
  StreamNext next;
  Task::Stream& stream = *task.stream;
  next.waited =
      wait(held, [&] { return !stream.items.empty() || (stream.total && stream.first >= *stream.total); }, deadline);
  if (next.waited != Waited::kReady || stream.items.empty()) return next;
  next.item = std::move(stream.items.front());  // its use goes to the caller
  stream.items.pop_front();
  ++stream.first;
  if (task.spec->backpressure > 0) ack_stream(task, false);
  return next;
}

bool Engine::stream_ready(Task& task) {
  Lock held = lock();
  const Task::Stream& stream = *task.stream;
  return !stream.items.empty() || (stream.total && stream.first >= *stream.total);
}

bool Engine::stream_token(Task& task, uint64_t token) {
  Lock held = lock();
  Task::Stream& stream = *task.stream;
  if (!stream.items.empty() || (stream.total && stream.first >= *stream.total)) return true;
  stream.tokens.push_back(token);
  return false;
}

void Engine::abandon_stream(Task& task) {
  Lock held = lock();
  Task::Stream& stream = *task.stream;
  stream.abandoned = true;
  for (ObjectPtr& item : std::exchange(stream.items, {})) objects_.drop_use(*item);
  if (!stream.total) ack_stream(task, true);
}

Waited Engine::wait_stream_room(Inbound& call) {
  int limit = call.push->backpressure();
  Lock held = lock();
  if (limit <= 0) return call.stopped ? Waited::kStopped : Waited::kReady;
  if (call.link) call.link->flush();
  Waited waited = wait(
      held, [&] { return call.stopped || call.produced < call.consumed + static_cast<uint64_t>(limit); }, kNoDeadline);
  return call.stopped ? Waited::kStopped : waited;
}

// ---- cancelling ----

bool Engine::is_actor_call(Object& object) {
  Lock held = lock();
  return object.producer != nullptr && object.producer->actor != nullptr;
}

void Engine::cancel(Object& object, bool force, bool recursive) {
  Lock held = lock();
  if (object.producer != nullptr) {
    TaskPtr task(object.producer);
    cancel_task(*task, force, recursive);
  } else if (!object.owned) {
    auto found = peers_.find(object.extra().owner.worker);
    if (found != peers_.end()) {
      flatbuffers::FlatBufferBuilder b(64);
      auto id = task_of(object.id).to_wire<wire::TaskId>();
      b.Finish(wire::CreateCancelTask(b, &id, force, recursive));
      found->second->link->send(wire::MessageType::CancelTask, 0, b);
    }
  }
  reactor_.flush_all();
}

void Engine::cancel_task(Task& task, bool force, bool recursive) {
  TaskPtr alive(&task);
  task.cancelled = true;
  ValuePtr error = make_failure("TaskCancelledError", "the task was cancelled before it ended", task.id.hex());
  if (task.state == Task::State::kWaiting) return fail(task, error);
  if (task.state == Task::State::kQueued) {
    bool removed = task.actor != nullptr ? actors_.remove(*task.actor, task) : submitter_.remove(task);
    if (removed) fail(task, error);
    return;
  }
  if (task.state != Task::State::kSent) return;
  Peer* peer = task.actor != nullptr ? task.actor->peer : task.lease != nullptr ? task.lease->peer : nullptr;
  if (peer == nullptr) return;
  flatbuffers::FlatBufferBuilder b(64);
  auto id = task.id.to_wire<wire::TaskId>();
  b.Finish(wire::CreateCancelTask(b, &id, force, recursive));
  peer->link->send(wire::MessageType::CancelTask, 0, b);
  peer->link->flush();
}

void Engine::cancel_children(const TaskId& parent, bool force) {
  std::vector<TaskPtr> children;
  const auto note = [&](Task& task) {
    if (task.parent == parent) children.emplace_back(&task);
  };
  submitter_.for_each_queued(note);
  actors_.for_each([&](Actor& actor) {
    for (TaskPtr& task : actor.queue) note(*task);
  });
  for (auto& [link, peer] : links_) peer->calls.for_each(note);
  for (TaskPtr& child : children) cancel_task(*child, force && child->actor == nullptr, true);  // actors are not ended
}

void Engine::on_cancel(rpc::Connection&, const rpc::Frame& frame) {
  const auto* cancel = frame.as<wire::CancelTask>();
  if (cancel == nullptr || cancel->task() == nullptr) return;
  TaskId id = TaskId::from_wire(cancel->task());
  if (cancel->recursive()) cancel_children(id, cancel->force());
  if (InboundPtr queued = executor_.remove_queued(id)) {
    Outcome error;
    error.kind = wire::ResultKind::Error;
    ValuePtr value = make_failure("TaskCancelledError", "the task was cancelled before it started", id.hex());
    error.bytes.assign(reinterpret_cast<const char*>(value->bytes().data()), value->bytes().size());
    queued->began = Clock::now();
    return executor_.reply(*queued, wire::TaskStatus::Cancelled, {error});
  }
  if (InboundPtr running = executor_.find_running(id)) {
    running->cancelled = true;
    running->stopped = true;
    interrupt_due_ = true;
    if (cancel_hook_) cancel_hook_(id, cancel->force());
    return;
  }
  if (ObjectPtr object = objects_.find(object_of(id, 1)); object && object->producer != nullptr) {
    TaskPtr task(object->producer);  // a borrower asks for a task of ours
    cancel_task(*task, cancel->force(), cancel->recursive());
  }
}

}  // namespace narke::worker
