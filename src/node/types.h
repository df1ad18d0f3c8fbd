// What a node knows of its workers, leases and the requests that wait for them.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "controller/fate.h"
#include "sched/policy.h"
#include "sched/resources.h"
#include "schema/narke_generated.h"

namespace narke::node {

using controller::Fate;
using sched::Allocation;
using sched::ResourcePool;
using sched::ResourceSet;

// Requests that are alike in everything that decides where and when they can run. Shared by its requests and
// leases.
struct SchedClass {
  JobId job;
  std::string runtime_env;
  ResourceSet fit;   // must be free for the request to be served
  ResourceSet held;  // what it then holds; less than `fit` only for actors
  PgId pg;
  int bundle = -1;
  sched::Strategy strategy;

  size_t pending = 0;       // requests queued
  uint64_t blocked_at = 0;  // the pass in which it was last found not to fit
  std::string example;      // name of a task or actor of this class
};
using ClassPtr = std::shared_ptr<SchedClass>;

struct ClassLine;

struct Request {
  WorkerId holder;
  uint32_t call_id = 0;
  ActorId actor;  // not nil: the worker becomes this actor
  int incarnation = 0;
  ClassPtr cls;
  bool retriable = false;
  std::string task_name;
  int64_t asked_ms = 0;

  ClassLine* line = nullptr;  // where it is queued; null once it has its resources
  bool parked = false;        // queued among those that can never be served as things are
  Allocation allocation;      // what it has while it waits for a worker
  int bundle = -1;
};
using Requests = std::list<Request>;

enum class WorkerState : uint8_t {
  kStarting,  // forked, or about to be; has not registered
  kIdle,
  kLeased,
  kActor,
  kLeaving,  // told to leave; gone soon
};

struct Lease {
  uint64_t id = 0;
  WorkerId holder;  // nil for an actor's
  ClassPtr cls;
  Allocation allocation;
  int bundle = -1;
  int64_t granted_ms = 0;
  bool reclaim_asked = false;
  bool retriable = false;
  std::string task_name;
};

struct Worker {
  WorkerId id;
  JobId job;
  std::string runtime_env;
  WorkerState state = WorkerState::kStarting;
  int pid = 0;
  std::string endpoint;
  int64_t since_ms = 0;  // when it came into its state
  std::optional<Lease> lease;
  ResourceSet lent;  // what others may use while its task waits
  bool blocked = false;
  bool killed = false;  // a kill was asked for
  ActorId actor;
  int incarnation = 0;
  bool actor_started = false;
  std::optional<bool> sees_gpus;   // what it has run so far had GPUs; not set: it has run nothing
  bool leave_when_started = false;  // a graceful end was asked for before __init__ was over
  std::optional<Fate> verdict;      // why the node itself ended it; goes before the exit status
};

struct Grant {
  WorkerId holder;
  uint32_t call_id = 0;
  uint64_t lease = 0;
  WorkerId worker;
  std::string endpoint;
  const Allocation* allocation = nullptr;
  PgId pg;
  int bundle = -1;
};

// How far the making of what workers run in has come; Core::settle() is due when that changes.
struct EnvironmentState {
  enum class Kind : uint8_t { kReady, kPreparing, kFailed };
  Kind kind = Kind::kReady;
  std::string error;  // kFailed: why, in the installer's own words
};

enum class StopKind : uint8_t {
  kAsk,   // ExitWorker: after what it runs
  kKill,  // at once
};

struct NodeConfig {
  NodeId node;
  ResourceSet resources;
  sched::Labels labels;
  uint64_t lease_base = 0;    // lease ids count from here: no two nodes' are alike
  int prestart_limit = 1;     // workers begun for a new driver
  int max_starting = 4;       // workers between fork and registration
  size_t max_workers = 4096;
  std::string max_workers_reason;  // what sets that bound, for messages
  int idle_keep = 1;          // idle workers beyond these end after idle_ms
  int64_t idle_ms = 2'000;
  int64_t start_deadline_ms = 60'000;
};

// What a node asks of others. Calls do not come back into the node before they return.
class Out {
 public:
  virtual ~Out() = default;
  virtual int64_t now_ms() = 0;
  virtual WorkerId new_worker_id() = 0;

  // To the programs that ask for leases.
  virtual void grant(const Grant& grant) = 0;
  virtual void deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind failure,
                    const std::string& message) = 0;
  virtual void reclaim(const WorkerId& holder, uint64_t lease) = 0;
  virtual void notice(const JobId& job, const std::string& kind, const std::string& text) = 0;

  // To workers. start: answered by Core::on_registered, or on_start_failed, or on_worker_gone.
  virtual void start_worker(const Worker& worker) = 0;
  // What such workers need besides: the first question begins its making.
  virtual EnvironmentState environment(const JobId& job, const std::string& runtime_env) = 0;
  virtual void stop_worker(const Worker& worker, StopKind kind, const std::string& reason) = 0;
  virtual void start_actor(const Worker& worker) = 0;
  // worker.lease is about to go.
  virtual void lease_ended(const Worker& worker) = 0;

  // To the controller.
  virtual void actor_started(const Worker& worker) = 0;
  virtual void actor_init_failed(const Worker& worker, std::vector<uint8_t> error) = 0;
  virtual void actor_gone(const ActorId& actor, int incarnation, const Fate& fate) = 0;
  virtual void actor_unplaceable(const ActorId& actor, wire::DeathCause cause, const std::string& message) = 0;
  virtual void worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) = 0;
  virtual bool group_exists(const PgId& group) = 0;
  virtual bool owns_actors(const WorkerId& worker) = 0;
};

}  // namespace narke::node
