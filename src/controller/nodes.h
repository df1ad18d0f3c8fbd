// The nodes of the cluster and the choice among them.
#pragma once

#include <optional>
#include <vector>

#include "controller/types.h"

namespace narke::controller {

class NodeTable {
 public:
  void add(Node node) { nodes_.push_back(std::move(node)); }
  const std::vector<Node>& all() const { return nodes_; }
  const Node* find(const NodeId& id) const;

  // A node that can take it now, else one that can later, else none.
  sched::Choice choose(const sched::ResourceSet& demand, const sched::Strategy& strategy);
  std::vector<sched::NodeView> views() const;

 private:
  std::vector<Node> nodes_;
  uint64_t cursor_ = 0;  // of the spread policy
};

}  // namespace narke::controller
