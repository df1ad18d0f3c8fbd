// What happened lately that a person may want to read; bounded.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/id.h"

namespace narke::node {

struct Event {
  uint64_t number = 0;
  int64_t time_ms = 0;  // of the node's clock
  std::string severity, source, message;
};

class History {
 public:
  void add(int64_t time_ms, std::string severity, std::string source, std::string message) {
    keep(events_, Event{++last_event_, time_ms, std::move(severity), std::move(source), std::move(message)});
  }
  const std::deque<Event>& events() const { return events_; }

 private:
  static constexpr size_t kMost = 10'000;
  template <class T>
  static void keep(std::deque<T>& ring, T value) {
    ring.push_back(std::move(value));
    if (ring.size() > kMost) ring.pop_front();
  }
  std::deque<Event> events_;
  uint64_t last_event_ = 0;
};

}  // namespace narke::node
