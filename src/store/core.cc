#include "store/core.h"

#include <algorithm>
#include <iterator>

namespace narke::store {

StoreCore::StoreCore(Arena arena, CoreConfig config, CoreOut& out) : arena_(arena), config_(config), out_(out) {
  free_.free({0, arena.capacity_bytes()});
}

// ---- clients
// -----------------------------------------------------------------------------------------------

StoreCore::ClientState& StoreCore::client(ClientKey key) {
  auto it = clients_.find(key);
  if (it != clients_.end()) return it->second;
  if (key == kSelf) return clients_.emplace(key, ClientState{.number = kServer, .pins = {}}).first->second;
  uint16_t number = 0;
  for (uint16_t used : numbers_) {
    if (used != number) break;
    ++number;
  }
  NARKE_CHECK(number < kServer);
  numbers_.insert(number);
  return clients_.emplace(key, ClientState{.number = number, .pins = {}}).first->second;
}

void StoreCore::on_attach(ClientKey key) { out_.attached(key, client(key).number); }

void StoreCore::on_detach(ClientKey key, int64_t now_ns) {
  auto it = clients_.find(key);
  if (it == clients_.end()) return;
  std::erase_if(waiters_, [&](const Waiter& w) { return w.client == key; });
  for (auto& [slot, restore] : restores_) std::erase(restore.readers, key);
  for (auto [slot, count] : it->second.pins) unpin(slot, count);
  drop_traces(it->second.number);
  drop_leases(it->second.number);
  numbers_.erase(it->second.number);
  clients_.erase(it);
  progress_ns_ = now_ns;
  pump(now_ns);
}

// The process is gone: nobody else changes what it made.
void StoreCore::drop_traces(uint16_t number) {
  each_slot([&](uint32_t slot, Control seen) {
    if (number < kReaderBits && arena_.is_reader(slot, number)) arena_.clear_reader(slot, number);
    if (seen.maker != number) return;
    if (seen.state == SlotState::kClaiming || seen.state == SlotState::kWriting) {
      arena_.free_slot(slot);
    } else if (seen.state == SlotState::kSealed) {
      adopt(slot, seen, SlotState::kSealed);
    } else if (seen.state == SlotState::kDeleting && adopt(slot, seen, SlotState::kDeleting)) {
      deleting_.push_back(slot);
    }
  });
}

// ---- extents
// -----------------------------------------------------------------------------------------------

std::optional<Extent> StoreCore::allocate(uint64_t size) {
  auto offset = free_.allocate(size);
  if (!offset) return std::nullopt;
  high_water_ = std::max(high_water_, *offset + size);
  return Extent{*offset, size};
}

void StoreCore::add_lease(Extent extent, uint16_t number) {
  auto next = leases_.lower_bound(extent.offset);
  if (next != leases_.end() && next->first == extent.end() && next->second.client == number) {
    extent.size += next->second.size;
    next = leases_.erase(next);
  }
  if (next != leases_.begin()) {
    auto before = std::prev(next);
    if (before->second.client == number && before->first + before->second.size == extent.offset) {
      before->second.size += extent.size;
      return;
    }
  }
  leases_.emplace(extent.offset, Lease{extent.size, number});
}

// Cuts the extent out of the client's lease; false when it is not the client's.
bool StoreCore::remove_lease(Extent extent, uint16_t number) {
  auto after = leases_.upper_bound(extent.offset);
  if (extent.size == 0 || extent.end() < extent.offset || after == leases_.begin()) return false;
  auto it = std::prev(after);
  uint64_t begin = it->first, end = begin + it->second.size;
  if (it->second.client != number || extent.end() > end) return false;
  if (extent.offset > begin) {
    it->second.size = extent.offset - begin;
  } else {
    leases_.erase(it);
  }
  if (extent.end() < end) leases_.emplace(extent.end(), Lease{end - extent.end(), number});
  return true;
}

void StoreCore::drop_leases(uint16_t number) {
  for (auto it = leases_.begin(); it != leases_.end();) {
    if (it->second.client != number) {
      ++it;
      continue;
    }
    free_.free({it->first, it->second.size});
    it = leases_.erase(it);
  }
}

// Makes the node the maker of a client's object, in a new state; its block leaves the client's lease.
std::optional<Control> StoreCore::adopt(uint32_t slot, Control seen, SlotState state) {
  Control next{state, kServer, seen.generation};
  uint64_t offset = arena_.at(slot).offset.load(), size = arena_.at(slot).size.load();
  if (!arena_.change(slot, seen, next)) return std::nullopt;
  if (seen.maker == kServer) return next;
  Extent block{offset, size <= arena_.capacity_bytes() ? block_bytes(size) : 0};
  if (!remove_lease(block, seen.maker)) {
    out_.log("Object " + arena_.id_of(slot).hex() + " was published in memory that its program does not hold; " +
             "it is dropped. Report this together with the program's log.");
    arena_.free_slot(slot);
    return std::nullopt;
  }
  owned_[slot] = block;
  return next;
}

// ---- messages
// ----------------------------------------------------------------------------------------------

void StoreCore::on_acquire(ClientKey key, const ObjectId& id, uint64_t size, uint64_t at_least, int64_t now_ns) {
  client(key);
  uint64_t capacity = arena_.capacity_bytes();
  at_least = std::max<uint64_t>(at_least, 1);
  Waiter waiter{key,      id,     Want::kSpace,  std::clamp(size, std::min(at_least, capacity), capacity),
                at_least, now_ns, next_waiter_++};
  if (at_least > capacity) return refuse(waiter, "it is larger than the whole store");
  waiter.size = (waiter.size + kBlockAlign - 1) / kBlockAlign * kBlockAlign;
  waiter.at_least = (waiter.at_least + kBlockAlign - 1) / kBlockAlign * kBlockAlign;
  waiters_.push_back(waiter);
  pump(now_ns);
}

void StoreCore::on_forget(ClientKey key, const ObjectId& id, bool is_fetch) {
  Want want = is_fetch ? Want::kFetch : Want::kSpace;
  std::erase_if(waiters_, [&](const Waiter& w) { return w.client == key && w.id == id && w.want == want; });
  if (!is_fetch) return;
  for (auto& [slot, restore] : restores_)
    if (arena_.id_of(slot) == id) std::erase(restore.readers, key);
}

void StoreCore::on_return(ClientKey key, const std::vector<Extent>& extents, int64_t now_ns) {
  ClientState& from = client(key);
  from.is_answer_due = false;
  for (Extent extent : extents) {
    if (!remove_lease(extent, from.number)) continue;
    free_.free(extent);
    progress_ns_ = now_ns;
  }
  pump(now_ns);
}

void StoreCore::on_delete(ClientKey key, const ObjectId& id, uint32_t slot, int64_t now_ns) {
  uint16_t number = client(key).number;
  if (slot >= arena_.slot_count()) return erase(id, now_ns);
  Control seen = arena_.control(slot);
  if (seen.state == SlotState::kDeleting && seen.maker == number && adopt(slot, seen, SlotState::kDeleting))
    deleting_.push_back(slot);
  pump(now_ns);
}

void StoreCore::erase(const ObjectId& id, int64_t now_ns) {
  // The maker may change the slot at the same time, once: it seals no object twice.
  for (int round = 0; round < 4; ++round) {
    auto found = arena_.find(id);
    if (!found || found->control.state == SlotState::kWriting) {
      mark_erased(id);
      break;
    }
    if (adopt(found->slot, found->control, SlotState::kDeleting)) {
      deleting_.push_back(found->slot);
      break;
    }
  }
  pump(now_ns);
}

void StoreCore::erase_owned(uint64_t owner, int64_t now_ns) {
  if (owner == 0) return;
  each_slot([&](uint32_t slot, Control seen) {
    if (arena_.at(slot).owner.load(std::memory_order_relaxed) != owner) return;
    if (seen.state == SlotState::kWriting && seen.maker == kServer) mark_erased(arena_.id_of(slot));
    if (seen.state != SlotState::kSealed && seen.state != SlotState::kSpilled) return;
    if (adopt(slot, seen, SlotState::kDeleting)) deleting_.push_back(slot);
  });
  pump(now_ns);
}

void StoreCore::on_fetch(ClientKey key, const ObjectId& id, int64_t now_ns) {
  client(key);
  Waiter waiter{key, id, Want::kFetch, 0, 0, now_ns, next_waiter_++};
  auto found = arena_.find(id);
  bool is_spilled = found && found->control.state == SlotState::kSpilled;
  if (is_spilled && copies_.contains(found->slot) && !restores_.contains(found->slot)) {
    waiter.size = waiter.at_least = block_bytes(copies_.at(found->slot).size);
    waiters_.push_back(waiter);
    return pump(now_ns);
  }
  serve_fetch(waiter);
}

void StoreCore::on_unpin(ClientKey key, const std::vector<uint32_t>& slots, int64_t now_ns) {
  ClientState& from = client(key);
  for (uint32_t slot : slots) {
    auto it = from.pins.find(slot);
    if (it == from.pins.end()) continue;
    if (--it->second == 0) from.pins.erase(it);
    unpin(slot, 1);
  }
  pump(now_ns);
}

// ---- pins and deletes
// --------------------------------------------------------------------------------------

// Pins a sealed object by the node's bit; false when it is sealed no more.
bool StoreCore::pin(ClientKey key, uint32_t slot) {
  Control seen = arena_.control(slot);
  if (pinned_[slot]++ == 0) arena_.set_reader(slot, kServerBit);
  ++client(key).pins[slot];
  Control now = arena_.control(slot);
  if (seen.state == SlotState::kSealed && now.state == seen.state && now.generation == seen.generation) return true;
  auto& pins = client(key).pins;
  if (--pins[slot] == 0) pins.erase(slot);
  unpin(slot, 1);
  return false;
}

void StoreCore::unpin(uint32_t slot, uint32_t count) {
  auto it = pinned_.find(slot);
  it->second -= count;
  if (it->second != 0) return;
  pinned_.erase(it);
  arena_.clear_reader(slot, kServerBit);
}

void StoreCore::release(uint32_t slot) {
  if (auto block = owned_.extract(slot)) free_.free(block.mapped());
  drop_copy(slot);
  secondary_.erase(slot);
  arena_.free_slot(slot);
}

// Frees deleted objects that nobody uses any more.
bool StoreCore::reap() {
  released_seen_ = arena_.released().load();
  size_t gone = std::erase_if(deleting_, [&](uint32_t slot) {
    if (arena_.has_readers(slot) || writing_.contains(slot) || restores_.contains(slot)) return false;
    release(slot);
    return true;
  });
  return gone != 0;
}

// ---- views
// -------------------------------------------------------------------------------------------------

Stats StoreCore::stats() const {
  Stats s;
  s.capacity_bytes = arena_.capacity_bytes();
  s.free_bytes = free_.free_bytes();
  each_slot([&](uint32_t slot, Control seen) {
    uint64_t size = arena_.at(slot).size.load();
    if (seen.state == SlotState::kSpilled) {
      ++s.spilled_objects;
      s.spilled_bytes += size;
    } else if (seen.state >= SlotState::kWriting) {
      ++s.objects;
      s.used_bytes += block_bytes(size);
      if (secondary_.contains(slot)) {
        ++s.secondary_objects;
        s.secondary_bytes += size;
      }
      if (!arena_.has_readers(slot)) return;
      ++s.pinned_objects;
      s.pinned_bytes += size;
    }
  });
  uint64_t taken = s.used_bytes + s.free_bytes;
  s.cached_bytes = taken < s.capacity_bytes ? s.capacity_bytes - taken : 0;
  s.disk_bytes = disk_bytes_;
  s.written_bytes = written_bytes_;
  s.restored_bytes = restored_bytes_;
  s.clients = clients_.size() - clients_.count(kSelf);
  s.waiting = waiters_.size();
  return s;
}

std::vector<ObjectInfo> StoreCore::list(size_t limit) const {
  std::vector<ObjectInfo> objects;
  each_slot([&](uint32_t slot, Control seen) {
    if (!seen.is_live() || objects.size() == limit) return;
    objects.push_back({arena_.id_of(slot), arena_.at(slot).size.load(), seen.state != SlotState::kWriting,
                       seen.state == SlotState::kSpilled, arena_.has_readers(slot), arena_.at(slot).owner.load(),
                       secondary_.contains(slot)});
  });
  return objects;
}

bool StoreCore::is_consistent() const {
  std::vector<Extent> all;
  for (auto [offset, size] : free_.ranges()) all.push_back({offset, size});
  for (auto& [offset, lease] : leases_) all.push_back({offset, lease.size});
  for (auto& [slot, block] : owned_) all.push_back(block);
  for (auto& [slot, restore] : restores_) all.push_back(restore.block);
  std::sort(all.begin(), all.end(), [](Extent a, Extent b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (Extent extent : all) {
    if (extent.offset != end) return false;
    end = extent.end();
  }
  return end == arena_.capacity_bytes();
}

}  // namespace narke::store
