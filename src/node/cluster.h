// One node's part of the cluster: its core, what it knows of the other nodes, and, on the head, the controller.
//
// The node that begins the cluster (the head) has the controller. On the others `controller()` is only a copy of
// the head's tables of nodes and jobs; whatever concerns actors and groups goes to the head and comes from it.
// A program asks its own node for leases; where they are served is decided here, from what is known of all nodes.
// A node that cannot serve at once what another sent it gives it back (bounces), and the asker thinks again.
//
// The cores' instructions to each other are queued and carried out in settle(), so neither is ever entered while
// it runs. One owner, one call at a time; every stimulus is followed by settle().
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "controller/controller.h"
#include "journal/journal.h"
#include "node/core.h"

namespace narke::node {

// What a node tells the head of an actor placed on it.
struct ActorNews {
  wire::ActorNewsKind kind = wire::ActorNewsKind::Started;
  ActorId actor;
  int incarnation = 0;
  controller::Address address;  // Started
  int pid = 0;                  // Started
  Fate fate;                    // Gone
  wire::DeathCause cause = wire::DeathCause::None;  // Unplaceable
  std::string message;                              // Unplaceable
  std::vector<uint8_t> error;                       // InitFailed
};

// What the cluster asks of the outside: of programs, of processes, of other nodes. Calls do not come back into the
// cluster.
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
  virtual EnvironmentState environment(const JobId& job, const std::string& runtime_env) = 0;
  virtual void stop_worker(const Worker& worker, StopKind kind, const std::string& reason) = 0;
  virtual void start_actor(const Worker& worker, const controller::Actor& actor) = 0;
  virtual void lease_ended(const Worker& worker) = 0;
  virtual void worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) = 0;

  // To other nodes. The head's: to where actors and bundles are.
  virtual void send_place_actor(const NodeId& node, const controller::Actor& actor) = 0;
  virtual void send_end_actor(const NodeId& node, const ActorId& actor, wire::EndKind kind) = 0;
  virtual void send_reserve(const NodeId& node, const controller::PlacementGroup& group,
                            const std::vector<size_t>& which) = 0;
  virtual void send_unreserve(const NodeId& node, const PgId& group, const std::vector<size_t>& which) = 0;
  // Any node's: to where a program's lease is to be had. stay: it waits there.
  virtual void send_lease_request(const NodeId& node, const LeaseRequest& request, bool stay) = 0;
  virtual void send_cancel_lease(const NodeId& node, const WorkerId& holder, uint32_t call_id) = 0;
  virtual void send_return_lease(const NodeId& node, const WorkerId& holder, uint64_t lease, bool worker_failed,
                                 bool worker_exiting) = 0;
  // To the head.
  virtual void send_actor_news(const ActorNews& news) = 0;
  virtual void send_watch_group(const PgId& group) = 0;
};

// Of a cluster that is this node alone: nothing is ever sent to another.
class OneHostOut : public ClusterOut {
 private:
  EnvironmentState environment(const JobId&, const std::string&) override { return {}; }
  void send_place_actor(const NodeId&, const controller::Actor&) override { NARKE_CHECK(false); }
  void send_end_actor(const NodeId&, const ActorId&, wire::EndKind) override { NARKE_CHECK(false); }
  void send_reserve(const NodeId&, const controller::PlacementGroup&, const std::vector<size_t>&) override {
    NARKE_CHECK(false);
  }
  void send_unreserve(const NodeId&, const PgId&, const std::vector<size_t>&) override { NARKE_CHECK(false); }
  void send_lease_request(const NodeId&, const LeaseRequest&, bool) override { NARKE_CHECK(false); }
  void send_cancel_lease(const NodeId&, const WorkerId&, uint32_t) override { NARKE_CHECK(false); }
  void send_return_lease(const NodeId&, const WorkerId&, uint64_t, bool, bool) override { NARKE_CHECK(false); }
  void send_actor_news(const ActorNews&) override { NARKE_CHECK(false); }
  void send_watch_group(const PgId&) override { NARKE_CHECK(false); }
};

