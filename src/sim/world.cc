#include "sim/world.h"

#include <algorithm>

namespace narke::sim {

using node::StopKind;
using sched::kOne;
using sched::ResourceSet;

static constexpr size_t kHistory = 60;

static node::NodeConfig node_config(const WorldConfig& config) {
  node::NodeConfig out;
  out.node = NodeId::from_bytes(std::string(NodeId::kSize, 'n'));
  out.resources = {{"CPU", config.cpus * kOne}, {"GPU", config.gpus * kOne}, {"slots", 3 * kOne}};
  out.prestart_limit = 2;
  out.max_starting = 4;
  out.max_workers = config.max_workers;
  out.idle_keep = config.cpus;
  return out;
}

World::World(WorldConfig config)
    : config_(config), random_(config.seed), cluster_(node_config(config), {}, true, *this) {}

// ---- bookkeeping -------------------------------------------------------------------------------------------

void World::note(const std::string& text) {
  history_.push_back(std::to_string(steps_) + " @" + std::to_string(now_ms_) + "ms " + text);
  if (history_.size() > kHistory) history_.pop_front();
}

void World::expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("step " + std::to_string(steps_) + ": " + what);
}

void World::settle_and_check() {
  cluster_.settle();
  cluster_.core().check_invariants();
  for (const ResourceSet::Entry& entry : cluster_.core().pool().available().entries()) {
    const bool overdrawn = entry.amount < 0;
    const bool allowed = entry.name == "slots" || (entry.name == "CPU" && was_unblocked_);  // slots are resized
    expect(!overdrawn || allowed, entry.name + " is overdrawn");
  }
}

static std::string brief(const WorkerId& id) { return id.hex().substr(0, 6); }

// ---- what the cluster says ---------------------------------------------------------------------------------

void World::grant(const node::Grant& grant) {
  note("grant " + std::to_string(grant.lease) + " to " + brief(grant.holder) + "/" + std::to_string(grant.call_id) +
       " on " + brief(grant.worker));
  const auto asked = asked_.find({grant.holder, grant.call_id});
  expect(asked != asked_.end(), "a grant that nobody waits for");
  asked_.erase(asked);
  expect(lease_ids_.insert(grant.lease).second, "a lease id was used twice");
  const auto process = processes_.find(grant.worker);
  expect(process != processes_.end() && process->second.registered, "a lease on a worker that is not there");
  expect(process->second.actor.is_nil(), "a lease on an actor's worker");
  for (const auto& [id, lease] : leases_) expect(lease.worker != grant.worker, "a worker leased twice");
  leases_[grant.lease] = {grant.lease, grant.holder, grant.worker};
  ++grants_;
}

void World::deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind,
                 const std::string& message) {
  note("deny " + brief(holder) + "/" + std::to_string(call_id) + " " + message);
  expect(status == wire::LeaseStatus::Cancelled || !message.empty(), "a refusal without a reason");
  const bool waited = asked_.erase({holder, call_id}) == 1;
  expect(waited || !job_of_.contains(holder), "an answer that nobody waits for");
}

void World::reclaim(const WorkerId& holder, uint64_t lease) {
  note("reclaim " + std::to_string(lease));
  const auto at = leases_.find(lease);
  if (at == leases_.end()) return;  // it is on its way back
  expect(at->second.holder == holder, "a lease called back from someone else");
  expect(!at->second.reclaim_asked, "a lease called back twice");
  at->second.reclaim_asked = true;
}

void World::notice(const JobId&, const std::string&, const std::string& text) {
  expect(!text.empty(), "an empty notice");
  note("notice " + text);
}

void World::actor_changed(const WorkerId&, const controller::Actor& actor) {
  const auto at = actors_.find(actor.spec.id);
  expect(at != actors_.end(), "news of an unknown actor");
  expect(!at->second.dead || actor.state == wire::ActorState::Dead, "an actor came back from the dead");
  at->second.last = actor.state;
  at->second.dead = actor.state == wire::ActorState::Dead;
  if (at->second.dead)
    expect(actor.cause != wire::DeathCause::None && !actor.message.empty(), "a death without a cause");
}

void World::group_changed(const controller::PlacementGroup& group) {
  note(std::string("group is ") + controller::state_name(group.state));
}

void World::start_worker(const node::Worker& worker) {
  note("start " + brief(worker.id));
  ProcessModel process;
  process.id = worker.id;
  process.job = worker.job;
  expect(processes_.emplace(worker.id, process).second, "a worker started twice");
  expect(processes_.size() <= config_.max_workers, "too many workers");
}

