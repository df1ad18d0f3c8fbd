// The engine's objects: values, the store, tokens for event loops.
#include <unistd.h>

#include "worker/engine.h"

namespace narke::worker {

struct Engine::TokenListener : ReadyListener {
  Engine* engine;
  uint64_t token;
  void on_ready(Object&) override {
    engine->add_token(token);
    delete this;
  }
};

TaskId Engine::new_task_id() {
  TaskId id;
  uint64_t count = next_id_.fetch_add(1, std::memory_order_relaxed);
  std::memcpy(id.data(), &count, 8);
  std::memcpy(id.data() + 8, process_unique_.data(), 12);
  std::memcpy(id.data() + 20, job_.data(), 4);
  return id;
}

ObjectId Engine::new_object_id() { return object_of(new_task_id(), kPutBit | 1); }

ObjectPtr Engine::put_value(ValuePtr value, std::vector<ObjectPtr> contained) {
  ObjectPtr object = objects_.make_owned(new_object_id());
  object->value = std::move(value);
  object->state.store(ObjectState::kValue, std::memory_order_release);
  Objects::add_use(*object);
  if (contained.empty()) return object;
  Lock held = lock();
  objects_.set_contained(*object, std::move(contained));
  return object;
}

Engine::Room Engine::make_room(const ObjectId& id, uint64_t size, const WorkerId& owner, Deadline deadline) {
  Lock held = lock();
  Room room;
  if (!store_) {
    room.error = {ErrorCode::kFailed, "this program has no object store"};
    return room;
  }
  room.waited = wait(
      held,
      [&] {
        store::CreateResult r = store_->try_create(id, size, store::owner_key(owner));
        if (r.status == store::CreateResult::Status::kWait) return false;
        if (r.status == store::CreateResult::Status::kFull) room.error = {ErrorCode::kOverloaded, r.error};
        if (r.status == store::CreateResult::Status::kExists) room.error = {ErrorCode::kNotFound, "exists"};
        room.data = r.data;
        return true;
      },
      deadline);
  if (room.waited != Waited::kReady) store_->forget(id);
  return room;
}

void Engine::seal(const ObjectId& id) {
  Lock held = lock();
  store_->seal(id);
}

ObjectPtr Engine::put_stored(const ObjectId& id, uint64_t size, std::vector<ObjectPtr> contained) {
  Lock held = lock();
  store_->seal(id);
  ObjectPtr object = objects_.make_owned(id);
  if (has_neighbours()) object->extra().size = size;
  object->state.store(ObjectState::kStore, std::memory_order_release);
  Objects::add_use(*object);
  objects_.set_contained(*object, std::move(contained));
  return object;
}

// ---- values that others own ----

Address Engine::actor_address(const ActorId& id, Waited* waited) {
  Lock held = lock();
  actors_.get(id);
  Address address;
  *waited = wait(
      held,
      [&] {
        const Actor* actor = actors_.find(id);
        if (actor != nullptr && actor->state == wire::ActorState::Alive) address = actor->address;
        return actor == nullptr || actor->state == wire::ActorState::Alive || actor->state == wire::ActorState::Dead;
      },
      kNoDeadline);
  return address;
}

ObjectPtr Engine::hand_over(const ObjectId& id, const Address& owner, ValuePtr value, uint64_t size,
                            std::vector<ObjectPtr> contained, Waited* waited) {
  Lock held = lock();
  *waited = Waited::kReady;
  rpc::ConnectionPtr link = program(owner);
  if (!link) return {};
  flatbuffers::FlatBufferBuilder b(512);
  std::vector<flatbuffers::Offset<wire::Ref>> refs;
  for (ObjectPtr& inner : contained) {
    objects_.lend(*inner, owner);
    refs.push_back(objects_.describe(b, *inner));
  }
  auto packed = b.CreateVector(refs);
  auto borrower = self_.to_wire(b);
  auto wire_id = id.to_wire<wire::ObjectId>();
  auto node = self_.node.to_wire<wire::NodeId>();
  b.Finish(wire::CreateAdoptObject(b, &wire_id, !value, &node, size, packed, borrower));
  link->send(wire::MessageType::AdoptObject, link->next_call_id(), b, value ? value->bytes() : rpc::Bytes());
  *waited = wait(held, [&] { return adopted_.contains(id) || link->is_closed(); }, kNoDeadline);
  if (adopted_.erase(id) == 0) return {};
  ObjectPtr object = objects_.receive_lent(id, owner);
  Objects::add_use(*object);
  if (value)
    objects_.set_value(*object, std::move(value));
  else
    objects_.set_stored(*object, self_.node);
  return object;
}

void Engine::on_adopted(const rpc::Frame& frame) {
  const auto* adopted = frame.as<wire::Adopted>();
  if (adopted != nullptr && adopted->id() != nullptr) adopted_.insert(ObjectId::from_wire(adopted->id()));
}

Engine::Viewed Engine::view(Object& object, Deadline deadline) {
  Lock held = lock();
  Viewed out;
  if (!store_ || object.state.load() != ObjectState::kStore) {
    out.changed = true;
    return out;
  }
  out.waited = wait(
      held,
      [&] {
        store::GetResult r = store_->get(object.id);
        if (r.status == store::GetResult::Status::kWait) return false;
        if (r.status == store::GetResult::Status::kOk) out.view = r.view;
        if (r.status == store::GetResult::Status::kFull) out.full = r.error;
        if (r.status == store::GetResult::Status::kAbsent) {
          Pull ended;
          out.changed = objects_.node_of(object) == self_.node;
          if (!out.changed && !pull(object, &ended)) return false;
          if (ended.full)
            out.full = ended.why;
          else if (!ended.why.empty())
            out.changed = true;
          return out.changed || !out.full.empty();
        }
        return true;
      },
      deadline);
  if (out.waited != Waited::kReady) store_->forget(object.id);
  if (auto pulled = pulls_.find(object.id); pulled != pulls_.end()) {
    const bool is_here = out.waited == Waited::kReady && !out.changed && out.full.empty();
    // The node's answer is still on its way, and may come when nobody here knows the object any more.
    if (is_here && !pulled->second.done) objects_.note_copy(object);
    if (is_here || pulled->second.done) pulls_.erase(pulled);
  }
  if (out.changed) objects_.on_lost(object);
  out.mapping = store_->mapping();
  return out;
}

Engine::Viewed Engine::try_view(Object& object) {
  Lock held = lock();
  Viewed out;
  out.waited = Waited::kTimeout;
  if (!store_ || object.state.load() != ObjectState::kStore) return out;
  store::GetResult r = store_->get(object.id);
  if (r.status != store::GetResult::Status::kOk) return out;
  out.waited = Waited::kReady;
  out.view = r.view;
  out.mapping = store_->mapping();
  return out;
}

namespace {

// Counts objects that become ready; for waits on more of them than can be looked at again and again.
struct Countdown : ReadyListener {
  size_t ready = 0;
  void on_ready(Object&) override { ++ready; }
};
constexpr size_t kScanLimit = 4096;

}  // namespace

Waited Engine::wait_some(std::vector<Object*>& objects, size_t count, Deadline deadline) {
  Lock held = lock();
  for (Object* object : objects)
    if (!object->owned && !object->is_ready()) objects_.fetch(*object);
  if (objects.size() <= kScanLimit) {
    size_t ready = 0, left = objects.size();
    return wait(
        held,
        [&] {
          for (size_t i = 0; i < left && ready < count;) {
            if (!objects[i]->is_ready()) {
              ++i;
              continue;
            }
            ++ready;
            std::swap(objects[i], objects[--left]);
          }
          return ready >= count;
        },
        deadline);
  }
  Countdown countdown;
  for (Object* object : objects) objects_.listen(*object, &countdown);
  Waited waited = wait(held, [&] { return countdown.ready >= count; }, deadline);
  for (Object* object : objects) objects_.unlisten(*object, &countdown);
  return waited;
}

Waited Engine::wait_ready(Object& object, Deadline deadline) {
  if (object.is_ready()) return Waited::kReady;
  Lock held = lock();
  if (!object.owned) objects_.fetch(object);
  return wait(held, [&] { return object.is_ready(); }, deadline);
}

void Engine::drop_use(Object& object) {
  // Above one nothing can end here: no lock.
  int uses = object.uses.load(std::memory_order_relaxed);
  while (uses > 1)
    if (object.uses.compare_exchange_weak(uses, uses - 1, std::memory_order_acq_rel)) return;
  Lock held = lock();
  objects_.drop_use(object);
  if (reactor_.has_unsent()) flush_if_needed();  // other nodes may have to give space back
}

void Engine::add_token(uint64_t token) {
  tokens_.push_back(token);
  if (takes_tokens_ || std::exchange(tokens_signalled_, true)) return;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(token_fd_, &one, sizeof(one));
}

void Engine::on_ready_token(Object& object, uint64_t token) {
  Lock held = lock();
  auto* listener = new TokenListener;
  listener->engine = this;
  listener->token = token;
  objects_.listen(object, listener);
  if (!may_gather()) reactor_.flush_all();
}

std::vector<uint64_t> Engine::take_tokens() {
  Lock held = lock();
  if (std::exchange(tokens_signalled_, false)) {
    uint64_t count;
    [[maybe_unused]] ssize_t n = read(token_fd_, &count, sizeof(count));
  }
  return std::exchange(tokens_, {});
}

void Engine::drop_from_store(Object& object) {
  Lock held = lock();
  if (!store_) return;
  store_->erase(object.id);
  auto limit = Clock::now() + std::chrono::seconds(5);  // the node may have to do it
  while (is_stored(object.id) && Clock::now() < limit)
    wait(held, [&] { return !is_stored(object.id); }, Clock::now() + std::chrono::milliseconds(1));
}

void Engine::erase_stored(const ObjectId& id, const NodeId& where, bool spread) {
  if (!store_ || !node()) return;
  if (where == self_.node) store_->erase(id);
  if (!has_neighbours() || (where == self_.node && !spread)) return;
  flatbuffers::FlatBufferBuilder b(128);
  auto wire_id = id.to_wire<wire::ObjectId>();
  auto ids = b.CreateVectorOfStructs(&wire_id, 1);
  auto wire_node = where.to_wire<wire::NodeId>();
  b.Finish(wire::CreateEraseObjects(b, ids, &wire_node));
  node_->send(wire::MessageType::EraseObjects, 0, b);
}

// ---- objects of other nodes ----

bool Engine::pull(Object& object, Pull* ended) {
  auto found = pulls_.find(object.id);
  if (found != pulls_.end() && !found->second.done) return false;
  if (found != pulls_.end()) {
    *ended = std::move(found->second);
    pulls_.erase(found);
    if (!ended->why.empty() || is_stored(object.id)) return true;
  }
  rpc::ConnectionPtr link = node();
  if (!link) return ended->why = "the node is gone", true;
  pulls_[object.id];
  flatbuffers::FlatBufferBuilder b(160);
  auto id = object.id.to_wire<wire::ObjectId>();
  auto from = objects_.node_of(object).to_wire<wire::NodeId>();
  auto owner = objects_.owner_of(object).worker.to_wire<wire::WorkerId>();
  std::vector<wire::NodeId> others;
  for (const NodeId& copy : objects_.copies_of(object))
    if (copy != self_.node) others.push_back(copy.to_wire<wire::NodeId>());
  auto packed = others.empty() ? 0 : b.CreateVectorOfStructs(others);
  b.Finish(wire::CreatePullObject(b, &id, &from, &owner, packed));
  link->send(wire::MessageType::PullObject, 0, b);
  link->flush();
  return false;
}

void Engine::on_pulled(const rpc::Frame& frame) {
  const auto* pulled = frame.as<wire::ObjectPulled>();
  if (pulled == nullptr || pulled->id() == nullptr) return;
  auto found = pulls_.find(ObjectId::from_wire(pulled->id()));
  if (found == pulls_.end()) return;
  found->second.done = true;
  found->second.full = pulled->full();
  if (pulled->ok()) {
    if (ObjectPtr object = objects_.find(found->first)) objects_.note_copy(*object);
    return;
  }
  found->second.why = pulled->message() == nullptr ? "it could not be had" : pulled->message()->str();
}

void Engine::promote(const NodeId& where, const std::vector<ObjectId>& ids) { send_promotion(where, ids, {}); }

bool Engine::seek_spilled(const ObjectId& id, const std::vector<NodeId>& lost_at) {
  return send_promotion(self_.node, {id}, lost_at);
}

// With nodes that were lost, it is looked for among what they have spilled. False: the node is gone.
bool Engine::send_promotion(const NodeId& where, const std::vector<ObjectId>& ids, const std::vector<NodeId>& lost_at) {
  rpc::ConnectionPtr link = node();
  if (!link) return false;
  flatbuffers::FlatBufferBuilder b(256);
  std::vector<wire::ObjectId> wire_ids;
  for (const ObjectId& id : ids) wire_ids.push_back(id.to_wire<wire::ObjectId>());
  std::vector<wire::NodeId> nodes;
  for (const NodeId& node : lost_at) nodes.push_back(node.to_wire<wire::NodeId>());
  auto packed = b.CreateVectorOfStructs(wire_ids);
  auto packed_lost = nodes.empty() ? 0 : b.CreateVectorOfStructs(nodes);
  auto wire_node = where.to_wire<wire::NodeId>();
  b.Finish(wire::CreatePromoteObjects(b, packed, &wire_node, packed_lost));
  link->send(wire::MessageType::PromoteObjects, 0, b);
  if (!dispatching_) link->flush();
  return true;
}

bool Engine::is_stored(const ObjectId& id) {
  if (!store_) return false;
  store::ObjectState state = store_->state(id);
  return state == store::ObjectState::kSealed || state == store::ObjectState::kSpilled;
}

void Engine::send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) {
  if (rpc::ConnectionPtr link = node()) {
    link->send(type, 0, table);
    link->flush();
  }
}

}  // namespace narke::worker
