// Placement groups: pending ones wait in the order they came and are tried again whenever resources are freed.
//
// Placing takes two phases: every node concerned is asked to reserve its bundles; when all have agreed the group is
// created, when one refuses the others give back and the group waits on.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "controller/types.h"

namespace narke::controller {

class NodeTable;

class Groups {
 public:
  Groups(Out& out, NodeTable& nodes) : out_(out), nodes_(nodes) {}

  // Placed at once when the resources are free. Fails when the name or the id is taken.
  Status create(PlacementGroup group);
  // Gives its resources back; what runs in it ends. False: there is no such group (or it is removed already).
  bool remove(const PgId& id);
  // Resources were freed: places what fits, first come first.
  void retry();
  // A node's answer to a reservation. The group, when this was the last one missing and it stands now.
  const PlacementGroup* on_reserved(const PgId& id, const NodeId& node, uint32_t attempt, bool ok);
  // As it was kept by a journal.
  void restore(PlacementGroup group);
  // A node says which bundles it holds: what it should not have goes back, what it should have and has not is looked
  // for elsewhere.
  void on_node_back(const NodeId& node, const std::map<PgId, std::set<int>>& held);
  // Bundles that were there are looked for elsewhere.
  void on_node_gone(const NodeId& node);
  bool any_pending() const { return !pending_.empty(); }
  // Bundles of the pending groups, in their order; for showing demand and calling leases back.
  const std::list<PgId>& pending() const { return pending_; }

  // The groups that end with the job.
  std::vector<PgId> of_job(const JobId& job) const;

  const PlacementGroup* find(const PgId& id) const;
  const PlacementGroup* find_named(const std::string& name_space, const std::string& name) const;
  const std::unordered_map<PgId, PlacementGroup>& all() const { return groups_; }

 private:
  bool place(PlacementGroup& group);
  const std::vector<sched::NodeView>& candidates(const PlacementGroup& group,
                                                 std::vector<sched::NodeView>* remaining) const;
  void give_up(PlacementGroup& group);
  void lose(PlacementGroup& group, const std::function<bool(size_t bundle)>& is_lost);
  void touch(const PlacementGroup& group) { out_.touched(Table::kGroups, std::string(group.id.view())); }
  void wait_again(PlacementGroup& group);

  Out& out_;
  NodeTable& nodes_;
  std::unordered_map<PgId, PlacementGroup> groups_;
  std::unordered_map<std::string, PgId> names_;
  std::list<PgId> pending_;
  std::list<PgId> removed_;  // oldest first; a bounded memory of what was
};

const char* strategy_name(sched::BundleStrategy strategy);  // "PACK"...
const char* state_name(GroupState state);                   // "PENDING"...

}  // namespace narke::controller