void World::stop_worker(const node::Worker& worker, StopKind kind, const std::string& reason) {
  note((kind == StopKind::kAsk ? "ask " : "kill ") + brief(worker.id) + ": " + reason);
  const auto at = processes_.find(worker.id);
  expect(at != processes_.end(), "an unknown worker was to stop");
  if (kind == StopKind::kAsk)
    at->second.asked_to_leave = true;
  else
    at->second.kill_asked = true;
}

void World::start_actor(const node::Worker& worker, const controller::Actor& actor) {
  note("start actor " + actor.spec.id.hex().substr(0, 6) + " on " + brief(worker.id));
  ProcessModel& process = processes_.at(worker.id);
  expect(process.registered && process.actor.is_nil(), "an actor on a worker that is not free");
  for (const auto& [id, lease] : leases_) expect(lease.worker != worker.id, "an actor on a leased worker");
  ActorModel& model = actors_.at(actor.spec.id);
  expect(!model.dead, "a dead actor was started");
  ++model.starts;
  ++actor_starts_;
  expect(model.max_restarts < 0 || model.starts <= model.max_restarts + 1, "an actor restarted too often");
  process.actor = actor.spec.id;
  process.incarnation = actor.incarnation;
}

void World::lease_ended(const node::Worker& worker) { expect(worker.lease.has_value(), "a lease ended twice"); }

void World::worker_gone(const WorkerId&, const JobId&, const node::Fate& fate) {
  expect(!fate.message.empty(), "a fate without words");
}

// ---- choices -----------------------------------------------------------------------------------------------

const WorkerId* World::some_program() {
  std::vector<const WorkerId*> programs;
  for (const WorkerId& driver : drivers_) programs.push_back(&driver);
  for (const auto& [id, lease] : leases_)
    if (job_of_.contains(lease.worker)) programs.push_back(&lease.worker);
  for (const auto& entry : processes_)
    if (entry.second.actor_running) programs.push_back(&entry.first);
  return programs.empty() ? nullptr : programs[below(programs.size())];
}

ResourceSet World::some_shape() {
  static const std::vector<ResourceSet> kShapes = {
      {{"CPU", kOne}},
      {{"CPU", kOne}},
      {{"CPU", kOne}},
      {{"CPU", kOne / 2}},
      {{"CPU", 2 * kOne}},
      {{"GPU", kOne}},
      {{"GPU", kOne / 4}},
      {{"CPU", kOne}, {"GPU", kOne / 2}},
      {},
      {{"slots", kOne}},
      {{"CPU", 99 * kOne}},
      {{"unobtainium", kOne}},
      {{"GPU", 2 * kOne}},
      {{"CPU", 4 * kOne}},
  };
  return kShapes[below(kShapes.size())];
}

World::ProcessModel* World::some_process(bool (*wanted)(const ProcessModel&)) {
  std::vector<ProcessModel*> found;
  for (auto& entry : processes_)
    if (wanted(entry.second)) found.push_back(&entry.second);
  return found.empty() ? nullptr : found[below(found.size())];
}

// ---- events: programs --------------------------------------------------------------------------------------

void World::join() {
  if (drivers_.size() >= 4) return;
  const WorkerId id = new_id<WorkerId>();
  drivers_.push_back(id);
  note("driver " + brief(id) + " joins");
  job_of_[id] = cluster_.start_job(id, cluster_.self(), 1, "").id;
}

void World::forget_holder(const WorkerId& id) {
  job_of_.erase(id);
  std::erase_if(asked_, [&](const auto& entry) { return entry.first.first == id; });
  std::erase_if(leases_, [&](const auto& entry) { return entry.second.holder == id; });
}

void World::leave() {
  if (drivers_.empty()) return;
  const size_t index = below(drivers_.size());
  const WorkerId id = drivers_[index];
  drivers_.erase(drivers_.begin() + static_cast<ptrdiff_t>(index));
  note("driver " + brief(id) + " leaves");
  const JobId job = job_of_.at(id);
  forget_holder(id);
  cluster_.finish_job(job, "has left");
}

