#include "controller/groups.h"

#include <algorithm>
#include <set>
#include <utility>

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
  if (const PlacementGroup* known = find(group.id); known && known->creator == group.creator)
    return ok_status();  // asked again, for the answer was lost with the old head
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
  touch(stored);
  if (!place(stored)) pending_.push_back(id);
  return ok_status();
}

// Nodes that may take its missing bundles. remaining: room for them, if they are not all.
const std::vector<sched::NodeView>& Groups::candidates(const PlacementGroup& group,
                                                       std::vector<sched::NodeView>* remaining) const {
  const auto has_place = [](const NodeId& node) { return !node.is_nil(); };
  if (group.strategy != sched::BundleStrategy::kStrictSpread ||
      std::none_of(group.nodes.begin(), group.nodes.end(), has_place))
    return nodes_.views();
  for (const sched::NodeView& view : nodes_.views())
    if (std::find(group.nodes.begin(), group.nodes.end(), view.id) == group.nodes.end()) remaining->push_back(view);
  return *remaining;
}

// Asks for what it lacks. False: it does not fit now.
bool Groups::place(PlacementGroup& group) {
  group.nodes.resize(group.bundles.size());
  std::vector<size_t> missing;
  std::vector<sched::ResourceSet> wanted;
  sched::BundleLabels labels;
  for (size_t i = 0; i < group.bundles.size(); ++i) {
    if (!group.nodes[i].is_nil()) continue;
    missing.push_back(i);
    wanted.push_back(group.bundles[i]);
    if (!group.labels.empty()) labels.push_back(group.labels[i]);
  }
  std::vector<sched::NodeView> remaining;
  const std::vector<sched::NodeView>& views = candidates(group, &remaining);
  const auto chosen = sched::place_bundles(views, group.strategy, wanted, labels);
  if (!chosen) return false;
  ++group.attempt;
  group.asked.clear();
  for (size_t i = 0; i < missing.size(); ++i) group.asked[views[(*chosen)[i]].id].push_back(missing[i]);
  group.unanswered = group.asked.size();
  group.refused = false;
  for (const auto& [node, which] : group.asked) {
    for (const size_t index : which) nodes_.charge(node, group.bundles[index]);
    out_.reserve(node, group, which);
  }
  return true;
}

const PlacementGroup* Groups::on_reserved(const PgId& id, const NodeId& node, uint32_t attempt, bool ok) {
  const auto at = groups_.find(id);
  if (at == groups_.end()) return nullptr;
  PlacementGroup& group = at->second;
  const auto answer = group.asked.find(node);
  if (group.attempt != attempt || group.unanswered == 0 || answer == group.asked.end()) return nullptr;
  if (!ok) {
    group.refused = true;
    group.asked.erase(answer);
  }
  if (--group.unanswered > 0) return nullptr;
  if (group.refused) {
    give_up(group);
    return nullptr;
  }
  for (const auto& [where, which] : group.asked)
    for (const size_t index : which) group.nodes[index] = where;
  group.asked.clear();
  group.state = GroupState::kCreated;
  group.created_ms = out_.now_ms();
  touch(group);
  out_.group_changed(group);
  return &group;
}

// Those that had agreed give back what they reserved.
void Groups::give_up(PlacementGroup& group) {
  for (const auto& [node, which] : std::exchange(group.asked, {})) out_.unreserve(node, group, which);
  wait_again(group);
}

void Groups::wait_again(PlacementGroup& group) {
  group.unanswered = 0;
  pending_.push_back(group.id);
}

// A group that stood waits again for the bundles it has lost.
void Groups::lose(PlacementGroup& group, const std::function<bool(size_t bundle)>& is_lost) {
  bool any = false;
  for (size_t i = 0; i < group.nodes.size(); ++i)
    if (is_lost(i)) {
      group.nodes[i] = NodeId();
      any = true;
    }
  if (!any) return;
  touch(group);  // also one that waits: after a restart of the head it would be taken to have that bundle
  if (group.state != GroupState::kCreated) return;
  group.state = GroupState::kPending;
  out_.group_changed(group);
  wait_again(group);
}

void Groups::restore(PlacementGroup group) {
  const PgId id = group.id;
  if (!group.name.empty() && group.state != GroupState::kRemoved) names_[name_key(group)] = id;
  if (group.state == GroupState::kRemoved) removed_.push_back(id);
  if (group.state == GroupState::kPending) pending_.push_back(id);
  groups_.insert_or_assign(id, std::move(group));
}

void Groups::on_node_back(const NodeId& node, const std::map<PgId, std::set<int>>& held) {
  for (auto& [id, group] : groups_) {
    if (group.state == GroupState::kRemoved) continue;
    const auto at = held.find(id);
    lose(group, [&](size_t bundle) {
      return group.nodes[bundle] == node && (at == held.end() || !at->second.contains(static_cast<int>(bundle)));
    });
  }
  for (const auto& [id, bundles] : held) {
    const auto at = groups_.find(id);
    PlacementGroup unknown;
    unknown.id = id;
    const bool wanted = at != groups_.end() && at->second.state != GroupState::kRemoved;
    if (!wanted) {
      out_.unreserve(node, unknown, {});
      continue;
    }
    std::vector<size_t> surplus;
    for (const int bundle : bundles) {
      const auto index = static_cast<size_t>(bundle);
      if (index >= at->second.nodes.size() || at->second.nodes[index] != node) surplus.push_back(index);
    }
    if (!surplus.empty()) out_.unreserve(node, at->second, surplus);
  }
}

void Groups::on_node_gone(const NodeId& node) {
  for (auto& [id, group] : groups_) {
    if (group.state == GroupState::kRemoved) continue;
    if (group.unanswered > 0 && group.asked.contains(node)) on_reserved(id, node, group.attempt, false);
    lose(group, [&](size_t bundle) { return group.nodes[bundle] == node; });
  }
  retry();
}

bool Groups::remove(const PgId& id) {
  const auto at = groups_.find(id);
  if (at == groups_.end() || at->second.state == GroupState::kRemoved) return false;
  PlacementGroup& group = at->second;
  if (group.state == GroupState::kPending) pending_.remove(id);
  group.state = GroupState::kRemoved;
  std::set<NodeId> told;
  for (const NodeId& node : group.nodes)
    if (!node.is_nil()) told.insert(node);
  for (const auto& [node, which] : group.asked) told.insert(node);
  for (const NodeId& node : told) out_.unreserve(node, group, {});
  group.asked.clear();
  group.unanswered = 0;
  if (!group.name.empty()) names_.erase(name_key(group));
  removed_.push_back(id);
  touch(group);
  out_.group_changed(group);
  if (removed_.size() > kMaxRemovedRecords) {
    touch(groups_.at(removed_.front()));
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