class Cluster : private controller::Out, private node::Out {
 public:
  // is_head: this node has the controller.
  Cluster(NodeConfig config, controller::Node self, bool is_head, ClusterOut& out);

  bool is_head() const { return is_head_; }
  controller::Controller& controller() { return controller_; }
  const controller::Controller& controller() const { return controller_; }
  Core& core() { return core_; }
  const Core& core() const { return core_; }
  int64_t now_ms() override { return out_.now_ms(); }
  const NodeId& self() const { return core_.config().node; }

  // ---- jobs. On the head: a driver has come or gone, at whatever node.
  const controller::Job& start_job(const WorkerId& driver, const NodeId& node, int pid, std::string config);
  void finish_job(const JobId& job, const std::string& why);
  // On other nodes: what the head says of one.
  void copy_job(controller::Job job);

  // What jobs with a cap hold: on this node; on the others, as the head has it.
  std::vector<std::pair<JobId, ResourceSet>> shares_here() const;
  void on_shares(const std::map<JobId, ResourceSet>& elsewhere);

  // ---- leases
  // From a program of this node.
  void request_lease(LeaseRequest request);
  // From another node for a program of its own. False: not now; it is the other's again.
  [[nodiscard]] bool serve_lease(LeaseRequest request, bool stay);
  void cancel_lease(const WorkerId& holder, uint32_t call_id);
  void return_lease(const WorkerId& holder, uint64_t lease, bool worker_failed, bool worker_exiting);
  // What the other node answered. Returns whether the program is to be told.
  [[nodiscard]] bool on_lease_answer(const NodeId& node, const WorkerId& holder, uint32_t call_id,
                                     wire::LeaseStatus status, uint64_t lease);
  // What this node's programs have at another node: leases, and requests without an answer.
  struct Ties {
    std::set<uint64_t> held;
    std::vector<uint32_t> calls;
  };
  std::map<WorkerId, Ties> ties_to(const NodeId& node) const;
  // A link between the nodes broke, and what was under way is lost: the other says what its program still counts on.
  void on_ties(const WorkerId& program, const Ties& ties);
  // A program of this or another node is gone and forgotten here.
  void on_program_gone(const WorkerId& program);
  // The program asks the head for an actor: as its owner it is needed.
  void note_creator(const WorkerId& program) { creators_.insert(program); }

  // ---- nodes
  void add_node(controller::Node node);
  void on_pool_report(const NodeId& node, ResourceSet total, ResourceSet available);
  void on_node_gone(const NodeId& node, const std::string& why);
  // Another node is to go, or this one; REQUIRES: on the head, not this one.
  void drain_node(const NodeId& node, controller::Drain drain);
  // This node has nothing left to do.
  bool is_empty() const { return core_.is_empty() && forwarded_.empty(); }

  // ---- from the head, on other nodes
  void place_actor(controller::Actor actor);
  void end_actor(const ActorId& actor, wire::EndKind kind) { core_.end_actor(actor, kind); }
  void on_group_news(controller::PlacementGroup group);
  // ---- from other nodes, on the head
  void on_actor_news(const ActorNews& news);

  // ---- what a journal keeps, on the head
  // From now on changes are noted.
  void keep_changes() { keeps_changes_ = true; }
  void note_self() { touched(controller::Table::kNodes, std::string(self().view())); }
  std::vector<journal::Change> take_changes();
  // They could not be kept: they are among the next again, as the records are then.
  void note_again(const std::vector<journal::Change>& changes);
  // A record as it is to be kept now; nothing: there is none.
  std::optional<std::string> record(controller::Table table, const std::string& key) const;
  // A record as it was kept; parse: reads the specification from a CreateActor table. False: it is not one.
  bool restore(const journal::Change& record);
  // Nodes of which the records speak; they may come back.
  const std::map<NodeId, controller::Node>& restored_nodes() const { return restored_nodes_; }
  void on_node_back(const NodeId& node, const controller::Controller::Present& present);
  void on_node_lost(const NodeId& node, const std::string& why);

