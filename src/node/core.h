// One host: who may run what, now. Hands workers and resources to lease requests and actors.
//
// Pure: stimuli in, instructions to Out; no clock, process or socket. Mutators only note what changed; settle()
// then serves the queues, so the caller may do several things (place waiting placement groups first) in between.
// One owner calls it, one call at a time.
//
// A request's way: queued (its resources are not free) -> waiting for a worker (resources held) -> granted.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "node/ageing.h"
#include "node/lease_queue.h"
#include "node/types.h"

namespace narke::node {

struct LeaseRequest {
  WorkerId holder;
  uint32_t call_id = 0;
  JobId job;
  ResourceSet resources;
  std::string runtime_env;
  PgId pg;
  int bundle = -1;
  sched::Strategy strategy;
  bool retriable = false;
  std::string task_name;
  NodeId near;  // whose store has most of the arguments' bytes; nil: none to speak of
};

struct ActorRequest {
  ActorId actor;
  int incarnation = 0;
  WorkerId owner;
  JobId job;
  ResourceSet placement, running;
  std::string runtime_env;
  PgId pg;
  int bundle = -1;
  sched::Strategy strategy;
  std::string class_name;
};

// One row of the table of what waits for resources.
struct Demand {
  const SchedClass* cls;
  size_t count;
  bool infeasible;
  std::string lacking;  // resource of which there is not enough
};

class Core {
 public:
  Core(NodeConfig config, Out& out);

  // ---- jobs and programs
  // Begins workers for a job before anybody waits for one.
  void prestart(const JobId& job, const std::string& runtime_env = "");
  // No more workers for it, except for what its detached actors still ask.
  void end_job(const JobId& job);
  // A driver or worker is gone: its requests are forgotten, the workers it leased are ended.
  void on_holder_gone(const WorkerId& holder);

  // What the tasks and actors of a job may hold together, outside of placement groups, here and on other nodes.
  void cap_job(const JobId& job, ResourceSet most) { caps_[job].most = std::move(most); }
  // What they hold on other nodes, as far as is known.
  void set_held_elsewhere(const JobId& job, ResourceSet held);
  const ResourceSet* held_here(const JobId& job) const;  // null: the job has no cap
  bool has_cap(const JobId& job) const { return caps_.contains(job); }
  // Whether so much more would be too much.
  bool over_cap(const JobId& job, const ResourceSet& more) const;

  // ---- leases
  void request_lease(LeaseRequest request);
  void cancel_lease(const WorkerId& holder, uint32_t call_id);
  // Unknown and foreign leases are ignored: they are late news.
  void return_lease(const WorkerId& holder, uint64_t lease, bool worker_failed, bool worker_exiting);
  // The holder has lost what was said lately: of its requests and leases only these are left, and the leases that were
  // called back are called back again. Returns those of `calls` that are not known.
  std::vector<uint32_t> reconcile(const WorkerId& holder, const std::set<uint64_t>& held,
                                  const std::vector<uint32_t>& calls);
  // Whether it waits here.
  bool is_known(const WorkerId& holder, uint32_t call_id) const;
  // Whether such a request would be granted at once; whether it can run here at all, in time. Not for groups.
  bool could_grant(const LeaseRequest& request) const;
  bool could_serve(const LeaseRequest& request) const;
  // Offers the requests that wait for resources of the node, each line's in its order until one is not taken; those
  // that are taken are forgotten.
  void take_waiting(const std::function<bool(const Request&)>& take);
  void on_blocked(const WorkerId& worker);
  void on_unblocked(const WorkerId& worker);

  // ---- workers
  // False: it is not one this node has started, or not any more; the caller turns it away.
  bool on_registered(const WorkerId& worker, int pid, const std::string& endpoint);
  void on_start_failed(const WorkerId& worker, const std::string& message);
  // The same, for want of something the host has too little of now: nobody is refused, starting pauses a while.
  void on_start_postponed(const WorkerId& worker, const std::string& why);
  // No worker is started for so long; who waits for one is told why.
  void pause_starts(const std::string& why, int64_t pause_ms);
  // Its process is gone.
  void on_worker_gone(const WorkerId& worker, Fate fate);

