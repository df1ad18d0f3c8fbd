#include "node/processes.h"

#include <cerrno>
#include <chrono>
#include <fstream>
#include <iterator>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace narke::node {

using controller::Fate;
using std::chrono::milliseconds;

static constexpr milliseconds kStatusWait{200};   // for the status of a process that is known to be dead
static constexpr milliseconds kSweepDelay{50};    // for its orphans to be handed over by the kernel
static constexpr milliseconds kZygotePause{100};  // between attempts, times the failures in a row
static constexpr int kMaxZygoteFailures = 5;
static constexpr size_t kLastWordsBytes = 2'000;

Processes::Processes(rpc::Reactor& reactor, ZygoteConfig config, ProcessesOut& out)
    : reactor_(reactor), config_(std::move(config)), out_(out) {}

Processes::~Processes() {
  for (auto& [id, process] : workers_) {
    if (process.pidfd < 0) continue;
    reactor_.unwatch(process.pidfd);
    close(process.pidfd);
  }
}

Status Processes::start() {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  return source({}).start();
}

void Processes::stop() {
  stopping_ = true;
  for (auto& [interpreter, source] : sources_) source->stop();
}

Processes::Source& Processes::source(const Interpreter& interpreter) {
  std::unique_ptr<Source>& slot = sources_[interpreter];
  if (slot) return *slot;
  ZygoteConfig config = config_;
  if (!interpreter.command.empty()) {
    std::vector<std::string> command = interpreter.command;
    command.insert(command.end(), config.command.begin() + 1, config.command.end());
    config.command = std::move(command);
    config.cwd = interpreter.cwd;
    config.name = "zygote-" + std::to_string(++last_source_);
  }
  slot = std::make_unique<Source>(*this, reactor_, std::move(config));
  return *slot;
}

void Processes::start_worker(const WorkerId& worker, ForkRequest request) {
  workers_[worker] = {};
  source(request.interpreter).fork(worker, std::move(request));
}

void Processes::end_zygote(const Interpreter& interpreter) {
  const auto at = sources_.find(interpreter);
  if (at == sources_.end() || interpreter.command.empty()) return;
  if (at->second->pid() > 0) ended_zygotes_.insert(at->second->pid());
  at->second->stop();
  sources_.erase(at);
}

void Processes::spare(int pid, bool on) {
  if (on)
    spared_.insert(pid);
  else
    spared_.erase(pid);
}

bool Processes::is_zygote(int pid) const {
  if (ended_zygotes_.contains(pid)) return true;
  for (const auto& [interpreter, source] : sources_)
    if (source->pid() == pid) return true;
  return false;
}

int Processes::pid_of(const WorkerId& worker) const {
  const auto at = workers_.find(worker);
  return at == workers_.end() ? 0 : at->second.pid;
}

// ---- ending ------------------------------------------------------------------------------------------------

static void kill_session(int pid) {
  ::kill(-pid, SIGKILL);  // a worker leads its own session: what it started is in it
  ::kill(pid, SIGKILL);
}

void Processes::kill(const WorkerId& worker) {
  const auto at = workers_.find(worker);
  if (at == workers_.end()) return;
  if (at->second.pid == 0)
    at->second.kill_when_forked = true;
  else if (!at->second.dead)
    kill_session(at->second.pid);
}

void Processes::kill_after(const WorkerId& worker, int delay_ms) {
  reactor_.after(milliseconds(delay_ms), [this, worker] { kill(worker); });
}

void Processes::kill_all() {
  for (auto& [id, process] : workers_)
    if (process.pid != 0 && !process.dead) kill_session(process.pid);
  sweep_strays();
}

// ---- zygotes -----------------------------------------------------------------------------------------------

Processes::Source::Source(Processes& owner, rpc::Reactor& reactor, ZygoteConfig config)
    : owner_(owner),
      reactor_(reactor),
      errors_(config.log_dir + "/" + config.name + ".err"),
      is_kept_(config.command == owner.config_.command),
      zygote_(reactor, std::move(config), *this) {}

Processes::Source::~Source() {
  if (retry_ != 0) reactor_.cancel(retry_);
}

void Processes::Source::stop() {
  stopping_ = true;
  if (zygote_.pid() > 0) ::kill(zygote_.pid(), SIGKILL);
}

void Processes::Source::fork(const WorkerId& worker, ForkRequest request) {
  if (zygote_.is_running()) return zygote_.fork(worker, request);
  waiting_.emplace_back(worker, std::move(request));
  if (retry_ == 0) retry_ = reactor_.after(milliseconds(0), [this] { start_again(); });  // may fail: not from in here
}

void Processes::Source::start_again() {
  retry_ = 0;
  if (stopping_ || zygote_.is_running()) return;
  if (const Status started = zygote_.start(); !started.ok()) return on_zygote_gone(started.error().message);
  for (auto& [worker, request] : std::exchange(waiting_, {})) zygote_.fork(worker, request);
}

void Processes::Source::on_forked(const WorkerId& worker, int pid) {
  failures_ = 0;
  owner_.on_forked(worker, pid);
}

