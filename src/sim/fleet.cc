#include "sim/fleet.h"

#include <algorithm>
#include <cstdio>

namespace narke::sim {

using sched::kOne;

static constexpr size_t kHistory = 120;
static constexpr int64_t kRestUs = 180 * kSecond;  // everything ends within this after the last fault

class Fleet::Clock : public rpc::Surroundings {
 public:
  explicit Clock(Timeline& timeline) : timeline_(timeline) {}
  std::chrono::steady_clock::time_point now() override {
    return std::chrono::steady_clock::time_point(std::chrono::microseconds(timeline_.now_us()));
  }
  Result<rpc::ConnectionPtr> connect(rpc::Reactor&, const std::string&, const std::string&, rpc::Handler*) override {
    return Error{ErrorCode::kFailed, "programs do not connect so"};
  }

 private:
  Timeline& timeline_;
};

// Every fourth host has GPUs, every third the label zone=a.
Fleet::Fleet(const FleetConfig& config)
    : config_(config),
      timeline_(config.seed),
      network_(timeline_, static_cast<size_t>(config.hosts)),
      clock_(std::make_unique<Clock>(timeline_)),
      programs_(rpc::Identity{"token", "cluster", WorkerId()}, clock_.get()) {
  for (int i = 0; i < config.hosts; ++i) {
    sched::ResourceSet resources{{"CPU", (2 + i % 3) * kOne}, {"slots", 2 * kOne}};
    if (i % 4 == 1) resources.set("GPU", 2 * kOne);
    sched::Labels labels;
    if (i % 3 == 0) labels["zone"] = "a";
    hosts_.push_back(std::make_unique<Host>(static_cast<Stage&>(*this), i, std::move(resources), std::move(labels)));
  }
}

// Programs first: their streams are written to nobody any more.
Fleet::~Fleet() {
  is_ending_ = ledger_.is_closed = true;
  for (auto& [id, program] : live_) program->die();
  for (const auto& host : hosts_) host->crash(false);
}

void Fleet::note(const std::string& text) {
  history_.push_back("@" + std::to_string(timeline_.now_us() / kMs) + "ms " + text);
  if (config_.prints) std::fprintf(stderr, "%s\n", history_.back().c_str());
  for (const char c : text) print_ = print_ * 1'099'511'628'211u + static_cast<unsigned char>(c);
  print_ = print_ * 31 + static_cast<uint64_t>(timeline_.now_us());
  if (history_.size() > kHistory) history_.pop_front();
}

void Fleet::trace(const std::string& text) {
  if (config_.prints) std::fprintf(stderr, "@%.3fms %s\n", static_cast<double>(timeline_.now_us()) / kMs, text.c_str());
}

// ---- processes ---------------------------------------------------------------------------------------------

Host* Fleet::host_at(const std::string& endpoint) {
  const auto index = static_cast<size_t>(std::stoi(endpoint.substr(1)));
  return index < hosts_.size() ? hosts_[index].get() : nullptr;
}

Program* Fleet::find(const WorkerId& id) {
  const auto at = live_.find(id);
  return at == live_.end() ? nullptr : at->second.get();
}

void Fleet::fork_worker(Host& host, const WorkerId& worker) {
  const bool fails = timeline_.chance(trouble()), postponed = timeline_.chance(500);
  const uint64_t boots = host.boots();
  forking_[worker] = false;
  timeline_.after(timeline_.between(2 * kMs, 30 * kMs), [this, &host, worker, fails, postponed, boots] {
    const bool killed = forking_.extract(worker).mapped();
    if (boots != host.boots() || !host.is_up()) return;
    if (fails) return host.on_process_failed(worker, postponed);
    auto program =
        std::make_unique<Program>(static_cast<Cast&>(*this), worker, host.index(), wire::ProgramKind::Worker);
    Program& begun = *program;
    live_[worker] = std::move(program);
    processes_.push_back(worker);
    trace("worker " + worker.hex().substr(0, 8) + " begins on h" + std::to_string(host.index()));
    begun.begin();
    if (killed) return kill_worker(host, worker);
    if (timeline_.chance(trouble()))
      timeline_.after(timeline_.between(0, 300), [this, worker] { end_process(worker, {}, true); });
  });
}

// A process that is not forked yet is killed when it is.
void Fleet::kill_worker(Host& host, const WorkerId& worker) {
  if (const auto at = forking_.find(worker); at != forking_.end()) {
    at->second = true;
    return;
  }
  const uint64_t boots = host.boots();
  timeline_.after(timeline_.between(50, 2 * kMs), [this, &host, worker, boots] {
    if (boots != host.boots()) return;
    node::Fate fate;
    fate.cause = node::Fate::Cause::kKilled;
    fate.signal = 9;
    fate.message = "killed";
    end_process(worker, fate, true);
  });
}

void Fleet::end_process(const WorkerId& id, const node::Fate& fate, bool tell_host) {
  const auto at = live_.find(id);
  if (at == live_.end()) return;
  std::unique_ptr<Program> program = std::move(at->second);
  live_.erase(at);
  Host& on = host(program->host());
  trace("program " + id.hex().substr(0, 8) + " ends");
  const bool driver = program->is_driver();
  program->die();
  buried_.push_back(std::move(program));
  if (!tell_host || driver || config_.planted == Planted::kDeathsUnheard) return;
  timeline_.after(timeline_.between(0, 3 * kMs), [&on, id, fate, boots = on.boots()] {
    if (boots == on.boots()) on.on_process_gone(id, fate);
  });
}

void Fleet::on_exit(Program& program, int exit_code, bool lost) {
  if (is_ending_) return;
  node::Fate fate;
  fate.cause = node::Fate::Cause::kExit;
  fate.exit_code = exit_code;
  fate.message = lost ? "it lost its daemon" : "it left with exit code " + std::to_string(exit_code);
  if (program.is_driver())
    note("driver " + program.id().hex().substr(0, 8) + (lost ? " has lost its daemon" : " has left"));
  end_process(program.id(), fate, true);
}

// ---- hosts -------------------------------------------------------------------------------------------------

void Fleet::boot_later(Host& host, int64_t us) {
  timeline_.after(us, [this, &host] {
    if (host.is_up()) return;
    note("h" + std::to_string(host.index()) + " boots");
    host.boot(host.index() == 0 ? "" : "h0:1");
    if (host.index() == 0) check_records(host);
  });
}

// The programs of a host end with its daemon.
void Fleet::take_down(Host& host, bool power) {
  std::vector<WorkerId> there;
  for (const auto& [id, program] : live_)
    if (program->host() == host.index()) there.push_back(id);
  std::sort(there.begin(), there.end());
  if (power) network_.silence(host.index());
  host.crash(power);
  for (const WorkerId& id : there) end_process(id, {}, false);
}

void Fleet::on_daemon_left(Host& host, const std::string& why) {
  if (is_ending_) return;
  note("the daemon of h" + std::to_string(host.index()) + " ends: " + why);
  timeline_.after(0, [this, &host, boots = host.boots()] {
    if (boots != host.boots() || !host.is_up()) return;
    take_down(host, false);
    boot_later(host, timeline_.between(100 * kMs, 3 * kSecond));
  });
}

bool Fleet::dies_at_journal(Host& host) {
  if (!head_dies_ || host.index() != 0) return false;
  head_dies_ = false;
  return true;
}

void Fleet::on_step(Host& host) {
  if (++steps_ % config_.check_every == 0) host.service().cluster().core().check_invariants();
}

// ---- faults ------------------------------------------------------------------------------------------------

std::string text_of(const Fault& fault) {
  static constexpr const char* kNames[] = {"a worker is killed",
                                           "a daemon is killed",
                                           "a host loses power",
                                           "the head is killed",
                                           "the head is killed while it writes",
                                           "a partition",
                                           "a host stalls",
                                           "a stream breaks",
                                           "streams are slow",
                                           "streams of a host and the head are slow"};
  return std::string(kNames[static_cast<size_t>(fault.kind)]) + " at " + std::to_string(fault.at_us / kMs) +
         " ms for " + std::to_string(fault.for_us / kMs) + " ms, dice " + std::to_string(fault.dice);
}

std::vector<Fault> draw_plan(const FleetConfig& config) {
  Timeline dice(config.seed ^ 0x9e3779b97f4a7c15u);
  std::vector<Fault> plan;
  for (int i = 0; i < config.faults; ++i) {
    Fault fault;
    fault.kind = static_cast<Fault::Kind>(dice.below(static_cast<size_t>(Fault::Kind::kLast) + 1));
    fault.at_us = 2 * kSecond + dice.between(0, config.faults_over_us);
    fault.for_us = dice.chance(500) ? dice.between(10 * kMs, kSecond) : dice.between(kSecond, 14 * kSecond);
    fault.dice = dice.random();
    plan.push_back(fault);
  }
  for (int i = 0; i < config.slow_heads; ++i)
    plan.push_back({Fault::Kind::kSlowHead, dice.between(0, config.faults_over_us), dice.between(kSecond, 10 * kSecond),
                    dice.random()});
  return plan;
}

void Fleet::befall(const Fault& fault) {
  note("FAULT " + text_of(fault));
  ++faults_befallen_;
  Host& one = *hosts_[fault.dice % hosts_.size()];
  switch (fault.kind) {
    case Fault::Kind::kKillWorker: {
      std::erase_if(processes_, [this](const WorkerId& id) { return find(id) == nullptr; });
      if (processes_.empty()) return;
      node::Fate fate;
      fate.cause = node::Fate::Cause::kKilled;
      fate.message = "killed by chance";
      return end_process(processes_[fault.dice % processes_.size()], fate, true);
    }
    case Fault::Kind::kKillDaemon:
    case Fault::Kind::kCutPower:
      if (one.index() == 0 || !one.is_up()) return;
      take_down(one, fault.kind == Fault::Kind::kCutPower);
      return boot_later(one, fault.for_us);
    case Fault::Kind::kKillHead:
      check_records(*hosts_[0]);
      take_down(*hosts_[0], fault.dice % 2 == 0);
      return boot_later(*hosts_[0], fault.for_us);
    case Fault::Kind::kKillHeadWriting: head_dies_ = true; return;
    case Fault::Kind::kPart: {
      Timeline dice(fault.dice);
      std::set<int> side;
      for (size_t i = 1 + dice.below(std::max<size_t>(1, hosts_.size() / 2)); i > 0; --i)
        side.insert(static_cast<int>(dice.below(hosts_.size())));
      network_.part(side);
      return timeline_.after(fault.for_us, [this] { network_.heal(); });
    }
    case Fault::Kind::kStall: return network_.stall(one.index(), fault.for_us);
    case Fault::Kind::kCutStream: network_.cut_one(); return;
    case Fault::Kind::kSlow:
      network_.slow_down(20 * kMs);
      return timeline_.after(fault.for_us, [this] { network_.slow_down(0); });
    case Fault::Kind::kSlowHead:
      network_.slow_between(0, one.index(), 300 * kMs);
      return timeline_.after(fault.for_us, [this, &one] { network_.slow_between(0, one.index(), 0); });
  }
}

// ---- the run -----------------------------------------------------------------------------------------------

void Fleet::boot_all() {
  hosts_[0]->boot("");
  for (size_t i = 1; i < hosts_.size(); ++i) boot_later(*hosts_[i], timeline_.between(0, kSecond));
}

void Fleet::start_drivers() {
  for (int i = 0; i < config_.drivers; ++i) {
    timeline_.after(timeline_.between(1'200 * kMs, 3 * kSecond), [this, i] {
      Host& on = *hosts_[static_cast<size_t>(i * 7 + 1) % hosts_.size()];
      if (!on.is_up()) return;
      const WorkerId id = timeline_.id<WorkerId>();
      auto program = std::make_unique<Program>(static_cast<Cast&>(*this), id, on.index(), wire::ProgramKind::Driver);
      Program& driver = *program;
      live_[id] = std::move(program);
      drivers_.push_back(id);
      note("driver " + id.hex().substr(0, 8) + " begins on h" + std::to_string(on.index()));
      driver.begin(config_.errand);
    });
  }
}

void Fleet::play(int64_t until_us) {
  while (timeline_.run_next(until_us)) {
    programs_.dispatch();
    buried_.clear();
    expect(timeline_.happened() < config_.most_events, "a storm of messages");
  }
}

bool Fleet::all_done() const {
  return std::none_of(drivers_.begin(), drivers_.end(), [this](const WorkerId& id) { return live_.contains(id); });
}

std::string Fleet::leftovers(Host& host) const {
  return host.service().leftovers([this](const WorkerId& id) { return live_.contains(id); });
}

std::string Fleet::unfinished() const {
  std::string out;
  for (const WorkerId& id : drivers_)
    if (const auto at = live_.find(id); at != live_.end()) out += "\n  " + at->second->waits_for();
  for (const auto& host : hosts_)
    if (host->is_up()) out += "\n  h" + std::to_string(host->index()) + " has " + leftovers(*host);
  return out;
}

void Fleet::come_to_rest() {
  calm_ = true;
  head_dies_ = false;
  network_.heal();
  network_.all_swift();
  note("the faults are over");
  const int64_t limit = timeline_.now_us() + kRestUs;
  while (!all_done() && timeline_.now_us() < limit) play(timeline_.now_us() + kSecond);
  expect(all_done(),
         std::to_string(kRestUs / kSecond) + " s after the last fault there is still waiting:" + unfinished());
  play(timeline_.now_us() + 25 * kSecond);  // late news, streams that nobody uses, idle workers
  check_rest();
}

FleetResult Fleet::run(const std::vector<Fault>& plan) {
  FleetResult out;
  try {
    boot_all();
    start_drivers();
    int64_t end_us = timeline_.now_us() + 2 * kSecond + config_.errand.over_us;
    const int64_t begun = timeline_.now_us();
    for (const Fault& fault : plan) {
      timeline_.at(begun + fault.at_us, [this, fault] { befall(fault); });
      end_us = std::max(end_us, begun + fault.at_us + fault.for_us);
    }
    play(end_us + kMs);
    come_to_rest();
  } catch (const Broken& broken) {
    out.broken = broken.what();
  }
  out.summary = std::to_string(config_.hosts) + " hosts, " + std::to_string(drivers_.size()) + " drivers, " +
                std::to_string(faults_befallen_) + " faults: " + ledger_.summary();
  out.history = history_;
  out.events = timeline_.happened();
  out.simulated_us = timeline_.now_us();
  out.print = print_;
  return out;
}

FleetResult run_fleet(const FleetConfig& config, const std::vector<Fault>& plan) {
  Fleet fleet(config);
  return fleet.run(plan);
}

FleetConfig small_config(uint64_t seed) {
  Timeline dice(seed * 0x2545f4914f6cdd1du + 1);
  FleetConfig config;
  config.seed = seed;
  config.hosts = 4 + static_cast<int>(dice.below(8));
  config.drivers = 1 + static_cast<int>(dice.below(5));
  config.errand.tasks = static_cast<int>(dice.below(300));
  config.errand.actors = static_cast<int>(dice.below(20));
  config.errand.groups = static_cast<int>(dice.below(8));
  config.faults = static_cast<int>(dice.below(16));
  config.trouble = dice.chance(300) ? 0 : static_cast<int>(dice.below(20));
  config.slow_heads =
      seed < 2'000 ? 0 : static_cast<int>(dice.below(6));  // those below keep the runs they are known by
  return config;
}

// Halves, quarters and so on are left out as long as it still fails.
std::vector<Fault> shrink(const FleetConfig& config, std::vector<Fault> plan) {
  for (size_t part = std::max<size_t>(1, plan.size() / 2); part > 0 && !plan.empty(); part /= 2)
    for (size_t at = 0; at < plan.size();) {
      std::vector<Fault> fewer = plan;
      fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(at),
                  fewer.begin() + static_cast<ptrdiff_t>(std::min(at + part, plan.size())));
      if (!run_fleet(config, fewer).broken.empty())
        plan = std::move(fewer);
      else
        at += part;
    }
  return plan;
}

}  // namespace narke::sim
