// An object table with recorded surroundings.
#pragma once

#include <string>
#include <vector>

#include "worker/objects.h"
#include "worker/testing/fake_links.h"

namespace narke::worker::testing {

struct FakeObjectsOut : Objects::Out {
  std::vector<ObjectId> erased, out_of_scope, recovered;
  std::vector<std::pair<ObjectId, NodeId>> promoted;
  std::vector<std::pair<ObjectId, std::vector<NodeId>>> sought;
  bool is_spill_shared = false;
  std::vector<NodeId> erased_at;  // for each of `erased`
  std::vector<TaskPtr> dropped_lineage;
  int ready = 0;
  bool stored = true;  // what is_stored() says

  void erase_stored(const ObjectId& id, const NodeId& node, bool) override {
    erased.push_back(id);
    erased_at.push_back(node);
  }
  void actor_out_of_scope(const ObjectId& id) override { out_of_scope.push_back(id); }
  void recover(Object& object) override { recovered.push_back(object.id); }
  bool seek_spilled(const ObjectId& id, const std::vector<NodeId>& lost_at) override {
    if (is_spill_shared) sought.emplace_back(id, lost_at);
    return is_spill_shared;
  }
  bool is_stored(const ObjectId&) override { return stored; }
  void promote(const NodeId& node, const std::vector<ObjectId>& ids) override {
    for (const ObjectId& id : ids) promoted.emplace_back(id, node);
  }
  void drop_lineage(TaskPtr task) override { dropped_lineage.push_back(std::move(task)); }
  void became_ready() override { ++ready; }
};

inline ValuePtr value_of(const std::string& text) {
  return Value::copy({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}
inline std::string text_of(const ValuePtr& value) {
  if (!value) return "(none)";
  return {reinterpret_cast<const char*>(value->bytes().data()), value->bytes().size()};
}

// A program that has nothing but objects.
struct ObjectsProgram {
  ObjectsProgram(Network& net, uint32_t number) : network(net), links(net, number), objects(links, out) {
    network.join(links.self().worker,
                 [this](rpc::Connection& link, const rpc::Frame& frame) { on_frame(link, frame); });
  }
  // A test may end while it still uses objects.
  ~ObjectsProgram() {
    std::vector<ObjectPtr> left;
    objects.for_each([&](Object& object) { left.emplace_back(&object); });
    for (ObjectPtr& object : left)
      if (object->uses.exchange(0) > 0) object->unref();
  }
  ObjectsProgram(const ObjectsProgram&) = delete;
  ObjectsProgram& operator=(const ObjectsProgram&) = delete;

  void on_frame(rpc::Connection& link, const rpc::Frame& frame) {
    switch (frame.type) {
      case wire::MessageType::GetObject: return objects.on_get_object(link, frame);
      case wire::MessageType::ObjectReply: return objects.on_object_reply(frame);
      case wire::MessageType::AddBorrow: return objects.on_add_borrow(link, frame);
      case wire::MessageType::BorrowAck: return objects.on_borrow_ack(link, frame.call_id);
      case wire::MessageType::RemoveBorrow: return objects.on_remove_borrow(frame);
      case wire::MessageType::CopyMade: return objects.on_copy_made(frame);
      default: return on_other(link, frame);
    }
  }
  const Address& self() { return links.self(); }
  const WorkerId& id() { return links.self().worker; }
  // An object of this program with one use.
  ObjectPtr put(uint32_t number, const std::string& text) {
    ObjectPtr object = objects.make_owned(numbered<ObjectId>(number));
    Objects::add_use(*object);
    objects.set_value(*object, value_of(text));
    objects.add_to_table(*object);
    return object;
  }

  Network& network;
  FakeLinks links;
  FakeObjectsOut out;
  Objects objects;
  std::function<void(rpc::Connection&, const rpc::Frame&)> on_other = [](rpc::Connection&, const rpc::Frame&) {};
};

}  // namespace narke::worker::testing
