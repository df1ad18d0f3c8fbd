// Whether to look again and again for what may come in a moment, rather than to sleep and be woken.
//
// Being woken takes 5 to 25 us on a virtual machine, as long as the whole of a short call. So a thread whose sleeps are
// short looks for a while before it sleeps, giving its core to whoever wants it between two looks. It stops when
// looking does not pay: when nothing came in time, and for longer and longer when somebody else had work for the core,
// for then a look may cost a time slice of milliseconds. Threads: one at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace narke::worker {

class Spin {
 public:
  using Clock = std::chrono::steady_clock;

  bool pays() const { return credit_ > 0; }

  // Calls look() until it gives more than 0, or too long. Returns the last that it gave.
  template <class Look, class Yield>
  int look(Look look, Yield yield) {
    const Clock::time_point began = Clock::now();
    for (Clock::time_point now = began; now - began < kLongest;) {
      if (const int found = look(); found > 0) return on_found(found);
      yield();
      const Clock::time_point before = std::exchange(now, Clock::now());
      if (now - before > kElsewhere) on_wanted(now, now - before);
    }
    --credit_;
    return 0;
  }

  // A sleep has ended.
  void slept(Clock::time_point began, Clock::time_point ended) {
    short_ = ended - began < kShort ? short_ + 1 : 0;
    if (short_ < kEnough || ended < off_until_) return;
    credit_ = kMost;
    short_ = 0;
  }

 private:
  static constexpr std::chrono::microseconds kLongest{40}, kElsewhere{60}, kShort{80};
  static constexpr std::chrono::milliseconds kFirstOff{20}, kLongestOff{2000};
  static constexpr std::chrono::microseconds kSaved{10}, kMostSaved{5000};  // by what was found; at most remembered
  static constexpr int kEnough = 3;  // short sleeps in a row
  static constexpr int kMost = 8;  // looks in vain until none is made

  int on_found(int found) {
    credit_ = kMost;
    saved_ = std::min<Clock::duration>(saved_ + kSaved, kMostSaved);
    if (saved_ == kMostSaved) off_ = kFirstOff;
    return found;
  }

  // Somebody else ran on the core for so long. It may happen now and then, but not cost more than was saved.
  void on_wanted(Clock::time_point now, Clock::duration lost) {
    saved_ -= lost;
    if (saved_ >= Clock::duration::zero()) return;
    saved_ = {};
    off_until_ = now + off_;
    off_ = std::min(2 * off_, kLongestOff);
    credit_ = 1;  // counted down by look()
  }

  int credit_ = 0, short_ = 0;
  Clock::duration saved_{};
  Clock::time_point off_until_{};
  std::chrono::milliseconds off_{kFirstOff};
};

}  // namespace narke::worker
