// The engine's links: the node, other programs, what arrives over them.
#include "rpc/tcp.h"
#include "worker/engine.h"

namespace narke::worker {
namespace {

constexpr auto kLeaseIdle = std::chrono::milliseconds(100);
constexpr auto kIdleCheck = std::chrono::milliseconds(50);
constexpr auto kDoubtLimit = std::chrono::seconds(15);
constexpr auto kLastAnswers = std::chrono::milliseconds(500);
constexpr auto kDoubtCheck = std::chrono::seconds(1);
constexpr size_t kMaxLogLines = 100'000;

std::string text_of(const flatbuffers::String* s) { return s == nullptr ? std::string() : s->str(); }

}  // namespace

// ---- links ----

// Programs of one host meet at a socket whose name follows from the id; others through the door of their node.
static std::string local_endpoint(const WorkerId& worker) { return "@narke-program-" + worker.hex().substr(0, 40); }

Result<rpc::ConnectionPtr> Engine::connect(const Address& address) {
  if (address.endpoint[0] == '@') return reactor_.connect(address.endpoint, this);
  if (address.node == self_.node) return reactor_.connect(local_endpoint(address.worker), this);
  const rpc::Preface preface{.kind = rpc::LinkKind::kProgram, .target = address.worker};
  return reactor_.connect_tcp(door_.empty() ? address.endpoint : rpc::routed_endpoint(door_, address.node), preface,
                              this);
}

Peer* Engine::peer(const Address& address) {
  auto found = peers_.find(address.worker);
  if (found != peers_.end() && !found->second->link->is_closed()) {
    if (found->second->address.endpoint.empty()) found->second->address = address;
    return found->second;
  }
  if (address.endpoint.empty() || stopped_) return nullptr;
  Result<rpc::ConnectionPtr> link = connect(address);
  if (!link) return nullptr;
  auto owned = std::make_unique<Peer>();
  Peer* peer = owned.get();
  peer->link = link.value();
  peer->link->set_peer(address.worker);
  peer->link->context = peer;
  peer->address = address;
  links_[peer->link.get()] = std::move(owned);
  peers_[address.worker] = peer;
  introduce(*peer->link);
  return peer;
}

// Whoever answers this link may have to tell others how to reach this program: see Objects::lend.
void Engine::introduce(rpc::Connection& link) {
  flatbuffers::FlatBufferBuilder b(256);
  b.Finish(wire::CreateIntroduce(b, self_.to_wire(b)));
  link.send(wire::MessageType::Introduce, 0, b);
}

void Engine::on_introduce(rpc::Connection& link, const rpc::Frame& frame) {
  const auto* message = frame.as<wire::Introduce>();
  auto* peer = static_cast<Peer*>(link.context);
  Address address = message == nullptr ? Address() : Address::from_wire(message->self());
  if (peer == nullptr || address.worker != link.peer() || address.endpoint.empty())
    return link.close({ErrorCode::kRefused, "a damaged Introduce"});
  peer->address = std::move(address);
}

rpc::ConnectionPtr Engine::program(const Address& address) {
  Peer* found = peer(address);
  return found == nullptr ? nullptr : found->link;
}

rpc::ConnectionPtr Engine::open_program(const WorkerId& worker) {
  auto found = peers_.find(worker);
  return found == peers_.end() || found->second->link->is_closed() ? nullptr : found->second->link;
}

Address Engine::address_of(const rpc::Connection& link) {
  const auto* peer = static_cast<const Peer*>(link.context);
  if (peer != nullptr) return peer->address;
  Address address;
  address.worker = link.peer();
  return address;
}

void Engine::on_open(rpc::Connection& link) {
  if (link.context != nullptr || (node_ && &link == node_.get())) return;
  auto owned = std::make_unique<Peer>();
  Peer* peer = owned.get();
  peer->link = link.shared_from_this();
  peer->address.worker = link.peer();
  link.context = peer;
  links_[&link] = std::move(owned);
  peers_.try_emplace(link.peer(), peer);
}

void Engine::on_closed(rpc::Connection& link, const Error& why) {
  if (node_ && &link == node_.get()) return on_node_closed(why);
  auto found = links_.find(&link);
  if (found == links_.end()) return;
  std::unique_ptr<Peer> peer = std::move(found->second);
  links_.erase(found);
  on_peer_closed(*peer, why);
}

void Engine::on_peer_closed(Peer& peer, const Error& why) {
  WorkerId worker = peer.address.worker;
  auto known = peers_.find(worker);
  bool was_main = known != peers_.end() && known->second == &peer;
  if (was_main) {
    peers_.erase(known);
    for (auto& [link, other] : links_)
      if (other->address.worker == worker) peers_[worker] = other.get();
  }
  executor_.on_link_closed(*peer.link);
  objects_.on_link_closed(*peer.link);
  std::vector<TaskPtr> calls = peer.calls.take_all();
  const bool again = peer.lease != nullptr && !calls.empty() && calls[0]->retries_left != 0 && !calls[0]->cancelled;
  if (again && records_events_)
    task_log_.task(*calls[0], history::State::kFailed, "WORKER_DIED", "the worker ended: " + why.message);
  if (peer.lease != nullptr)
    submitter_.on_worker_lost(*peer.lease, std::move(calls), !peer.is_drained);
  else if (peer.actor != nullptr)
    on_actor_link_lost(peer.actor->id, std::move(calls));
  if (!peers_.contains(worker)) objects_.on_program_gone(worker, why.message);
}

void Engine::on_actor_link_lost(const ActorId& id, std::vector<TaskPtr> calls) {
  actors_.on_link_lost(*actors_.find(id), std::move(calls));
  arm_doubt_timer();
  if (Actor* actor = actors_.find(id)) maybe_end_actor(*actor);
}

void Engine::on_node_closed(const Error& why) {
  stop_reason_ = "the node daemon (narke-node) is gone: " + why.message;
  std::map<uint32_t, NodeCallback> waiting(node_calls_.begin(), node_calls_.end());
  node_calls_.clear();
  for (auto& [id, callback] : waiting) callback(nullptr);
  if (node_lost_hook_) node_lost_hook_();
  submitter_.on_node_lost(stop_reason_);
  actors_.on_node_lost(stop_reason_);
  leaving_ = true;
  stopped_ = true;
  log_cv_.notify_all();
}

// ---- dispatch ----

void Engine::on_frame(rpc::Connection& link, const rpc::Frame& frame) {
  if (node_ && &link == node_.get()) return on_node_frame(link, frame);
  switch (frame.type) {
    case wire::MessageType::PushTask:
      arm_events_timer();
      if (task_log_.is_due()) send_task_events();
      return executor_.on_push(link, frame);
    case wire::MessageType::TaskReply: return on_task_reply(link, frame);
    case wire::MessageType::BeginLease: return executor_.on_begin_lease(frame);
    case wire::MessageType::DefineFunction: return executor_.on_define_function(frame);
    case wire::MessageType::CancelTask: return on_cancel(link, frame);
    case wire::MessageType::GetObject: return objects_.on_get_object(link, frame);
    case wire::MessageType::ObjectReply: return objects_.on_object_reply(frame);
    case wire::MessageType::AddBorrow: return objects_.on_add_borrow(link, frame);
    case wire::MessageType::BorrowAck: return objects_.on_borrow_ack(link, frame.call_id);
    case wire::MessageType::RemoveBorrow: return objects_.on_remove_borrow(frame);
    case wire::MessageType::AdoptObject: return objects_.on_adopt(link, frame);
    case wire::MessageType::Adopted: return on_adopted(frame);
    case wire::MessageType::CopyMade: return objects_.on_copy_made(frame);
    case wire::MessageType::Introduce: return on_introduce(link, frame);
    case wire::MessageType::StreamItem: return on_stream_item(link, frame);
    case wire::MessageType::StreamAck: return executor_.on_stream_ack(frame);
    default: return link.close({ErrorCode::kRefused, "a message that programs do not send each other"});
  }
}

void Engine::on_node_frame(rpc::Connection& link, const rpc::Frame& frame) {
  auto type = static_cast<uint16_t>(frame.type);
  if (type >= static_cast<uint16_t>(wire::MessageType::StoreFirst) &&
      type <= static_cast<uint16_t>(wire::MessageType::StoreLast)) {
    if (store_) store_->on_frame(frame);
    return;
  }
  switch (frame.type) {
    case wire::MessageType::Registered:
    case wire::MessageType::CreateActorReply:
    case wire::MessageType::ControlReply: {
      auto found = node_calls_.find(frame.call_id);
      if (found == node_calls_.end()) return;
      NodeCallback callback = std::move(found->second);
      node_calls_.erase(found);
      return callback(&frame);
    }
    case wire::MessageType::LeaseReply: submitter_.on_lease_reply(frame); return arm_idle_timer();
    case wire::MessageType::ReclaimLease: {
      const auto* reclaim = frame.as<wire::ReclaimLease>();
      if (reclaim != nullptr) submitter_.on_reclaim(reclaim->lease());
      return;
    }
    case wire::MessageType::ActorUpdate: {
      actors_.on_update(frame);
      const auto* update = frame.as<wire::ActorUpdate>();
      if (update == nullptr || update->actor() == nullptr) return;
      if (Actor* actor = actors_.find(ActorId::from_wire(update->actor()))) {
        if (Actors::awaits_last_answers(*actor)) await_last_answers(actor->id);
        maybe_end_actor(*actor);
      }
      return;
    }
    case wire::MessageType::StartActor: arm_events_timer(); return executor_.on_start_actor(link, frame);
    case wire::MessageType::ExitWorker:
      leaving_ = true;
      executor_.set_leaving();
      return executor_.give_back_queued();
    case wire::MessageType::Control: return on_question(frame);
    case wire::MessageType::IncomingLink: return on_incoming_link(frame);
    case wire::MessageType::NodeGone: return on_node_gone(frame);
    case wire::MessageType::ObjectPulled: return on_pulled(frame);
    case wire::MessageType::ObjectsMoved: return objects_.on_moved(frame);
    case wire::MessageType::ObjectsPromoted: return objects_.on_promoted(frame);
    case wire::MessageType::LogLines: return on_log_lines(frame);
    case wire::MessageType::Notice: return on_notice(frame);
    case wire::MessageType::Goodbye: goodbye_ = true; return;
    default: return;
  }
}

void Engine::on_incoming_link(const rpc::Frame& frame) {
  const auto* message = frame.as<wire::IncomingLink>();
  int fd = node_->take_fd();
  if (fd >= 0 && message != nullptr) reactor_.adopt_guest(fd, message->tls(), this);
}

// Links to a host that is gone may stay open for long: they end now.
void Engine::on_node_gone(const rpc::Frame& frame) {
  const auto* gone = frame.as<wire::NodeGone>();
  if (gone == nullptr || gone->node() == nullptr) return;
  NodeId node = NodeId::from_wire(gone->node());
  std::string why = "its node is gone: " + text_of(gone->why());
  for (auto& [link, peer] : links_) {
    if (peer->address.node != node) continue;
    peer->is_drained = gone->drained();
    link->close({ErrorCode::kDisconnected, why});
  }
  objects_.on_node_gone(node);
}

uint32_t Engine::call_node(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table, rpc::Bytes raw,
                           NodeCallback callback) {
  rpc::ConnectionPtr link = node();
  if (!link) {
    callback(nullptr);
    return 0;
  }
  uint32_t call_id = link->next_call_id();
  node_calls_[call_id] = std::move(callback);
  link->send(type, call_id, table, raw);
  link->flush();
  return call_id;
}

static flatbuffers::FlatBufferBuilder control_message(const std::string& method, const std::string& body) {
  flatbuffers::FlatBufferBuilder b(256 + body.size());
  auto name = b.CreateString(method);
  auto bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(body.data()), body.size());
  b.Finish(wire::CreateControl(b, name, bytes));
  return b;
}

