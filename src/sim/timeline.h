// Simulated time: what happens when, in one order that a seed decides.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <random>
#include <vector>

namespace narke::sim {

constexpr int64_t kMs = 1'000;
constexpr int64_t kSecond = 1'000'000;

class Timeline {
 public:
  explicit Timeline(uint64_t seed) : random_(seed) {}

  int64_t now_us() const { return now_us_; }
  // Events of one moment happen in the order in which they were asked for.
  void at(int64_t us, std::function<void()> what) {
    events_.push({us > now_us_ ? us : now_us_, ++asked_, std::move(what)});
  }
  void after(int64_t us, std::function<void()> what) { at(now_us_ + us, std::move(what)); }
  // The next event, if it is due by then. False: there is none, and it is then.
  bool run_next(int64_t until_us) {
    if (events_.empty() || events_.top().us > until_us) {
      now_us_ = until_us;
      return false;
    }
    now_us_ = events_.top().us;
    const std::function<void()> what = std::move(const_cast<Event&>(events_.top()).what);
    events_.pop();
    ++happened_;
    what();
    return true;
  }
  uint64_t happened() const { return happened_; }

  uint64_t random() { return random_(); }
  size_t below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  int64_t between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(below(static_cast<size_t>(most - least + 1)));
  }
  bool chance(int in_thousand) { return static_cast<int>(below(1'000)) < in_thousand; }
  template <class IdType>
  IdType id() {
    IdType id;
    for (size_t i = 0; i < IdType::kSize; ++i) id.data()[i] = static_cast<uint8_t>(random_());
    return id;
  }

 private:
  struct Event {
    int64_t us;
    uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& other) const { return us != other.us ? us > other.us : order > other.order; }
  };
  std::mt19937_64 random_;
  std::priority_queue<Event> events_;
  int64_t now_us_ = 1'000'000;
  uint64_t asked_ = 0, happened_ = 0;
};

}  // namespace narke::sim
