#include "store/extents.h"

#include <algorithm>
#include <iterator>

namespace narke::store {

std::optional<uint64_t> ExtentAllocator::allocate(uint64_t size) {
  auto fit = by_size_.lower_bound({size, 0});
  if (fit == by_size_.end()) return std::nullopt;
  Extent found{fit->second, fit->first};
  remove(by_offset_.find(found.offset));
  if (found.size > size) insert({found.offset + size, found.size - size});
  return found.offset;
}

void ExtentAllocator::free(Extent extent) {
  auto next = by_offset_.lower_bound(extent.offset);
  if (next != by_offset_.end() && next->first == extent.end()) {
    extent.size += next->second;
    remove(next++);
  }
  if (next != by_offset_.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == extent.offset) {
      extent = {before->first, before->second + extent.size};
      remove(before);
    }
  }
  insert(extent);
}

bool ExtentAllocator::overlaps_free(Extent extent) const {
  auto after = by_offset_.lower_bound(extent.end());
  if (after == by_offset_.begin()) return false;
  auto last = std::prev(after);
  return last->first + last->second > extent.offset;
}

std::vector<Extent> ExtentAllocator::take(uint64_t keep_bytes) {
  std::vector<Extent> taken;
  while (free_bytes_ > keep_bytes) {
    Extent extent{by_size_.rbegin()->second, by_size_.rbegin()->first};
    remove(by_offset_.find(extent.offset));
    uint64_t excess = free_bytes_ + extent.size - keep_bytes;
    if (extent.size > excess) {  // keep the lower part: it is the one in use
      insert({extent.offset, extent.size - excess});
      extent = {extent.end() - excess, excess};
    }
    taken.push_back(extent);
  }
  return taken;
}

void ExtentAllocator::insert(Extent extent) {
  by_offset_.emplace(extent.offset, extent.size);
  by_size_.emplace(extent.size, extent.offset);
  free_bytes_ += extent.size;
}

void ExtentAllocator::remove(ByOffset::iterator it) {
  by_size_.erase({it->second, it->first});
  free_bytes_ -= it->second;
  by_offset_.erase(it);
}

}  // namespace narke::store
