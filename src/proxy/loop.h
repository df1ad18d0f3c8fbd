// The proxy's one thread: waits on sockets, tells their owners, and says when a turn is over.
//
// Whatever is written to in many places of one turn leaves together at its end (on_turn). Single-threaded but for
// stop().
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace narke::proxy {

class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void on_events(uint32_t events) = 0;  // EPOLLIN, EPOLLOUT, ...
};

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // A watcher must live until the end of the turn in which it was removed.
  void add(int fd, uint32_t events, Watcher& watcher);
  void change(int fd, uint32_t events, Watcher& watcher);
  void remove(int fd);

  // After each batch of events; gives how long the next wait may be at most, ms (-1: no limit).
  void on_turn(std::function<int()> callback) { on_turn_ = std::move(callback); }
  void run();
  // Ends run(); any thread or signal handler.
  void stop();

  int64_t now_ms() const { return now_ms_; }

 private:
  int epoll_, wake_;
  std::atomic<bool> stopped_{false};
  std::function<int()> on_turn_;
  int64_t now_ms_;
};

}  // namespace narke::proxy