void Engine::tell(const std::string& method, const std::string& body) {
  flatbuffers::FlatBufferBuilder b = control_message(method, body);
  Lock held = lock();
  call_node(wire::MessageType::Control, b, {}, [](const rpc::Frame*) {});
}

Engine::Answer Engine::control(const std::string& method, const std::string& body, Deadline deadline) {
  flatbuffers::FlatBufferBuilder b = control_message(method, body);
  auto answer = std::make_shared<Answer>();
  auto answered = std::make_shared<bool>(false);
  Lock held = lock();
  uint32_t call_id = call_node(wire::MessageType::Control, b, {}, [answer, answered](const rpc::Frame* frame) {
    *answered = true;
    const auto* reply = frame == nullptr ? nullptr : frame->as<wire::ControlReply>();
    if (reply == nullptr) {
      answer->error = "the node is gone";
      answer->error_kind = "LocalRayletDiedError";
      return;
    }
    answer->error = text_of(reply->error());
    answer->error_kind = text_of(reply->error_kind());
    if (reply->body() != nullptr)
      answer->body.assign(reinterpret_cast<const char*>(reply->body()->data()), reply->body()->size());
  });
  const AwaitsReply awaits;
  Waited waited = wait(held, [&] { return *answered; }, deadline);
  if (waited != Waited::kReady) node_calls_.erase(call_id);
  answer->waited = *answered ? Waited::kReady : waited;
  return *answer;
}