void Processes::Source::on_fork_failed(const WorkerId& worker, const std::string& message, bool postponed) {
  owner_.on_fork_failed(worker, message, postponed);
}

// The next zygote forks it. If this one had done so already, its child is swept away as a stray.
void Processes::Source::on_fork_lost(const WorkerId& worker, ForkRequest request) {
  if (owner_.on_fork_lost(worker)) waiting_.emplace_back(worker, std::move(request));
}

std::string Processes::Source::last_words() const {
  std::ifstream file(errors_, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.size() > kLastWordsBytes) text.erase(0, text.size() - kLastWordsBytes);
  return text.empty() ? "(nothing)" : text;
}

void Processes::Source::on_zygote_gone(const std::string& why) {
  if (stopping_) return;
  owner_.out_.log("the zygote ended (" + why + "); starting another");
  if (++failures_ > kMaxZygoteFailures) {
    for (const auto& [worker, request] : std::exchange(waiting_, {}))
      on_fork_failed(worker,
                     "The zygote process cannot be started (" + why + "). The end of its error output, " + errors_ +
                         ": " + last_words(),
                     false);
  }
  if (retry_ == 0 && (is_kept_ || !waiting_.empty()))
    retry_ = reactor_.after(kZygotePause * failures_, [this] { start_again(); });
}

// ---- the zygotes' news -------------------------------------------------------------------------------------

void Processes::on_forked(const WorkerId& worker, int pid) {
  const auto at = workers_.find(worker);
  if (at == workers_.end()) {
    ::kill(pid, SIGKILL);
    return;
  }
  Process& process = at->second;
  process.pid = pid;
  by_pid_[pid] = worker;
  process.pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  out_.on_process_started(worker, pid);
  if (process.pidfd < 0) {  // reaped already
    reactor_.after(kStatusWait, [this, worker] { on_dead(worker); });
    return;
  }
  reactor_.watch(process.pidfd, [this, worker] { on_dead(worker); });
  if (process.kill_when_forked) kill(worker);
}

void Processes::on_fork_failed(const WorkerId& worker, const std::string& message, bool postponed) {
  if (workers_.erase(worker) > 0) out_.on_process_failed(worker, message, postponed);
}

// Whether it is still wanted.
bool Processes::on_fork_lost(const WorkerId& worker) {
  schedule_sweep();
  const auto at = workers_.find(worker);
  if (at == workers_.end()) return false;
  if (!at->second.kill_when_forked) return true;
  on_fork_failed(worker, "The zygote process ended before it had forked.", false);
  return false;
}

void Processes::on_child_exited(int pid, int status) {
  const auto at = by_pid_.find(pid);
  if (at != by_pid_.end()) gone(at->second, controller::fate_of_status(pid, status));
}

// ---- deaths ------------------------------------------------------------------------------------------------

void Processes::on_dead(const WorkerId& worker) {
  const auto at = workers_.find(worker);
  if (at == workers_.end() || at->second.dead) return;
  at->second.dead = true;
  if (at->second.pidfd >= 0) reactor_.unwatch(at->second.pidfd);
  int status = 0;
  const int pid = at->second.pid;
  if (waitpid(pid, &status, WNOHANG) == pid) {
    gone(worker, controller::fate_of_status(pid, status));
    return;
  }
  reactor_.after(kStatusWait, [this, worker, pid] {
    const auto still = workers_.find(worker);
    if (still != workers_.end() && still->second.pid == pid) gone(worker, controller::unknown_fate(pid));
  });
}

void Processes::gone(const WorkerId& id, const Fate& fate) {
  const WorkerId worker = id;
  const auto at = workers_.find(worker);
  if (at == workers_.end()) return;
  const Process process = at->second;
  if (process.pidfd >= 0) {
    if (!process.dead) reactor_.unwatch(process.pidfd);
    close(process.pidfd);
  }
  ::kill(-process.pid, SIGKILL);
  by_pid_.erase(process.pid);
  workers_.erase(at);
  schedule_sweep();
  out_.on_process_gone(worker, fate);
}

void Processes::reap() {
  int status = 0;
  int pid = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (ended_zygotes_.erase(pid) > 0 || is_zygote(pid)) continue;
    on_child_exited(pid, status);
  }
}

void Processes::schedule_sweep() {
  if (std::exchange(sweep_scheduled_, true)) return;
  reactor_.after(kSweepDelay, [this] {
    sweep_scheduled_ = false;
    sweep_strays();
  });
}

// The gateway, and supervisors of jobs whose gateway is gone: they end by themselves, with what they have started. What
// this process spawned a moment ago (the gateway) may still bear its name: posix_spawn() returns a little earlier.
static bool ends_by_itself(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name == "narke-gateway" || name == "narke-job" || name == "narke-node";
}

// Other children of this process that are neither zygotes nor workers were started by a worker that is gone.
void Processes::sweep_strays() {
  const std::string self = std::to_string(getpid());
  std::ifstream children("/proc/self/task/" + self + "/children");
  int pid = 0;
  while (children >> pid)
    if (!is_zygote(pid) && !spared_.contains(pid) && !by_pid_.contains(pid) && !ends_by_itself(pid))
      ::kill(pid, SIGKILL);
}

}  // namespace narke::node
