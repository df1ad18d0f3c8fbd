// Branches: zygotes that a zygote has forked of itself, each with some modules more. Workers that want those modules
// are forked by the branch that has them, all others by the zygote.
//
// Lifecycle of one: forked -> it imports; requests for it wait here -> ready: they are handed on -> it ends with its
// parent, when it was not asked for long, or is killed because its imports took too long. What a branch cannot do, or
// may not do for a job (its variables, its own modules), the zygote does without the modules.
#pragma once

#include <list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>

#include "base/id.h"
#include "bindings/zygote_frames.h"

namespace narke::py {

class BranchesOut {
 public:
  virtual ~BranchesOut() = default;
  // To the node, as it is.
  virtual void relay(const Packet& news) = 0;
  // The zygote is to do it itself. False in the child.
  virtual bool fork_here(const Packet& request) = 0;
  // Its branch ended before it told whether it had forked.
  virtual void fork_lost(const WorkerId& worker) = 0;
};

class Branches {
 public:
  explicit Branches(BranchesOut& out) : out_(out) {}
  Branches(const Branches&) = delete;
  Branches& operator=(const Branches&) = delete;

  // Whether a branch sees to it; otherwise the zygote has to. May fork: see born().
  bool take(std::string_view modules, const WorkerId& worker, const Packet& request);
  // In a process that has just become a branch: its link. Else -1.
  int born() const { return born_; }

  // What to wait for: ends are appended. Then the same ends with what was found; false in a child.
  void add_to(std::vector<pollfd>* ends) const;
  bool on_events(const pollfd* ends, size_t count);
  // Until keep() is due; -1: not at all.
  int timeout_ms() const;
  // Ends branches that nobody has asked for long, and those that take too long to begin.
  void keep();
  // Whether a process that has ended was a branch.
  bool reap(int pid) { return pids_.erase(pid) > 0; }
  // In a forked child: they are its parent's.
  void forget();

 private:
  struct Branch {
    std::string modules;
    int pid = 0;
    int link = -1;
    bool is_ready = false;
    bool is_late = false;  // and killed for it
    int64_t since_ms = 0;  // when it was forked, then when it was last asked
    std::list<std::pair<WorkerId, Packet>> asked;  // without an answer
    bool owes() const { return !is_ready || !asked.empty(); }
  };
  using Place = std::list<Branch>::iterator;

  bool is_unfit(std::string_view modules) const;
  Place find(std::string_view modules);
  Place begin(std::string_view modules);
  bool make_room();
  bool on_news(Place branch, const Packet& news);
  void on_ready(Branch& branch);
  bool on_forked(Branch& branch, const Packet& news);
  bool on_end(Place branch);
  void end(Place branch);

  BranchesOut& out_;
  std::list<Branch> branches_;
  std::set<int> pids_;                             // not reaped yet
  std::vector<std::pair<std::string, int>> ends_;  // how often branches of these modules have failed
  int born_ = -1;
};

}  // namespace narke::py
