#include "bindings/branches.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <utility>

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bindings/fork_hooks.h"

namespace narke::py {

namespace {

constexpr size_t kMaxBranches = 4;
constexpr int64_t kUnusedMs = 600'000;  // as the zygotes of environments
constexpr int kMaxEnds = 3;
constexpr size_t kMaxRemembered = 64;

// A branch that is not ready by then, or does not answer, is ended. NARKE_PRELOAD_LIMIT_MS: another limit.
int64_t answer_ms() {
  static const int64_t limit = [] {
    const char* text = std::getenv("NARKE_PRELOAD_LIMIT_MS");
    const int64_t given = text == nullptr ? 0 : std::atoll(text);
    return given > 0 ? given : 30'000;
  }();
  return limit;
}

int64_t now_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace

bool Branches::take(std::string_view modules, const WorkerId& worker, const Packet& request) {
  if (is_unfit(modules)) return false;
  Place branch = find(modules);
  if (branch == branches_.end()) branch = begin(modules);
  if (branch == branches_.end()) return false;
  if (branch->is_ready) branch->since_ms = now_ms();
  branch->asked.emplace_back(worker, request);
  if (branch->is_ready) write_all(branch->link, request.bytes.data(), request.bytes.size());  // else its end is seen
  return true;
}

bool Branches::is_unfit(std::string_view modules) const {
  return std::any_of(ends_.begin(), ends_.end(),
                     [&](const auto& end) { return end.first == modules && end.second >= kMaxEnds; });
}

Branches::Place Branches::find(std::string_view modules) {
  return std::find_if(branches_.begin(), branches_.end(), [&](const Branch& b) { return b.modules == modules; });
}

Branches::Place Branches::begin(std::string_view modules) {
  int ends[2];
  if (!make_room() || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return branches_.end();
  const int pid = fork_quietly();
  if (pid == 0) {
    close(ends[0]);
    forget();
    born_ = ends[1];
    return branches_.end();
  }
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return branches_.end();
  }
  pids_.insert(pid);
  Branch& branch = branches_.emplace_back();
  branch.modules = modules;
  branch.pid = pid;
  branch.link = ends[0];
  branch.since_ms = now_ms();
  return std::prev(branches_.end());
}

bool Branches::make_room() {
  if (branches_.size() < kMaxBranches) return true;
  Place oldest = branches_.end();
  for (Place at = branches_.begin(); at != branches_.end(); ++at)
    if (!at->owes() && (oldest == branches_.end() || at->since_ms < oldest->since_ms)) oldest = at;
  if (oldest == branches_.end()) return false;
  end(oldest);
  return true;
}

void Branches::add_to(std::vector<pollfd>* ends) const {
  for (const Branch& branch : branches_) ends->push_back({branch.link, POLLIN, 0});
}

bool Branches::on_events(const pollfd* ends, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (ends[i].revents == 0) continue;
    const Place branch =
        std::find_if(branches_.begin(), branches_.end(), [&](const Branch& b) { return b.link == ends[i].fd; });
    if (branch == branches_.end()) continue;
    Packet news;
    const bool goes_on = read_packet(branch->link, &news) ? on_news(branch, news) : on_end(branch);
    if (!goes_on) return false;
  }
  return true;
}

bool Branches::on_news(Place branch, const Packet& news) {
  const rpc::Frame frame = news.frame();
  if (frame.type != wire::MessageType::Forked) return out_.relay(news), true;
  if (!frame.table.empty()) return on_forked(*branch, news);
  on_ready(*branch);
  return true;
}

void Branches::on_ready(Branch& branch) {
  branch.is_ready = true;
  branch.since_ms = now_ms();
  for (const auto& [worker, request] : branch.asked) write_all(branch.link, request.bytes.data(), request.bytes.size());
}

bool Branches::on_forked(Branch& branch, const Packet& news) {
  const auto* forked = news.frame().as<wire::Forked>();
  if (forked == nullptr || forked->worker() == nullptr) return true;
  const WorkerId worker = WorkerId::from_wire(forked->worker());
  const auto at =
      std::find_if(branch.asked.begin(), branch.asked.end(), [&](const auto& asked) { return asked.first == worker; });
  if (at == branch.asked.end()) return true;
  const Packet request = std::move(at->second);
  branch.asked.erase(at);
  if (forked->pid() <= 0 && !forked->postponed()) return out_.fork_here(request);
  out_.relay(news);
  return true;
}

// What it had been handed it may have forked; what it had not, the zygote forks.
bool Branches::on_end(Place branch) {
  PyErr_Clear();
  const Branch ended = std::move(*branch);
  close(ended.link);
  branches_.erase(branch);
  ::kill(ended.pid, SIGKILL);
  auto counted = std::find_if(ends_.begin(), ends_.end(), [&](const auto& end) { return end.first == ended.modules; });
  if (counted == ends_.end()) {
    if (ends_.size() >= kMaxRemembered) ends_.erase(ends_.begin());
    counted = ends_.insert(ends_.end(), {ended.modules, 0});
  }
  counted->second += ended.is_ready || ended.is_late ? 1 : kMaxEnds;  // a busy host may have been the reason
  for (const auto& [worker, request] : ended.asked) {
    if (ended.is_ready)
      out_.fork_lost(worker);
    else if (!out_.fork_here(request))
      return false;
  }
  return true;
}

int Branches::timeout_ms() const {
  int64_t due = INT64_MAX;
  for (const Branch& branch : branches_)
    due = std::min(due, branch.since_ms + (branch.owes() ? answer_ms() : kUnusedMs));
  if (due == INT64_MAX) return -1;
  return static_cast<int>(std::max<int64_t>(0, due - now_ms()));
}

void Branches::keep() {
  const int64_t now = now_ms();
  for (Place at = branches_.begin(); at != branches_.end();) {
    const Place branch = at++;
    if (branch->owes() && now - branch->since_ms >= answer_ms()) {
      branch->is_late = true;
      ::kill(branch->pid, SIGKILL);  // its end is seen
    }
    if (!branch->owes() && now - branch->since_ms >= kUnusedMs) end(branch);
  }
}

// It ends because its link does; its workers live on.
void Branches::end(Place branch) {
  close(branch->link);
  branches_.erase(branch);
}

void Branches::forget() {
  for (const Branch& branch : branches_) close(branch.link);
  branches_.clear();
  pids_.clear();
}

}  // namespace narke::py
