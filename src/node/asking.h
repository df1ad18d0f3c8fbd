// Questions in words that this daemon puts to others: to programs, and to daemons of other hosts.
//
// Problem: who asks this daemon may want to know what only another process can tell. So each question has a number,
// somebody who waits for the answer, and a deadline after which the answer is an error that says who was silent.
// Pure: no clock, no link. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/id.h"

namespace narke::node {

struct Answer {
  std::string error_kind;  // name of the exception class; empty: no error
  std::string error;
  std::vector<uint8_t> body;
};

class Asking {
 public:
  using Then = std::function<void(Answer)>;

  // The number that the question to `whom` goes by. what: for the error of silence.
  uint32_t begin(const WorkerId& whom, std::string what, int64_t deadline_ms, Then then) {
    waiting_.emplace(++last_, Waiting{whom, std::move(what), deadline_ms, std::move(then)});
    return last_;
  }
  // False: nobody waits (any more).
  bool on_answer(const WorkerId& from, uint32_t number, Answer answer) {
    const auto at = waiting_.find(number);
    if (at == waiting_.end() || at->second.whom != from) return false;
    const Then then = std::move(at->second.then);
    waiting_.erase(at);
    then(std::move(answer));
    return true;
  }
  // It does not answer any more.
  void on_gone(const WorkerId& whom) {
    fail_where([&](const Waiting& each) { return each.whom == whom; }, " has ended before it answered '");
  }
  void tick(int64_t now_ms) {
    fail_where([&](const Waiting& each) { return each.deadline_ms <= now_ms; }, " did not answer in time '");
  }
  bool is_waiting() const { return !waiting_.empty(); }

 private:
  struct Waiting {
    WorkerId whom;
    std::string what;
    int64_t deadline_ms;
    Then then;
  };
  template <class Test>
  void fail_where(Test test, const std::string& why) {
    std::vector<Waiting> failed;  // whoever is told may ask again
    for (auto at = waiting_.begin(); at != waiting_.end();) {
      if (!test(at->second)) {
        ++at;
        continue;
      }
      failed.push_back(std::move(at->second));
      at = waiting_.erase(at);
    }
    for (Waiting& each : failed)
      each.then({"GetTimeoutError", "The process " + each.whom.hex().substr(0, 12) + why + each.what + "'.", {}});
  }

  std::unordered_map<uint32_t, Waiting> waiting_;
  uint32_t last_ = 0;
};

}  // namespace narke::node
