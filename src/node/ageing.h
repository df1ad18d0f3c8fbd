// Keeps a large request from starving behind a stream of small ones.
//
// Problem: small requests fit into whatever is freed, so one that needs more than that is passed over for ever. So
// the request that has waited longest, once it has waited kPatienceMs, gets turns: while one lasts, others take only
// what it can spare. Whether the running tasks are short is not known, so turns double until one is long enough, and
// a pause as long follows each: at worst half of what it waits for lies idle.
// Pure; the caller brings the time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "node/types.h"

namespace narke::node {

class Ageing {
 public:
  static constexpr int64_t kPatienceMs = 1'000;
  static constexpr int64_t kFirstTurnMs = 1'000;
  static constexpr int64_t kLongestTurnMs = 600'000;

  // Who has waited longest (null: nobody who could be helped). True when others may take more than before.
  bool update(const Request* oldest, int64_t now_ms) {
    const bool was_active = active_;
    const ClassPtr before = cls_;
    const bool waits = oldest != nullptr && now_ms - oldest->asked_ms >= kPatienceMs;
    if (!waits) {
      cls_ = nullptr;
    } else if (cls_ != oldest->cls) {
      cls_ = oldest->cls;
      begun_ms_ = now_ms;
      turn_ms_ = kFirstTurnMs;
    } else if (now_ms - begun_ms_ >= 2 * turn_ms_) {
      begun_ms_ = now_ms;
      turn_ms_ = std::min(2 * turn_ms_, kLongestTurnMs);
    }
    active_ = cls_ != nullptr && now_ms - begun_ms_ < turn_ms_;
    return was_active && (!active_ || cls_ != before);
  }

  bool has_turn() const { return active_; }

  // Whether a request of the class must leave what it asks for to the one whose turn it is.
  bool bars(const SchedClass& cls, const ResourcePool& pool) const {
    if (!active_ || &cls == cls_.get()) return false;
    for (const ResourceSet::Entry& entry : cls.fit.entries()) {
      const sched::Amount kept = cls_->fit.get(entry.name);
      if (kept > 0 && pool.available().on_hand(entry.name) - kept < entry.amount) return true;
    }
    return false;
  }

 private:
  ClassPtr cls_;
  int64_t begun_ms_ = 0, turn_ms_ = kFirstTurnMs;
  bool active_ = false;
};

}  // namespace narke::node
