#include "worker/executor.h"

#include "worker/task_log.h"

namespace narke::worker {
namespace {

constexpr auto kFlushAfter = std::chrono::microseconds(150);

rpc::Bytes as_bytes(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

InboundPtr keep(const rpc::Frame& frame, rpc::ConnectionPtr link) {
  auto call = std::make_shared<Inbound>();
  call->link = std::move(link);
  call->call_id = frame.call_id;
  call->bytes.append(frame.table.data(), frame.table.size());
  call->bytes.append(frame.raw.data(), frame.raw.size());
  call->raw = call->bytes.span().subspan(frame.table.size());
  return call;
}

template <class T>
using Tables = flatbuffers::Vector<flatbuffers::Offset<T>>;

void read_amounts(const Tables<wire::Resource>* resources, const Tables<wire::Instances>* instances, Lent& out) {
  if (resources != nullptr)
    for (const wire::Resource* r : *resources)
      if (r->name() != nullptr) out.resources.emplace_back(r->name()->str(), r->amount());
  if (instances != nullptr)
    for (const wire::Instances* i : *instances)
      if (i->name() != nullptr && i->ids() != nullptr)
        out.instances.emplace_back(i->name()->str(), std::vector<int>(i->ids()->begin(), i->ids()->end()));
}

}  // namespace

void Executor::on_begin_lease(const rpc::Frame& frame) {
  const auto* begin = frame.as<wire::BeginLease>();
  if (begin == nullptr) return;
  lent_ = Lent{};
  lent_.lease = begin->lease();
  lent_.job = JobId::from_wire(begin->job());
  lent_.pg = PgId::from_wire(begin->pg());
  lent_.bundle = begin->bundle();
  lent_.capture = begin->capture();
  read_amounts(begin->resources(), begin->instances(), lent_);
}

void Executor::on_define_function(const rpc::Frame& frame) {
  const auto* define = frame.as<wire::DefineFunction>();
  if (define == nullptr || define->function() == nullptr) return;
  std::string pickled(reinterpret_cast<const char*>(frame.raw.data()), frame.raw.size());
  std::string name = define->name() == nullptr ? "" : define->name()->str();
  functions_.try_emplace(FunctionId::from_wire(define->function()), std::move(pickled), std::move(name));
}

const std::string* Executor::function(const FunctionId& id, std::string* name) const {
  auto found = functions_.find(id);
  if (found == functions_.end()) return nullptr;
  *name = found->second.second;
  return &found->second.first;
}

std::string Executor::function_of(const Inbound& call) const {
  if (call.push == nullptr) return actor_class_ + ".__init__";
  if (call.push->method() != nullptr) return actor_class_ + "." + call.push->method()->str();
  std::string name;
  function(FunctionId::from_wire(call.push->function()), &name);
  return short_name(name);
}

const std::string& Executor::group_of(const Inbound& call) const {
  static const std::string kDefault;
  if (call.push == nullptr || call.push->method() == nullptr) return kDefault;
  static thread_local std::string name;
  if (call.push->concurrency_group() != nullptr) return name = call.push->concurrency_group()->str();
  if (group_of_method_.empty()) return kDefault;
  auto found = group_of_method_.find(call.push->method()->str());
  return found == group_of_method_.end() ? kDefault : found->second;
}

void Executor::queue(InboundPtr call) {
  queues_[group_of(*call)].push_back(std::move(call));
  ++queued_;
}

void Executor::on_push(rpc::Connection& from, const rpc::Frame& frame) {
  if (frame.as<wire::PushTask>() == nullptr || frame.as<wire::PushTask>()->task() == nullptr)
    return from.close({ErrorCode::kRefused, "a damaged PushTask"});
  InboundPtr call = keep(frame, from.shared_from_this());
  call->push = flatbuffers::GetRoot<wire::PushTask>(call->bytes.data());
  call->task = TaskId::from_wire(call->push->task());
  bool goes_back = leaving_ || (!is_actor_ && blocked_ && !call->is_actor_call());
  if (goes_back) return send_reply(*call, wire::TaskStatus::NotStarted, {}, false);
  queue(std::move(call));
}

void Executor::on_start_actor(rpc::Connection& node, const rpc::Frame& frame) {
  const auto* start = frame.as<wire::StartActor>();
  if (start == nullptr || start->spec() == nullptr || start->spec()->actor() == nullptr) return;
  InboundPtr call = keep(frame, node.shared_from_this());
  call->start = flatbuffers::GetRoot<wire::StartActor>(call->bytes.data());
  is_actor_ = true;
  lent_ = Lent{};
  const wire::ActorSpec& spec = *call->start->spec();
  actor_ = ActorId::from_wire(spec.actor());
  actor_class_ = spec.class_name() == nullptr ? "actor" : spec.class_name()->str();
  lent_.job = JobId::from_wire(spec.job());
  lent_.pg = PgId::from_wire(spec.pg());
  lent_.bundle = spec.bundle();
  lent_.capture = spec.capture();
  read_amounts(spec.running_resources(), call->start->instances(), lent_);
  queue(std::move(call));
}

InboundPtr Executor::take(const std::string& group) {
  auto found = queues_.find(group);
  if (found == queues_.end() || found->second.empty()) return nullptr;
  InboundPtr call = std::move(found->second.front());
  found->second.pop_front();
  --queued_;
  call->began = last_began_ = Clock::now();
  if (call->push != nullptr) running_[call->task] = call;
  return call;
}

InboundPtr Executor::take_any() {
  for (auto& [group, calls] : queues_)
    if (!calls.empty()) return take(group);
  return nullptr;
}

// ---- answers ----

void Executor::lend(const Outcome& outcome, const rpc::Connection& receiver) {
  for (const ObjectPtr& inner : outcome.contained) objects_.lend(*inner, receiver);
}

flatbuffers::Offset<wire::Result> Executor::describe(flatbuffers::FlatBufferBuilder& b, const Outcome& outcome) {
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Ref>>> contained;
  if (!outcome.contained.empty()) {
    std::vector<flatbuffers::Offset<wire::Ref>> refs;
    for (const ObjectPtr& inner : outcome.contained) refs.push_back(objects_.describe(b, *inner));
    contained = b.CreateVector(refs);
  }
  uint64_t size = outcome.kind == wire::ResultKind::Store ? outcome.size : outcome.bytes.size();
  return wire::CreateResult(b, outcome.kind, size, contained);
}

void Executor::send_reply(Inbound& call, wire::TaskStatus status, const std::vector<Outcome>& outcomes,
                          bool retriable) {
  if (!call.link || call.link->is_closed()) return;
  static thread_local flatbuffers::FlatBufferBuilder b(512);
  b.Clear();
  std::vector<flatbuffers::Offset<wire::Result>> results;
  size_t raw_bytes = 0;
  for (const Outcome& outcome : outcomes) {
    results.push_back(describe(b, outcome));
    raw_bytes += outcome.bytes.size();
  }
  auto result_list = b.CreateVector(results);
  auto spent = status == wire::TaskStatus::NotStarted ? Clock::duration{} : call.ended - call.began;
  auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count();
  b.Finish(wire::CreateTaskReply(b, status, result_list, static_cast<uint64_t>(ns), 0, call.produced, retriable));
  uint8_t* raw = call.link->send_with_room(wire::MessageType::TaskReply, call.call_id, b, raw_bytes);
  for (const Outcome& outcome : outcomes) {
    rpc::Bytes bytes = as_bytes(outcome.bytes);
    if (!bytes.empty()) std::memcpy(raw, bytes.data(), bytes.size());
    raw += bytes.size();
  }
}

// Answers of short tasks leave together; one that took long, or the last one, leaves now.
void Executor::maybe_flush(Inbound& call) {
  if (gathers_ && gathers_()) return;
  auto now = Clock::now();
  if (queued_ != 0 && now - last_flush_ < kFlushAfter && !nobody_flushes_()) return;
  last_flush_ = now;
  if (call.link) call.link->flush();
}

void Executor::tell(const Inbound& call, wire::TaskStatus status) const {
  const bool failed = status == wire::TaskStatus::Failed || status == wire::TaskStatus::Cancelled;
  const char* type = status == wire::TaskStatus::Cancelled ? "TASK_CANCELLED" : "TASK_EXECUTION_EXCEPTION";
  if (failed)
    log_->call(call, *this, history::State::kFailed, type, call.failure);
  else
    log_->call(call, *this, history::State::kFinished);
}

void Executor::reply(Inbound& call, wire::TaskStatus status, std::vector<Outcome> outcomes, bool retriable) {
  // The submitter must not send more to a worker that is about to leave.
  if (call.is_last && status == wire::TaskStatus::Done) status = wire::TaskStatus::Exiting;
  call.ended = Clock::now();
  if (at_end_) std::exchange(at_end_, nullptr)();
  if (log_ != nullptr && call.push != nullptr && status != wire::TaskStatus::NotStarted) tell(call, status);
  InboundPtr alive;
  auto found = running_.find(call.task);
  if (found != running_.end()) {
    alive = std::move(found->second);
    running_.erase(found);
  }
  auto send = [this, status, retriable](const InboundPtr& to, const std::vector<Outcome>& what) {
    send_reply(*to, status, what, retriable);
    maybe_flush(*to);
  };
  if (!alive) alive = call.shared_from_this();
  auto shared = std::make_shared<std::vector<Outcome>>(std::move(outcomes));
  // Lending comes first: what other owners must be told of it is waited for together with what is kept.
  if (alive->link && !alive->link->is_closed())
    for (const Outcome& outcome : *shared) lend(outcome, *alive->link);
  if (objects_.register_kept(alive->link.get(), [send, alive, shared] { send(alive, *shared); })) send(alive, *shared);
}

void Executor::reply_started(Inbound& start, rpc::Connection& node, const Outcome* error) {
  start.ended = Clock::now();
  if (log_ != nullptr && error == nullptr) log_->call(start, *this, history::State::kFinished);
  if (log_ != nullptr && error != nullptr)
    log_->call(start, *this, history::State::kFailed, "TASK_EXECUTION_EXCEPTION", start.failure);
  objects_.register_kept(nullptr, nullptr);
  flatbuffers::FlatBufferBuilder b(128);
  b.Finish(wire::CreateActorStarted(b, start.start->spec()->actor(), error == nullptr));
  node.send(wire::MessageType::ActorStarted, 0, b, error == nullptr ? rpc::Bytes() : as_bytes(error->bytes));
  node.flush();
}

void Executor::send_item(Inbound& call, Outcome item) {
  if (!call.link || call.link->is_closed()) return;
  static thread_local flatbuffers::FlatBufferBuilder b(256);
  b.Clear();
  lend(item, *call.link);
  auto result = describe(b, item);
  auto task = call.task.to_wire<wire::TaskId>();
  b.Finish(wire::CreateStreamItem(b, &task, call.produced, result));
  ++call.produced;
  call.link->send(wire::MessageType::StreamItem, 0, b, as_bytes(item.bytes));
  maybe_flush(call);
}

void Executor::give_back_queued() {
  if (is_actor_) return;
  for (auto& [group, calls] : queues_) {
    std::deque<InboundPtr> kept;
    for (InboundPtr& call : calls) {
      if (call->push == nullptr || call->is_actor_call()) {
        kept.push_back(call);
        continue;
      }
      --queued_;
      send_reply(*call, wire::TaskStatus::NotStarted, {}, false);
      call->link->flush();
    }
    calls = std::move(kept);
  }
}

void Executor::give_back_all() {
  for (auto& [group, calls] : queues_) {
    for (InboundPtr& call : calls) {
      --queued_;
      if (call->push == nullptr) continue;
      send_reply(*call, wire::TaskStatus::NotStarted, {}, false);
      call->link->flush();
    }
    calls.clear();
  }
}

void Executor::on_stream_ack(const rpc::Frame& frame) {
  const auto* ack = frame.as<wire::StreamAck>();
  if (ack == nullptr || ack->task() == nullptr) return;
  auto found = running_.find(TaskId::from_wire(ack->task()));
  if (found == running_.end()) return;
  found->second->consumed = std::max(found->second->consumed, ack->consumed());
  if (ack->stop()) found->second->stopped = true;
}

InboundPtr Executor::find_running(const TaskId& task) {
  auto found = running_.find(task);
  return found == running_.end() ? nullptr : found->second;
}

InboundPtr Executor::remove_queued(const TaskId& task) {
  for (auto& [group, calls] : queues_)
    for (auto it = calls.begin(); it != calls.end(); ++it)
      if ((*it)->push != nullptr && (*it)->task == task) {
        InboundPtr call = *it;
        calls.erase(it);
        --queued_;
        return call;
      }
  return nullptr;
}

std::vector<InboundPtr> Executor::all_running() const {
  std::vector<InboundPtr> out;
  for (const auto& [task, call] : running_) out.push_back(call);
  return out;
}

std::string Executor::describe() const {
  std::string out = "runs " + std::to_string(running_.size()) + " calls, " + std::to_string(queued_) + " queued" +
                    (blocked_ ? ", blocked" : "") + (leaving_ ? ", leaving" : "") + (is_actor_ ? ", an actor" : "") +
                    "\n";
  for (const auto& [task, call] : running_)
    out += "  runs " + function_of(*call) + " for " + call->link->peer().hex().substr(0, 8) + " as call " +
           std::to_string(call->call_id) + (call->stopped ? ", to stop" : "") + "\n";
  return out;
}

void Executor::on_link_closed(rpc::Connection& link) {
  for (auto& [group, calls] : queues_)
    queued_ -= std::erase_if(calls, [&](const InboundPtr& call) { return call->link.get() == &link; });
  for (auto& [task, call] : running_)
    if (call->link.get() == &link) call->stopped = true;
}

}  // namespace narke::worker
