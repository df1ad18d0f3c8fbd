// Brings pages of the arena in ahead of their use, since a write to a page that is not there costs five times
// as much.
//
// Lifecycle: the thread starts with the first want() and ends with the object.
// Threads: want() any; the thread runs at the lowest priority.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace narke::store {

class Warmer {
 public:
  Warmer(uint8_t* data, uint64_t size);
  ~Warmer();
  Warmer(const Warmer&) = delete;
  Warmer& operator=(const Warmer&) = delete;

  // The first `used` bytes are in use: pages somewhat beyond are brought in. The first call starts at `used`.
  void want(uint64_t used);
  // How far pages are wanted when `used` of `size` bytes are in use.
  static uint64_t target(uint64_t used, uint64_t size);

 private:
  void loop();

  uint8_t* data_;
  uint64_t size_;
  std::mutex mutex_;
  std::condition_variable wake_;
  uint64_t used_ = 0, target_ = 0;  // bytes from the start
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace narke::store
