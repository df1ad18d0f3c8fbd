// Calling leases back from holders that sit on them while others wait.
#include <utility>

#include "node/core.h"

namespace narke::node {

// A holder keeps a new lease this long against others, so that two programs with short tasks do not spend their
// time passing workers to and fro. Its own other requests are served at once.
static constexpr int64_t kMinHoldMs = 5;
static constexpr size_t kMaxScan = 256;  // leases looked at in one go; the next tick looks again

void Core::reclaim() {
  if (draining_) reclaim_all();
  if (!queue_.empty() || groups_waiting_ > 0) reclaim_from(queue_, unasked_, queue_.size() + groups_waiting_);
  for (auto& [id, group] : groups_)
    if (!group.queue.empty() && !group.unasked.empty()) reclaim_from(group.queue, group.unasked, group.queue.size());
}

// But what is held within bundles, which stay to the end.
void Core::reclaim_all() {
  for (const auto& [id, worker_id] : std::exchange(unasked_, {})) {
    Lease& lease = *workers_.at(worker_id).lease;
    lease.reclaim_asked = true;
    ++reclaiming_;
    out_.reclaim(lease.holder, lease.id);
  }
}

void Core::reclaim_from(const LeaseQueue& queue, std::map<uint64_t, WorkerId>& unasked, size_t wanted) {
  size_t scanned = 0;
  for (auto at = unasked.begin(); at != unasked.end() && ++scanned <= kMaxScan && reclaiming_ < wanted;) {
    Worker& worker = workers_.at(at->second);
    if (!worth_reclaiming(worker, queue)) {
      ++at;
      continue;
    }
    worker.lease->reclaim_asked = true;
    ++reclaiming_;
    out_.reclaim(worker.lease->holder, worker.lease->id);
    at = unasked.erase(at);
  }
}

// Whether someone else, or its holder for another class, waits for what the lease holds.
bool Core::worth_reclaiming(const Worker& worker, const LeaseQueue& queue) {
  const Lease& lease = *worker.lease;
  const ResourcePool* pool = pool_of(*lease.cls, lease.bundle);
  if (pool == nullptr || worker.blocked) return false;
  const bool young = out_.now_ms() - lease.granted_ms < kMinHoldMs;
  if (groups_waiting_ > 0 && lease.cls->pg.is_nil() && !young && !lease.allocation.amounts.empty()) return true;
  for (const HolderLines& holder : queue.holders())
    for (const ClassLine& line : holder.lines) {
      if (line.cls->job != lease.cls->job && over_cap(*line.cls)) continue;
      const bool own = holder.id == lease.holder;
      if (own ? line.cls == lease.cls : young) continue;
      if (line.cls->bundle >= 0 && line.cls->bundle != lease.bundle) continue;
      if (over_cap(*line.cls)) return true;  // its own job's cap: what this lease holds would do
      const std::string_view lacking = pool->available().lacking(line.cls->fit);
      if (!lacking.empty() && lease.allocation.amounts.get(lacking) > 0) return true;
    }
  return false;
}

// Every amount is in one place: available, held by a lease or a request that waits for a worker, or in a bundle.
void Core::check_invariants() const {
  ResourceSet used;
  std::unordered_map<PgId, std::map<int, ResourceSet>> in_groups;
  const auto count = [&](const SchedClass& cls, int bundle, const ResourceSet& held, const ResourceSet& lent) {
    ResourceSet& sum = cls.pg.is_nil() ? used : in_groups[cls.pg][bundle];
    sum.add(held);
    sum.subtract(lent);
  };
  size_t leases = 0, starting = 0;
  for (const auto& [id, worker] : workers_) {
    starting += worker.state == WorkerState::kStarting;
    if (!worker.lease) continue;
    ++leases;
    NARKE_CHECK(leases_.at(worker.lease->id) == id);
    count(*worker.lease->cls, worker.lease->bundle, worker.lease->allocation.amounts, worker.lent);
  }
  NARKE_CHECK(leases == leases_.size() && starting == starting_);
  size_t indexed = actor_requests_.size(), stored = queue_.size() + parked_.size();
  for (const auto& [holder, calls] : requests_) indexed += calls.size();
  for (const auto& [key, family] : families_) {
    stored += family.waiting.size();
    for (const Request& request : family.waiting) count(*request.cls, request.bundle, request.allocation.amounts, {});
  }
  for (const auto& [id, group] : groups_) {
    stored += group.queue.size();
    for (const auto& [index, bundle] : group.bundles) {
      used.add(bundle.reserved.amounts);
      ResourceSet sum = bundle.pool.available();
      sum.add(in_groups[id][index]);
      NARKE_CHECK(sum == bundle.pool.total());
    }
  }
  NARKE_CHECK(indexed == stored);
  used.add(pool_.available());
  NARKE_CHECK(used == pool_.total());
}

}  // namespace narke::node
