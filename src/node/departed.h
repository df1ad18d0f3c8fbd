// Programs that ended lately. What was on its way when one ended may come after the news of its end, from its own node
// or through another: such late words must not bring it to life again.
#pragma once

#include <deque>
#include <string>
#include <unordered_set>

#include "base/id.h"

namespace narke::node {

class Departed {
 public:
  struct Entry {
    WorkerId id;
    bool own;  // a program of this node
    std::string why;
    int64_t at_ms;
  };

  // Twice is once. now_ms never goes back.
  void add(const WorkerId& id, bool own, std::string why, int64_t now_ms) {
    if (ids_.insert(id).second) entries_.push_back({id, own, std::move(why), now_ms});
  }
  bool contains(const WorkerId& id) const { return ids_.contains(id); }
  const std::deque<Entry>& all() const { return entries_; }  // the oldest first
  void forget_before(int64_t ms) {
    for (; !entries_.empty() && entries_.front().at_ms < ms; entries_.pop_front()) ids_.erase(entries_.front().id);
  }

 private:
  std::deque<Entry> entries_;
  std::unordered_set<WorkerId> ids_;
};

}  // namespace narke::node
