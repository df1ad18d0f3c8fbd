// Requests, grants and returns.
#include <algorithm>

#include "node/core.h"

namespace narke::node {

using wire::FailureKind;
using wire::LeaseStatus;

std::string class_text(const SchedClass& cls) {
  std::string text = cls.fit.text();
  if (!cls.pg.is_nil()) {
    text += " in placement group " + cls.pg.hex();
    if (cls.bundle >= 0) text += ", bundle " + std::to_string(cls.bundle);
  }
  return text;
}

Core::Core(NodeConfig config, Out& out)
    : config_(std::move(config)), out_(out), pool_(config_.resources), last_lease_(config_.lease_base) {}

// ---- classes -----------------------------------------------------------------------------------------------

static void append(std::string& key, std::string_view part) {
  key += part;
  key += '\0';
}

static void append(std::string& key, const ResourceSet& set) {
  for (const ResourceSet::Entry& entry : set.entries()) {
    append(key, entry.name);
    key.append(reinterpret_cast<const char*>(&entry.amount), sizeof(entry.amount));
  }
  key += '\1';
}

static void append(std::string& key, const std::vector<sched::LabelCondition>& conditions) {
  for (const sched::LabelCondition& condition : conditions) {
    append(key, condition.key);
    key += static_cast<char>(condition.kind);
    for (const std::string& value : condition.values) append(key, value);
  }
  key += '\2';
}

static void append(std::string& key, const sched::Strategy& strategy) {
  key += static_cast<char>(strategy.kind);
  if (strategy.kind == sched::Strategy::Kind::kAffinity) {
    key += strategy.soft ? 's' : 'h';
    key += strategy.node.view();
  }
  append(key, strategy.hard);
  append(key, strategy.preferred);
  for (const auto& fallback : strategy.fallbacks) append(key, fallback);
}

ClassPtr Core::class_of(SchedClass wanted) {
  std::string key;
  key.reserve(128);
  key += wanted.job.view();
  append(key, wanted.fit);
  append(key, wanted.held);
  append(key, wanted.runtime_env);
  append(key, wanted.strategy);
  if (!wanted.pg.is_nil()) {
    key += wanted.pg.view();
    key += std::to_string(wanted.bundle);
  }
  ClassPtr& slot = classes_[key];
  if (!slot) slot = std::make_shared<SchedClass>(std::move(wanted));
  return slot;
}

// ---- pools -------------------------------------------------------------------------------------------------

LeaseQueue& Core::queue_of(const SchedClass& cls) { return cls.pg.is_nil() ? queue_ : groups_[cls.pg].queue; }

ResourcePool* Core::pool_of(const SchedClass& cls, int bundle) {
  if (cls.pg.is_nil()) return &pool_;
  const auto group = groups_.find(cls.pg);
  if (group == groups_.end()) return nullptr;
  const auto at = group->second.bundles.find(bundle);
  return at == group->second.bundles.end() ? nullptr : &at->second.pool;
}

bool Core::feasible(const SchedClass& cls) const {
  if (cls.pg.is_nil()) return pool_.feasible(cls.fit) && cls.strategy.allows(config_.labels);
  const auto group = groups_.find(cls.pg);
  if (group == groups_.end() || group->second.bundles.empty()) return true;  // not placed yet
  for (const auto& [index, bundle] : group->second.bundles)
    if ((cls.bundle < 0 || cls.bundle == index) && bundle.pool.feasible(cls.fit)) return true;
  return false;
}

bool Core::try_allocate(Request& request) {
  const SchedClass& cls = *request.cls;
  const auto allocate = [this, &request, &cls](ResourcePool& pool, int bundle) {
    if (!pool.fits(cls.fit)) return false;
    request.allocation = *pool.allocate(cls.held);
    request.bundle = bundle;
    count_held(cls, request.allocation.amounts, {});
    return true;
  };
  if (cls.pg.is_nil() && over_cap(cls)) return false;
  if (cls.pg.is_nil()) return !draining_ && feasible(cls) && !ageing_.bars(cls, pool_) && allocate(pool_, -1);
  const auto group = groups_.find(cls.pg);
  if (group == groups_.end()) return false;
  for (auto& [index, bundle] : group->second.bundles)
    if ((cls.bundle < 0 || cls.bundle == index) && allocate(bundle.pool, index)) return true;
  return false;
}

void Core::give_back(const SchedClass& cls, int bundle, const Allocation& allocation) {
  ResourcePool* pool = pool_of(cls, bundle);
  if (pool == nullptr) return;  // its placement group was removed: the bundle went back as a whole
  pool->release(allocation);
  count_held(cls, {}, allocation.amounts);
  reclaim_due_ = true;
  if (cls.pg.is_nil())
    dirty_ = freed_ = true;
  else
    dirty_groups_.insert(cls.pg);
}

// ---- caps --------------------------------------------------------------------------------------------------

void Core::count_held(const SchedClass& cls, const ResourceSet& taken, const ResourceSet& returned) {
  const auto at = cls.pg.is_nil() ? caps_.find(cls.job) : caps_.end();
  if (at == caps_.end()) return;
  at->second.here.add(taken);
  at->second.here.subtract(returned);
  if (!returned.empty()) dirty_ = true;
}

const ResourceSet* Core::held_here(const JobId& job) const {
  const auto at = caps_.find(job);
  return at == caps_.end() ? nullptr : &at->second.here;
}

void Core::set_held_elsewhere(const JobId& job, ResourceSet held) {
  const auto at = caps_.find(job);
  if (at == caps_.end() || at->second.elsewhere == held) return;
  at->second.elsewhere = std::move(held);
  dirty_ = true;
}

bool Core::over_cap(const JobId& job, const ResourceSet& more) const {
  const auto at = caps_.find(job);
  if (at == caps_.end()) return false;
  const auto& [most, here, elsewhere] = at->second;
  return std::any_of(most.entries().begin(), most.entries().end(), [&](const ResourceSet::Entry& entry) {
    const sched::Amount wanted = more.get(entry.name);
    return wanted > 0 && here.get(entry.name) + elsewhere.get(entry.name) + wanted > entry.amount;
  });
}

// ---- requests ----------------------------------------------------------------------------------------------

void Core::request_lease(LeaseRequest wanted) {
  SchedClass cls;
  cls.job = wanted.job;
  cls.runtime_env = std::move(wanted.runtime_env);
  cls.fit = wanted.resources;
  cls.held = std::move(wanted.resources);
  cls.pg = wanted.pg;
  cls.bundle = wanted.bundle;
  cls.strategy = std::move(wanted.strategy);

  Request request;
  request.holder = wanted.holder;
  request.call_id = wanted.call_id;
  request.cls = class_of(std::move(cls));
  request.retriable = wanted.retriable;
  request.task_name = std::move(wanted.task_name);
  if (is_known(request.holder, request.call_id)) return;  // a duplicate
  submit(std::move(request));
}

bool Core::could_grant(const LeaseRequest& request) const {
  return !draining_ && !over_cap(request.job, request.resources) && pool_.fits(request.resources) &&
         request.strategy.allows(config_.labels);
}

bool Core::could_serve(const LeaseRequest& request) const {
  return !draining_ && pool_.feasible(request.resources) && request.strategy.allows(config_.labels);
}

void Core::take_waiting(const std::function<bool(const Request&)>& take) {
  constexpr size_t kMostOfLine = 256;
  std::vector<std::vector<std::pair<WorkerId, uint32_t>>> lines;
  for (const LeaseQueue* queue : {&queue_, &parked_})
    for (const HolderLines& holder : queue->holders())
      for (const ClassLine& line : holder.lines) {
        std::vector<std::pair<WorkerId, uint32_t>>& keys = lines.emplace_back();
        for (const Request& request : line.requests) {
          if (!request.actor.is_nil() || keys.size() == kMostOfLine) break;
          keys.emplace_back(request.holder, request.call_id);
        }
      }
  for (const auto& keys : lines)
    for (const auto& [holder, call_id] : keys) {
      const Requests::iterator request = requests_.at(holder).at(call_id);
      if (!take(*request)) break;
      drop(request);
    }
}

void Core::submit(Request request) {
  request.asked_ms = out_.now_ms();
  if (request.cls->example.empty()) request.cls->example = request.task_name;
  if (refuse_early(request)) return;
  // What arrives is served at once only when nobody of its class waits already.
  if (request.cls->pending == 0 && try_allocate(request)) {
    Requests one;
    one.push_back(std::move(request));
    index(one.begin());
    accept(std::move(one));
  } else {
    enqueue(std::move(request));
  }
}

// Requests that can never be served by anything that may still happen.
bool Core::refuse_early(const Request& request) {
  const SchedClass& cls = *request.cls;
  FailureKind failure = FailureKind::None;
  std::string message;
  if (!cls.pg.is_nil() && !out_.group_exists(cls.pg)) {
    failure = FailureKind::PlacementGroupRemoved;
    message = "Its placement group " + cls.pg.hex() + " was removed. Create a new group and submit again.";
  } else if (cls.strategy.is_bound() && (cls.strategy.node != config_.node || draining_)) {
    failure = FailureKind::Unschedulable;
    message = "It must run on node " + cls.strategy.node.hex() +
              ", which is not in the cluster or is being drained. Use a live node's id (ray.nodes()) or soft=True.";
  }
  if (failure == FailureKind::None) return false;
  if (request.actor.is_nil()) {
    out_.deny(request.holder, request.call_id, LeaseStatus::Failed, failure, message);
  } else {
    const bool removed = failure == FailureKind::PlacementGroupRemoved;
    out_.actor_unplaceable(
        request.actor, removed ? wire::DeathCause::PlacementGroupRemoved : wire::DeathCause::Unschedulable, message);
  }
  return true;
}

void Core::enqueue(Request request) {
  const bool can_ever = feasible(*request.cls);
  request.parked = !can_ever && request.cls->pg.is_nil();
  LeaseQueue& queue = request.parked ? parked_ : queue_of(*request.cls);
  Request& stored = queue.push(std::move(request));
  index(std::prev(stored.line->requests.end()));
  reclaim_due_ = true;
  if (!can_ever) explain_infeasible(stored);
}

void Core::index(Requests::iterator request) {
  if (request->actor.is_nil())
    requests_[request->holder][request->call_id] = request;
  else
    actor_requests_[request->actor] = request;
}

void Core::unindex(const Request& request) {
  if (request.actor.is_nil())
    requests_.at(request.holder).erase(request.call_id);
  else
    actor_requests_.erase(request.actor);
}

Requests::iterator Core::found(const Request& request) {
  return request.actor.is_nil() ? requests_.at(request.holder).at(request.call_id) : actor_requests_.at(request.actor);
}

bool Core::is_known(const WorkerId& holder, uint32_t call_id) const {
  const auto at = requests_.find(holder);
  return at != requests_.end() && at->second.contains(call_id);
}

static bool wants_gpus(const SchedClass& cls) { return cls.fit.get("GPU") > 0; }

// CUDA reads which GPUs there are once: a process that has run without any, or with others, may not see those of the
// next.
bool Core::may_run(const Worker& worker, const Request& request) const {
  return worker.sees_gpus.value_or(wants_gpus(*request.cls)) == wants_gpus(*request.cls);
}

// It has its resources; now it needs a worker.
void Core::accept(Requests request) {
  Family& family = this->family(request.front().cls->job, request.front().cls->runtime_env);
  const auto fitting = std::find_if(family.idle.rbegin(), family.idle.rend(),
                                    [&](const WorkerId& id) { return may_run(workers_.at(id), request.front()); });
  if (fitting != family.idle.rend()) {
    Worker& worker = workers_.at(*fitting);
    family.idle.erase(std::next(fitting).base());
    unindex(request.front());
    grant(worker, std::move(request.front()));
    return;
  }
  if (Group* group = group_of(*request.front().cls)) ++group->waiting;
  family.waiting.splice(family.waiting.end(), request);
  wanting_.insert({family.job, family.runtime_env});
}

void Core::grant(Worker& worker, Request request) {
  Lease lease;
  lease.id = ++last_lease_;
  lease.holder = request.actor.is_nil() ? request.holder : WorkerId();
  lease.cls = request.cls;
  lease.allocation = std::move(request.allocation);
  lease.bundle = request.bundle;
  lease.granted_ms = out_.now_ms();
  lease.retriable = request.retriable;
  lease.task_name = std::move(request.task_name);
  worker.lease = std::move(lease);
  worker.sees_gpus = wants_gpus(*request.cls);
  worker.actor = request.actor;
  track(worker);
  if (!request.actor.is_nil()) {
    set_state(worker, WorkerState::kActor);
    worker.incarnation = request.incarnation;
    actor_workers_[worker.actor] = worker.id;
    out_.start_actor(worker);
    return;
  }
  set_state(worker, WorkerState::kLeased);
  held_[request.holder].insert(worker.lease->id);
  reclaim_due_ = true;
  out_.grant({request.holder, request.call_id, worker.lease->id, worker.id, worker.endpoint, &worker.lease->allocation,
              request.cls->pg, request.bundle});
}

Core::Group* Core::group_of(const SchedClass& cls) {
  const auto at = groups_.find(cls.pg);
  return at == groups_.end() ? nullptr : &at->second;
}

void Core::track(const Worker& worker) {
  const Lease& lease = *worker.lease;
  leases_[lease.id] = worker.id;
  Group* group = group_of(*lease.cls);
  if (group) group->leases[lease.id] = worker.id;
  if (worker.actor.is_nil()) (group ? group->unasked : unasked_)[lease.id] = worker.id;
}

void Core::untrack(const Lease& lease) {
  leases_.erase(lease.id);
  unasked_.erase(lease.id);
  reclaiming_ -= lease.reclaim_asked;
  if (Group* group = group_of(*lease.cls)) {
    group->leases.erase(lease.id);
    group->unasked.erase(lease.id);
  }
}

// Forgets a request wherever it is.
void Core::drop(Requests::iterator request) {
  unindex(*request);
  const ClassPtr cls = request->cls;
  if (request->line != nullptr) {
    LeaseQueue& queue = request->parked ? parked_ : queue_of(*cls);
    queue.take(request);
    return;
  }
  if (Group* group = group_of(*cls)) --group->waiting;
  give_back(*cls, request->bundle, request->allocation);
  family(cls->job, cls->runtime_env).waiting.erase(request);
}

void Core::deny(Requests::iterator request, FailureKind failure, const std::string& message) {
  const WorkerId holder = request->holder;
  const uint32_t call_id = request->call_id;
  const ActorId actor = request->actor;
  drop(request);
  if (actor.is_nil()) {
    out_.deny(holder, call_id, LeaseStatus::Failed, failure, message);
    return;
  }
  wire::DeathCause cause = wire::DeathCause::Unschedulable;
  if (failure == FailureKind::PlacementGroupRemoved) cause = wire::DeathCause::PlacementGroupRemoved;
  if (failure == FailureKind::RuntimeEnv) cause = wire::DeathCause::RuntimeEnv;
  out_.actor_unplaceable(actor, cause, message);
}

void Core::cancel_lease(const WorkerId& holder, uint32_t call_id) {
  if (!is_known(holder, call_id)) return;  // granted meanwhile: the grant is the answer
  drop(requests_.at(holder).at(call_id));
  out_.deny(holder, call_id, LeaseStatus::Cancelled, FailureKind::None, "");
}

// ---- returns -----------------------------------------------------------------------------------------------

void Core::return_lease(const WorkerId& holder, uint64_t lease, bool worker_failed, bool worker_exiting) {
  const auto at = leases_.find(lease);
  if (at == leases_.end()) return;
  Worker& worker = workers_.at(at->second);
  if (worker.lease->holder != holder) return;
  release(worker);
  if (worker.state == WorkerState::kLeaving) return;
  if (worker_failed)
    kill(worker, "its connection to the program that used it broke");
  else if (worker_exiting)
    set_state(worker, WorkerState::kLeaving);
  else
    make_idle(worker);
}

// Ends a worker's lease: what it holds goes back, exactly once.
void Core::release(Worker& worker) {
  if (!worker.lease) return;
  out_.lease_ended(worker);
  Lease lease = std::move(*worker.lease);
  worker.lease.reset();
  untrack(lease);
  if (const auto at = held_.find(lease.holder); at != held_.end()) {
    at->second.erase(lease.id);
    if (at->second.empty()) held_.erase(at);
  }
  if (ResourcePool* pool = pool_of(*lease.cls, lease.bundle); pool && worker.blocked) {
    pool->take_back(worker.lent);
    count_held(*lease.cls, worker.lent, {});
  }
  worker.blocked = false;
  worker.lent = {};
  give_back(*lease.cls, lease.bundle, lease.allocation);
}

void Core::on_blocked(const WorkerId& id) {
  Worker* worker = get(id);
  if (!worker || !worker->lease || worker->blocked) return;
  ResourcePool* pool = pool_of(*worker->lease->cls, worker->lease->bundle);
  if (pool == nullptr) return;
  worker->blocked = true;
  worker->lent = {};
  worker->lent.set("CPU", worker->lease->allocation.amounts.get("CPU"));
  if (worker->lent.empty()) return;
  pool->lend(worker->lent);
  count_held(*worker->lease->cls, {}, worker->lent);
  reclaim_due_ = true;
  if (worker->lease->cls->pg.is_nil())
    dirty_ = freed_ = true;
  else
    dirty_groups_.insert(worker->lease->cls->pg);
}

void Core::on_unblocked(const WorkerId& id) {
  Worker* worker = get(id);
  if (!worker || !worker->lease || !worker->blocked) return;
  worker->blocked = false;
  if (ResourcePool* pool = pool_of(*worker->lease->cls, worker->lease->bundle)) {
    pool->take_back(worker->lent);
    count_held(*worker->lease->cls, worker->lent, {});
  }
  worker->lent = {};
}

void Core::on_holder_gone(const WorkerId& holder) {
  if (const auto calls = requests_.find(holder); calls != requests_.end()) {
    while (!calls->second.empty()) drop(calls->second.begin()->second);
    requests_.erase(calls);
  }
  const auto at = held_.find(holder);
  if (at == held_.end()) return;
  const std::set<uint64_t> leases = at->second;
  for (const uint64_t lease : leases) {
    Worker& worker = workers_.at(leases_.at(lease));
    release(worker);
    kill(worker, "the program that used it (" + holder.hex().substr(0, 8) + ") is gone");
  }
}

std::vector<uint32_t> Core::reconcile(const WorkerId& holder, const std::set<uint64_t>& held,
                                      const std::vector<uint32_t>& calls) {
  std::vector<Requests::iterator> given_up;
  if (const auto at = requests_.find(holder); at != requests_.end())
    for (const auto& [call_id, request] : at->second)
      if (std::find(calls.begin(), calls.end(), call_id) == calls.end()) given_up.push_back(request);
  for (const Requests::iterator request : given_up) drop(request);
  const auto at = held_.find(holder);
  for (const uint64_t lease : at == held_.end() ? std::set<uint64_t>() : std::set<uint64_t>(at->second)) {
    Worker& worker = workers_.at(leases_.at(lease));
    if (held.contains(lease)) {
      if (worker.lease->reclaim_asked) out_.reclaim(holder, lease);
      continue;
    }
    release(worker);  // it may still run something, and others may need what it owns: it takes its leave
    if (worker.state != WorkerState::kLeaving) leave(worker, "the program that used it has lost its lease");
  }
  std::vector<uint32_t> unknown;
  for (const uint32_t call_id : calls)
    if (!is_known(holder, call_id)) unknown.push_back(call_id);
  return unknown;
}

// ---- serving -----------------------------------------------------------------------------------------------

bool Core::take_freed() { return std::exchange(freed_, false); }

void Core::settle() {
  const auto serve = [this](LeaseQueue& queue) {
    queue.serve(
        ++pass_, [this](Request& request) { return try_allocate(request); },
        [this](Requests request) { accept(std::move(request)); });
  };
  if (std::exchange(dirty_, false)) {
    serve(queue_);
    if (ageing_.has_turn() && age()) serve(queue_);
  }
  const std::unordered_set<PgId> groups = std::exchange(dirty_groups_, {});
  for (const PgId& id : groups)
    if (const auto at = groups_.find(id); at != groups_.end()) serve(at->second.queue);
  start_workers();
  if (std::exchange(reclaim_due_, false)) reclaim();
}

// What tasks hold of the node's pool comes back by itself; what actors hold may stay for ever.
ResourceSet Core::held_by_tasks() const {
  ResourceSet held;
  for (const auto& [id, worker] : workers_) {
    if (!worker.lease || !worker.actor.is_nil() || !worker.lease->cls->pg.is_nil()) continue;
    held.add(worker.lease->allocation.amounts);
    held.subtract(worker.lent);
  }
  return held;
}

const Request* Core::oldest_to_help() const {
  const Request* oldest = nullptr;
  ResourceSet reachable;
  for (const HolderLines& holder : queue_.holders())
    for (const ClassLine& line : holder.lines) {
      const Request& first = line.requests.front();
      if (oldest != nullptr && oldest->asked_ms <= first.asked_ms) continue;
      if (over_cap(*line.cls)) continue;
      if (out_.now_ms() - first.asked_ms < Ageing::kPatienceMs) continue;
      if (reachable.empty()) {
        reachable = held_by_tasks();
        reachable.add(pool_.available());
      }
      if (reachable.contains(line.cls->fit)) oldest = &first;
    }
  return oldest;
}

// Gives the request that has waited longest its turn. True when others may take more than before.
bool Core::age() { return ageing_.update(oldest_to_help(), out_.now_ms()); }

// Something became possible that was not: parked requests go back to their queues.
void Core::unpark() {
  LeaseQueue parked = std::move(parked_);
  parked_ = LeaseQueue();
  while (!parked.empty()) {
    Requests one = parked.take(found(parked.holders().front().lines.front().requests.front()));
    unindex(one.front());
    enqueue(std::move(one.front()));
  }
  dirty_ = true;
}

// ---- explaining --------------------------------------------------------------------------------------------

std::string Core::why_infeasible(const SchedClass& cls) const {
  const ResourcePool* pool = any_pool_of(cls);
  if (pool == nullptr) return "there is no such bundle";
  if (cls.pg.is_nil() && !cls.strategy.allows(config_.labels)) return "no node has the labels it must have";
  std::string_view name = pool->total().lacking(cls.fit);
  if (name.empty()) return "its devices are too small for it";
  return std::string(name) + ": " + sched::amount_text(cls.fit.get(name)) + " asked for, " +
         sched::amount_text(pool->total().on_hand(name)) + " in all";
}

const ResourcePool* Core::any_pool_of(const SchedClass& cls) const {
  if (cls.pg.is_nil()) return &pool_;
  const auto group = groups_.find(cls.pg);
  if (group == groups_.end()) return nullptr;
  for (const auto& [index, bundle] : group->second.bundles)
    if (cls.bundle < 0 || cls.bundle == index) return &bundle.pool;
  return nullptr;
}

void Core::explain_infeasible(const Request& request) {
  const SchedClass& cls = *request.cls;
  const std::string shape = class_text(cls);
  if (!explained_.insert(cls.job.hex() + shape).second) return;
  const std::string what = request.actor.is_nil() ? "Task " : "Actor ";
  out_.notice(cls.job, "infeasible",
              what + "'" + request.task_name + "' needs " + shape + " and cannot run in this cluster as it is (" +
                  why_infeasible(cls) + "). It waits. Ask for less, or add a node or resources that fit it.");
}

void Core::for_each_request(const std::function<void(const Request&)>& use) const {
  const auto visit = [&use](const LeaseQueue& queue) {
    for (const HolderLines& holder : queue.holders())
      for (const ClassLine& line : holder.lines)
        for (const Request& request : line.requests) use(request);
  };
  visit(queue_);
  visit(parked_);
  for (const auto& [id, group] : groups_) visit(group.queue);
  for (const auto& [key, family] : families_)
    for (const Request& request : family.waiting) use(request);
}

std::vector<Demand> Core::demand() const {
  std::unordered_map<const SchedClass*, Demand> rows;
  const auto collect = [&](const LeaseQueue& queue, bool infeasible) {
    for (const HolderLines& holder : queue.holders())
      for (const ClassLine& line : holder.lines) {
        Demand& row = rows.try_emplace(line.cls.get(), Demand{line.cls.get(), 0, infeasible, ""}).first->second;
        row.count += line.requests.size();
        const ResourcePool* pool = any_pool_of(*line.cls);
        if (pool) row.lacking = (infeasible ? pool->total() : pool->available()).lacking(line.cls->fit);
      }
  };
  collect(queue_, false);
  collect(parked_, true);
  for (const auto& [id, group] : groups_) collect(group.queue, false);
  std::vector<Demand> out;
  for (const auto& [cls, row] : rows) out.push_back(row);
  return out;
}

}  // namespace narke::node
