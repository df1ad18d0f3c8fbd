// StoreCore: objects that the node brings in from other nodes, and what it needs to read its own.
//
//   create_secondary -> waits in order -> Writing (maker: the node) -> seal_secondary: Sealed, secondary
//                                                                   -> abort_secondary: gone
// Their blocks are the node's from the start, so no lease is involved. An erase while one is written takes effect
// when its writer is done, since only the writer knows when the last byte was stored and who reads it meanwhile.
#include <algorithm>

#include "store/core.h"

namespace narke::store {

void StoreCore::create_secondary(const ObjectId& id, uint64_t size, uint64_t owner, int64_t now_ns) {
  uint64_t capacity = arena_.capacity_bytes();
  Waiter waiter{kSelf, id, Want::kSecondary, size, size, now_ns, next_waiter_++, size, owner};
  if (size > capacity) return refuse(waiter, "it is larger than the whole store");
  waiter.size = waiter.at_least = block_bytes(size);
  waiters_.push_back(waiter);
  pump(now_ns);
}

void StoreCore::forget_secondary(const ObjectId& id, int64_t now_ns) {
  std::erase_if(waiters_, [&](const Waiter& w) { return w.want == Want::kSecondary && w.id == id; });
  pump(now_ns);
}

bool StoreCore::serve_secondary(const Waiter& waiter) {
  if (arena_.find(waiter.id)) {
    out_.created_secondary(waiter.id, SecondaryStatus::kExists, nullptr, "");
    return true;
  }
  auto block = allocate(waiter.size);
  if (!block) return false;
  auto claim = arena_.claim(waiter.id, kServer, block->offset, waiter.object_bytes, waiter.owner);
  if (claim.outcome == Arena::Claim::kClaimed) {
    owned_[claim.slot] = *block;
    making_[waiter.id] = {claim.slot, false};
    out_.created_secondary(waiter.id, SecondaryStatus::kWrite, arena_.data(block->offset), "");
    return true;
  }
  free_.free(*block);
  if (claim.outcome == Arena::Claim::kExists) {
    out_.created_secondary(waiter.id, SecondaryStatus::kExists, nullptr, "");
  } else {
    refuse(waiter, "the store's index is full: it holds too many objects");
  }
  return true;
}

uint32_t StoreCore::seal_secondary(const ObjectId& id, int64_t now_ns) {
  auto making = making_.extract(id);
  NARKE_CHECK(!making.empty());
  uint32_t slot = making.mapped().slot;
  Control writing = arena_.control(slot);
  arena_.touch(slot);
  NARKE_CHECK(arena_.change(slot, writing, {SlotState::kSealed, kServer, writing.generation}));
  secondary_.insert(slot);
  NARKE_CHECK(pin(kSelf, slot));
  if (making.mapped().erased) erase(id, now_ns);
  return slot;
}

void StoreCore::abort_secondary(const ObjectId& id, int64_t now_ns) {
  auto making = making_.extract(id);
  NARKE_CHECK(!making.empty());
  release(making.mapped().slot);
  progress_ns_ = now_ns;
  pump(now_ns);
}

void StoreCore::mark_erased(const ObjectId& id) {
  auto it = making_.find(id);
  if (it != making_.end()) it->second.erased = true;
}

bool StoreCore::promote(const ObjectId& id) {
  auto found = arena_.find(id);
  if (!found || found->control.state == SlotState::kWriting) return false;
  secondary_.erase(found->slot);
  return true;
}

bool StoreCore::adopt_spilled(const ObjectId& id, uint64_t owner, uint64_t file, uint64_t size) {
  auto claim = arena_.claim(id, kServer, 0, size, owner);
  if (claim.outcome != Arena::Claim::kClaimed) return false;
  Control writing = arena_.control(claim.slot);
  copies_[claim.slot] = {file, 0, size, 0};
  files_[file] = {size, 1};
  disk_bytes_ += size;
  NARKE_CHECK(arena_.change(claim.slot, writing, {SlotState::kSpilled, kServer, writing.generation}));
  return true;
}

Pinned StoreCore::pinned(uint32_t slot) const {
  const Slot& at = arena_.at(slot);
  uint64_t owner = at.owner.load(std::memory_order_relaxed);
  return {slot, arena_.data(at.offset.load()), at.size.load(), owner, arena_.control(slot).generation};
}

ObjectPresence StoreCore::presence(const ObjectId& id) const {
  auto found = arena_.find(id);
  if (!found) return ObjectPresence::kAbsent;
  switch (found->control.state) {
    case SlotState::kWriting: return ObjectPresence::kWriting;
    case SlotState::kSealed: return ObjectPresence::kSealed;
    default: return ObjectPresence::kSpilled;
  }
}

}  // namespace narke::store
