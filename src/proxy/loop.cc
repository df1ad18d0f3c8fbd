#include "proxy/loop.h"

#include <chrono>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/result.h"

namespace narke::proxy {
namespace {

constexpr int kBatch = 256;

int64_t steady_ms() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

void control(int epoll, int operation, int fd, uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  NARKE_CHECK(epoll_ctl(epoll, operation, fd, &event) == 0);
}

}  // namespace

Loop::Loop()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), now_ms_(steady_ms()) {
  NARKE_CHECK(epoll_ >= 0 && wake_ >= 0);
  control(epoll_, EPOLL_CTL_ADD, wake_, EPOLLIN, nullptr);
}

Loop::~Loop() {
  ::close(wake_);
  ::close(epoll_);
}

void Loop::add(int fd, uint32_t events, Watcher& watcher) { control(epoll_, EPOLL_CTL_ADD, fd, events, &watcher); }
void Loop::change(int fd, uint32_t events, Watcher& watcher) { control(epoll_, EPOLL_CTL_MOD, fd, events, &watcher); }
void Loop::remove(int fd) { control(epoll_, EPOLL_CTL_DEL, fd, 0, nullptr); }

void Loop::run() {
  epoll_event events[kBatch];
  while (!stopped_) {
    int limit_ms = on_turn_ ? on_turn_() : -1;
    int count = epoll_wait(epoll_, events, kBatch, limit_ms);
    now_ms_ = steady_ms();
    for (int i = 0; i < count; ++i)
      if (events[i].data.ptr != nullptr) static_cast<Watcher*>(events[i].data.ptr)->on_events(events[i].events);
  }
}

void Loop::stop() {
  stopped_ = true;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(wake_, &one, sizeof(one));
}

}  // namespace narke::proxy