  // ---- what a node has, for a head that does not know
  controller::Controller::Present present() const;
  // The groups it asked the head about.
  std::vector<PgId> watched_groups() const;

  // What is kept for programs, requests, leases and groups that are under way, in words; empty: nothing. lives: whether
  // a program has not ended.
  std::string leftovers(const std::function<bool(const WorkerId&)>& lives) const;

  // What is lent, what waits and for what, a line each, for people.
  std::string describe() const;

  // Carries out what the last stimuli caused.
  void settle();
  void tick();

 private:
  struct Forwarded {
    LeaseRequest request;
    NodeId node;
    bool stay;
    int64_t again_ms, pause_ms;  // when it is asked again, and what it then waits
  };
  static constexpr int64_t kAskAgainMs = 3'000;
  struct RemoteLease {
    NodeId node;
    WorkerId holder;
    JobId job;
    ResourceSet resources;
  };
  using CallKey = std::pair<WorkerId, uint32_t>;

  // controller::Out
  void place_actor(const NodeId& node, const controller::Actor& actor) override;
  void end_actor(const NodeId& node, const ActorId& actor, wire::EndKind kind) override;
  void reserve(const NodeId& node, const controller::PlacementGroup& group, const std::vector<size_t>& which) override;
  void unreserve(const NodeId& node, const controller::PlacementGroup& group,
                 const std::vector<size_t>& which) override;
  void actor_changed(const WorkerId& watcher, const controller::Actor& actor) override {
    out_.actor_changed(watcher, actor);
  }
  void group_changed(const controller::PlacementGroup& group) override;
  void touched(controller::Table table, const std::string& key) override {
    if (keeps_changes_) changes_.insert({table, key});
  }

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
  EnvironmentState environment(const JobId& job, const std::string& runtime_env) override {
    return out_.environment(job, runtime_env);
  }
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
  bool owns_actors(const WorkerId& worker) override;

  void tell(ActorNews news);
  const controller::PlacementGroup* group(const PgId& id) const;
  void route_in_group(LeaseRequest request);
  bool may_wait_here(const LeaseRequest& request) const;
  bool serve_near_data(LeaseRequest& request);
  void cap(const controller::Job& job);
  bool over_cap(const JobId& job, const ResourceSet& more);
  void forward(const NodeId& node, LeaseRequest request, bool stay);
  void release_waiting(const controller::PlacementGroup& group);
  void wait_for_moved_group(LeaseRequest request);
  void look_for_moved_groups();
  void ask_again();
  bool spill_one(const Request& request);
  void give_up_requests();
  void refuse_bound_to(const NodeId& node);
  void spill();

  ClusterOut& out_;
  Core core_;
  controller::Controller controller_;
  bool is_head_;
  std::deque<std::function<void()>> pending_;

  std::map<JobId, ResourceSet> elsewhere_;  // of jobs with a cap: what the head says they hold on other nodes
  std::map<CallKey, Forwarded> forwarded_;  // lease requests at other nodes
  std::unordered_map<uint64_t, RemoteLease> remote_leases_;  // of this node's programs, at other nodes
  std::unordered_map<PgId, std::map<CallKey, LeaseRequest>> for_group_;  // wait until their group stands
  std::set<PgId> moved_groups_;  // that were not where they were thought to be
  std::unordered_map<PgId, controller::PlacementGroup> groups_;  // not on the head: groups that were asked about
  std::unordered_map<ActorId, controller::Actor> placed_;  // not on the head: actors that are to start here
  std::unordered_set<WorkerId> guests_;  // programs of other nodes that have asked here
  std::unordered_set<WorkerId> creators_;  // not on the head: programs of this node that own actors
  uint64_t group_cursor_ = 0;
  bool keeps_changes_ = false;
  std::set<std::pair<controller::Table, std::string>> changes_;
  std::map<NodeId, controller::Node> restored_nodes_;
  bool view_changed_ = false;
};

}  // namespace narke::node
