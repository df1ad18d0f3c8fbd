#include "controller/nodes.h"

namespace narke::controller {

const Node* NodeTable::find(const NodeId& id) const {
  for (const Node& node : nodes_)
    if (node.id == id) return &node;
  return nullptr;
}

std::vector<sched::NodeView> NodeTable::views() const {
  std::vector<sched::NodeView> views;
  for (const Node& node : nodes_) views.push_back({node.id, node.pool, &node.labels});
  return views;
}

sched::Choice NodeTable::choose(const sched::ResourceSet& demand, const sched::Strategy& strategy) {
  return sched::pick_node(views(), demand, strategy, 0, &cursor_);
}

}  // namespace narke::controller
