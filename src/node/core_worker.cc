// The worker pool: starting, idling, ending.
#include <algorithm>

#include "node/core.h"

namespace narke::node {

static constexpr int kMaxStartFailures = 3;
static constexpr size_t kMaxFates = 10'000;
static constexpr int64_t kPauseMs = 1'000;  // after the host could not start a worker
static constexpr int64_t kLeaveMs = 5'000;  // how long one that was asked to leave may take

Core::Family& Core::family(const JobId& job, const std::string& env) {
  Family& family = families_[{job, env}];
  if (family.job.is_nil()) {
    family.job = job;
    family.runtime_env = env;
  }
  return family;
}

Worker* Core::get(const WorkerId& id) {
  const auto at = workers_.find(id);
  return at == workers_.end() ? nullptr : &at->second;
}

const Worker* Core::find(const WorkerId& id) const {
  const auto at = workers_.find(id);
  return at == workers_.end() ? nullptr : &at->second;
}

const Fate* Core::fate(const WorkerId& id) const {
  const auto at = fates_.find(id);
  return at == fates_.end() ? nullptr : &at->second;
}

void Core::remember(const WorkerId& id, Fate fate) {
  if (fates_.insert_or_assign(id, std::move(fate)).second) fate_order_.push_back(id);
  if (fate_order_.size() <= kMaxFates) return;
  fates_.erase(fate_order_.front());
  fate_order_.pop_front();
}

void Core::set_state(Worker& worker, WorkerState state) {
  worker.state = state;
  worker.since_ms = out_.now_ms();
}

// ---- starting ----------------------------------------------------------------------------------------------

void Core::prestart(const JobId& job, const std::string& runtime_env) {
  if (draining_ || ended_jobs_.contains(job)) return;
  Family& family = this->family(job, runtime_env);
  const size_t there = family.idle.size() + family.starting;
  const size_t wanted = static_cast<size_t>(config_.prestart_limit);
  family.prestart = wanted - std::min(wanted, there);
  wanting_.insert({job, runtime_env});
}

void Core::start_workers() {
  for (auto at = wanting_.begin(); at != wanting_.end();) {
    Family& family = families_.at(*at);
    if (!has_environment(family)) {
      at = family.waiting.empty() && family.prestart == 0 ? wanting_.erase(at) : std::next(at);
      continue;
    }
    const auto served_now = [&family] { return family.starting >= family.waiting.size() && family.prestart == 0; };
    while (!served_now() && start_one(family)) {
    }
    const bool served = served_now();
    at = served ? wanting_.erase(at) : std::next(at);
    if (!served && starting_ >= static_cast<size_t>(config_.max_starting)) return;
  }
  if (wanting_.empty() && starting_ == 0) told_full_ = false;
}

// Those who wait for one that cannot be made are told so.
bool Core::has_environment(Family& family) {
  const EnvironmentState state = out_.environment(family.job, family.runtime_env);
  if (state.kind != EnvironmentState::Kind::kFailed) return state.kind == EnvironmentState::Kind::kReady;
  family.prestart = 0;
  while (!family.waiting.empty()) deny(family.waiting.begin(), wire::FailureKind::RuntimeEnv, state.error);
  return false;
}

bool Core::start_one(Family& family) {
  if (starting_ >= static_cast<size_t>(config_.max_starting)) return false;
  if (is_paused()) {
    tell_full(family, pause_reason_);
    return false;
  }
  if (workers_.size() >= config_.max_workers && !make_room(family)) return false;
  Worker worker;
  worker.id = out_.new_worker_id();
  worker.job = family.job;
  worker.runtime_env = family.runtime_env;
  worker.since_ms = out_.now_ms();
  ++starting_;
  ++family.starting;
  if (family.prestart > 0) --family.prestart;
  out_.start_worker(workers_.emplace(worker.id, std::move(worker)).first->second);
  return true;
}

// At the limit an idle worker that the waiting ones cannot use makes place; without one, the requests wait and a person
// is told.
bool Core::make_room(const Family& wanting) {
  for (auto& [key, family] : families_) {
    if (evicting_.size() >= wanting.waiting.size()) return false;
    if (family.idle.empty()) continue;
    evicting_.insert(family.idle.front());
    leave(workers_.at(family.idle.front()), "its place is needed");
    return false;  // there is room once it is gone
  }
  tell_full(wanting, config_.max_workers_reason.empty() ? "the most it allows" : config_.max_workers_reason);
  return false;
}

// Once, until all who wait now have been served.
void Core::tell_full(const Family& wanting, const std::string& why) {
  if (wanting.waiting.empty() || std::exchange(told_full_, true)) return;
  out_.notice(wanting.job, "worker_limit",
              "This node runs " + std::to_string(workers_.size()) + " workers and starts no more now (" + why + "); " +
                  std::to_string(wanting.waiting.size()) +
                  " more are waited for. They start as others end. Use fewer actors at once, or actors with "
                  "max_concurrency.");
}

void Core::pause_starts(const std::string& why, int64_t pause_ms) {
  pause_reason_ = why;
  paused_until_ms_ = std::max(paused_until_ms_, out_.now_ms() + pause_ms);
}

bool Core::is_paused() { return out_.now_ms() < paused_until_ms_; }

bool Core::on_registered(const WorkerId& id, int pid, const std::string& endpoint) {
  Worker* worker = get(id);
  if (worker == nullptr || worker->state != WorkerState::kStarting) return false;
  worker->pid = pid;
  worker->endpoint = endpoint;
  Family& family = this->family(worker->job, worker->runtime_env);
  --starting_;
  --family.starting;
  family.failures = 0;
  make_idle(*worker);
  return true;
}

void Core::on_start_failed(const WorkerId& id, const std::string& message) {
  Worker* worker = get(id);
  if (worker == nullptr || worker->state != WorkerState::kStarting) return;
  start_failed(std::move(*worker), message);
  workers_.erase(id);
}

void Core::on_start_postponed(const WorkerId& id, const std::string& why) {
  Worker* worker = get(id);
  if (worker == nullptr || worker->state != WorkerState::kStarting) return;
  Family& family = this->family(worker->job, worker->runtime_env);
  --starting_;
  --family.starting;
  wanting_.insert({family.job, family.runtime_env});
  workers_.erase(id);
  pause_starts(why, kPauseMs);
}

// A family whose workers fail again and again would fail forever: those who wait are told why instead.
void Core::start_failed(Worker worker, const std::string& message) {
  Family& family = this->family(worker.job, worker.runtime_env);
  --starting_;
  --family.starting;
  wanting_.insert({family.job, family.runtime_env});
  if (ended_jobs_.contains(family.job)) family.prestart = 0;
  if (ended_jobs_.contains(family.job) && family.waiting.empty()) return;
  if (++family.failures < kMaxStartFailures) return;
  family.failures = 0;
  family.prestart = 0;
  fail_waiting(family, message);
}

void Core::fail_waiting(Family& family, const std::string& message) {
  while (!family.waiting.empty())
    deny(family.waiting.begin(), wire::FailureKind::RuntimeEnv,
         "A worker for it could not be started (" + std::to_string(kMaxStartFailures) + " attempts). " + message);
}

// ---- idling ------------------------------------------------------------------------------------------------

void Core::make_idle(Worker& worker) {
  evicting_.erase(worker.id);
  Family& family = this->family(worker.job, worker.runtime_env);
  const auto fitting = std::find_if(family.waiting.begin(), family.waiting.end(),
                                    [&](const Request& request) { return may_run(worker, request); });
  if (fitting != family.waiting.end()) {
    Request request = std::move(*fitting);
    unindex(request);
    family.waiting.erase(fitting);
    if (Group* group = group_of(*request.cls)) --group->waiting;
    grant(worker, std::move(request));
    return;
  }
  set_state(worker, WorkerState::kIdle);
  family.idle.push_back(worker.id);
  if (ended_jobs_.contains(worker.job)) leave(worker, "its job has ended");
}

void Core::take_idle(Worker& worker) {
  if (worker.state == WorkerState::kIdle) std::erase(family(worker.job, worker.runtime_env).idle, worker.id);
}

void Core::cull_idle() {
  std::vector<Worker*> idle;
  const int64_t now = out_.now_ms();
  for (auto& [id, worker] : workers_)
    if (worker.state == WorkerState::kIdle) idle.push_back(&worker);
  const size_t keep = draining_ ? 0 : static_cast<size_t>(config_.idle_keep);
  const int64_t idle_ms = draining_ ? 0 : config_.idle_ms;
  if (idle.size() <= keep) return;
  const size_t excess = idle.size() - keep;
  std::sort(idle.begin(), idle.end(), [](const Worker* a, const Worker* b) {
    return a->since_ms != b->since_ms ? a->since_ms < b->since_ms : a->id < b->id;
  });
  for (size_t i = 0; i < excess && now - idle[i]->since_ms >= idle_ms; ++i)
    if (!held_.contains(idle[i]->id) && !out_.owns_actors(idle[i]->id)) leave(*idle[i], "idle");
}

// ---- ending ------------------------------------------------------------------------------------------------

void Core::leave(Worker& worker, const std::string& reason) {
  take_idle(worker);
  set_state(worker, WorkerState::kLeaving);
  out_.stop_worker(worker, StopKind::kAsk, reason);
}

void Core::kill(Worker& worker, const std::string& reason) {
  if (worker.killed) return;
  worker.killed = true;
  if (!worker.verdict) {
    Fate fate;
    fate.cause = Fate::Cause::kKilled;
    fate.pid = worker.pid;
    fate.signal = 9;
    fate.intended = worker.state != WorkerState::kStarting;
    fate.message = "The worker process (pid " + std::to_string(worker.pid) + ") was ended because " + reason + ".";
    worker.verdict = std::move(fate);
  }
  take_idle(worker);
  if (worker.state != WorkerState::kStarting && worker.state != WorkerState::kActor)
    set_state(worker, WorkerState::kLeaving);
  out_.stop_worker(worker, StopKind::kKill, reason);
}

void Core::on_worker_gone(const WorkerId& id, Fate fate) {
  const auto at = workers_.find(id);
  if (at == workers_.end()) return;
  take_idle(at->second);
  Worker worker = std::move(at->second);
  workers_.erase(at);
  if (worker.verdict) fate = *worker.verdict;
  if (fate.pid == 0) fate.pid = worker.pid;
  if (worker.id == memory_victim_) memory_victim_ = WorkerId();
  evicting_.erase(id);
  if (worker.state == WorkerState::kStarting) start_failed(worker, fate.message);
  release(worker);
  remember(id, fate);
  if (!worker.actor.is_nil()) {
    const auto at = actor_workers_.find(worker.actor);
    if (at != actor_workers_.end() && at->second == id) actor_workers_.erase(at);  // not a later incarnation's
    out_.actor_gone(worker.actor, worker.incarnation, fate);
  }
  on_holder_gone(id);
  out_.worker_gone(id, worker.job, fate);
}

void Core::end_job(const JobId& job) {
  ended_jobs_.insert(job);
  caps_.erase(job);
  std::vector<Worker*> starting, leaving;
  for (auto& [id, worker] : workers_) {
    if (worker.job != job || worker.killed) continue;
    if (worker.state == WorkerState::kStarting) starting.push_back(&worker);
    if (worker.state == WorkerState::kLeaving) leaving.push_back(&worker);
  }
  for (Worker* worker : leaving) out_.stop_worker(*worker, StopKind::kAsk, "its job has ended");
  for (auto& [key, family] : families_) {
    if (family.job != job) continue;
    family.prestart = 0;
    while (!family.idle.empty()) leave(workers_.at(family.idle.back()), "its job has ended");
  }
  for (Worker* worker : starting)
    if (family(worker->job, worker->runtime_env).waiting.empty()) kill(*worker, "its job has ended");
  std::erase_if(explained_, [&](const std::string& key) { return key.starts_with(job.hex()); });
}

// ---- upkeep ------------------------------------------------------------------------------------------------

void Core::tick() {
  check_deadlines();
  cull_idle();
  reclaim_due_ = true;
  if (age()) dirty_ = true;
  std::erase_if(classes_, [](const auto& entry) { return entry.second.use_count() == 1; });
}

// One that was asked to leave may take its time while its job runs: others may still need what it owns.
void Core::check_deadlines() {
  const int64_t now = out_.now_ms();
  std::vector<Worker*> unborn, lingering;
  for (auto& [id, worker] : workers_) {
    const int64_t age = now - worker.since_ms;
    if (worker.killed) continue;
    if (worker.state == WorkerState::kStarting && age > config_.start_deadline_ms) unborn.push_back(&worker);
    if (worker.state == WorkerState::kLeaving && age > kLeaveMs && ended_jobs_.contains(worker.job))
      lingering.push_back(&worker);
  }
  for (Worker* worker : unborn)
    kill(*worker, "it did not register within " + std::to_string(config_.start_deadline_ms / 1000) + " s");
  for (Worker* worker : lingering) kill(*worker, "it did not leave when its job had ended");
}

bool Core::relieve_memory(const std::string& figures, const std::function<uint64_t(int)>& rss) {
  if (!memory_victim_.is_nil()) return false;
  Worker* latest = nullptr;
  Worker* largest = nullptr;
  uint64_t most = 0;
  for (auto& [id, worker] : workers_) {
    if (worker.killed || !worker.lease) continue;
    const bool later = latest == nullptr || worker.lease->id > latest->lease->id;
    if (worker.lease->retriable && later) latest = &worker;
    const uint64_t size = rss(worker.pid);
    if (largest == nullptr || size > most) {
      largest = &worker;
      most = size;
    }
  }
  Worker* victim = latest ? latest : largest;
  if (victim == nullptr) return false;
  Fate fate;
  fate.cause = Fate::Cause::kOutOfMemory;
  fate.pid = victim->pid;
  fate.signal = 9;
  fate.message = "The worker process (pid " + std::to_string(victim->pid) + ", " +
                 std::to_string(rss(victim->pid) >> 20) + " MiB, running '" + victim->lease->task_name +
                 "') was ended to keep the host from running out of memory: " + figures +
                 ". Use less memory per task, ask for more CPUs per task so that fewer run at once, or give the "
                 "tasks a `memory` resource.";
  victim->verdict = std::move(fate);
  memory_victim_ = victim->id;
  kill(*victim, "the host's memory is short");
  return true;
}

void Core::resize(const std::string& resource, sched::Amount total) {
  pool_.resize(resource, total);
  dirty_ = freed_ = true;
  unpark();
}

bool Core::wants_tick() const { return !queue_.empty() || groups_waiting_ > 0 || (draining_ && !workers_.empty()); }

bool Core::is_empty() const {
  const auto none = [](const auto& calls) { return calls.second.empty(); };
  return workers_.empty() && actor_requests_.empty() && std::all_of(requests_.begin(), requests_.end(), none);
}

void Core::drain() {
  draining_ = true;
  for (auto& [key, family] : families_) family.prestart = 0;
  reclaim_due_ = true;
}

}  // namespace narke::node
