#include "worker/objects.h"

#include <algorithm>

namespace narke::worker {
namespace {

constexpr size_t kMostCopiesTold = 8;  // sources that a reader is offered

constexpr uint8_t kEngineErrorForm = 0x20;  // bindings/value_form.h: Form::kEngineError

wire::ObjectStatus status_of(const Object& object) {
  switch (object.state.load(std::memory_order_acquire)) {
    case ObjectState::kStore: return wire::ObjectStatus::Store;
    case ObjectState::kError: return wire::ObjectStatus::Error;
    default: return wire::ObjectStatus::Value;
  }
}

}  // namespace

// Here and not in the class: they need the whole of Task, which needs Object.
Object::Object(const ObjectId& object_id, bool is_owned) : id(object_id), owned(is_owned) { set_live(true); }

Object::~Object() { set_live(false); }

Object::Extra& Object::extra() {
  if (!extra_) extra_ = std::make_unique<Extra>();
  return *extra_;
}

void Object::unref() {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

ValuePtr make_failure(const std::string& kind, const std::string& message, const std::string& id_hex) {
  auto kind_size = static_cast<uint8_t>(std::min<size_t>(kind.size(), 255));
  auto message_size = static_cast<uint32_t>(message.size());
  ByteBuffer bytes;
  bytes.append(&kEngineErrorForm, 1);
  bytes.append(&kind_size, 1);
  bytes.append(kind.data(), kind_size);
  bytes.append(&message_size, 4);
  bytes.append(message.data(), message.size());
  bytes.append(id_hex.data(), id_hex.size());
  return Value::copy(bytes.span());
}

std::pair<std::string, std::string> read_failure(const ValuePtr& value) {
  constexpr size_t kFixed = 1 + 1 + 4;
  rpc::Bytes bytes = value ? value->bytes() : rpc::Bytes();
  if (bytes.size() < kFixed || bytes[0] != kEngineErrorForm) return {};
  const size_t kind = bytes[1];
  uint32_t message = 0;
  if (bytes.size() < kFixed + kind) return {};
  std::memcpy(&message, bytes.data() + 2 + kind, sizeof(message));
  if (bytes.size() - kFixed - kind < message) return {};
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return {std::string(text + 2, kind), std::string(text + kFixed + kind, message)};
}

Objects::~Objects() {
  for (auto& [id, object] : table_) {
    object->in_table = false;
    object->unref();
  }
}

// ---- making and finding ----

ObjectPtr Objects::make_owned(const ObjectId& id) { return new Object(id, true); }

void Objects::add_to_table(Object& object) {
  if (object.in_table) return;
  object.in_table = true;
  object.ref();
  table_.emplace(object.id, &object);
}

void Objects::remove_from_table(Object& object) {
  if (!object.in_table) return;
  object.in_table = false;
  table_.erase(object.id);
  object.unref();
}

ObjectPtr Objects::find(const ObjectId& id) {
  auto found = table_.find(id);
  return found == table_.end() ? ObjectPtr() : ObjectPtr(found->second);
}

ObjectPtr Objects::add_received(const ObjectId& id, const Address& owner) {
  bool is_mine = owner.worker == links_.self().worker;
  ObjectPtr object = new Object(id, is_mine);
  add_to_table(*object);
  if (is_mine) {  // given up earlier: whoever asks is told so
    set_value(*object,
              make_failure("ReferenceCountingAssertionError",
                           "the object was already given up by its owner, this program", id.hex()),
              ObjectState::kError);
    return object;
  }
  object->extra().owner = owner;
  return object;
}

ObjectPtr Objects::receive(const ObjectId& id, const Address& owner, bool covered) {
  if (ObjectPtr known = find(id)) {
    come_back(*known);
    return known;
  }
  ObjectPtr object = add_received(id, owner);
  if (object->owned) return object;
  if (covered) {
    unregistered_.push_back(object);
    return object;
  }
  object->registered = true;
  if (rpc::ConnectionPtr link = links_.program(owner))
    send_add_borrow(*link, *object, links_.self(), 0);
  else
    fail_owner_died(*object, "nobody answers at its socket");
  return object;
}

// ---- uses ----

void Objects::drop_use(Object& object) {
  if (object.uses.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  maybe_release(object);
  object.unref();
}

void Objects::maybe_release(Object& object) {
  if (object.uses.load(std::memory_order_relaxed) > 0) return;
  Object::Extra* extra = object.find_extra();
  if (object.owned && extra != nullptr && !extra->borrowers.empty()) return;
  if (extra != nullptr && extra->remembered > 0) return give_value_up(object);
  release(object);
}

// Whether nothing but the making is needed: an actor may be dead when its turn comes.
bool Objects::can_be_remade(const Object& object) {
  const Object::Extra* extra = object.find_extra();
  if (!object.owned || extra == nullptr || !extra->task || object.state.load() != ObjectState::kStore) return false;
  return extra->task->retries_left != 0 && extra->task->actor_id.is_nil();
}

void Objects::remember(Object& object) {
  ++object.extra().remembered;
  add_to_table(object);
  drop_use(object);
}

void Objects::recall(Object& object) {
  add_use(object);
  --object.extra().remembered;
  object.extra().unasked = false;
}

void Objects::give_value_up(Object& object) {
  Object::Extra& extra = object.extra();
  if (extra.unasked || !can_be_remade(object)) return;
  object.state.store(ObjectState::kPending, std::memory_order_release);
  extra.gone = true;
  erase_stored(object);
  extra.node = NodeId();
  extra.copies.clear();
  extra.lost_at.clear();
  extra.has_moved = false;
  release_contained(object);
}

bool Objects::begin_remaking(Object& object) {
  Object::Extra* extra = object.find_extra();
  return extra != nullptr && std::exchange(extra->gone, false);
}

// Somebody who was not counted asks after all for what was given up.
void Objects::come_back(Object& object) {
  if (begin_remaking(object)) out_.recover(object);
}

void Objects::erase_stored(Object& object) {
  const Object::Extra* extra = object.find_extra();
  out_.erase_stored(object.id, node_of(object), object.escaped);
  if (extra == nullptr || !extra->has_moved) return;
  for (const NodeId& node : extra->copies) out_.erase_stored(object.id, node, true);
}

void Objects::release(Object& object) {
  ObjectPtr alive(&object);
  remove_from_table(object);
  Object::Extra* extra = object.find_extra();
  if (!object.owned) {
    if (object.registered) send_remove_borrow(object);
  } else if (extra != nullptr && extra->is_actor) {
    out_.actor_out_of_scope(object.id);
  } else if (object.state.load(std::memory_order_relaxed) == ObjectState::kStore) {
    erase_stored(object);
  }
  if (extra != nullptr) {
    release_contained(object);
    if (extra->task) out_.drop_lineage(std::exchange(extra->task, {}));
  }
}

void Objects::release_contained(Object& object) {
  std::vector<ObjectPtr> contained = std::move(object.extra().contained);
  object.extra().contained.clear();
  for (ObjectPtr& inner : contained) drop_use(*inner);
}

// ---- becoming ready ----

void Objects::set_value(Object& object, ValuePtr value, ObjectState state) {
  if (object.is_ready() && object.state.load() != ObjectState::kStore) return;  // a second reply changes nothing
  object.value = std::move(value);
  object.state.store(state, std::memory_order_release);
  became_ready(object);
}

NodeId Objects::node_of(Object& object) {
  Object::Extra* extra = object.find_extra();
  return extra == nullptr || extra->node.is_nil() ? links_.self().node : extra->node;
}

void Objects::set_stored(Object& object, const NodeId& node) {
  if (object.is_ready()) return;
  if (node != links_.self().node && !node.is_nil()) {
    object.extra().node = node;
    add_to_table(object);  // other nodes may have to say something of it
  } else if (Object::Extra* extra = object.find_extra())
    extra->node = NodeId();
  object.state.store(ObjectState::kStore, std::memory_order_release);
  became_ready(object);
  if (object.owned && object.uses.load() == 0) maybe_release(object);
}

// ---- copies ----

const std::vector<NodeId>& Objects::copies_of(Object& object) {
  static const std::vector<NodeId> kNone;
  Object::Extra* extra = object.find_extra();
  return extra == nullptr ? kNone : extra->copies;
}

void Objects::add_copy(Object& object, const NodeId& node) {
  std::vector<NodeId>& copies = object.extra().copies;
  if (node != node_of(object) && std::find(copies.begin(), copies.end(), node) == copies.end()) copies.push_back(node);
}

void Objects::note_copy(Object& object) {
  if (object.owned) return add_copy(object, links_.self().node);
  rpc::ConnectionPtr link = links_.program(object.extra().owner);
  if (!link) return;
  flatbuffers::FlatBufferBuilder b(128);
  auto id = object.id.to_wire<wire::ObjectId>();
  auto node = links_.self().node.to_wire<wire::NodeId>();
  b.Finish(wire::CreateCopyMade(b, &id, &node));
  link->send(wire::MessageType::CopyMade, 0, b);
}

void Objects::on_copy_made(const rpc::Frame& frame) {
  const auto* made = frame.as<wire::CopyMade>();
  if (made == nullptr || made->id() == nullptr || made->node() == nullptr) return;
  ObjectPtr object = find(ObjectId::from_wire(made->id()));
  if (object && object->owned && object->state.load() == ObjectState::kStore)
    add_copy(*object, NodeId::from_wire(made->node()));
}

void Objects::note_lost_at(Object& object) {
  std::vector<NodeId>& lost_at = object.extra().lost_at;
  const NodeId node = node_of(object);
  if (std::find(lost_at.begin(), lost_at.end(), node) == lost_at.end()) lost_at.push_back(node);
}

// The next node that may have it takes the place of the one that has not. False: there is none.
bool Objects::use_copy(Object& object) {
  Object::Extra& extra = object.extra();
  if (extra.copies.empty()) return false;
  note_lost_at(object);
  NodeId next = extra.copies.front();
  extra.copies.erase(extra.copies.begin());
  extra.node = next == links_.self().node ? NodeId() : next;
  extra.has_moved = true;
  return true;
}

void Objects::on_node_gone(const NodeId& node) {
  std::map<NodeId, std::vector<ObjectId>> saved;
  for (auto& [id, object] : table_) {
    Object::Extra* extra = object->find_extra();
    if (extra == nullptr || object->state.load() != ObjectState::kStore) continue;
    std::erase(extra->copies, node);
    if (object->owned && node_of(*object) == node && use_copy(*object)) saved[node_of(*object)].push_back(id);
  }
  for (auto& [saver, ids] : saved) out_.promote(saver, ids);
}

void Objects::on_moved(const rpc::Frame& frame) {
  const auto* moved = frame.as<wire::ObjectsMoved>();
  if (moved == nullptr || moved->ids() == nullptr || moved->from() == nullptr || moved->to() == nullptr) return;
  NodeId from = NodeId::from_wire(moved->from()), to = NodeId::from_wire(moved->to());
  for (const wire::ObjectId* id : *moved->ids()) {
    ObjectPtr object = find(ObjectId::from_wire(id));
    if (!object || !object->owned || object->state.load() != ObjectState::kStore || node_of(*object) != from) continue;
    Object::Extra& extra = object->extra();
    std::erase(extra.copies, to);
    extra.copies.insert(extra.copies.begin(), to);
    use_copy(*object);
  }
}

void Objects::on_promoted(const rpc::Frame& frame) {
  const auto* promoted = frame.as<wire::ObjectsPromoted>();
  if (promoted == nullptr || promoted->node() == nullptr || promoted->missing() == nullptr) return;
  if (promoted->sought()) return on_sought(*promoted);
  NodeId node = NodeId::from_wire(promoted->node());
  for (const wire::ObjectId* id : *promoted->missing()) {
    ObjectPtr object = find(ObjectId::from_wire(id));
    if (!object || !object->owned || object->state.load() != ObjectState::kStore || node_of(*object) != node) continue;
    if (use_copy(*object)) out_.promote(node_of(*object), {object->id});
  }
}

void Objects::on_sought(const wire::ObjectsPromoted& answer) {
  const NodeId node = NodeId::from_wire(answer.node());
  const auto is_awaited = [](const ObjectPtr& object) {
    return object && object->owned && object->state.load() == ObjectState::kPending && object->extra().lost;
  };
  for (const wire::ObjectId* id : *answer.missing())
    if (ObjectPtr object = find(ObjectId::from_wire(id)); is_awaited(object)) out_.recover(*object);
  if (answer.kept() == nullptr) return;
  for (const wire::ObjectId* id : *answer.kept())
    if (ObjectPtr object = find(ObjectId::from_wire(id)); is_awaited(object))
      set_stored(*object, node);
    else if (!object)  // it was given up meanwhile
      out_.erase_stored(ObjectId::from_wire(id), node, false);
}

void Objects::set_contained(Object& object, std::vector<ObjectPtr> contained) {
  if (contained.empty()) return;
  for (ObjectPtr& inner : contained) add_use(*inner);
  auto& old = object.extra().contained;
  std::vector<ObjectPtr> before = std::move(old);
  old = std::move(contained);
  for (ObjectPtr& inner : before) drop_use(*inner);
}

void Objects::became_ready(Object& object) {
  out_.became_ready();
  Object::Extra* extra = object.find_extra();
  if (extra == nullptr) return;
  extra->unasked = std::exchange(extra->gone, false);
  extra->lost = false;
  std::vector<ReadyListener*> listeners = std::move(extra->listeners);
  extra->listeners.clear();
  for (ReadyListener* listener : listeners) listener->on_ready(object);
}

void Objects::listen(Object& object, ReadyListener* listener) {
  if (object.is_ready()) return listener->on_ready(object);
  object.extra().listeners.push_back(listener);
  if (!object.owned) fetch(object);
}

void Objects::unlisten(Object& object, ReadyListener* listener) {
  Object::Extra* extra = object.find_extra();
  if (extra != nullptr) std::erase(extra->listeners, listener);
}

void Objects::fetch(Object& object, bool recover) {
  if (object.owned || object.requested || (object.is_ready() && !recover)) return;
  rpc::ConnectionPtr link = links_.program(object.extra().owner);
  if (!link) return fail_owner_died(object, "nobody answers at its socket");
  object.requested = true;
  add_to_table(object);
  flatbuffers::FlatBufferBuilder b(128);
  auto id = object.id.to_wire<wire::ObjectId>();
  auto tried = node_of(object).to_wire<wire::NodeId>();
  b.Finish(wire::CreateGetObject(b, &id, true, recover, &tried));
  link->send(wire::MessageType::GetObject, link->next_call_id(), b);
}

void Objects::fail_owner_died(Object& object, const std::string& why) {
  const Address& owner = object.extra().owner;
  set_value(object,
            make_failure("OwnerDiedError",
                         "the program that owned this object (worker " + owner.worker.hex().substr(0, 16) + ", " +
                             owner.endpoint + ") is gone: " + why +
                             ". Its objects are gone with it; make them again, or let a longer-lived program own "
                             "them (put(..., _owner=actor)).",
                         object.id.hex()),
            ObjectState::kError);
}

void Objects::on_lost(Object& object) {
  if (object.state.load() != ObjectState::kStore) return;
  if (object.owned && use_copy(object)) return out_.promote(node_of(object), {object.id});
  if (object.owned) note_lost_at(object);
  object.extra().lost = true;
  object.state.store(ObjectState::kPending, std::memory_order_release);
  if (object.owned) {
    add_to_table(object);
    if (!out_.seek_spilled(object.id, object.extra().lost_at)) out_.recover(object);
    return;
  }
  object.requested = false;
  fetch(object, true);
}

// ---- references on their way out ----

Address Objects::owner_of(Object& object) { return object.owned ? links_.self() : object.extra().owner; }

flatbuffers::Offset<wire::Ref> Objects::describe(flatbuffers::FlatBufferBuilder& b, Object& object) {
  if (object.owned) add_to_table(object);
  object.escaped = true;
  auto owner = owner_of(object).to_wire(b);
  auto id = object.id.to_wire<wire::ObjectId>();
  return wire::CreateRef(b, &id, owner);
}

void Objects::send_add_borrow(rpc::Connection& to, Object& object, const Address& borrower, uint32_t call_id) {
  flatbuffers::FlatBufferBuilder b(256);
  auto id = object.id.to_wire<wire::ObjectId>();
  auto ids = b.CreateVectorOfStructs(&id, 1);
  b.Finish(wire::CreateAddBorrow(b, ids, borrower.to_wire(b)));
  to.send(wire::MessageType::AddBorrow, call_id, b);
}

// The answer is awaited by the replies that end somebody else's hold on the object: see register_kept().
void Objects::ask_owner(rpc::Connection& owner, Object& object, const Address& borrower) {
  uint32_t call_id = owner.next_call_id();
  waiting_acks_[AckKey{&owner, call_id}];
  send_add_borrow(owner, object, borrower, call_id);
}

// Gives back every time that the owner counts this program. The owner may never have been talked to from here.
void Objects::send_remove_borrow(Object& object) {
  Object::Extra& extra = object.extra();
  object.registered = false;
  std::vector<wire::ObjectId> ids(static_cast<size_t>(1 + std::exchange(extra.lent_again, 0)),
                                  object.id.to_wire<wire::ObjectId>());
  rpc::ConnectionPtr link = links_.program(extra.owner);
  if (!link) return;
  flatbuffers::FlatBufferBuilder b(128);
  auto list = b.CreateVectorOfStructs(ids);
  auto self = links_.self().worker.to_wire<wire::WorkerId>();
  b.Finish(wire::CreateRemoveBorrow(b, list, &self));
  link->send(wire::MessageType::RemoveBorrow, 0, b);
}

void Objects::lend(Object& object, const Address& receiver) {
  if (receiver.worker == links_.self().worker) return;
  object.escaped = true;
  if (object.owned) {
    add_to_table(object);
    int& count = object.extra().borrowers[receiver.worker];
    if (++count == 0) object.extra().borrowers.erase(receiver.worker);
    return;
  }
  const Address& owner = object.extra().owner;
  if (owner.worker == receiver.worker) return;
  rpc::ConnectionPtr link = links_.program(owner);
  if (!link) return;
  if (object.registered)
    send_add_borrow(*link, object, receiver, 0);  // this program's own RemoveBorrow follows on the same link
  else
    ask_owner(*link, object, receiver);
}

bool Objects::register_kept(const rpc::Connection* to, std::function<void()> done) {
  std::vector<ObjectPtr> covered = std::move(unregistered_);
  unregistered_.clear();
  for (ObjectPtr& object : covered) {
    if (object->registered) continue;
    if (object->uses.load() == 0) {
      release(*object);
      continue;
    }
    rpc::ConnectionPtr link = links_.program(object->extra().owner);
    if (!link) continue;
    object->registered = true;
    ask_owner(*link, *object, links_.self());
  }
  std::shared_ptr<Acks> acks;
  for (auto& [key, waiting] : waiting_acks_) {
    if (key.first == to) continue;
    if (!acks) acks = std::make_shared<Acks>();
    ++acks->left;
    waiting.push_back(acks);
  }
  if (!acks) return true;
  acks->done = std::move(done);
  return false;
}

std::vector<ObjectPtr> Objects::receive_contained(const flatbuffers::Vector<flatbuffers::Offset<wire::Ref>>* refs) {
  std::vector<ObjectPtr> out;
  if (refs == nullptr) return out;
  for (const wire::Ref* ref : *refs)
    out.push_back(receive_lent(ObjectId::from_wire(ref->id()), Address::from_wire(ref->owner())));
  return out;
}

ObjectPtr Objects::receive_lent(const ObjectId& id, const Address& owner) {
  ObjectPtr object = find(id);
  if (!object) object = add_received(id, owner);
  if (!object->owned && std::exchange(object->registered, true)) ++object->extra().lent_again;
  return object;
}

// ---- messages ----

void Objects::Request::on_ready(Object& object) {
  if (rpc::ConnectionPtr link = objects->links_.open_program(from)) objects->reply(*link, call_id, object);
  delete this;
}

void Objects::reply(rpc::Connection& to, uint32_t call_id, Object& object) {
  flatbuffers::FlatBufferBuilder b(256);
  std::vector<flatbuffers::Offset<wire::Ref>> contained;
  if (Object::Extra* extra = object.find_extra()) {
    for (ObjectPtr& inner : extra->contained) {
      lend(*inner, to);
      contained.push_back(describe(b, *inner));
    }
  }
  auto refs = contained.empty() ? 0 : b.CreateVector(contained);
  auto id = object.id.to_wire<wire::ObjectId>();
  auto node = node_of(object).to_wire<wire::NodeId>();
  std::vector<wire::NodeId> copies;
  for (const NodeId& copy : copies_of(object))
    if (copies.size() < kMostCopiesTold) copies.push_back(copy.to_wire<wire::NodeId>());
  auto packed_copies = copies.empty() ? 0 : b.CreateVectorOfStructs(copies);
  Object::Extra* extra = object.find_extra();
  b.Finish(wire::CreateObjectReply(b, &id, status_of(object), refs, &node, packed_copies, extra ? extra->size : 0));
  to.send(wire::MessageType::ObjectReply, call_id, b, object.value ? object.value->bytes() : rpc::Bytes());
}

void Objects::reply_missing(rpc::Connection& to, uint32_t call_id, const ObjectId& id) {
  flatbuffers::FlatBufferBuilder b(128);
  auto wire_id = id.to_wire<wire::ObjectId>();
  b.Finish(wire::CreateObjectReply(b, &wire_id, wire::ObjectStatus::Freed));
  to.send(wire::MessageType::ObjectReply, call_id, b);
}

void Objects::on_get_object(rpc::Connection& from, const rpc::Frame& frame) {
  const auto* request = frame.as<wire::GetObject>();
  if (request == nullptr || request->id() == nullptr) return from.close({ErrorCode::kRefused, "a damaged GetObject"});
  ObjectId id = ObjectId::from_wire(request->id());
  ObjectPtr object = find(id);
  if (!object) return reply_missing(from, frame.call_id, id);
  if (request->recover() && object->state.load() == ObjectState::kStore) {
    // What is told of a place where the object is not (any more) changes nothing.
    NodeId node = node_of(*object);
    bool same = request->tried() == nullptr || NodeId::from_wire(request->tried()) == node;
    if (same && (node != links_.self().node || !out_.is_stored(id))) on_lost(*object);
  }
  if (object->is_ready()) return reply(from, frame.call_id, *object);
  come_back(*object);
  auto* waiting = new Request;
  waiting->objects = this;
  waiting->from = from.peer();
  waiting->call_id = frame.call_id;
  listen(*object, waiting);
}

void Objects::on_object_reply(const rpc::Frame& frame) {
  const auto* reply = frame.as<wire::ObjectReply>();
  if (reply == nullptr || reply->id() == nullptr) return;
  ObjectPtr object = find(ObjectId::from_wire(reply->id()));
  std::vector<ObjectPtr> contained = receive_contained(reply->contained());
  if (!object) {  // nobody waits any more: what came with it is given back
    for (ObjectPtr& inner : contained) maybe_release(*inner);
    return;
  }
  object->requested = false;
  set_contained(*object, std::move(contained));
  switch (reply->status()) {
    case wire::ObjectStatus::Value: return set_value(*object, Value::copy(frame.raw));
    case wire::ObjectStatus::Error: return set_value(*object, Value::copy(frame.raw), ObjectState::kError);
    case wire::ObjectStatus::Store:
      object->extra().copies.clear();
      object->extra().size = reply->size();
      if (reply->copies() != nullptr)
        for (const wire::NodeId* copy : *reply->copies()) object->extra().copies.push_back(NodeId::from_wire(copy));
      return set_stored(*object, reply->node() ? NodeId::from_wire(reply->node()) : links_.self().node);
    default:
      set_value(*object,
                make_failure("ObjectFreedError",
                             "its owner has given the object up; keep a reference to it for as "
                             "long as it is needed",
                             object->id.hex()),
                ObjectState::kError);
  }
}

void Objects::on_add_borrow(rpc::Connection& from, const rpc::Frame& frame) {
  const auto* add = frame.as<wire::AddBorrow>();
  if (add == nullptr || add->ids() == nullptr) return from.close({ErrorCode::kRefused, "a damaged AddBorrow"});
  Address borrower = Address::from_wire(add->borrower());
  for (const wire::ObjectId* wire_id : *add->ids()) {
    ObjectPtr object = find(ObjectId::from_wire(wire_id));
    if (!object || !object->owned || borrower.worker == links_.self().worker) continue;
    auto& borrowers = object->extra().borrowers;
    if (++borrowers[borrower.worker] == 0) borrowers.erase(borrower.worker);
    maybe_release(*object);
  }
  if (borrower.worker != from.peer()) watch_borrower(borrower);
  if (frame.call_id == 0) return;
  flatbuffers::FlatBufferBuilder b(32);
  b.Finish(wire::CreateBorrowAck(b));
  from.send(wire::MessageType::BorrowAck, frame.call_id, b);
}

// Said twice, it is the same object; the borrower counts from the beginning, so nothing is given up before it asks.
void Objects::on_adopt(rpc::Connection& from, const rpc::Frame& frame) {
  const auto* adopt = frame.as<wire::AdoptObject>();
  if (adopt == nullptr || adopt->id() == nullptr || adopt->borrower() == nullptr)
    return from.close({ErrorCode::kRefused, "a damaged AdoptObject"});
  ObjectId id = ObjectId::from_wire(adopt->id());
  if (!find(id)) {
    ObjectPtr object = make_owned(id);
    add_to_table(*object);
    object->escaped = true;
    object->extra().borrowers[WorkerId::from_wire(adopt->borrower()->worker())] = 1;
    set_contained(*object, receive_contained(adopt->contained()));
    object->extra().size = adopt->size();
    if (adopt->stored())
      set_stored(*object, adopt->node() ? NodeId::from_wire(adopt->node()) : links_.self().node);
    else
      set_value(*object, Value::copy(frame.raw));
  }
  flatbuffers::FlatBufferBuilder b(64);
  b.Finish(wire::CreateAdopted(b, adopt->id()));
  from.send(wire::MessageType::Adopted, frame.call_id, b);
}

// A borrower that somebody else spoke for may never talk to this program: only over a link is its end learnt.
void Objects::watch_borrower(const Address& borrower) {
  if (borrower.worker == links_.self().worker || links_.open_program(borrower.worker)) return;
  if (!links_.program(borrower)) on_program_gone(borrower.worker, "nobody answers at its socket");
}

void Objects::on_borrow_ack(rpc::Connection& from, uint32_t call_id) {
  auto found = waiting_acks_.find(AckKey{&from, call_id});
  if (found == waiting_acks_.end()) return;
  std::vector<std::shared_ptr<Acks>> waiting = std::move(found->second);
  waiting_acks_.erase(found);
  for (std::shared_ptr<Acks>& acks : waiting)
    if (--acks->left == 0 && acks->done) acks->done();
}

void Objects::on_link_closed(rpc::Connection& link) {
  for (auto it = waiting_acks_.lower_bound(AckKey{&link, 0}); it != waiting_acks_.end() && it->first.first == &link;
       it = waiting_acks_.lower_bound(AckKey{&link, 0}))
    on_borrow_ack(link, it->first.second);  // an owner that is gone needs no telling
}

void Objects::on_remove_borrow(const rpc::Frame& frame) {
  const auto* remove = frame.as<wire::RemoveBorrow>();
  if (remove == nullptr || remove->ids() == nullptr) return;
  WorkerId borrower = WorkerId::from_wire(remove->borrower());
  for (const wire::ObjectId* wire_id : *remove->ids()) {
    ObjectPtr object = find(ObjectId::from_wire(wire_id));
    if (!object || !object->owned) continue;
    auto& borrowers = object->extra().borrowers;
    if (--borrowers[borrower] == 0) borrowers.erase(borrower);
    maybe_release(*object);
  }
}

void Objects::on_program_gone(const WorkerId& worker, const std::string& why) {
  std::vector<ObjectPtr> touched;
  for (auto& [id, object] : table_) {
    Object::Extra* extra = object->find_extra();
    if (extra == nullptr) continue;
    bool borrows = object->owned && extra->borrowers.contains(worker);
    bool owned_it = !object->owned && extra->owner.worker == worker && !object->is_ready();
    if (borrows || owned_it) touched.emplace_back(object);
  }
  for (ObjectPtr& object : touched) {
    if (!object->owned) {
      fail_owner_died(*object, why);
      continue;
    }
    object->extra().borrowers.erase(worker);
    maybe_release(*object);
  }
}

void Objects::end_pending(const std::string& why) {
  std::vector<ObjectPtr> all;
  for (auto& [id, object] : table_) all.emplace_back(object);
  for (ObjectPtr& object : all) {
    if (!object->is_ready())
      set_value(*object, make_failure("RaySystemError", why, object->id.hex()), ObjectState::kError);
    if (Object::Extra* extra = object->find_extra(); extra != nullptr && extra->task)
      out_.drop_lineage(std::exchange(extra->task, {}));
  }
}

std::string Objects::describe() const {
  std::string out;
  for (const auto& [key, waiting] : waiting_acks_)
    out += "asked " + key.first->peer().hex().substr(0, 8) + " to count a borrower, " + std::to_string(waiting.size()) +
           " answers wait for that\n";
  return out;
}

bool Objects::has_borrowers() const {
  for (const auto& [id, object] : table_) {
    Object::Extra* extra = object->find_extra();
    if (object->owned && extra != nullptr && !extra->borrowers.empty()) return true;
  }
  return false;
}

void Objects::for_each(const std::function<void(Object&)>& visit) {
  for (auto& [id, object] : table_) visit(*object);
}

}  // namespace narke::worker
