#include "controller/groups.h"

#include <algorithm>
#include <map>

#include "controller/nodes.h"

namespace narke::controller {

static constexpr size_t kMaxRemovedRecords = 1'000;

static std::string name_key(const PlacementGroup& group) { return group.name_space + '\0' + group.name; }

const char* strategy_name(sched::BundleStrategy strategy) {
  switch (strategy) {
    case sched::BundleStrategy::kPack: return "PACK";
    case sched::BundleStrategy::kSpread: return "SPREAD";
    case sched::BundleStrategy::kStrictPack: return "STRICT_PACK";
    case sched::BundleStrategy::kStrictSpread: return "STRICT_SPREAD";
  }
  return "";
}

const char* state_name(GroupState state) {
  switch (state) {
    case GroupState::kPending: return "PENDING";
    case GroupState::kCreated: return "CREATED";
    case GroupState::kRemoved: return "REMOVED";
  }
  return "";
}

const PlacementGroup* Groups::find(const PgId& id) const {
  const auto at = groups_.find(id);
  return at == groups_.end() ? nullptr : &at->second;
}

const PlacementGroup* Groups::find_named(const std::string& name_space, const std::string& name) const {
  const auto at = names_.find(name_space + '\0' + name);
  return at == names_.end() ? nullptr : find(at->second);
}

Status Groups::create(PlacementGroup group) {
  if (groups_.contains(group.id))
    return Error{ErrorCode::kFailed, "A placement group with the id " + group.id.hex() + " exists already."};
  if (!group.name.empty()) {
    if (find_named(group.name_space, group.name))
      return Error{ErrorCode::kFailed, "The placement group name '" + group.name + "' is already taken in namespace '" +
                                           group.name_space + "'. Choose another name or remove that group."};
    names_[name_key(group)] = group.id;
  }
  const PgId id = group.id;
  group.asked_ms = out_.now_ms();
  PlacementGroup& stored = groups_.emplace(id, std::move(group)).first->second;
  if (!place(stored)) pending_.push_back(id);
  return ok_status();
}

bool Groups::place(PlacementGroup& group) {
  const auto nodes = sched::place_bundles(nodes_.views(), group.strategy, group.bundles, group.labels);
  if (!nodes || !reserve(group, *nodes)) return false;
  group.state = GroupState::kCreated;
  group.created_ms = out_.now_ms();
  out_.group_changed(group);
  return true;
}

// All nodes or none: those that had agreed are told to forget it.
bool Groups::reserve(PlacementGroup& group, const std::vector<size_t>& nodes) {
  std::map<size_t, std::vector<size_t>> by_node;
  for (size_t bundle = 0; bundle < nodes.size(); ++bundle) by_node[nodes[bundle]].push_back(bundle);
  for (auto at = by_node.begin(); at != by_node.end(); ++at) {
    if (out_.reserve(nodes_.all()[at->first].id, group, at->second)) continue;
    for (auto undo = by_node.begin(); undo != at; ++undo) out_.unreserve(nodes_.all()[undo->first].id, group);
    return false;
  }
  group.nodes.clear();
  for (size_t node : nodes) group.nodes.push_back(nodes_.all()[node].id);
  return true;
}

bool Groups::remove(const PgId& id) {
  const auto at = groups_.find(id);
  if (at == groups_.end() || at->second.state == GroupState::kRemoved) return false;
  PlacementGroup& group = at->second;
  if (group.state == GroupState::kPending) pending_.remove(id);
  std::vector<NodeId> told;
  if (group.state == GroupState::kPending && !nodes_.all().empty()) group.nodes.push_back(nodes_.all()[0].id);
  group.state = GroupState::kRemoved;
  for (const NodeId& node : group.nodes) {
    if (std::find(told.begin(), told.end(), node) != told.end()) continue;
    out_.unreserve(node, group);
    told.push_back(node);
  }
  if (!group.name.empty()) names_.erase(name_key(group));
  removed_.push_back(id);
  out_.group_changed(group);
  if (removed_.size() > kMaxRemovedRecords) {
    groups_.erase(removed_.front());
    removed_.pop_front();
  }
  return true;
}

// Groups of the same shape as one that did not fit are skipped: ten thousand equal ones cost one trial.
void Groups::retry() {
  std::vector<const PlacementGroup*> failed;
  for (auto at = pending_.begin(); at != pending_.end();) {
    PlacementGroup& group = groups_.at(*at);
    bool fits = true;
    for (const PlacementGroup* other : failed)
      if (other->strategy == group.strategy && other->bundles == group.bundles && other->labels == group.labels)
        fits = false;
    fits = fits && place(group);
    if (!fits && failed.size() < 64) failed.push_back(&group);
    at = fits ? pending_.erase(at) : std::next(at);
  }
}

std::vector<PgId> Groups::of_job(const JobId& job) const {
  std::vector<PgId> out;
  for (const auto& [id, group] : groups_)
    if (group.job == job && !group.detached && group.state != GroupState::kRemoved) out.push_back(id);
  return out;
}

}  // namespace narke::controller
