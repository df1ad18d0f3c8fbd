#include "store/warmer.h"

#include <algorithm>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace narke::store {
namespace {

constexpr uint64_t kStep = 4u << 20;
constexpr uint64_t kSmallStore = 64u << 20;

}  // namespace

Warmer::Warmer(uint8_t* data, uint64_t size) : data_(data), size_(size) {}

Warmer::~Warmer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

uint64_t Warmer::target(uint64_t used, uint64_t size) {
  uint64_t ahead = std::min(used, std::max(size / 4, kSmallStore));  // as much again: little use costs little
  return std::min(size, used + ahead);
}

void Warmer::want(uint64_t used) {
  std::lock_guard lock(mutex_);
  if (used <= used_) return;
  used_ = used;
  target_ = target(used, size_);
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  wake_.notify_one();
}

void Warmer::loop() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19);
  uint64_t warm = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || std::max(warm, used_) < target_; });
    if (stopping_) return;
    warm = std::max(warm, used_) / 4096 * 4096;  // what is in use is its writer's
    uint64_t step = std::min(kStep, target_ - warm);
    lock.unlock();
    // Where the kernel refuses, writers bring the pages in.
    madvise(data_ + warm, step, MADV_POPULATE_WRITE);
    lock.lock();
    warm += step;
  }
}

}  // namespace narke::store
