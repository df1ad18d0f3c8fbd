#include "node/cluster.h"

namespace narke::node {

using controller::Actor;
using controller::PlacementGroup;

Cluster::Cluster(NodeConfig config, const std::string& address, const std::string& hostname, ClusterOut& out)
    : out_(out), core_(std::move(config), *this), controller_(*this) {
  controller_.nodes.add({core_.config().node, address, hostname, core_.config().labels, &core_.pool(), true});
}

const controller::Job& Cluster::start_job(const WorkerId& driver, int pid, std::string config) {
  const controller::Job& job = controller_.start_job(driver, pid, std::move(config));
  core_.prestart(job.id);
  return job;
}

void Cluster::finish_job(const JobId& id, const std::string& why) {
  const controller::Job* job = controller_.jobs.find(id);
  if (job == nullptr || !job->running) return;
  const WorkerId driver = job->driver;
  controller_.finish_job(id, why);
  core_.end_job(id);
  core_.on_holder_gone(driver);
}

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
  } while (!pending_.empty());
}

// ---- controller to node ------------------------------------------------------------------------------------

void Cluster::place_actor(const NodeId&, const Actor& actor) {
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
  pending_.push_back([this, request = std::move(request)]() mutable { core_.place_actor(std::move(request)); });
}

void Cluster::end_actor(const NodeId&, const ActorId& actor, controller::EndKind kind) {
  const bool graceful = kind == controller::EndKind::kGraceful;
  pending_.push_back([this, actor, graceful] { core_.end_actor(actor, graceful); });
}

bool Cluster::reserve(const NodeId&, const PlacementGroup& group, const std::vector<size_t>& which) {
  std::vector<std::pair<int, ResourceSet>> bundles;
  for (const size_t index : which) bundles.emplace_back(static_cast<int>(index), group.bundles[index]);
  return core_.reserve(group.id, bundles);
}

void Cluster::unreserve(const NodeId&, const PlacementGroup& group) { core_.unreserve(group.id); }

// ---- node to controller ------------------------------------------------------------------------------------

void Cluster::start_actor(const Worker& worker) {
  const Actor* actor = controller_.actors.find(worker.actor);
  const bool wanted = actor && actor->frame && actor->incarnation == worker.incarnation;
  if (wanted)
    out_.start_actor(worker, *actor);
  else
    pending_.push_back([this, id = worker.actor] { core_.end_actor(id, false); });  // it died meanwhile
}

void Cluster::actor_started(const Worker& worker) {
  const controller::Address address{worker.id, core_.config().node, worker.endpoint};
  pending_.push_back([this, id = worker.actor, incarnation = worker.incarnation, address, pid = worker.pid] {
    controller_.actors.on_started(id, incarnation, address, pid);
  });
}

void Cluster::actor_init_failed(const Worker& worker, std::vector<uint8_t> error) {
  pending_.push_back([this, id = worker.actor, incarnation = worker.incarnation, error = std::move(error)] {
    controller_.actors.on_init_failed(id, incarnation, error);
  });
}

void Cluster::actor_gone(const ActorId& actor, int incarnation, const Fate& fate) {
  pending_.push_back([this, actor, incarnation, fate] { controller_.actors.on_gone(actor, incarnation, fate); });
}

void Cluster::actor_unplaceable(const ActorId& actor, wire::DeathCause cause, const std::string& message) {
  pending_.push_back([this, actor, cause, message] { controller_.actors.on_unplaceable(actor, cause, message); });
}

void Cluster::worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) {
  out_.worker_gone(worker, job, fate);
  pending_.push_back([this, worker, message = fate.message] { controller_.on_worker_gone(worker, message); });
}

bool Cluster::group_exists(const PgId& id) {
  const PlacementGroup* group = controller_.groups.find(id);
  return group != nullptr && group->state != controller::GroupState::kRemoved;
}

}  // namespace narke::node