  // ---- actors
  // One that is here already, or was placed by a later incarnation, is late news; an earlier one makes way.
  void place_actor(ActorRequest request);
  void end_actor(const ActorId& actor, wire::EndKind kind);
  void on_actor_started(const WorkerId& worker, const ActorId& actor, bool ok, std::vector<uint8_t> error);

  // ---- placement groups
  // All of `which` (index, resources) or none.
  bool reserve(const PgId& group, std::span<const std::pair<int, ResourceSet>> which);
  // Gives these bundles back, or with none named the whole group: then requests in it fail. Workers in what goes
  // back are ended.
  void unreserve(const PgId& group, const std::vector<int>& which = {});
  bool has_group(const PgId& group) const { return groups_.contains(group); }

  // ---- the end of the node
  // It is to go: nothing new is granted but within bundles that stand, leases are called back, idle workers end.
  void drain();
  bool is_draining() const { return draining_; }
  // No worker is left, nor anything that waits for one.
  bool is_empty() const;

  // ---- upkeep
  // Serves what can be served. True when resources were freed since the last call (asked before serving).
  bool take_freed();
  void settle();
  void tick();
  // Ends one worker to free memory: the latest retriable task's, else the largest. rss gives a process' bytes.
  // Returns false when there is none, or the last one is not gone yet.
  bool relieve_memory(const std::string& figures, const std::function<uint64_t(int pid)>& rss);
  void resize(const std::string& resource, sched::Amount total);
  // Placement groups wait: leases are called back for them as well.
  void set_groups_waiting(size_t count) { groups_waiting_ = count; }

  // ---- views
  const NodeConfig& config() const { return config_; }
  const ResourcePool& pool() const { return pool_; }
  const std::unordered_map<WorkerId, Worker>& workers() const { return workers_; }
  const Worker* find(const WorkerId& id) const;
  const Fate* fate(const WorkerId& id) const;
  std::vector<Demand> demand() const;
  void for_each_request(const std::function<void(const Request&)>& use) const;
  bool wants_tick() const;  // something waits that time alone will change
  struct Bundle {
    ResourcePool pool;
    Allocation reserved;
  };
  struct Group {
    std::map<int, Bundle> bundles;  // empty until it is placed
    LeaseQueue queue;
    std::map<uint64_t, WorkerId> leases;  // in it, actors' too
    std::map<uint64_t, WorkerId> unasked;  // as for the node
    size_t waiting = 0;  // requests that wait for a worker with resources of a bundle
  };
  const std::unordered_map<PgId, Group>& groups() const { return groups_; }
  std::string describe() const;  // workers, leases and what waits, a line each, for people
  void check_invariants() const;  // aborts when the books do not balance

 private:
  // Workers of one job in one environment, and who waits for one.
  struct Family {
    JobId job;
    std::string runtime_env;
    std::vector<WorkerId> idle;  // the last one goes first: its caches are warm
    Requests waiting;
    size_t starting = 0;
    size_t prestart = 0;  // to be started without anyone waiting
    int failures = 0;  // in a row
  };
  // classes and queues (core_lease.cc)
  ClassPtr class_of(SchedClass wanted);
  void submit(Request request);
  void index(Requests::iterator request);
  void unindex(const Request& request);
  Requests::iterator found(const Request& request);
  LeaseQueue& queue_of(const SchedClass& cls);
  Group* group_of(const SchedClass& cls);
  void track(const Worker& worker);
  void untrack(const Lease& lease);
  bool try_allocate(Request& request);
  bool feasible(const SchedClass& cls) const;
  bool may_run(const Worker& worker, const Request& request) const;
  void accept(Requests request);
  void enqueue(Request request);
  void grant(Worker& worker, Request request);
  void drop(Requests::iterator request);
  bool has_actor(const ActorId& actor, int incarnation);
  void deny(Requests::iterator request, wire::FailureKind failure, const std::string& message);
  void give_back(const SchedClass& cls, int bundle, const Allocation& allocation);
  void count_held(const SchedClass& cls, const ResourceSet& taken, const ResourceSet& returned);
  bool over_cap(const SchedClass& cls) const { return cls.pg.is_nil() && over_cap(cls.job, cls.held); }
  void release(Worker& worker);
  bool refuse_early(const Request& request);
  void explain_infeasible(const Request& request);
  std::string why_infeasible(const SchedClass& cls) const;
  ResourcePool* pool_of(const SchedClass& cls, int bundle);
  const ResourcePool* any_pool_of(const SchedClass& cls) const;
  void unpark();
  bool age();
  const Request* oldest_to_help() const;
  ResourceSet held_by_tasks() const;
  void unreserve_some(Group& group, const std::vector<int>& which);
  std::vector<Requests::iterator> requests_in(const PgId& id, const Group& group);

