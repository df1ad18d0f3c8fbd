// A whole one-node cluster in one thread: the real cores, simulated programs, processes and time.
//
// Strategy: a seeded random source picks one event after another: programs that ask, cancel, return and leave,
// workers that register, block, crash or ignore what they are told, forks that fail, a zygote that dies, messages
// that come late or twice. After each event the invariants are checked:
//   - what is available, held and reserved adds up to the total, on the node and in every bundle;
//   - a worker serves one lease or one actor; a lease is granted once, to the request that asked for it;
//   - every request is answered at most once, and once quiet() has let everything finish, exactly once, unless it
//     can never be served, and then the table of demand says so;
//   - an actor is started no more often than its restarts allow, and never after its death;
//   - only time spent blocked, or less of a resource than before, can overdraw a pool.
// A broken one throws, naming the step; the same seed replays the same run.
#pragma once

#include <deque>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "node/cluster.h"

namespace narke::sim {

struct WorldConfig {
  uint64_t seed = 0;
  int cpus = 4;
  int gpus = 2;
  size_t max_workers = 12;
};

class World : private node::OneHostOut {
 public:
  explicit World(WorldConfig config);

  // One random event.
  void step();
  // Everybody behaves and finishes; then nothing may be held or left open.
  void quiet();
  // What happened, one line each; bounded.
  const std::deque<std::string>& history() const { return history_; }
  size_t grants() const { return grants_; }
  size_t actor_starts() const { return actor_starts_; }

 private:
  struct LeaseModel {
    uint64_t id;
    WorkerId holder, worker;
    bool reclaim_asked = false;
  };
  struct ProcessModel {
    WorkerId id;
    JobId job;
    bool registered = false;
    bool asked_to_leave = false;
    bool kill_asked = false;
    bool blocked = false;
    ActorId actor;  // being initialised or running
    int incarnation = 0;
    bool actor_running = false;
  };
  struct ActorModel {
    int max_restarts = 0;
    int starts = 0;
    bool dead = false;
    wire::ActorState last = wire::ActorState::Pending;
  };

  // node::ClusterOut
  int64_t now_ms() override { return now_ms_; }
  WorkerId new_worker_id() override { return new_id<WorkerId>(); }
  void grant(const node::Grant& grant) override;
  void deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind failure,
            const std::string& message) override;
  void reclaim(const WorkerId& holder, uint64_t lease) override;
  void notice(const JobId&, const std::string&, const std::string& text) override;
  void actor_changed(const WorkerId& watcher, const controller::Actor& actor) override;
  void group_changed(const controller::PlacementGroup& group) override;
  void start_worker(const node::Worker& worker) override;
  void stop_worker(const node::Worker& worker, node::StopKind kind, const std::string& reason) override;
  void start_actor(const node::Worker& worker, const controller::Actor& actor) override;
  void lease_ended(const node::Worker& worker) override;
  void worker_gone(const WorkerId& worker, const JobId& job, const node::Fate& fate) override;

  // events
  void join();
  void leave();
  void ask();
  void cancel();
  void give_back();
  void obey_reclaims();
  void progress_fork();
  void crash();
  void block(bool blocked);
  void create_actor();
  void finish_init();
  void end_some_actor();
  void create_group();
  void remove_group();
  void zygote_dies();
  void pass_time();
  void die_as_told();
  void squeeze_memory();
  void resize();

  // helpers
  template <class IdType>
  IdType new_id() {
    IdType id;
    for (size_t i = 0; i < IdType::kSize; ++i) id.data()[i] = static_cast<uint8_t>(random_());
    return id;
  }
  size_t below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  bool chance(int percent) { return static_cast<int>(below(100)) < percent; }
  const WorkerId* some_program();
  sched::ResourceSet some_shape();
  ProcessModel* some_process(bool (*wanted)(const ProcessModel&));
  void process_dies(WorkerId id);  // a copy: the process is erased
  void forget_holder(const WorkerId& id);
  void note(const std::string& text);
  void expect(bool condition, const std::string& what);
  void settle_and_check();
  void check_quiet();

  WorldConfig config_;
  std::mt19937_64 random_;
  int64_t now_ms_ = 1'000;
  node::Cluster cluster_;
  uint64_t steps_ = 0;
  std::deque<std::string> history_;

  std::vector<WorkerId> drivers_;
  std::map<WorkerId, JobId> job_of_;                    // of programs that live
  std::map<std::pair<WorkerId, uint32_t>, int> asked_;  // requests not answered
  std::map<uint64_t, LeaseModel> leases_;
  std::map<WorkerId, ProcessModel> processes_;
  std::map<ActorId, ActorModel> actors_;
  std::vector<PgId> groups_;
  std::set<uint64_t> lease_ids_;
  uint32_t last_call_ = 0;
  size_t grants_ = 0, actor_starts_ = 0;
  bool was_unblocked_ = false;
};

// Runs a world for so many steps and lets it become quiet. Returns "" or what broke, with the last events.
std::string run(const WorldConfig& config, uint64_t steps);

}  // namespace narke::sim
