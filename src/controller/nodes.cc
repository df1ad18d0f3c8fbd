#include "controller/nodes.h"

#include <algorithm>

namespace narke::controller {

static constexpr size_t kMaxEnded = 500;

Node* NodeTable::get(const NodeId& id) {
  for (Node& node : nodes_)
    if (node.id == id) return &node;
  return nullptr;
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
  std::erase_if(ended_, [&](const Node& other) { return other.id == node.id; });
  if (Node* known = get(node.id))
    *known = std::move(node);
  else
    nodes_.push_back(std::move(node));
}

void NodeTable::set_pool(const NodeId& id, sched::ResourceSet total, sched::ResourceSet available) {
  if (Node* node = get(id); node && node->mirror)
    *node->mirror = sched::ResourcePool::mirror(std::move(total), std::move(available));
}

void NodeTable::charge(const NodeId& id, const sched::ResourceSet& amounts) {
  if (Node* node = get(id); node && node->mirror) node->mirror->take_back(amounts);
}

bool NodeTable::drain(const NodeId& id, Drain drain) {
  Node* node = get(id);
  if (node != nullptr) node->drain = std::move(drain);
  return node != nullptr;
}

bool NodeTable::remove(const NodeId& id, const std::string& why) {
  const auto at = std::find_if(nodes_.begin(), nodes_.end(), [&](const Node& node) { return node.id == id; });
  if (at == nodes_.end()) return false;
  ended_.push_back(std::move(*at));
  nodes_.erase(at);
  ended_.back().alive = false;
  ended_.back().why = why;
  if (ended_.size() > kMaxEnded) ended_.pop_front();
  return true;
}

std::vector<sched::NodeView> NodeTable::views() const {
  std::vector<sched::NodeView> views;
  views.reserve(nodes_.size());
  for (const Node& node : nodes_)
    views.push_back({node.id, node.pool, &node.labels, node.outside || node.is_draining()});
  return views;
}

sched::Choice NodeTable::choose(const sched::ResourceSet& demand, const sched::Strategy& strategy, const NodeId& near) {
  size_t local = 0;
  for (size_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i].id == near) local = i;
  return sched::pick_node(views(), demand, strategy, local, &cursor_);
}

}  // namespace narke::controller