// ---- actors ----

ActorId Engine::new_actor_id() {
  TaskId task = new_task_id();
  ActorId id;
  std::memcpy(id.data(), task.data(), 6);
  std::memcpy(id.data() + 6, process_unique_.data(), 6);
  std::memcpy(id.data() + 12, job_.data(), 4);
  return id;
}

ObjectId Engine::handle_object(const ActorId& actor) {
  constexpr uint32_t kHandleIndex = 0x40000001u;
  TaskId task;
  std::memcpy(task.data() + 8, actor.data(), ActorId::kSize);
  return object_of(task, kHandleIndex);
}

ObjectPtr Engine::actor_handle(const ActorId& id, const Address& owner, bool covered) {
  Lock held = lock();
  ObjectPtr object = objects_.receive(handle_object(id), owner, covered);
  Actor& actor = actors_.get(id);
  actor.handle = object;
  Objects::add_use(*object);
  flush_if_needed();
  return object;
}

Engine::Created Engine::create_actor(const ActorId& id, const flatbuffers::FlatBufferBuilder& create, rpc::Bytes raw,
                                     bool wait_for, bool detached, std::vector<ObjectPtr> pinned, bool out_of_order) {
  Lock held = lock();
  auto created = std::make_shared<Created>();
  auto answered = std::make_shared<bool>(false);
  auto read = [created, answered](const rpc::Frame* frame) {
    *answered = true;
    const auto* reply = frame == nullptr ? nullptr : frame->as<wire::CreateActorReply>();
    if (reply == nullptr) {
      created->status = wire::CreateActorStatus::Invalid;
      created->message = "the node is gone";
      return;
    }
    created->status = reply->status();
    created->existing = ActorId::from_wire(reply->existing());
    created->message = text_of(reply->message());
    created->class_name = text_of(reply->class_name());
    if (reply->methods() != nullptr)
      created->methods.assign(reinterpret_cast<const char*>(reply->methods()->data()), reply->methods()->size());
  };
  Actor& actor = actors_.get(id, true);
  actor.out_of_order = out_of_order;
  actor.pinned = pinned;
  for (ObjectPtr& ref : actor.pinned) Objects::add_use(*ref);
  uint32_t call_id = call_node(wire::MessageType::CreateActor, create, raw, read);
  if (wait_for) {
    created->waited = wait(held, [&] { return *answered; }, kNoDeadline);
    if (!*answered) node_calls_.erase(call_id);
    if (created->status != wire::CreateActorStatus::Created) {
      actors_.forget(id);
      return *created;
    }
  }
  ObjectPtr object = objects_.make_owned(handle_object(id));
  object->extra().is_actor = !detached;
  object->value = Value::copy({});
  object->state.store(ObjectState::kValue, std::memory_order_release);
  objects_.add_to_table(*object);
  Objects::add_use(*object);
  actor.handle = object;
  return *created;
}

