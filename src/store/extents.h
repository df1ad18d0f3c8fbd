// Free space of a range of addresses: best fit, lowest address among equals, neighbours joined.
//
// Best fit gives a block that was just freed to the next request of its size, so pages that are in use stay
// the same and warm ones come first. Threads: none of its own; the caller guards it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace narke::store {

struct Extent {
  uint64_t offset = 0, size = 0;  // bytes
  uint64_t end() const { return offset + size; }
  bool operator==(const Extent&) const = default;
};

class ExtentAllocator {
 public:
  // Takes `size` > 0 bytes out of the free space.
  std::optional<uint64_t> allocate(uint64_t size);
  // Adds free space. REQUIRES: disjoint from the free space there is (see is_free).
  void free(Extent extent);
  // Whether any byte of the extent is free.
  bool overlaps_free(Extent extent) const;
  // Takes free extents out, the largest first, until at most keep_bytes are left.
  std::vector<Extent> take(uint64_t keep_bytes);

  uint64_t free_bytes() const { return free_bytes_; }
  uint64_t largest() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }
  size_t fragments() const { return by_offset_.size(); }
  const std::map<uint64_t, uint64_t>& ranges() const { return by_offset_; }  // offset -> size

 private:
  using ByOffset = std::map<uint64_t, uint64_t>;
  void insert(Extent extent);
  void remove(ByOffset::iterator it);

  ByOffset by_offset_;
  std::set<std::pair<uint64_t, uint64_t>> by_size_;  // (size, offset)
  uint64_t free_bytes_ = 0;
};

}  // namespace narke::store
