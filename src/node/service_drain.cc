// A node that is to go: what the head and the node itself do until it is gone.
#include <algorithm>
#include <chrono>

#include "node/service.h"
#include "store/arena.h"

namespace narke::node {

using controller::Drain;
using std::chrono::milliseconds;
using wire::DrainReason;

static constexpr milliseconds kDrainEvery{50};
static constexpr milliseconds kParting{200};     // between the news of its end and the end of its programs
static constexpr int64_t kLateMs = 3'000;  // the head has let it go by so long after its deadline, or never will
static constexpr int64_t kStopLeftMs = 4'000;  // what a node that was told to stop may take
static constexpr size_t kMostTaken = 256;  // objects asked for in one frame
static constexpr size_t kMostObjects = 1'000'000;

static int64_t epoch_now_ms() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

static const char* reason_text(DrainReason reason) {
  switch (reason) {
    case DrainReason::Preemption: return "its machine is taken away";
    case DrainReason::Idle: return "it had nothing to do";
    case DrainReason::Stop: return "it was told to stop";
    case DrainReason::None: break;
  }
  return "";
}

static std::string drained_text(const Drain& drain) {
  return std::string("it was drained, for ") + reason_text(drain.reason) +
         (drain.message.empty() ? "" : ": " + drain.message);
}

int64_t Service::epoch_of(int64_t own_ms) { return own_ms == 0 ? 0 : epoch_now_ms() + own_ms - now_ms(); }

Drain Service::drain_of(const wire::NodeState& state) {
  Drain drain{state.drain(), text_of(state.drain_message()), state.drain_deadline_ms()};
  if (drain.deadline_ms != 0) drain.deadline_ms += now_ms() - epoch_now_ms();
  return drain;
}

// ---- the head ----------------------------------------------------------------------------------------------

std::string Service::drain(const NodeId& id, Drain drain) {
  const controller::Node* node = cluster_.controller().nodes.find(id);
  if (node == nullptr) return "the cluster has no living node " + id.hex() + "; `narke list nodes` shows them";
  if (node->head) return "node " + id.hex() + " is the head, without which there is no cluster; `narke stop` ends it";
  if (drain.reason == DrainReason::Idle) {
    const auto& actors = cluster_.controller().actors.all();
    const bool has_actor = std::any_of(actors.begin(), actors.end(), [&](const auto& entry) {
      return entry.second.node == id && entry.second.state != wire::ActorState::Dead;
    });
    if (has_actor || !(node->pool->available() == node->pool->total()))
      return "node " + id.hex() + " is not idle; drain it for another reason, or when its work is done";
  }
  begin_drain(id, std::move(drain));
  return "";
}

void Service::begin_drain(const NodeId& id, Drain drain) {
  const controller::Node* node = cluster_.controller().nodes.find(id);
  if (node == nullptr || node->head) return;
  if (node->is_draining() &&
      (drain.deadline_ms == 0 || (node->drain.deadline_ms != 0 && node->drain.deadline_ms <= drain.deadline_ms)))
    return;  // it goes as soon as that already
  const std::string text = "Node " + id.hex() + " is being drained, for " + reason_text(drain.reason) +
                           (drain.message.empty() ? "" : ": " + drain.message);
  log_(text);
  history_.add(now_ms(), "WARNING", "NODE", text);
  tell_drain(id, drain);
  cluster_.drain_node(id, std::move(drain));
  altered_.push_back(id);
  whole_view_.reset();
}

void Service::tell_drain(const NodeId& id, const Drain& drain) {
  Builder b(128);
  const int64_t left_ms = drain.deadline_ms == 0 ? -1 : std::max<int64_t>(drain.deadline_ms - now_ms(), 0);
  const auto message = b.CreateString(drain.message);
  b.Finish(wire::CreateDrainNode(b, drain.reason, message, left_ms));
  peers_.send(id, MessageType::DrainNode, 0, b);
}

void Service::on_leaving(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::NodeLeaving>();
  const controller::Node* node = cluster_.controller().nodes.find(from);
  if (table == nullptr || node == nullptr) return;
  if (!table->done())
    return begin_drain(from, {DrainReason::Stop, text_of(table->message()), now_ms() + table->left_ms()});
  if (node->is_draining()) node_gone(from, drained_text(Drain(node->drain)));
}

void Service::end_overdue(int64_t now) {
  std::vector<std::pair<NodeId, std::string>> overdue;
  for (const controller::Node& node : cluster_.controller().nodes.all())
    if (node.drain.deadline_ms != 0 && now >= node.drain.deadline_ms)
      overdue.emplace_back(node.id, drained_text(node.drain) + " (its time was over)");
  for (const auto& [id, why] : overdue) node_gone(id, why);
}

// Owners may be anywhere: all nodes hear of it.
void Service::on_objects_moved(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ObjectsMoved>();
  if (table == nullptr || table->ids() == nullptr || table->owners() == nullptr ||
      table->ids()->size() != table->owners()->size())
    return;
  if (cluster_.is_head())
    for (const controller::Node& node : cluster_.controller().nodes.all())
      if (node.id != from && node.id != cluster_.self()) peers_.forward(node.id, frame);
  std::set<uint64_t> owners(table->owners()->begin(), table->owners()->end());
  for (const auto& [id, program] : programs_)
    if (program->link != nullptr && owners.contains(store::owner_key(id)))
      program->link->send_frame(MessageType::ObjectsMoved, 0, frame.table, {});
}

// ---- the node that is to go --------------------------------------------------------------------------------

// What it says of its objects; it lives as long as the draining takes.
struct Service::Leaving : Evacuation::Out {
  explicit Leaving(Service& of) : service(of), evacuation(*this) {}
  std::vector<Evacuation::Object> to_move() override { return service.objects_to_move(); }
  std::vector<NodeId> shelters() override { return service.shelters(); }
  void ask(const NodeId& shelter, const std::vector<Evacuation::Object>& objects) override {
    service.ask_to_take(shelter, objects);
  }
  void moved(const NodeId& shelter, const std::vector<Evacuation::Object>& objects) override {
    service.tell_moved(shelter, objects);
  }
  Service& service;
  Evacuation evacuation;
  std::string why;
  int64_t deadline_ms = 0;
  bool told = false;  // the head knows that nothing is left
};

bool Service::ask_to_leave(const std::string& why) {
  if (cluster_.is_head() || head_.is_nil() || lost_ms_ != 0 || !leave_why_.empty()) return false;
  leave_why_ = why;
  say_leaving();
  reactor_.after(milliseconds(kStopLeftMs + kLateMs), [this, why] { expelled_(why); });
  return true;
}

void Service::say_leaving() {
  Builder b(128);
  const auto message = b.CreateString(leave_why_);
  b.Finish(wire::CreateNodeLeaving(b, false, message, kStopLeftMs));
  peers_.send(head_, MessageType::NodeLeaving, 0, b);
}

void Service::leave_again() {
  if (leaving_) leaving_->told = false;
  if (!leave_why_.empty()) say_leaving();
}

void Service::on_shelter_gone(const NodeId& node) {
  if (leaving_) leaving_->evacuation.on_node_gone(node);
}

void Service::on_drain(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::DrainNode>();
  if (table == nullptr) return;
  Drain drain{table->reason(), text_of(table->message()), 0};
  if (table->left_ms() >= 0) drain.deadline_ms = now_ms() + table->left_ms();
  const bool begins = leaving_ == nullptr;
  if (begins) leaving_ = std::make_shared<Leaving>(*this);
  leaving_->why = drained_text(drain);
  leaving_->deadline_ms = drain.deadline_ms;
  log_("this node is to go: " + leaving_->why);
  cluster_.drain_node(cluster_.self(), std::move(drain));
  if (begins) when_viewed([this] { drain_round(); });
}

void Service::drain_round() {
  const int64_t now = now_ms();
  leaving_->evacuation.look(now);
  if (!leaving_->told && lost_ms_ == 0 && is_idle() && leaving_->evacuation.is_done()) {
    leaving_->told = true;
    Builder b(64);
    b.Finish(wire::CreateNodeLeaving(b, true));
    peers_.send(head_, MessageType::NodeLeaving, 0, b);
  }
  if (leaving_->deadline_ms != 0 && now > leaving_->deadline_ms + kLateMs) return expelled_(leaving_->why);
  reactor_.after(kDrainEvery, [this] { drain_round(); });
}

bool Service::is_idle() const {
  const bool has_driver = std::any_of(programs_.begin(), programs_.end(), [](const auto& entry) {
    return entry.second->link != nullptr && entry.second->kind == wire::ProgramKind::Driver;
  });
  return !has_driver && cluster_.is_empty();
}

// Whether the head's end of the link means that, and not that the head is away.
bool Service::is_let_go(int64_t now) const {
  if (!leave_why_.empty()) return true;
  if (leaving_ == nullptr) return false;
  return leaving_->told || (leaving_->deadline_ms != 0 && now >= leaving_->deadline_ms);
}

// The head has let it go. Others hear of that before they see their links to programs of this node end.
void Service::part() {
  const bool was_drained = leaving_ != nullptr;
  const std::string why = was_drained ? leaving_->why : "it was told to, and the head is gone";
  reactor_.after(was_drained ? kParting : milliseconds(0), [this, why] { expelled_(why); });
}

std::vector<Evacuation::Object> Service::objects_to_move() {
  std::set<uint64_t> here;  // owners that end with this node, and their objects with them
  for (const auto& [id, program] : programs_)
    if (program->node == cluster_.self()) here.insert(store::owner_key(id));
  std::vector<Evacuation::Object> out;
  for (const store::ObjectInfo& object : store_->list(kMostObjects))
    if (object.sealed && !object.secondary && object.owner != 0 && !here.contains(object.owner))
      out.push_back({object.id, object.owner});
  return out;
}

std::vector<NodeId> Service::shelters() {
  std::vector<NodeId> out;
  for (const controller::Node& node : cluster_.controller().nodes.all())
    if (node.id != cluster_.self() && !node.is_draining() && !node.endpoint.empty()) out.push_back(node.id);
  return out;
}

struct Packed {
  flatbuffers::Offset<Vector<const wire::ObjectId*>> ids;
  flatbuffers::Offset<Vector<uint64_t>> owners;
};
static Packed pack(Builder& b, const std::vector<Evacuation::Object>& objects) {
  std::vector<wire::ObjectId> ids;
  std::vector<uint64_t> owners;
  for (const Evacuation::Object& object : objects) {
    ids.push_back(wired<wire::ObjectId>(object.id));
    owners.push_back(object.owner);
  }
  const auto packed_ids = b.CreateVectorOfStructs(ids);
  return {packed_ids, b.CreateVector(owners)};
}

void Service::ask_to_take(const NodeId& shelter, const std::vector<Evacuation::Object>& objects) {
  Builder b(512);
  const Packed packed = pack(b, objects);
  b.Finish(wire::CreateTakeObjects(b, packed.ids, packed.owners));
  peers_.send(shelter, MessageType::TakeObjects, 0, b);
}

void Service::tell_moved(const NodeId& shelter, const std::vector<Evacuation::Object>& objects) {
  Builder b(512);
  const auto from = wired<wire::NodeId>(cluster_.self());
  const auto to = wired<wire::NodeId>(shelter);
  const Packed packed = pack(b, objects);
  b.Finish(wire::CreateObjectsMoved(b, &from, &to, packed.ids, packed.owners));
  peers_.send(head_, MessageType::ObjectsMoved, 0, b);
}

void Service::on_taken(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ObjectsTaken>();
  if (table == nullptr || leaving_ == nullptr) return;
  std::vector<ObjectId> ids;
  if (table->ids() != nullptr)
    for (const wire::ObjectId* id : *table->ids()) ids.push_back(ObjectId::from_wire(id));
  leaving_->evacuation.on_taken(from, ids);
}

// ---- a node that takes its objects -------------------------------------------------------------------------

void Service::on_take(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::TakeObjects>();
  if (table == nullptr || table->ids() == nullptr || table->owners() == nullptr ||
      table->ids()->size() != table->owners()->size() || table->ids()->size() > kMostTaken)
    return;
  struct Taking {
    size_t left;
    std::vector<wire::ObjectId> taken;
  };
  const auto taking = std::make_shared<Taking>(Taking{table->ids()->size() + 1, {}});
  const auto end_one = [this, from, taking] {
    if (--taking->left > 0) return;
    Builder b(256);
    b.Finish(wire::CreateObjectsTaken(b, b.CreateVectorOfStructs(taking->taken)));
    peers_.send(from, MessageType::ObjectsTaken, 0, b);
  };
  const std::string source = endpoint_of(from);
  for (flatbuffers::uoffset_t i = 0; i < table->ids()->size(); ++i) {
    const ObjectId id = ObjectId::from_wire(table->ids()->Get(i));
    if (transfers_ == nullptr || source.empty() || leaving_ != nullptr) {
      end_one();
      continue;
    }
    transfers_->pull(id, {source}, table->owners()->Get(i), [this, id, taking, end_one](const Status& done) {
      if (done.ok() && store_->promote(id)) taking->taken.push_back(wired<wire::ObjectId>(id));
      end_one();
    });
  }
  end_one();
}

}  // namespace narke::node
