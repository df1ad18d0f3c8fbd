// Runs this program's tasks on leased workers.
//
// A lease is a worker lent by the node for tasks of one class (same resources, environment, strategy). Tasks go
// straight to the worker; a lease is kept while it has work and a moment longer. Several short tasks are under way
// to one worker, fewer the longer they take, so that a round trip does not cost a core its work; a worker that
// blocks or takes long gives the unstarted ones back (TaskStatus::NotStarted).
// Threads: the engine's lock.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "worker/objects.h"
#include "worker/peer.h"
#include "worker/task.h"

namespace narke::worker {

// What tasks must have in common to share leases.
struct LeaseShape {
  std::vector<std::pair<std::string, int64_t>> resources;  // 1/10,000 units, sorted by name
  std::string runtime_env;                                 // JSON, or empty
  PgId pg;
  int bundle = -1;
  bool capture = false;
  wire::StrategyKind strategy = wire::StrategyKind::Default;
  NodeId node;
  bool soft = false;
  std::string labels;  // FlexBuffers
  bool retriable = true;
  NodeId near;  // see Task::near

  std::string key() const;
};

struct LeaseClass {
  LeaseShape shape;
  std::deque<TaskPtr> queue;
  std::vector<Lease*> leases;
  std::unordered_set<uint32_t> requests;  // call ids of RequestLease under way
  double task_ns = 0;                     // moving average; 0: not known
};

struct Lease {
  uint64_t id = 0;
  LeaseClass* lease_class = nullptr;
  Peer* peer = nullptr;
  bool reclaimed = false;   // the node wants it back
  bool stalled = false;     // gave tasks back: nothing more until something finishes there
  Clock::time_point idle_since;
};

class Submitter {
 public:
  // What the submitter asks of the engine.
  class Out {
   public:
    virtual ~Out() = default;
    virtual Peer* peer(const Address& address) = 0;
    // Completes the task's returns with an error, its arguments released.
    virtual void fail(Task& task, ValuePtr error) = 0;
    // The same with what the node knows of the worker's end.
    virtual void fail_worker_died(TaskPtr task, const Address& worker) = 0;
    virtual JobId job() = 0;
  };

  Submitter(Links& links, Objects& objects, Out& out) : links_(links), objects_(objects), out_(out) {}

  LeaseClass* lease_class(const LeaseShape& shape);
  // REQUIRES: no unresolved reference among the arguments.
  void enqueue(TaskPtr task);
  // A cancelled task ends instead.
  void requeue(TaskPtr task);
  // Takes a queued task out of its queue; false when it is not queued.
  bool remove(Task& task);

  void on_lease_reply(const rpc::Frame& frame);
  void on_reclaim(uint64_t lease);
  // A task's reply came over the lease; give_back: it was not started.
  void on_finished(Lease& lease, uint64_t duration_ns, bool give_back);
  void on_worker_leaves(Lease& lease);
  // The link to a leased worker broke with these calls unanswered. counts: the attempt of the one that ran is used up.
  void on_worker_lost(Lease& lease, std::vector<TaskPtr> calls, bool counts = true);
  // Gives back leases idle for longer than `idle`; returns whether any is left.
  bool return_idle(std::chrono::milliseconds idle);
  void on_node_lost(const std::string& why);

  size_t queued() const;
  // What waits and what is lent, a line each, for people.
  std::string describe() const;
  void for_each_queued(const std::function<void(Task&)>& visit);
  void for_each_queue(const std::function<void(std::deque<TaskPtr>&)>& visit);

 private:
  // Tasks with data in the same place ask for leases together.
  LeaseClass& class_of(const Task& task);
  void pump(LeaseClass& c);
  Lease* pick(LeaseClass& c, const Task& task);
  size_t depth(const LeaseClass& c) const;
  void request(LeaseClass& c);
  void cancel_requests(LeaseClass& c);
  void begin(LeaseClass& c, const wire::LeaseReply& reply);
  void fail_class(LeaseClass& c, const wire::LeaseReply& reply);
  void settle(Lease& lease);
  void give_back(Lease& lease, bool worker_failed, bool worker_exiting);

  Links& links_;
  Objects& objects_;
  Out& out_;
  std::unordered_map<std::string, std::unique_ptr<LeaseClass>> classes_;
  std::unordered_map<uint32_t, LeaseClass*> requests_;
  std::unordered_map<uint64_t, std::unique_ptr<Lease>> leases_;
};

}  // namespace narke::worker