  // workers (core_worker.cc)
  Family& family(const JobId& job, const std::string& env);
  Worker* get(const WorkerId& id);
  void make_idle(Worker& worker);
  void take_idle(Worker& worker);
  void set_state(Worker& worker, WorkerState state);
  void start_workers();
  bool has_environment(Family& family);
  bool start_one(Family& family);
  bool make_room(const Family& wanting);
  bool is_paused();
  void tell_full(const Family& wanting, const std::string& why);
  void kill(Worker& worker, const std::string& reason);
  void leave(Worker& worker, const std::string& reason);
  void start_failed(Worker worker, const std::string& message);
  void fail_waiting(Family& family, const std::string& message);
  void remember(const WorkerId& id, Fate fate);
  void cull_idle();
  void check_deadlines();

  // reclaiming (core_reclaim.cc)
  void reclaim();
  void reclaim_all();
  void reclaim_from(const LeaseQueue& queue, std::map<uint64_t, WorkerId>& unasked, size_t wanted);
  bool worth_reclaiming(const Worker& worker, const LeaseQueue& queue);

  NodeConfig config_;
  Out& out_;
  ResourcePool pool_;
  LeaseQueue queue_;  // for the node's own pool
  LeaseQueue parked_;  // can never be served as things are
  Ageing ageing_;  // of queue_
  std::unordered_map<PgId, Group> groups_;
  std::unordered_set<PgId> dirty_groups_;
  bool dirty_ = false;  // the node's pool has more than at the last settle
  bool freed_ = false;
  bool reclaim_due_ = false;
  uint64_t pass_ = 1;
  size_t groups_waiting_ = 0;

  std::unordered_map<std::string, ClassPtr> classes_;
  std::unordered_map<WorkerId, std::unordered_map<uint32_t, Requests::iterator>> requests_;  // by holder and call
  std::unordered_map<ActorId, Requests::iterator> actor_requests_;
  std::unordered_map<ActorId, WorkerId> actor_workers_;

  std::map<std::pair<JobId, std::string>, Family> families_;
  std::set<std::pair<JobId, std::string>> wanting_;  // families that need workers
  std::unordered_map<WorkerId, Worker> workers_;
  std::unordered_map<uint64_t, WorkerId> leases_;
  std::unordered_map<WorkerId, std::set<uint64_t>> held_;  // leases by holder
  std::set<JobId> ended_jobs_;
  std::map<uint64_t, WorkerId> unasked_;  // leases on the node's pool that were not called back, oldest first
  size_t reclaiming_ = 0;  // leases called back and not returned yet
  std::set<WorkerId> evicting_;  // idle workers asked to make room
  size_t starting_ = 0;
  uint64_t last_lease_ = 0;
  bool draining_ = false;
  bool told_full_ = false;  // those who wait know why
  int64_t paused_until_ms_ = 0;
  std::string pause_reason_;
  std::set<std::string> explained_;  // infeasible shapes told about, by job

  struct Cap {
    ResourceSet most, here, elsewhere;
  };
  std::unordered_map<JobId, Cap> caps_;
  std::unordered_map<WorkerId, Fate> fates_;
  std::list<WorkerId> fate_order_;
  WorkerId memory_victim_;
};

// "{CPU: 1, GPU: 2}" and where it must run.
std::string class_text(const SchedClass& cls);

}  // namespace narke::node
