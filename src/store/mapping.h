// A program's mapping of the arena and its pins; outlives the Client in the views that hold it.
//
// Pins are counted here, in the program: the first pin of an object sets the program's bit in the object's
// reader mask, the last clears it. Threads: any, without a lock of the caller's. Never calls out.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "store/arena.h"

namespace narke::store {

// Pages of the arena that are copied when they are written to.
class PrivateView {
 public:
  PrivateView(uint8_t* base, uint64_t bytes, uint64_t offset) : base_(base), bytes_(bytes), offset_(offset) {}
  ~PrivateView();
  PrivateView(const PrivateView&) = delete;
  PrivateView& operator=(const PrivateView&) = delete;

  uint8_t* data() const { return base_ + offset_; }

 private:
  uint8_t* base_;  // where a page begins
  uint64_t bytes_, offset_;
};

class Mapping {
 public:
  // Maps the arena behind fd, which becomes the mapping's own.
  static Result<std::shared_ptr<Mapping>> open(int fd);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Undoes one pin of the object in this slot. Also after the Client is gone; nothing happens in a forked
  // child.
  void unpin(uint32_t slot);
  // Makes the pages of [data, data + size) present, for a write at full speed. Optional; at most once per
  // page.
  void prepare(uint8_t* data, uint64_t size);
  // The same bytes once more, for a program that may write: a page is copied when it is written to, so the object
  // stays as it is. The object must stay pinned for as long as the view lives. Empty when [data, data + size) is no
  // part of the arena, or the system grants no further mapping.
  std::unique_ptr<PrivateView> view_privately(const uint8_t* data, uint64_t size) const;

  // For Client.
  void set_client(uint16_t client) { client_.store(client); }
  uint16_t client() const { return client_.load(); }
  bool has_bit() const { return client() < kReaderBits; }
  // Adds a pin: sets the bit when it is the first and this program has one.
  void pin(uint32_t slot);
  // Adds a pin only when there is one already.
  bool pin_again(uint32_t slot);
  std::vector<uint32_t> take_released();  // last pins undone by a program without a bit
  bool in_fork() const { return *alive_ == 0; }
  Arena& arena() { return arena_; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  template <class T>
  using Lazy = std::unique_ptr<T[], Free>;  // zeroed, present only where touched

  Mapping(Arena arena, int fd, const uint8_t* alive);
  std::mutex& stripe(uint32_t slot) { return stripes_[slot % stripes_.size()]; }

  Arena arena_;
  const int fd_;
  const volatile uint8_t* alive_;  // a page that reads 0 in forked children
  std::atomic<uint16_t> client_{kNoClient};
  std::array<std::mutex, 64> stripes_;
  Lazy<uint32_t> pins_;                  // by slot
  Lazy<std::atomic<uint8_t>> prepared_;  // by region
  std::mutex released_lock_;
  std::vector<uint32_t> released_;
};

}  // namespace narke::store
