// What the controller knows of jobs, actors, placement groups and nodes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/id.h"
#include "controller/fate.h"
#include "sched/policy.h"
#include "sched/resources.h"
#include "schema/narke_generated.h"

namespace narke::controller {

struct Address {
  WorkerId worker;
  NodeId node;
  std::string endpoint;
};

struct Job {
  JobId id;
  WorkerId driver;
  NodeId node;  // whose program the driver is
  int driver_pid = 0;
  std::string config;  // FlexBuffers, as the driver sent it
  int64_t start_ms = 0, end_ms = 0;
  bool running = true;
};

// A CreateActor frame as it came: workers are started from these bytes, at first and after every death.
struct ActorFrame {
  std::vector<uint8_t> table, raw;
};

// The fields of the frame that the control plane reads.
struct ActorSpec {
  ActorId id;
  JobId job;
  Address owner;
  std::string name, name_space, class_name, runtime_env, methods;
  bool detached = false, get_if_exists = false, capture = false, out_of_order = false;
  int max_restarts = 0, max_task_retries = 0;
  sched::ResourceSet placement, running;
  PgId pg;
  int bundle = -1;
  sched::Strategy strategy;
};

struct Actor {
  ActorSpec spec;
  std::shared_ptr<const ActorFrame> frame;  // null once dead; shared with a restart that is under way
  wire::ActorState state = wire::ActorState::Pending;
  int incarnation = 0;
  int restarts = 0;
  int moves = 0;    // further restarts, because its node was drained: they do not count
  NodeId node;      // where it was placed; nil: nowhere yet
  bool stuck = false;     // no node could ever take it when it was placed
  NodeId better;          // where it goes if its node gives it back, which it does when it has not begun there
  int64_t placed_ms = 0;
  Address address;  // alive only
  int pid = 0;
  bool moving = false;  // its process is asked to end so that it begins anew on another node
  bool ending = false;  // it will not be restarted; `cause` and `message` are already the final ones
  wire::DeathCause cause = wire::DeathCause::None;
  std::string message;
  std::vector<uint8_t> error;  // InitFailed: the encoded exception
  uint64_t last_kill = 0;  // key of the last kill that lets it be restarted
  std::set<WorkerId> watchers;
  int64_t created_ms = 0, died_ms = 0;
};

enum class GroupState : uint8_t { kPending, kCreated, kRemoved };  // also pending: one that lost bundles

struct PlacementGroup {
  PgId id;
  std::string name, name_space;
  sched::BundleStrategy strategy = sched::BundleStrategy::kPack;
  std::vector<sched::ResourceSet> bundles;
  sched::BundleLabels labels;  // what each bundle's node must have
  std::vector<NodeId> nodes;  // by bundle; nil: not placed (yet, or any more)
  GroupState state = GroupState::kPending;
  uint32_t attempt = 0;  // answers to earlier reservations are late news
  std::map<NodeId, std::vector<size_t>> asked;  // which bundles of which nodes, in this attempt
  size_t unanswered = 0;
  bool refused = false;
  bool detached = false;
  JobId job;
  WorkerId creator;
  int64_t asked_ms = 0, created_ms = 0;
};

// A node that is to go takes nothing new; when it is empty, or its time is over, it goes.
struct Drain {
  wire::DrainReason reason = wire::DrainReason::None;
  std::string message;
  int64_t deadline_ms = 0;  // of the head's clock; 0: none
};

struct Node {
  NodeId id;
  std::string address, hostname;
  sched::Labels labels;
  const sched::ResourcePool* pool = nullptr;    // this process' own, or `mirror`
  std::shared_ptr<sched::ResourcePool> mirror;  // another host's, as it last said, without what was charged since
  sched::ResourceSet told_total, told_available;  // as it last said
  int charged_looks = 0;  // at a charge that no report has followed
  bool alive = true;
  bool head = false;
  bool outside = false;  // a driver's node outside of the cluster's network: nothing runs there
  std::string endpoint;  // HOST:PORT; empty: no other host can reach it
  std::string why;       // not alive: how it went
  Drain drain;

  bool is_draining() const { return drain.reason != wire::DrainReason::None; }
};

enum class Table : uint8_t { kJobs = 1, kActors = 2, kGroups = 3, kNodes = 4, kKeys = 5 };

using wire::EndKind;

// What the controller asks of others. Calls do not come back into the controller before they return.
class Out {
 public:
  virtual ~Out() = default;
  virtual int64_t now_ms() = 0;

  // To a node.
  virtual void place_actor(const NodeId& node, const Actor& actor) = 0;
  // Ends the process of an actor, or forgets one still waiting; answered by Actors::on_gone in either case. One that
  // is to end only if it waits, and does not, lives on without an answer.
  virtual void end_actor(const NodeId& node, const ActorId& actor, EndKind kind) = 0;
  // All the bundles or none; `which` are indexes into the group's bundles. Answered by Groups::on_reserved.
  virtual void reserve(const NodeId& node, const PlacementGroup& group, const std::vector<size_t>& which) = 0;
  // These bundles go back; none named: all, and what runs or waits in them ends.
  virtual void unreserve(const NodeId& node, const PlacementGroup& group, const std::vector<size_t>& which) = 0;

  // To programs.
  virtual void actor_changed(const WorkerId& watcher, const Actor& actor) = 0;
  virtual void group_changed(const PlacementGroup& group) = 0;

  // A record is not as it was: to be kept (records.h). key: the id's bytes; kKeys: namespace, '\0', key.
  virtual void touched(Table, const std::string& key) { (void)key; }
};

}  // namespace narke::controller