void Engine::actor_out_of_scope(const ObjectId& id) {
  ActorId actor_id;
  std::memcpy(actor_id.data(), id.data() + 8, ActorId::kSize);
  Actor* actor = actors_.find(actor_id);
  if (actor == nullptr) return;
  actor->out_of_scope = true;
  actor->handle.reset();
  maybe_end_actor(*actor);
}

void Engine::maybe_end_actor(Actor& actor) {
  const bool is_unheld = actor.by_id_only && actor.handle == nullptr && actor.state == wire::ActorState::Dead;
  if ((!actor.out_of_scope && !is_unheld) || actors_.pending(actor) != 0) return;
  ActorId id = actor.id;
  if (actor.state != wire::ActorState::Dead) {
    if (rpc::ConnectionPtr link = node()) {
      flatbuffers::FlatBufferBuilder b(64);
      auto wire_id = id.to_wire<wire::ActorId>();
      b.Finish(wire::CreateKillActor(b, &wire_id, true, true));
      link->send(wire::MessageType::KillActor, 0, b);
      if (!dispatching_) link->flush();
    }
  }
  actors_.forget(id);
}

void Engine::kill_actor(const ActorId& id, bool no_restart) {
  Lock held = lock();
  actors_.get(id);
  rpc::ConnectionPtr link = node();
  if (!link) return;
  flatbuffers::FlatBufferBuilder b(64);
  auto wire_id = id.to_wire<wire::ActorId>();
  uint64_t key = 0;  // the node may have to say it twice: to a head that is away and comes back
  std::memcpy(&key, new_task_id().data(), sizeof(key));
  b.Finish(wire::CreateKillActor(b, &wire_id, no_restart, false, key ^ std::hash<WorkerId>()(self_.worker)));
  link->send(wire::MessageType::KillActor, 0, b);
  link->flush();
}

