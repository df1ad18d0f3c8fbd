#include "controller/nodes.h"

#include <algorithm>

namespace narke::controller {

static constexpr size_t kMaxEnded = 500;

Node* NodeTable::get(const NodeId& id) {
  const auto at = index_.find(id);
  return at == index_.end() ? nullptr : &nodes_[at->second];
}

void NodeTable::reindex(size_t from) {
  for (size_t i = from; i < nodes_.size(); ++i) index_[nodes_[i].id] = i;
  views_.clear();
}

const Node* NodeTable::find(const NodeId& id) const { return const_cast<NodeTable*>(this)->get(id); }

const Node* NodeTable::find_ended(const NodeId& id) const {
  for (const Node& node : ended_)
    if (node.id == id) return &node;
  return nullptr;
}

const Node* NodeTable::head() const {
  for (const Node& node : nodes_)
    if (node.head) return &node;
  return nullptr;
}

void NodeTable::add(Node node) {
  if (node.pool == nullptr) {
    if (!node.mirror) node.mirror = std::make_shared<sched::ResourcePool>();
    node.pool = node.mirror.get();
  }
  if (node.mirror) {
    node.told_total = node.mirror->total();
    node.told_available = node.mirror->available();
  }
  std::erase_if(ended_, [&](const Node& other) { return other.id == node.id; });
  if (Node* known = get(node.id))
    *known = std::move(node);
  else
    nodes_.push_back(std::move(node));
  reindex(nodes_.size() - 1);
}

void NodeTable::add_ended(Node node, const std::string& why) {
  node.alive = false;
  node.why = why;
  ended_.push_back(std::move(node));
  if (ended_.size() > kMaxEnded) ended_.pop_front();
}

void NodeTable::set_pool(const NodeId& id, sched::ResourceSet total, sched::ResourceSet available) {
  Node* node = get(id);
  if (node == nullptr || !node->mirror) return;
  node->told_total = std::move(total);
  node->told_available = std::move(available);
  node->charged_looks = 0;
  *node->mirror = sched::ResourcePool::mirror(node->told_total, node->told_available);
}

void NodeTable::charge(const NodeId& id, const sched::ResourceSet& amounts) {
  Node* node = get(id);
  if (node == nullptr || !node->mirror) return;
  node->mirror->take_back(amounts);
  if (node->charged_looks > 0) return;
  node->charged_looks = 1;
  charged_.push_back(id);
}

bool NodeTable::forget_charges() {
  constexpr int kLooks = 4;
  bool any = false;
  std::erase_if(charged_, [&](const NodeId& id) {
    Node* node = get(id);
    if (node == nullptr || node->charged_looks == 0) return true;
    if (++node->charged_looks <= kLooks) return false;
    node->charged_looks = 0;
    *node->mirror = sched::ResourcePool::mirror(node->told_total, node->told_available);
    return any = true;
  });
  return any;
}

bool NodeTable::drain(const NodeId& id, Drain drain) {
  Node* node = get(id);
  if (node != nullptr) node->drain = std::move(drain);
  views_.clear();
  return node != nullptr;
}

bool NodeTable::remove(const NodeId& id, const std::string& why) {
  const auto at = index_.find(id);
  if (at == index_.end()) return false;
  const size_t where = at->second;
  index_.erase(at);
  add_ended(std::move(nodes_[where]), why);
  nodes_.erase(nodes_.begin() + static_cast<ptrdiff_t>(where));
  reindex(where);
  return true;
}

const std::vector<sched::NodeView>& NodeTable::views() const {
  if (views_.empty())
    for (const Node& node : nodes_)
      views_.push_back({node.id, node.pool, &node.labels, node.outside || node.is_draining()});
  return views_;
}

sched::Choice NodeTable::choose(const sched::ResourceSet& demand, const sched::Strategy& strategy, const NodeId& near) {
  const auto at = index_.find(near);
  const size_t local = at == index_.end() ? 0 : at->second;
  return sched::pick_node(views(), demand, strategy, local, &cursor_);
}

}  // namespace narke::controller
