// A host alone whose daemon keeps nothing of what it is told to do: what a test or a benchmark looks at, it overrides.
#pragma once

#include <string>

#include "node/cluster.h"

namespace narke::node::testing {

class QuietOut : public OneHostOut {
 private:
  void reclaim(const WorkerId&, uint64_t) override {}
  void notice(const JobId&, const std::string&, const std::string&) override {}
  void actor_changed(const WorkerId&, const controller::Actor&) override {}
  void group_changed(const controller::PlacementGroup&) override {}
  void start_worker(const Worker&) override {}
  void stop_worker(const Worker&, StopKind, const std::string&) override {}
  void start_actor(const Worker&, const controller::Actor&) override {}
  void lease_ended(const Worker&) override {}
  void worker_gone(const WorkerId&, const JobId&, const Fate&) override {}
};

}  // namespace narke::node::testing
