// Actors and the bundles of placement groups on this node.
#include <algorithm>

#include "node/core.h"

namespace narke::node {

// Whether there is such a one here already; what is left of an earlier one makes way.
bool Core::has_actor(const ActorId& actor, int incarnation) {
  if (const auto at = actor_requests_.find(actor); at != actor_requests_.end()) {
    if (at->second->incarnation >= incarnation) return true;
    drop(at->second);
  }
  const auto at = actor_workers_.find(actor);
  if (at == actor_workers_.end()) return false;
  Worker& worker = workers_.at(at->second);
  if (worker.incarnation >= incarnation) return true;
  kill(worker, "its actor begins anew");
  return false;
}

void Core::place_actor(ActorRequest wanted) {
  if (has_actor(wanted.actor, wanted.incarnation)) return;
  SchedClass cls;
  cls.job = wanted.job;
  cls.runtime_env = std::move(wanted.runtime_env);
  cls.fit = std::move(wanted.placement);
  cls.held = std::move(wanted.running);
  cls.pg = wanted.pg;
  cls.bundle = wanted.bundle;
  cls.strategy = std::move(wanted.strategy);

  Request request;
  request.holder = wanted.owner;
  request.actor = wanted.actor;
  request.incarnation = wanted.incarnation;
  request.cls = class_of(std::move(cls));
  request.task_name = std::move(wanted.class_name);
  submit(std::move(request));
}

void Core::end_actor(const ActorId& actor, wire::EndKind kind) {
  if (const auto at = actor_requests_.find(actor); at != actor_requests_.end()) {
    const bool waits = at->second->line != nullptr;  // else it has its resources, and a worker is about to be there
    if (kind == wire::EndKind::IfWaiting && !waits) return;
    const int incarnation = at->second->incarnation;
    drop(at->second);
    Fate fate;
    fate.message = "It had not been started.";
    out_.actor_gone(actor, incarnation, fate);
    return;
  }
  const auto at = actor_workers_.find(actor);
  if (at == actor_workers_.end() || kind == wire::EndKind::IfWaiting) return;
  Worker& worker = workers_.at(at->second);
  if (kind == wire::EndKind::AtOnce)
    kill(worker, "its actor was to end");
  else if (worker.actor_started)
    out_.stop_worker(worker, StopKind::kAsk, "its actor went out of scope");
  else
    worker.leave_when_started = true;
}

void Core::on_actor_started(const WorkerId& id, const ActorId& actor, bool ok, std::vector<uint8_t> error) {
  Worker* worker = get(id);
  if (worker == nullptr || worker->actor != actor || worker->actor_started) return;
  if (!ok) {
    out_.actor_init_failed(*worker, std::move(error));
    return;
  }
  worker->actor_started = true;
  out_.actor_started(*worker);
  if (worker->leave_when_started) out_.stop_worker(*worker, StopKind::kAsk, "its actor went out of scope");
}

// ---- placement groups --------------------------------------------------------------------------------------

bool Core::reserve(const PgId& id, std::span<const std::pair<int, ResourceSet>> which) {
  if (draining_) return false;
  const auto known = groups_.find(id);
  std::vector<std::pair<int, Allocation>> taken;
  for (const auto& [index, resources] : which) {
    if (known != groups_.end() && known->second.bundles.contains(index)) continue;  // asked for a second time
    std::optional<Allocation> allocation = pool_.allocate(resources);
    if (!allocation) {
      for (const auto& [undone, undo] : taken) pool_.release(undo);
      return false;
    }
    taken.emplace_back(index, std::move(*allocation));
  }
  Group& group = groups_[id];
  for (const auto& [index, allocation] : taken)
    group.bundles.emplace(index, Bundle{ResourcePool(allocation), allocation});
  for (const HolderLines& holder : group.queue.holders())
    for (const ClassLine& line : holder.lines)
      if (!feasible(*line.cls)) explain_infeasible(line.requests.front());
  dirty_groups_.insert(id);
  return true;
}

std::vector<Requests::iterator> Core::requests_in(const PgId& id, const Group& group) {
  std::vector<Requests::iterator> out;
  for (const HolderLines& holder : group.queue.holders())
    for (const ClassLine& line : holder.lines)
      for (const Request& request : line.requests) out.push_back(found(request));
  if (group.waiting == 0) return out;
  for (auto& [key, family] : families_)
    for (auto request = family.waiting.begin(); request != family.waiting.end(); ++request)
      if (request->cls->pg == id) out.push_back(request);
  return out;
}

void Core::unreserve(const PgId& id, const std::vector<int>& which) {
  const auto at = groups_.find(id);
  if (at == groups_.end()) return;
  const auto goes = [&](const auto& bundle) { return std::ranges::find(which, bundle.first) != which.end(); };
  if (!which.empty() && !std::ranges::all_of(at->second.bundles, goes)) return unreserve_some(at->second, which);
  for (const Requests::iterator request : requests_in(id, at->second))
    deny(request, wire::FailureKind::PlacementGroupRemoved,
         "Its placement group " + id.hex() + " was removed. Create a new group and submit again.");
  const std::map<uint64_t, WorkerId> leases = at->second.leases;
  for (const auto& [lease, worker_id] : leases) {
    Worker& worker = workers_.at(worker_id);
    release(worker);
    kill(worker, "its placement group was removed");
  }
  for (const auto& [index, bundle] : at->second.bundles) pool_.release(bundle.reserved);
  groups_.erase(id);
  dirty_groups_.erase(id);
  dirty_ = freed_ = true;
}

// The rest of the group stays.
void Core::unreserve_some(Group& group, const std::vector<int>& which) {
  for (const int index : which) {
    const std::map<uint64_t, WorkerId> leases = group.leases;
    for (const auto& [lease, worker_id] : leases) {
      Worker& worker = workers_.at(worker_id);
      if (!worker.lease || worker.lease->bundle != index) continue;
      release(worker);
      kill(worker, "its bundle of the placement group went to another node");
    }
    const auto bundle = group.bundles.find(index);
    if (bundle == group.bundles.end()) continue;
    pool_.release(bundle->second.reserved);
    group.bundles.erase(bundle);
  }
  dirty_ = freed_ = true;
}

}  // namespace narke::node
