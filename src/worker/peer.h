// What is remembered of a link to another program: calls without an answer, functions it has been told.
#pragma once

#include <deque>
#include <unordered_set>
#include <vector>

#include "rpc/connection.h"
#include "worker/task.h"

namespace narke::worker {

// Calls in the order they were sent; replies come nearly in that order, so finding one is cheap.
class Calls {
 public:
  void add(TaskPtr task) { calls_.push_back(std::move(task)), ++live_; }
  // The call with that id, taken out; null when there is none.
  TaskPtr take(uint32_t call_id) {
    size_t low = 0, high = calls_.size();
    while (low < high) {  // ids ascend, modulo 2^32; a hole keeps its place until the front is reached
      size_t middle = (low + high) / 2;
      if (static_cast<int32_t>(ids_at(middle) - call_id) < 0)
        low = middle + 1;
      else
        high = middle;
    }
    if (low == calls_.size() || !calls_[low] || calls_[low]->call_id != call_id) return {};
    TaskPtr task = std::move(calls_[low]);
    holes_id(low, call_id);
    --live_;
    while (!calls_.empty() && !calls_.front()) drop_front();
    return task;
  }
  // All calls, in the order they were sent.
  std::vector<TaskPtr> take_all() {
    std::vector<TaskPtr> out;
    for (TaskPtr& task : calls_)
      if (task) out.push_back(std::move(task));
    calls_.clear();
    holes_.clear();
    live_ = 0;
    return out;
  }
  size_t size() const { return live_; }
  // From the one sent last, until `visit` returns false.
  template <class F>
  void for_newest(F visit) const {
    for (auto at = calls_.rbegin(); at != calls_.rend(); ++at)
      if (*at && !visit(**at)) return;
  }
  template <class F>
  void for_each(F visit) const {
    for (const TaskPtr& task : calls_)
      if (task) visit(*task);
  }

 private:
  uint32_t ids_at(size_t i) const { return calls_[i] ? calls_[i]->call_id : holes_.at(base_ + i); }
  void holes_id(size_t i, uint32_t id) { holes_[base_ + i] = id; }
  void drop_front() {
    holes_.erase(base_);
    calls_.pop_front();
    ++base_;
  }
  std::deque<TaskPtr> calls_;
  std::unordered_map<uint64_t, uint32_t> holes_;  // position -> id of an answered call that is not at the front
  uint64_t base_ = 0;
  size_t live_ = 0;
};

struct Peer {
  rpc::ConnectionPtr link;
  Address address;
  Calls calls;
  std::unordered_set<FunctionId> functions;
  Lease* lease = nullptr;  // tasks of this lease run there
  Actor* actor = nullptr;  // calls of this actor go there
  bool is_drained = false;  // its node was to go
};

}  // namespace narke::worker
