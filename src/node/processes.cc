#include "node/processes.h"

#include <cerrno>
#include <chrono>
#include <fstream>

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

Processes::Processes(rpc::Reactor& reactor, ZygoteConfig config, ProcessesOut& out)
    : reactor_(reactor), out_(out), zygote_(reactor, std::move(config), *this) {}

Processes::~Processes() {
  for (auto& [id, process] : workers_) {
    if (process.pidfd < 0) continue;
    reactor_.unwatch(process.pidfd);
    close(process.pidfd);
  }
}

Status Processes::start() {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  return zygote_.start();
}

void Processes::stop() {
  stopping_ = true;
  if (zygote_.pid() > 0) ::kill(zygote_.pid(), SIGKILL);
}

void Processes::start_worker(const WorkerId& worker, ForkRequest request) {
  workers_[worker] = {};
  if (zygote_.is_running())
    zygote_.fork(worker, request);
  else
    waiting_.emplace_back(worker, std::move(request));
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

// ---- the zygote's news -------------------------------------------------------------------------------------

void Processes::on_forked(const WorkerId& worker, int pid) {
  zygote_failures_ = 0;
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

// The next zygote forks it. If this one had done so already, its child is swept away as a stray.
void Processes::on_fork_lost(const WorkerId& worker, ForkRequest request) {
  const auto at = workers_.find(worker);
  if (at != workers_.end() && at->second.kill_when_forked)
    on_fork_failed(worker, "The zygote process ended before it had forked.", false);
  else if (at != workers_.end())
    waiting_.emplace_back(worker, std::move(request));
  schedule_sweep();
}

void Processes::on_child_exited(int pid, int status) {
  const auto at = by_pid_.find(pid);
  if (at != by_pid_.end()) gone(at->second, controller::fate_of_status(pid, status));
}

void Processes::on_zygote_gone(const std::string& why) {
  if (stopping_) return;
  out_.log("the zygote ended (" + why + "); starting another");
  if (++zygote_failures_ > kMaxZygoteFailures) {
    for (const auto& [worker, request] : std::exchange(waiting_, {}))
      on_fork_failed(worker, "The zygote process cannot be started; see zygote.err in the session's logs.", false);
  }
  reactor_.after(kZygotePause * zygote_failures_, [this] {
    if (stopping_ || zygote_.is_running()) return;
    if (const Status started = zygote_.start(); !started.ok()) {
      on_zygote_gone(started.error().message);
      return;
    }
    for (auto& [worker, request] : std::exchange(waiting_, {})) zygote_.fork(worker, request);
  });
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
    if (pid != zygote_.pid()) on_child_exited(pid, status);
  }
}

void Processes::schedule_sweep() {
  if (std::exchange(sweep_scheduled_, true)) return;
  reactor_.after(kSweepDelay, [this] {
    sweep_scheduled_ = false;
    sweep_strays();
  });
}

// The gateway, and supervisors of jobs whose gateway is gone: they end by themselves, with what they have started.
static bool ends_by_itself(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name == "narke-gateway" || name == "narke-job";
}

// Other children of this process that are neither the zygote nor workers were started by a worker that is gone.
void Processes::sweep_strays() {
  const std::string self = std::to_string(getpid());
  std::ifstream children("/proc/self/task/" + self + "/children");
  int pid = 0;
  while (children >> pid)
    if (pid != zygote_.pid() && !by_pid_.contains(pid) && !ends_by_itself(pid)) ::kill(pid, SIGKILL);
}

}  // namespace narke::node
