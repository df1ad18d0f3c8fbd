// The state of the cluster, whatever the number of its nodes: jobs, actors, placement groups, keys, nodes.
//
// Pure: stimuli in, instructions to Out. One owner calls it, one call at a time; Out never calls back into it.
#pragma once

#include <map>
#include <set>
#include <string>

#include "controller/actors.h"
#include "controller/groups.h"
#include "controller/jobs.h"
#include "controller/kv.h"
#include "controller/nodes.h"

namespace narke::controller {

class Controller {
 public:
  explicit Controller(Out& out);

  // The running job of that driver, if it has one already.
  const Job& start_job(const WorkerId& driver, const NodeId& node, int pid, std::string config);
  // The driver left or died: its actors and placement groups end, except the detached ones.
  void finish_job(const JobId& id, const std::string& why);
  // A worker died: the actors it owns end. who: shown in their cause of death.
  void on_worker_gone(const WorkerId& worker, const std::string& who);
  // A host is there, with what it has; what could not run before may now.
  void add_node(Node node);
  // A host is to go: nothing new is placed there, what can begin anew elsewhere does. False: no such host.
  bool drain_node(const NodeId& id, Drain drain);
  // A host is gone with all that ran on it: actors are restarted elsewhere or dead, groups look for other places.
  void on_node_gone(const NodeId& id, const std::string& why);
  // What another host says it still runs when it comes back to a head that was started again: its actors (id and
  // incarnation), the bundles it holds. What it should have and has not is made good; what it should not have it is
  // told to end.
  struct Present {
    std::map<ActorId, int> actors;
    std::map<PgId, std::set<int>> bundles;
    std::set<WorkerId> programs;
  };
  void on_node_back(const NodeId& id, const Present& present);
  // It does not come back: as on_node_gone, for a node that is known only from before.
  void on_node_lost(const NodeId& id, const std::string& why);
  // From the host that was asked to reserve bundles.
  void on_reserved(const PgId& id, const NodeId& node, uint32_t attempt, bool ok);
  // Resources were freed somewhere, or time has passed: what waits is tried again.
  void retry();
  // What runs in the group ends with it. False: no such group.
  bool remove_group(const PgId& id);

  NodeTable nodes;
  Jobs jobs;
  Actors actors;
  Groups groups;
  KeyValue kv;

 private:
  Out& out_;
};

}  // namespace narke::controller
