#include "node/errands.h"

#include <csignal>

#include <sys/eventfd.h>
#include <unistd.h>

namespace narke::node {

static constexpr size_t kMostWaiting = 64;

Errands::~Errands() {
  {
    const std::lock_guard<std::mutex> held(mutex_);
    ends_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
  if (event_ < 0) return;
  reactor_.unwatch(event_);
  close(event_);
}

void Errands::start() {
  event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  NARKE_CHECK(event_ >= 0);
  reactor_.watch(event_, [this] { finish(); });
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the reactor's
  thread_ = std::thread([this] { work(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Errands::run(std::function<Answer()> work, Asking::Then then) {
  {
    const std::lock_guard<std::mutex> held(mutex_);
    if (waiting_.size() < kMostWaiting) {
      waiting_.push_back({std::move(work), std::move(then), {}});
      then = nullptr;
    }
  }
  if (then) return then({"RaySystemError", "The node has too many such questions to answer; ask again later.", {}});
  changed_.notify_one();
  if (!thread_.joinable()) start();
}

void Errands::work() {
  std::unique_lock<std::mutex> held(mutex_);
  for (;;) {
    changed_.wait(held, [this] { return ends_ || !waiting_.empty(); });
    if (ends_) return;
    Errand errand = std::move(waiting_.front());
    waiting_.pop_front();
    held.unlock();
    errand.answer = errand.work();
    held.lock();
    done_.push_back(std::move(errand));
    const uint64_t one = 1;
    if (write(event_, &one, sizeof(one)) != sizeof(one)) continue;  // it is readable already
  }
}

void Errands::finish() {
  uint64_t count = 0;
  if (read(event_, &count, sizeof(count)) < 0) return;
  std::deque<Errand> done;
  {
    const std::lock_guard<std::mutex> held(mutex_);
    done.swap(done_);
  }
  for (Errand& errand : done) errand.then(std::move(errand.answer));
}

}  // namespace narke::node