void World::ask() {
  const WorkerId* program = some_program();
  if (program == nullptr) return;
  node::LeaseRequest request;
  request.holder = *program;
  request.call_id = ++last_call_;
  request.job = job_of_.at(*program);
  request.resources = some_shape();
  request.retriable = chance(50);
  request.task_name = "task";
  if (chance(10)) request.runtime_env = "env";
  if (!groups_.empty() && chance(30)) {
    request.pg = groups_[below(groups_.size())];
    request.bundle = static_cast<int>(below(3)) - 1;
  }
  if (chance(5)) {
    request.strategy.kind = sched::Strategy::Kind::kAffinity;
    request.strategy.node = new_id<NodeId>();
    request.strategy.soft = chance(50);
  }
  note("ask " + brief(request.holder) + "/" + std::to_string(request.call_id) + " " + request.resources.text());
  asked_[{request.holder, request.call_id}] = 1;
  const node::LeaseRequest copy = request;
  cluster_.request_lease(std::move(request));
  const bool still_open = asked_.contains({copy.holder, copy.call_id});
  if (still_open && chance(3)) cluster_.request_lease(copy);  // the same frame again
}

void World::cancel() {
  if (asked_.empty() || chance(5)) {
    cluster_.cancel_lease(new_id<WorkerId>(), 1);
    return;
  }
  auto at = asked_.begin();
  std::advance(at, static_cast<ptrdiff_t>(below(asked_.size())));
  const auto [holder, call] = at->first;
  note("cancel " + brief(holder) + "/" + std::to_string(call));
  cluster_.cancel_lease(holder, call);
}

void World::give_back() {
  if (leases_.empty()) return;
  auto at = leases_.begin();
  std::advance(at, static_cast<ptrdiff_t>(below(leases_.size())));
  const LeaseModel lease = at->second;
  if (chance(5)) cluster_.return_lease(new_id<WorkerId>(), lease.id, false, false);  // not its own
  note("return " + std::to_string(lease.id));
  leases_.erase(lease.id);
  const bool failed = chance(5), exiting = !failed && chance(5);
  if (exiting) processes_.at(lease.worker).asked_to_leave = true;
  cluster_.return_lease(lease.holder, lease.id, failed, exiting);
  if (chance(5)) cluster_.return_lease(lease.holder, lease.id, false, false);  // twice
}

void World::obey_reclaims() {
  for (auto at = leases_.begin(); at != leases_.end(); ++at) {
    if (!at->second.reclaim_asked) continue;
    const LeaseModel lease = at->second;
    note("return " + std::to_string(lease.id) + " as asked");
    leases_.erase(at);
    cluster_.return_lease(lease.holder, lease.id, false, false);
    return;
  }
}

// ---- events: processes -------------------------------------------------------------------------------------

void World::process_dies(WorkerId id) {
  note("process " + brief(id) + " dies");
  processes_.erase(id);
  std::erase_if(leases_, [&](const auto& entry) { return entry.second.worker == id; });
  forget_holder(id);
  cluster_.core().on_worker_gone(id, controller::fate_of_status(1234, chance(50) ? 9 : 256));
  if (chance(5)) cluster_.core().on_worker_gone(id, controller::unknown_fate(1234));
}

void World::progress_fork() {
  ProcessModel* process = some_process([](const ProcessModel& p) { return !p.registered; });
  if (process == nullptr) return;
  const WorkerId id = process->id;
  if (chance(8)) {
    note("fork of " + brief(id) + " fails");
    processes_.erase(id);
    cluster_.core().on_start_failed(id, "no more processes");
    return;
  }
  if (chance(5)) {
    process_dies(id);
    return;
  }
  process->registered = true;
  job_of_[id] = process->job;
  note("worker " + brief(id) + " registers");
  expect(cluster_.core().on_registered(id, 1234, "endpoint"), "a worker was turned away");
  if (chance(5)) expect(!cluster_.core().on_registered(id, 1234, "endpoint"), "a worker registered twice");
}

void World::crash() {
  ProcessModel* process = some_process([](const ProcessModel&) { return true; });
  if (process != nullptr) process_dies(process->id);
}

void World::zygote_dies() {
  note("the zygote dies");
  std::vector<WorkerId> unborn;
  for (const auto& [id, process] : processes_)
    if (!process.registered) unborn.push_back(id);
  for (const WorkerId& id : unborn) {
    processes_.erase(id);
    cluster_.core().on_start_failed(id, "the zygote ended");
  }
}

