// A cluster of one host: the controller's core and one node's core, joined.
//
// Each core's instructions to the other are queued and carried out in settle(), so neither is ever entered while
// it runs. With more hosts the same instructions become frames. One owner, one call at a time; every stimulus to
// either core is followed by settle().
#pragma once

#include <deque>
#include <functional>
#include <string>

#include "controller/controller.h"
#include "node/core.h"

namespace narke::node {

// What the cluster asks of the outside: of programs and of processes. Calls do not come back into the cluster.
class ClusterOut {
 public:
  virtual ~ClusterOut() = default;
  virtual int64_t now_ms() = 0;
  virtual WorkerId new_worker_id() = 0;

  virtual void grant(const Grant& grant) = 0;
  virtual void deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind failure,
                    const std::string& message) = 0;
  virtual void reclaim(const WorkerId& holder, uint64_t lease) = 0;
  virtual void notice(const JobId& job, const std::string& kind, const std::string& text) = 0;
  virtual void actor_changed(const WorkerId& watcher, const controller::Actor& actor) = 0;
  virtual void group_changed(const controller::PlacementGroup& group) = 0;

  virtual void start_worker(const Worker& worker) = 0;
  virtual void stop_worker(const Worker& worker, StopKind kind, const std::string& reason) = 0;
  virtual void start_actor(const Worker& worker, const controller::Actor& actor) = 0;
  virtual void lease_ended(const Worker& worker) = 0;
  virtual void worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) = 0;
};

class Cluster : private controller::Out, private node::Out {
 public:
  Cluster(NodeConfig config, const std::string& address, const std::string& hostname, ClusterOut& out);

  controller::Controller& controller() { return controller_; }
  const controller::Controller& controller() const { return controller_; }
  Core& core() { return core_; }
  const Core& core() const { return core_; }

  // A driver has come or gone.
  const controller::Job& start_job(const WorkerId& driver, int pid, std::string config);
  void finish_job(const JobId& job, const std::string& why);

  // Carries out what the last stimuli caused.
  void settle();

 private:
  int64_t now_ms() override { return out_.now_ms(); }

  // controller::Out
  void place_actor(const NodeId& node, const controller::Actor& actor) override;
  void end_actor(const NodeId& node, const ActorId& actor, controller::EndKind kind) override;
  bool reserve(const NodeId& node, const controller::PlacementGroup& group, const std::vector<size_t>& which) override;
  void unreserve(const NodeId& node, const controller::PlacementGroup& group) override;
  void actor_changed(const WorkerId& watcher, const controller::Actor& actor) override {
    out_.actor_changed(watcher, actor);
  }
  void group_changed(const controller::PlacementGroup& group) override { out_.group_changed(group); }

  // node::Out
  WorkerId new_worker_id() override { return out_.new_worker_id(); }
  void grant(const Grant& grant) override { out_.grant(grant); }
  void deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind failure,
            const std::string& message) override {
    out_.deny(holder, call_id, status, failure, message);
  }
  void reclaim(const WorkerId& holder, uint64_t lease) override { out_.reclaim(holder, lease); }
  void notice(const JobId& job, const std::string& kind, const std::string& text) override {
    out_.notice(job, kind, text);
  }
  void start_worker(const Worker& worker) override { out_.start_worker(worker); }
  void stop_worker(const Worker& worker, StopKind kind, const std::string& reason) override {
    out_.stop_worker(worker, kind, reason);
  }
  void start_actor(const Worker& worker) override;
  void lease_ended(const Worker& worker) override { out_.lease_ended(worker); }
  void actor_started(const Worker& worker) override;
  void actor_init_failed(const Worker& worker, std::vector<uint8_t> error) override;
  void actor_gone(const ActorId& actor, int incarnation, const Fate& fate) override;
  void actor_unplaceable(const ActorId& actor, wire::DeathCause cause, const std::string& message) override;
  void worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) override;
  bool group_exists(const PgId& group) override;
  bool owns_actors(const WorkerId& worker) override { return controller_.actors.owns_living(worker); }

  ClusterOut& out_;
  Core core_;
  controller::Controller controller_;
  std::deque<std::function<void()>> pending_;
};

}  // namespace narke::node
