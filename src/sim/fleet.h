// A whole simulated cluster: hosts that run the real daemons' services, programs, and the faults that befall them.
//
// Strategy: a plan of faults is drawn from the seed before the run (so that a failing plan can be made smaller): worker
// processes that die, daemons and hosts that go and come again, the head killed (also in the middle of its journal's
// writing) and started again from its records, partitions, stalled hosts, broken and slow streams. Programs pursue
// their errands meanwhile. After the last fault everything must come to rest.
// Invariants:
//   - at every step of a daemon its books balance (node::Core::check_invariants), and nobody is handed what it does
//     not have; ledger.h's contracts hold at every step of a program;
//   - nobody asks and is answered without end: the number of events is bounded;
//   - at each start of the head from its records, what it then keeps is what was kept;
//   - when the faults are over every driver comes to an end within kRestUs: no wait is for ever;
//   - at rest every node has all it had, no lease, request, guest or group is left anywhere, each detached actor that
//     lives has exactly one process, and groups that stand have every bundle at the node where they say, and nowhere
//     else.
// A broken one ends the run with its seed and the last events; the same seed and plan replay the same run.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "sim/program.h"

namespace narke::sim {

struct Fault {
  enum class Kind : uint8_t {
    kKillWorker,
    kKillDaemon,
    kCutPower,
    kKillHead,
    kKillHeadWriting,
    kPart,
    kStall,
    kCutStream,
    kSlow,
    kLast = kSlow,  // of those that are drawn for every seed
    kSlowHead
  };
  Kind kind;
  int64_t at_us;
  int64_t for_us;  // until it is mended
  uint64_t dice;  // decides on whom
};

// Bugs that a test plants, to see that the invariants can fail.
enum class Planted : uint8_t { kNothing, kAnswersLost, kRecordsLost, kDeathsUnheard };

struct FleetConfig {
  uint64_t seed = 0;
  int hosts = 8;
  int drivers = 4;
  Errand errand{200, 12, 6, 10 * kSecond, true};
  int faults = 12;
  int slow_heads = 0;  // hosts that now and then hear the head later than each other
  int64_t faults_over_us = 12 * kSecond;
  int trouble = 5;  // in a thousand: tasks and calls that kill their worker, actors whose __init__ fails
  uint64_t check_every = 1;  // steps of daemons between looks at their books
  Planted planted = Planted::kNothing;
  bool prints = false;  // what happens, as it happens: for runs that a broken check of the engine ends
  uint64_t most_events = 4'000'000;  // more are a storm: programs or daemons that answer each other for ever
};

// Sizes that suit the seed, so that many seeds see clusters of many kinds.
FleetConfig small_config(uint64_t seed);
std::vector<Fault> draw_plan(const FleetConfig& config);
std::string text_of(const Fault& fault);

struct FleetResult {
  std::string broken;  // empty: every invariant held
  std::string summary;
  std::deque<std::string> history;
  uint64_t events = 0;
  int64_t simulated_us = 0;
  uint64_t print = 0;  // of all that happened: equal runs have equal ones
};

FleetResult run_fleet(const FleetConfig& config, const std::vector<Fault>& plan);
// The faults of a failing plan without those that it fails without as well.
std::vector<Fault> shrink(const FleetConfig& config, std::vector<Fault> plan);

class Fleet : private Stage, private Cast {
 public:
  explicit Fleet(const FleetConfig& config);
  ~Fleet() override;
  FleetResult run(const std::vector<Fault>& plan);

 private:
  // Stage
  Timeline& timeline() override { return timeline_; }
  Network& network() override { return network_; }
  Host* host_at(const std::string& endpoint) override;
  void fork_worker(Host& host, const WorkerId& worker) override;
  void kill_worker(Host& host, const WorkerId& worker) override;
  void on_daemon_left(Host& host, const std::string& why) override;
  void on_step(Host& host) override;
  bool dies_at_journal(Host& host) override;
  bool loses_records() override { return config_.planted == Planted::kRecordsLost; }
  void note(const std::string& text) override;
  bool traces() const override { return config_.prints; }
  void trace(const std::string& text) override;
  // Cast
  Stage& stage() override { return *this; }
  Ledger& ledger() override { return ledger_; }
  rpc::Reactor& programs() override { return programs_; }
  Program* find(const WorkerId& id) override;
  Host& host(int index) override { return *hosts_[static_cast<size_t>(index)]; }
  void on_exit(Program& program, int exit_code, bool lost) override;
  int trouble() override { return calm_ ? 0 : config_.trouble; }
  bool loses_answers() override { return config_.planted == Planted::kAnswersLost; }

  class Clock;

  void boot_all();
  void start_drivers();
  void befall(const Fault& fault);
  void boot_later(Host& host, int64_t us);
  void take_down(Host& host, bool power);
  void end_process(const WorkerId& id, const node::Fate& fate, bool tell_host);
  bool all_done() const;
  void play(int64_t until_us);
  void come_to_rest();
  void check_records(Host& head);
  void check_rest();
  void check_groups();
  void check_detached();
  std::string unfinished() const;
  std::string leftovers(Host& host) const;

  FleetConfig config_;
  Timeline timeline_;
  Network network_;
  std::unique_ptr<Clock> clock_;
  rpc::Reactor programs_;
  Ledger ledger_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::unordered_map<WorkerId, std::unique_ptr<Program>> live_;
  std::vector<std::unique_ptr<Program>> buried_;  // ended within the present event
  std::vector<WorkerId> drivers_;
  std::deque<std::string> history_;
  uint64_t steps_ = 0, print_ = 0;
  size_t faults_befallen_ = 0;
  bool calm_ = false;  // no more trouble
  bool head_dies_ = false;  // at its next journal entry
  bool is_ending_ = false;
  std::unordered_map<WorkerId, bool> forking_;  // to be killed when forked
  std::vector<WorkerId> processes_;  // of workers, for a choice among them; may name ended ones
};

}  // namespace narke::sim