void Engine::reply_started(Inbound& start, const Outcome* error) {
  Lock held = lock();
  if (rpc::ConnectionPtr link = node()) executor_.reply_started(start, *link, error);
}

void Engine::actor_exits(const ActorId& id) {
  Lock held = lock();
  rpc::ConnectionPtr link = node();
  if (!link) return;
  flatbuffers::FlatBufferBuilder b(64);
  auto wire_id = id.to_wire<wire::ActorId>();
  b.Finish(wire::CreateActorExiting(b, &wire_id));
  link->send(wire::MessageType::ActorExiting, 0, b);
  link->flush();
}

// ---- calls to run ----

InboundPtr Engine::next_call(const std::string& group, Deadline deadline, Waited* waited) {
  InboundPtr call;
  Lock held = lock();
  *waited = wait(
      held,
      [&] {
        call = executor_.take(group);
        return call != nullptr || leaving_;
      },
      deadline);
  return call;
}

InboundPtr Engine::try_next_call(const std::string& group) {
  Lock held = lock();
  return executor_.take(group);
}

void Engine::drain() {
  Lock held = lock();
  reactor_.flush_all();
  send_task_events();
  wait(held, [this] { return !objects_.has_borrowers(); }, kNoDeadline);
  send_task_events();
  reactor_.flush_all();
}

// ---- timers ----

void Engine::arm_idle_timer() {
  if (idle_timer_armed_) return;
  idle_timer_armed_ = true;
  reactor_.after(kIdleCheck, [this] {
    idle_timer_armed_ = false;
    if (submitter_.return_idle(kLeaseIdle)) arm_idle_timer();
  });
}

void Engine::arm_doubt_timer() {
  if (doubt_timer_armed_) return;
  doubt_timer_armed_ = true;
  reactor_.after(kDoubtCheck, [this] {
    doubt_timer_armed_ = false;
    actors_.expire_doubts(kDoubtLimit);
    bool any = false;
    actors_.for_each([&](Actor& actor) { any |= !actor.in_doubt.empty(); });
    if (any) arm_doubt_timer();
  });
}

// The link of a dead actor ends with its process, unless a child holds it or its host is cut off.
void Engine::await_last_answers(const ActorId& id) {
  reactor_.after(kLastAnswers, [this, id] {
    Actor* actor = actors_.find(id);
    if (actor != nullptr) actors_.give_up_answers(*actor);
    if ((actor = actors_.find(id)) != nullptr) maybe_end_actor(*actor);
  });
}

// ---- what a person should read ----

void Engine::add_logs(std::vector<LogLine> lines) {
  {
    std::lock_guard held(log_mutex_);
    for (LogLine& line : lines)
      if (logs_.size() < kMaxLogLines) logs_.push_back(std::move(line));
  }
  log_cv_.notify_one();
}

void Engine::on_log_lines(const rpc::Frame& frame) {
  const auto* message = frame.as<wire::LogLines>();
  if (message == nullptr || message->lines() == nullptr) return;
  std::vector<LogLine> lines;
  for (const wire::LogLine* line : *message->lines())
    lines.push_back({line->pid(), WorkerId::from_wire(line->worker()), text_of(line->name()), text_of(line->text()),
                     line->is_error(), ""});
  add_logs(std::move(lines));
}

void Engine::on_notice(const rpc::Frame& frame) {
  const auto* notice = frame.as<wire::Notice>();
  if (notice == nullptr) return;
  LogLine line;
  line.text = text_of(notice->text());
  line.notice = text_of(notice->kind());
  if (line.notice.empty()) line.notice = "warning";
  std::vector<LogLine> lines;
  lines.push_back(std::move(line));
  add_logs(std::move(lines));
}

std::vector<LogLine> Engine::take_logs(std::chrono::milliseconds limit) {
  std::unique_lock held(log_mutex_);
  log_cv_.wait_for(held, limit, [this] { return !logs_.empty() || stopped_; });
  std::vector<LogLine> lines(std::make_move_iterator(logs_.begin()), std::make_move_iterator(logs_.end()));
  logs_.clear();
  return lines;
}

}  // namespace narke::worker