// Workers that were told to end do so at some time; some that were only asked stay.
void World::die_as_told() {
  ProcessModel* process = some_process([](const ProcessModel& p) { return p.kill_asked || p.asked_to_leave; });
  if (process == nullptr) return;
  if (!process->kill_asked && chance(20))
    process->asked_to_leave = false;
  else
    process_dies(process->id);
}

void World::block(bool blocked) {
  ProcessModel* process = some_process([](const ProcessModel& p) { return p.registered; });
  if (process == nullptr) return;
  process->blocked = blocked;
  if (blocked) {
    cluster_.core().on_blocked(process->id);
  } else {
    was_unblocked_ = true;
    cluster_.core().on_unblocked(process->id);
  }
}

void World::squeeze_memory() {
  cluster_.core().relieve_memory("15 of 16 GiB used", [](int pid) { return static_cast<uint64_t>(pid) << 20; });
}

void World::resize() { cluster_.core().resize("slots", static_cast<sched::Amount>(3 + below(3)) * kOne); }

void World::pass_time() {
  now_ms_ += static_cast<int64_t>(below(chance(10) ? 8'000 : 40));
  cluster_.core().tick();
}

// ---- events: actors and groups -----------------------------------------------------------------------------

void World::create_actor() {
  const WorkerId* program = some_program();
  if (program == nullptr) return;
  controller::ActorSpec spec;
  spec.id = new_id<ActorId>();
  spec.job = job_of_.at(*program);
  spec.owner.worker = *program;
  spec.class_name = "Counter";
  spec.detached = chance(10);
  spec.max_restarts = chance(20) ? -1 : static_cast<int>(below(3));
  spec.running = chance(60) ? ResourceSet() : some_shape();
  spec.placement = spec.running.empty() ? ResourceSet{{"CPU", kOne}} : spec.running;
  if (chance(30)) spec.name = "name" + std::to_string(below(3));
  if (!groups_.empty() && chance(30)) spec.pg = groups_[below(groups_.size())];
  note("create actor " + spec.id.hex().substr(0, 6) + " by " + brief(*program));
  actors_[spec.id].max_restarts = spec.max_restarts;
  const ActorId id = spec.id;
  const auto created = cluster_.controller().actors.create(std::move(spec), {}, *program);
  if (created.status != wire::CreateActorStatus::Created) actors_.erase(id);
}

void World::finish_init() {
  ProcessModel* process =
      some_process([](const ProcessModel& p) { return !p.actor.is_nil() && !p.actor_running && !p.kill_asked; });
  if (process == nullptr) return;
  const bool ok = chance(90);
  process->actor_running = ok;
  note("actor " + process->actor.hex().substr(0, 6) + (ok ? " is initialised" : " fails in __init__"));
  cluster_.core().on_actor_started(process->id, process->actor, ok, {});
}

void World::end_some_actor() {
  if (actors_.empty()) return;
  auto at = actors_.begin();
  std::advance(at, static_cast<ptrdiff_t>(below(actors_.size())));
  controller::Actors& actors = cluster_.controller().actors;
  switch (below(4)) {
    case 0: actors.kill(at->first, true); break;
    case 1: actors.kill(at->first, false); break;
    case 2: actors.out_of_scope(at->first); break;
    default: actors.exiting(at->first); break;
  }
}

void World::create_group() {
  if (drivers_.empty() || groups_.size() > 6) return;
  controller::PlacementGroup group;
  group.id = new_id<PgId>();
  group.strategy = static_cast<sched::BundleStrategy>(below(4));
  for (size_t i = 0; i < 1 + below(2); ++i) group.bundles.push_back({{"CPU", kOne}, {"GPU", chance(30) ? kOne : 0}});
  group.detached = chance(10);
  group.creator = drivers_[below(drivers_.size())];
  group.job = job_of_.at(group.creator);
  groups_.push_back(group.id);
  note("create group");
  expect(cluster_.controller().groups.create(std::move(group)).ok(), "a group was refused");
}

void World::remove_group() {
  if (groups_.empty()) return;
  const size_t index = below(groups_.size());
  note("remove group");
  cluster_.controller().remove_group(groups_[index]);
  if (chance(50)) groups_.erase(groups_.begin() + static_cast<ptrdiff_t>(index));  // else it is asked for again
}

// ---- running -----------------------------------------------------------------------------------------------

void World::step() {
  using Event = void (World::*)();
  struct Weighted {
    int weight;
    Event event;
  };
  static const std::vector<Weighted> kEvents = {
      {3, &World::join},           {1, &World::leave},         {22, &World::ask},           {3, &World::cancel},
      {14, &World::give_back},     {8, &World::obey_reclaims}, {18, &World::progress_fork}, {2, &World::crash},
      {6, &World::create_actor},   {8, &World::finish_init},   {4, &World::end_some_actor}, {3, &World::create_group},
      {2, &World::remove_group},   {1, &World::zygote_dies},   {12, &World::pass_time},     {8, &World::die_as_told},
      {1, &World::squeeze_memory}, {1, &World::resize},
  };
  ++steps_;
  int total = 8;
  for (const Weighted& each : kEvents) total += each.weight;
  int pick = static_cast<int>(below(static_cast<size_t>(total))) - 8;
  if (pick < 0) {
    block(pick < -3);
  } else {
    for (const Weighted& each : kEvents) {
      if ((pick -= each.weight) >= 0) continue;
      (this->*each.event)();
      break;
    }
  }
  settle_and_check();
}

void World::quiet() {
  for (const auto& [id, group] : std::unordered_map(cluster_.controller().groups.all()))
    cluster_.controller().remove_group(id);
  groups_.clear();
  for (int round = 0; round < 400; ++round) {
    ++steps_;
    now_ms_ += 50;
    for (auto& [id, process] : processes_) {
      if (!process.registered || !process.blocked) continue;
      process.blocked = false;
      was_unblocked_ = true;
      cluster_.core().on_unblocked(id);
    }
    std::vector<WorkerId> doomed, unborn, initialising;
    for (auto& [id, process] : processes_) {
      if (process.kill_asked || process.asked_to_leave)
        doomed.push_back(id);
      else if (!process.registered)
        unborn.push_back(id);
      else if (!process.actor.is_nil() && !process.actor_running)
        initialising.push_back(id);
    }
    for (const WorkerId& id : doomed) process_dies(id);
    for (const WorkerId& id : unborn) {
      processes_.at(id).registered = true;
      job_of_[id] = processes_.at(id).job;
      expect(cluster_.core().on_registered(id, 1234, "endpoint"), "a worker was turned away");
    }
    for (const WorkerId& id : initialising)
      if (const auto at = processes_.find(id); at != processes_.end()) {
        at->second.actor_running = true;
        cluster_.core().on_actor_started(id, at->second.actor, true, {});
      }
    for (const auto& [id, actor] : actors_) cluster_.controller().actors.kill(id, true);
    const std::map<uint64_t, LeaseModel> leases = leases_;
    for (const auto& [id, lease] : leases) {
      leases_.erase(id);
      cluster_.return_lease(lease.holder, id, false, false);
    }
    cluster_.core().tick();
    settle_and_check();
  }
  check_quiet();
}

void World::check_quiet() {
  expect(leases_.empty(), "leases are left");
  size_t explained = 0;
  for (const node::Demand& row : cluster_.core().demand()) {
    expect(row.infeasible, "requests wait for what is free: " + class_text(*row.cls));
    explained += row.count;
  }
  expect(asked_.size() <= explained, "requests were neither answered nor explained");
  for (const auto& [id, actor] : actors_) {
    const controller::Actor* record = cluster_.controller().actors.find(id);
    expect(record && record->state == wire::ActorState::Dead, "an actor that was killed is not dead");
  }
  while (!drivers_.empty()) leave();
  settle_and_check();
  now_ms_ += 6'000;
  cluster_.core().tick();
  settle_and_check();
  const std::map<WorkerId, ProcessModel> left = processes_;
  for (const auto& [id, process] : left) {
    expect(process.asked_to_leave || process.kill_asked, "a worker stays although its job has ended");
    process_dies(id);
  }
  settle_and_check();
  expect(asked_.empty(), "requests outlive their programs");
  ResourceSet free = cluster_.core().pool().available();
  for (const auto& [id, group] : cluster_.core().groups())
    for (const auto& [index, bundle] : group.bundles) free.add(bundle.pool.available());
  expect(free == cluster_.core().pool().total(), "not everything came back: " + free.text());
}

std::string run(const WorldConfig& config, uint64_t steps) {
  World world(config);
  try {
    for (uint64_t i = 0; i < steps; ++i) world.step();
    world.quiet();
  } catch (const std::runtime_error& broken) {
    std::string out = "seed " + std::to_string(config.seed) + ": " + broken.what() + "\n";
    for (const std::string& line : world.history()) out += "  " + line + "\n";
    return out;
  }
  return "";
}

}  // namespace narke::sim
