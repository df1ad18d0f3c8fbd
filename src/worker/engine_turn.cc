// Event loops that watch the sockets: they poll, and what a turn of theirs sends leaves together.
#include <poll.h>

#include "worker/engine.h"

namespace narke::worker {
namespace {

constexpr auto kStuckLoop = std::chrono::seconds(2);        // an event loop that did not poll for so long
constexpr auto kGatherFor = std::chrono::milliseconds(1);   // then others get to work on what there is
constexpr auto kMostGathered = std::chrono::milliseconds(5);

thread_local const Engine* turn_of = nullptr;  // the engine in whose event loop's turn this thread is

}  // namespace

void Engine::poll() {
  Lock held = lock();
  ++polls_;
  if (leader_ != Leader::kNone || stopped_) return;
  ++lead_count_;
  reactor_.wait(0);
  dispatch_arrived();
}

void Engine::poll_and_take() {
  {
    Lock held = lock();
    takes_tokens_ = true;
  }
  poll();
  Lock held = lock();
  takes_tokens_ = false;
}

void Engine::set_polled(bool polled) {
  Lock held = lock();
  polled_ = polled;
  background_asked_ = true;
  reactor_.wake();
  background_cv_.notify_one();
}

void Engine::begin_turn() { turn_of = this; }

void Engine::end_turn() {
  turn_of = nullptr;
  Lock held = lock();
  reactor_.flush_all();
}

// Whether what this thread has buffered may lie there until its turn ends.
bool Engine::may_gather() {
  if (turn_of != this) return false;
  auto now = Clock::now();
  if (now - last_sent_ >= kGatherFor) {
    last_sent_ = now;
    return false;
  }
  gathered_ = true;
  if (!std::exchange(gathers_, true)) {  // the turn may be long: the background thread sends what lies too long
    background_deep_ = false;
    background_cv_.notify_one();
  }
  return true;
}

void Engine::send_gathered() {
  if (leader_ == Leader::kNone) reactor_.flush_all();
  gathers_ = std::exchange(gathered_, false);
}

// An event loop that is stuck in a call does not look at the sockets: who asks what it is doing shall be heard.
void Engine::help_event_loop(Lock& held) {
  const uint64_t polls = polls_;
  const bool gathers = gathers_;
  background_deep_ = true;
  background_cv_.wait_for(held, gathers ? kMostGathered : kStuckLoop,
                          [this] { return !background_deep_ || stopping_; });
  background_deep_ = false;
  if (gathers_ && !gathers) return;
  if (gathers) return send_gathered();
  pollfd epoll{reactor_.epoll_fd(), POLLIN, 0};
  const bool is_stuck = !stopping_ && leader_ == Leader::kNone && polls == polls_ && ::poll(&epoll, 1, 0) > 0;
  if (!is_stuck) return;
  leader_ = Leader::kBackground;
  reactor_.wait(0);
  leader_ = Leader::kNone;
  dispatch_arrived();
  reactor_.wake();  // the loop shall see what was queued for it
}

}  // namespace narke::worker
