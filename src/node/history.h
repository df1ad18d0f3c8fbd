// What happened lately: leases that ended and events a person may want to read; bounded.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/id.h"

namespace narke::node {

struct PastLease {
  std::string name;  // of the task that asked for it, or of the actor's class
  bool is_actor = false;
  JobId job;
  WorkerId worker;
  ActorId actor;
  int pid = 0;
  int64_t start_ms = 0, end_ms = 0;  // of the node's clock
};

struct Event {
  uint64_t number = 0;
  int64_t time_ms = 0;  // of the node's clock
  std::string severity, source, message;
};

class History {
 public:
  void add(PastLease lease) { keep(leases_, std::move(lease)); }
  void add(int64_t time_ms, std::string severity, std::string source, std::string message) {
    keep(events_, Event{++last_event_, time_ms, std::move(severity), std::move(source), std::move(message)});
  }
  const std::deque<PastLease>& leases() const { return leases_; }
  const std::deque<Event>& events() const { return events_; }

 private:
  static constexpr size_t kMost = 10'000;
  template <class T>
  static void keep(std::deque<T>& ring, T value) {
    ring.push_back(std::move(value));
    if (ring.size() > kMost) ring.pop_front();
  }
  std::deque<PastLease> leases_;
  std::deque<Event> events_;
  uint64_t last_event_ = 0;
};

}  // namespace narke::node
