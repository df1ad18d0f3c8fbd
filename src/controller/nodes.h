// The nodes of the cluster and the choice among them.
#pragma once

#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "controller/types.h"

namespace narke::controller {

class NodeTable {
 public:
  // A node that comes back by the same id replaces what was known of it.
  void add(Node node);
  // Another host's resources as it says they are.
  void set_pool(const NodeId& id, sched::ResourceSet total, sched::ResourceSet available);
  // Counts on what was just placed there, until the node says more.
  void charge(const NodeId& id, const sched::ResourceSet& amounts);
  // To be called now and then: a charge that no report follows was never used, or is used no more. Returns whether
  // there was such a one.
  bool forget_charges();
  // Nothing new goes there. False: it is not among the living.
  bool drain(const NodeId& id, Drain drain);
  // False: it was not among the living.
  bool remove(const NodeId& id, const std::string& why);

  // One that is known only from before is gone.
  void add_ended(Node node, const std::string& why);

  const std::vector<Node>& all() const { return nodes_; }     // the living
  const std::deque<Node>& ended() const { return ended_; }    // oldest first, some hundreds
  const Node* find(const NodeId& id) const;                   // among the living
  const Node* find_ended(const NodeId& id) const;
  const Node* head() const;

  // A node that can take it now, else one that can later, else none. near: where to look first.
  sched::Choice choose(const sched::ResourceSet& demand, const sched::Strategy& strategy, const NodeId& near);
  const std::vector<sched::NodeView>& views() const;  // valid until the next change of the table

 private:
  Node* get(const NodeId& id);

  void reindex(size_t from);

  std::vector<Node> nodes_;
  std::unordered_map<NodeId, size_t> index_;  // into nodes_
  mutable std::vector<sched::NodeView> views_;  // empty: to be made
  std::deque<Node> ended_;
  std::vector<NodeId> charged_;
  uint64_t cursor_ = 0;  // of the spread policy
};

}  // namespace narke::controller
