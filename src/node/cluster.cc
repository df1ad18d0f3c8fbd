#include "node/cluster.h"

#include <algorithm>

#include "node/wire.h"

namespace narke::node {

using controller::Actor;
using controller::GroupState;
using controller::PlacementGroup;
using Kind = wire::ActorNewsKind;

Cluster::Cluster(NodeConfig config, controller::Node self, bool is_head, ClusterOut& out)
    : out_(out), core_(std::move(config), *this), controller_(*this), is_head_(is_head) {
  self.id = core_.config().node;
  self.labels = core_.config().labels;
  self.pool = &core_.pool();
  self.head = is_head;
  controller_.nodes.add(std::move(self));
}

// ---- jobs --------------------------------------------------------------------------------------------------

const controller::Job& Cluster::start_job(const WorkerId& driver, const NodeId& node, int pid, std::string config) {
  const controller::Job& job = controller_.start_job(driver, node, pid, std::move(config));
  cap(job);
  if (node == self() && wants_prestart(job)) core_.prestart(job.id);
  return job;
}

void Cluster::finish_job(const JobId& id, const std::string& why) {
  const controller::Job* job = controller_.jobs.find(id);
  if (job == nullptr || !job->running) return;
  const WorkerId driver = job->driver;
  if (is_head_)
    controller_.finish_job(id, why);
  else
    controller_.jobs.finish(id, out_.now_ms());
  core_.end_job(id);
  on_program_gone(driver);
}

void Cluster::copy_job(controller::Job job) {
  const JobId id = job.id;
  const bool here = job.node == self(), running = job.running;
  const controller::Job* known = controller_.jobs.find(id);
  if (known != nullptr && known->running && !running) return finish_job(id, "has left");
  if (known != nullptr) return;
  controller_.jobs.copy(std::move(job));
  if (running) cap(*controller_.jobs.find(id));
  if (here && running && wants_prestart(*controller_.jobs.find(id))) core_.prestart(id);
}

// ---- caps --------------------------------------------------------------------------------------------------

void Cluster::cap(const controller::Job& job) {
  if (ResourceSet most = cap_of(job); !most.empty()) core_.cap_job(job.id, std::move(most));
}

std::vector<std::pair<JobId, ResourceSet>> Cluster::shares_here() const {
  std::vector<std::pair<JobId, ResourceSet>> out;
  for (const auto& [number, job] : controller_.jobs.all())
    if (const ResourceSet* held = core_.held_here(job.id)) out.emplace_back(job.id, *held);
  return out;
}

void Cluster::on_shares(const std::map<JobId, ResourceSet>& elsewhere) {
  elsewhere_ = elsewhere;
  for (const auto& [number, job] : controller_.jobs.all()) over_cap(job.id, {});  // reckons anew what is held elsewhere
}

// What this node's own programs have asked for elsewhere may not have come to the head's ears yet.
bool Cluster::over_cap(const JobId& job, const ResourceSet& more) {
  if (!core_.has_cap(job)) return false;
  ResourceSet own, known = elsewhere_[job];
  for (const auto& [call, forwarded] : forwarded_)
    if (forwarded.request.job == job && forwarded.request.pg.is_nil()) own.add(forwarded.request.resources);
  for (const auto& [id, lease] : remote_leases_)
    if (lease.job == job) own.add(lease.resources);
  for (const ResourceSet::Entry& entry : own.entries())
    known.set(entry.name, std::max(entry.amount, known.get(entry.name)));
  core_.set_held_elsewhere(job, std::move(known));
  return core_.over_cap(job, more);
}

// ---- leases ------------------------------------------------------------------------------------------------

const PlacementGroup* Cluster::group(const PgId& id) const {
  if (is_head_) return controller_.groups.find(id);
  const auto at = groups_.find(id);
  return at == groups_.end() ? nullptr : &at->second;
}

void Cluster::request_lease(LeaseRequest request) {
  if (!request.pg.is_nil()) return route_in_group(std::move(request));
  if (controller_.nodes.all().size() == 1) return core_.request_lease(std::move(request));
  if (over_cap(request.job, request.resources)) return core_.request_lease(std::move(request));  // it waits here
  if (serve_near_data(request)) return;
  const sched::Choice choice = controller_.nodes.choose(request.resources, request.strategy, self());
  if (choice.kind == sched::Choice::Kind::kInfeasible) return core_.request_lease(std::move(request));
  const bool now = choice.kind == sched::Choice::Kind::kNode;
  // What must wait waits at home if it can run there at all; it leaves when another has room (spill).
  if (!now && may_wait_here(request)) return core_.request_lease(std::move(request));
  const NodeId node = controller_.nodes.all()[choice.node].id;
  if (node == self()) return core_.request_lease(std::move(request));
  forward(node, std::move(request), !now);
}

// A request for one other node waits there, while that can ever serve it: here it would be refused, or run.
bool Cluster::may_wait_here(const LeaseRequest& request) const {
  if (!core_.could_serve(request)) return false;
  if (request.strategy.kind != sched::Strategy::Kind::kAffinity || request.strategy.node == self()) return true;
  const controller::Node* wanted = controller_.nodes.find(request.strategy.node);
  return wanted == nullptr || wanted->is_draining() || !wanted->pool->feasible(request.resources);
}

// Where its data is, when there is room: to move the task is cheaper than to move them. False: not now.
bool Cluster::serve_near_data(LeaseRequest& request) {
  const controller::Node* node = request.near.is_nil() || request.strategy.kind != sched::Strategy::Kind::kHybrid
                                     ? nullptr
                                     : controller_.nodes.find(request.near);
  if (node == nullptr || node->is_draining() || !node->pool->fits(request.resources)) return false;
  if (node->id == self())
    core_.request_lease(std::move(request));
  else
    forward(node->id, std::move(request), false);
  return true;
}

void Cluster::route_in_group(LeaseRequest request) {
  const PlacementGroup* found = group(request.pg);
  if (found == nullptr && is_head_) return core_.request_lease(std::move(request));  // is refused there
  if (found == nullptr || found->state == GroupState::kPending) {
    std::map<CallKey, LeaseRequest>& waiting = for_group_[request.pg];
    if (found == nullptr && waiting.empty()) out_.send_watch_group(request.pg);
    waiting.try_emplace({request.holder, request.call_id}, std::move(request));
    return;
  }
  if (found->state == GroupState::kRemoved) {
    out_.deny(request.holder, request.call_id, wire::LeaseStatus::Failed, wire::FailureKind::PlacementGroupRemoved,
              "Its placement group " + request.pg.hex() + " was removed. Create a new group and submit again.");
    return;
  }
  const size_t count = found->nodes.size();
  const size_t index =
      request.bundle >= 0 ? std::min(static_cast<size_t>(request.bundle), count - 1) : group_cursor_++ % count;
  const NodeId node = found->nodes[index];
  if (node == self())
    core_.request_lease(std::move(request));
  else
    forward(node, std::move(request), true);
}

void Cluster::forward(const NodeId& node, LeaseRequest request, bool stay) {
  if (request.pg.is_nil()) controller_.nodes.charge(node, request.resources);
  const CallKey key{request.holder, request.call_id};
  Forwarded made{std::move(request), node, stay, out_.now_ms() + kAskAgainMs, kAskAgainMs};
  const Forwarded& kept = forwarded_.insert_or_assign(key, std::move(made)).first->second;
  over_cap(kept.request.job, {});
  out_.send_lease_request(node, kept.request, stay);
}

bool Cluster::serve_lease(LeaseRequest request, bool stay) {
  if (core_.is_known(request.holder, request.call_id)) return true;  // it is asked again
  if (!stay && !core_.could_grant(request)) return false;
  if (core_.is_draining() && request.pg.is_nil()) return false;
  if (!request.pg.is_nil() && !group_exists(request.pg)) return false;  // it may have moved
  guests_.insert(request.holder);
  core_.request_lease(std::move(request));
  return true;
}

bool Cluster::on_lease_answer(const NodeId& node, const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status,
                              uint64_t lease) {
  const auto at = forwarded_.find({holder, call_id});
  if (at == forwarded_.end() || at->second.node != node) {  // asked twice, or elsewhere meanwhile
    if (status == wire::LeaseStatus::Granted) out_.send_return_lease(node, holder, lease, false, false);
    return false;
  }
  LeaseRequest request = std::move(at->second.request);
  forwarded_.erase(at);
  if (status == wire::LeaseStatus::Granted)
    remote_leases_[lease] = {node, holder, request.job, request.pg.is_nil() ? request.resources : ResourceSet()};
  if (status != wire::LeaseStatus::Bounced) return true;
  if (!request.pg.is_nil()) {
    wait_for_moved_group(std::move(request));
    return false;
  }
  const controller::Node* asked = controller_.nodes.find(node);
  if (may_wait_here(request))
    core_.request_lease(std::move(request));
  else if (asked != nullptr && asked->is_draining())
    request_lease(std::move(request));
  else
    forward(node, std::move(request), true);
  return false;
}

void Cluster::cancel_lease(const WorkerId& holder, uint32_t call_id) {
  if (const auto at = forwarded_.find({holder, call_id}); at != forwarded_.end()) {
    out_.send_cancel_lease(at->second.node, holder, call_id);
    return;
  }
  for (auto& [id, waiting] : for_group_) {
    if (waiting.erase({holder, call_id}) == 0) continue;
    out_.deny(holder, call_id, wire::LeaseStatus::Cancelled, wire::FailureKind::None, "");
    return;
  }
  core_.cancel_lease(holder, call_id);
}

void Cluster::return_lease(const WorkerId& holder, uint64_t lease, bool worker_failed, bool worker_exiting) {
  const auto at = remote_leases_.find(lease);
  if (at == remote_leases_.end()) return core_.return_lease(holder, lease, worker_failed, worker_exiting);
  if (at->second.holder != holder) return;
  out_.send_return_lease(at->second.node, holder, lease, worker_failed, worker_exiting);
  remote_leases_.erase(at);
}

// The other nodes hear of it from the head.
void Cluster::on_program_gone(const WorkerId& program) {
  const auto begin = forwarded_.lower_bound({program, 0});
  auto end = begin;
  while (end != forwarded_.end() && end->first.first == program) ++end;
  forwarded_.erase(begin, end);
  std::erase_if(remote_leases_, [&](const auto& entry) { return entry.second.holder == program; });
  for (auto& [id, waiting] : for_group_)
    std::erase_if(waiting, [&](const auto& entry) { return entry.first.first == program; });
  core_.on_holder_gone(program);
  guests_.erase(program);
  creators_.erase(program);
}

static LeaseRequest asked_again(const Request& waiting) {
  LeaseRequest request;
  request.holder = waiting.holder;
  request.call_id = waiting.call_id;
  request.job = waiting.cls->job;
  request.resources = waiting.cls->fit;
  request.runtime_env = waiting.cls->runtime_env;
  request.strategy = waiting.cls->strategy;
  request.retriable = waiting.retriable;
  request.task_name = waiting.task_name;
  return request;
}

// A request that waits here goes where there is room now.
bool Cluster::spill_one(const Request& waiting) {
  const SchedClass& cls = *waiting.cls;
  if (!waiting.actor.is_nil() || !cls.pg.is_nil() || guests_.contains(waiting.holder)) return false;
  const bool prefers_here = cls.strategy.kind == sched::Strategy::Kind::kAffinity && cls.strategy.node == self();
  if (prefers_here && !(cls.strategy.soft && waiting.parked)) return false;
  if (over_cap(cls.job, cls.held)) return false;
  const sched::Choice choice = controller_.nodes.choose(cls.fit, cls.strategy, self());
  if (choice.kind == sched::Choice::Kind::kInfeasible) return false;
  const NodeId node = controller_.nodes.all()[choice.node].id;
  const bool now = choice.kind == sched::Choice::Kind::kNode;
  if (node == self() || (!now && !waiting.parked)) return false;
  forward(node, asked_again(waiting), !now);
  return true;
}

void Cluster::spill() {
  if (controller_.nodes.all().size() > 1)
    core_.take_waiting([this](const Request& request) { return spill_one(request); });
}

// ---- nodes -------------------------------------------------------------------------------------------------

void Cluster::add_node(controller::Node node) {
  if (node.id == self()) return;
  controller_.add_node(std::move(node));
  view_changed_ = true;
}

void Cluster::on_pool_report(const NodeId& node, ResourceSet total, ResourceSet available) {
  controller_.nodes.set_pool(node, std::move(total), std::move(available));
  if (is_head_ && controller_.groups.any_pending()) controller_.groups.retry();
  view_changed_ = true;
}

void Cluster::on_node_gone(const NodeId& node, const std::string& why) {
  controller_.on_node_gone(node, why);
  std::erase_if(remote_leases_, [&](const auto& entry) { return entry.second.node == node; });
  std::vector<LeaseRequest> again;
  std::erase_if(forwarded_, [&](auto& entry) {
    if (entry.second.node != node) return false;
    again.push_back(std::move(entry.second.request));
    return true;
  });
  for (LeaseRequest& request : again) request_lease(std::move(request));
  refuse_bound_to(node);
}

void Cluster::drain_node(const NodeId& node, controller::Drain drain) {
  if (is_head_) {
    NARKE_CHECK(node != self());
    controller_.drain_node(node, std::move(drain));
  } else {
    controller_.nodes.drain(node, std::move(drain));
  }
  if (node == self()) {
    core_.drain();
    give_up_requests();
  }
  refuse_bound_to(node);
  view_changed_ = true;
}

// What waits here for other nodes' programs is theirs again; what waits for this node's own goes where it can.
void Cluster::give_up_requests() {
  std::vector<LeaseRequest> own;
  core_.take_waiting([&](const Request& waiting) {
    if (!waiting.actor.is_nil() || !waiting.cls->pg.is_nil()) return false;
    if (guests_.contains(waiting.holder))
      out_.deny(waiting.holder, waiting.call_id, wire::LeaseStatus::Bounced, wire::FailureKind::None, "");
    else
      own.push_back(asked_again(waiting));
    return true;
  });
  for (LeaseRequest& request : own) request_lease(std::move(request));
}

// They would wait for ever.
void Cluster::refuse_bound_to(const NodeId& node) {
  std::vector<LeaseRequest> bound;
  do {
    bound.clear();
    core_.take_waiting([&](const Request& waiting) {
      const sched::Strategy& strategy = waiting.cls->strategy;
      if (!waiting.actor.is_nil() || !strategy.is_bound() || strategy.node != node) return false;
      bound.push_back(asked_again(waiting));
      return true;
    });
    for (LeaseRequest& request : bound) core_.request_lease(std::move(request));
  } while (!bound.empty());
}

// ---- from the head -----------------------------------------------------------------------------------------

static ActorRequest request_of(const Actor& actor) {
  ActorRequest request;
  request.actor = actor.spec.id;
  request.incarnation = actor.incarnation;
  request.owner = actor.spec.owner.worker;
  request.job = actor.spec.job;
  request.placement = actor.spec.placement;
  request.running = actor.spec.running;
  request.runtime_env = actor.spec.runtime_env;
  request.pg = actor.spec.pg;
  request.bundle = actor.spec.bundle;
  request.strategy = actor.spec.strategy;
  request.class_name = actor.spec.class_name;
  return request;
}

void Cluster::place_actor(Actor actor) {
  ActorRequest request = request_of(actor);
  placed_.insert_or_assign(actor.spec.id, std::move(actor));
  core_.place_actor(std::move(request));
}

void Cluster::on_group_news(PlacementGroup news) {
  PlacementGroup& known = groups_[news.id];
  known = std::move(news);
  release_waiting(known);
  if (known.state == GroupState::kRemoved) groups_.erase(known.id);  // who asks again hears it again
}

void Cluster::release_waiting(const PlacementGroup& group) {
  if (group.state == GroupState::kPending) return;
  const auto at = for_group_.find(group.id);
  if (at == for_group_.end()) return;
  std::map<CallKey, LeaseRequest> waiting = std::move(at->second);
  for_group_.erase(at);
  for (auto& [call, request] : waiting) route_in_group(std::move(request));
}

void Cluster::on_actor_news(const ActorNews& news) {
  controller::Actors& actors = controller_.actors;
  switch (news.kind) {
    case Kind::Started: return actors.on_started(news.actor, news.incarnation, news.address, news.pid);
    case Kind::InitFailed: return actors.on_init_failed(news.actor, news.incarnation, news.error);
    case Kind::Gone: return actors.on_gone(news.actor, news.incarnation, news.fate);
    case Kind::Unplaceable: return actors.on_unplaceable(news.actor, news.cause, news.message);
  }
}

// ---- upkeep ------------------------------------------------------------------------------------------------

void Cluster::settle() {
  do {
    while (!pending_.empty()) {
      const std::function<void()> next = std::move(pending_.front());
      pending_.pop_front();
      next();
    }
    // Waiting placement groups go before waiting leases: they need several things at once.
    if (core_.take_freed() && controller_.groups.any_pending()) controller_.groups.retry();
    core_.set_groups_waiting(controller_.groups.pending().size());
    core_.settle();
    if (std::exchange(view_changed_, false)) spill();
  } while (!pending_.empty());
}

void Cluster::tick() {
  core_.tick();
  if (core_.is_draining()) give_up_requests();
  if (is_head_) controller_.retry();
  controller_.nodes.forget_charges();
  look_for_moved_groups();
  ask_again();
  spill();
}

// ---- controller to node ------------------------------------------------------------------------------------

void Cluster::place_actor(const NodeId& node, const Actor& actor) {
  if (node != self()) return out_.send_place_actor(node, actor);
  pending_.push_back([this, request = request_of(actor)]() mutable { core_.place_actor(std::move(request)); });
}

void Cluster::end_actor(const NodeId& node, const ActorId& actor, controller::EndKind kind) {
  if (node != self()) return out_.send_end_actor(node, actor, kind);
  pending_.push_back([this, actor, kind] { core_.end_actor(actor, kind); });
}

static std::vector<std::pair<int, ResourceSet>> bundles_of(const PlacementGroup& group,
                                                           const std::vector<size_t>& which) {
  std::vector<std::pair<int, ResourceSet>> out;
  for (const size_t index : which) out.emplace_back(static_cast<int>(index), group.bundles[index]);
  return out;
}

void Cluster::reserve(const NodeId& node, const PlacementGroup& group, const std::vector<size_t>& which) {
  if (node != self()) return out_.send_reserve(node, group, which);
  const bool ok = core_.reserve(group.id, bundles_of(group, which));
  pending_.push_back(
      [this, id = group.id, attempt = group.attempt, ok] { controller_.on_reserved(id, self(), attempt, ok); });
}

void Cluster::unreserve(const NodeId& node, const PlacementGroup& group, const std::vector<size_t>& which) {
  if (node != self()) return out_.send_unreserve(node, group.id, which);
  core_.unreserve(group.id, {which.begin(), which.end()});
}

void Cluster::group_changed(const PlacementGroup& group) {
  out_.group_changed(group);
  pending_.push_back([this, id = group.id] {
    if (const PlacementGroup* now = controller_.groups.find(id)) release_waiting(*now);
  });
}

// ---- node to controller ------------------------------------------------------------------------------------

void Cluster::tell(ActorNews news) {
  if (is_head_)
    pending_.push_back([this, news = std::move(news)] { on_actor_news(news); });
  else
    out_.send_actor_news(news);
}

void Cluster::start_actor(const Worker& worker) {
  const Actor* actor = nullptr;
  if (is_head_)
    actor = controller_.actors.find(worker.actor);
  else if (const auto at = placed_.find(worker.actor); at != placed_.end())
    actor = &at->second;
  const bool wanted = actor && actor->frame && actor->incarnation == worker.incarnation;
  if (wanted)
    out_.start_actor(worker, *actor);
  else
    pending_.push_back([this, id = worker.actor] { core_.end_actor(id, wire::EndKind::AtOnce); });  // it died meanwhile
}

void Cluster::actor_started(const Worker& worker) {
  ActorNews news;
  news.actor = worker.actor;
  news.incarnation = worker.incarnation;
  news.address = {worker.id, self(), worker.endpoint};
  news.pid = worker.pid;
  placed_.erase(worker.actor);
  tell(std::move(news));
}

void Cluster::actor_init_failed(const Worker& worker, std::vector<uint8_t> error) {
  ActorNews news;
  news.kind = Kind::InitFailed;
  news.actor = worker.actor;
  news.incarnation = worker.incarnation;
  news.error = std::move(error);
  placed_.erase(worker.actor);
  tell(std::move(news));
}

void Cluster::actor_gone(const ActorId& actor, int incarnation, const Fate& fate) {
  ActorNews news;
  news.kind = Kind::Gone;
  news.actor = actor;
  news.incarnation = incarnation;
  news.fate = fate;
  if (const auto at = placed_.find(actor); at != placed_.end() && at->second.incarnation <= incarnation)
    placed_.erase(at);
  tell(std::move(news));
}

void Cluster::actor_unplaceable(const ActorId& actor, wire::DeathCause cause, const std::string& message) {
  ActorNews news;
  news.kind = Kind::Unplaceable;
  news.actor = actor;
  news.cause = cause;
  news.message = message;
  placed_.erase(actor);
  tell(std::move(news));
}

void Cluster::worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) {
  out_.worker_gone(worker, job, fate);
  pending_.push_back([this, worker] { on_program_gone(worker); });
  if (is_head_)
    pending_.push_back([this, worker, message = fate.message] { controller_.on_worker_gone(worker, message); });
}

bool Cluster::group_exists(const PgId& id) {
  if (!is_head_) return core_.has_group(id);
  const PlacementGroup* group = controller_.groups.find(id);
  return group != nullptr && group->state != GroupState::kRemoved;
}

// What a worker of another node's controller owns is known to the head alone: it is taken to own something.
bool Cluster::owns_actors(const WorkerId& worker) {
  return is_head_ ? controller_.actors.owns_living(worker) : creators_.contains(worker);
}

}  // namespace narke::node
