#include "store/arena.h"

#include <algorithm>
#include <bit>
#include <new>

#include <sched.h>
#include <time.h>
#include <xxhash.h>

namespace narke::store {
namespace {

constexpr uint64_t kMagic = 0x32726f7473656b72;  // "rkestor2"
constexpr uint64_t kHeaderBytes = 4096;
constexpr uint32_t kBucket = 8;  // slots; their tags fill one cache line
constexpr uint64_t kMaxSlots = 1u << 20;
constexpr int kDuelRounds = 1000;
// Tags below this are no hash: a slot that was never used, or one that was and is free.
constexpr uint64_t kNever = 0, kVacant = 1, kFirstHash = 2;

struct Header {
  std::atomic<uint64_t> magic;
  uint64_t capacity;
  uint64_t slot_count;
  alignas(64) std::atomic<uint64_t> released;
  alignas(64) std::atomic<uint64_t> groups[kMaxSlots / 64 / 64];
};
static_assert(sizeof(Header) <= kHeaderBytes);
static_assert(sizeof(Slot) == 128);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// Objects are mostly larger than 100 KiB; spilled ones keep their slots.
uint64_t slots_for(uint64_t capacity) {
  return std::clamp<uint64_t>(std::bit_ceil(capacity / (16u << 10)), 4096, kMaxSlots);
}

uint64_t page_up(uint64_t bytes) { return (bytes + 4095) & ~uint64_t{4095}; }

uint64_t data_offset(uint64_t slots) { return page_up(kHeaderBytes + slots * (sizeof(uint64_t) + sizeof(Slot))); }

Header& header_of(uint8_t* base) { return *reinterpret_cast<Header*>(base); }

std::array<uint64_t, 4> words_of(const ObjectId& id) {
  std::array<uint64_t, 4> words{};
  std::memcpy(words.data(), id.data(), ObjectId::kSize);
  return words;
}

}  // namespace

struct Arena::Key {
  uint64_t tag;
  uint32_t buckets[2];  // first slots

  Key(const ObjectId& id, uint32_t slot_count) {
    uint64_t hash = XXH3_64bits(id.data(), ObjectId::kSize);
    tag = std::max(hash, kFirstHash);
    uint32_t count = slot_count / kBucket;
    uint32_t first = static_cast<uint32_t>(hash >> 8) & (count - 1);
    uint32_t second = static_cast<uint32_t>(hash >> 36) & (count - 1);
    if (second == first) second = first ^ 1;
    buckets[0] = first * kBucket;
    buckets[1] = second * kBucket;
  }
};

uint64_t Arena::bytes_for(uint64_t capacity_bytes) {
  return data_offset(slots_for(capacity_bytes)) + page_up(capacity_bytes);
}

Arena::Arena(void* base) : base_(static_cast<uint8_t*>(base)) {
  Header& header = header_of(base_);
  capacity_ = header.capacity;
  slot_count_ = static_cast<uint32_t>(header.slot_count);
  slots_ = reinterpret_cast<Slot*>(base_ + kHeaderBytes);
  tags_ = reinterpret_cast<std::atomic<uint64_t>*>(slots_ + slot_count_);
  data_ = base_ + data_offset(slot_count_);
}

Arena Arena::format(void* base, uint64_t capacity_bytes) {
  Header& header = *new (base) Header{};
  header.capacity = page_up(capacity_bytes);
  header.slot_count = slots_for(capacity_bytes);
  header.magic.store(kMagic);
  return Arena(base);
}

Result<Arena> Arena::open(void* base, uint64_t bytes) {
  Header& header = header_of(static_cast<uint8_t*>(base));
  if (header.magic.load() != kMagic || header.slot_count != slots_for(header.capacity) ||
      bytes_for(header.capacity) != bytes)
    return Error{ErrorCode::kRefused,
                 "The memory received from the node is not an object store of this version; "
                 "use the same version of Narke for the program and its node."};
  return Arena(base);
}

bool Arena::holds(uint32_t slot, const ObjectId& id) const {
  auto words = words_of(id);
  for (size_t i = 0; i < words.size(); ++i)
    if (slots_[slot].id[i].load(std::memory_order_relaxed) != words[i]) return false;
  return true;
}

std::optional<Arena::Found> Arena::find(const ObjectId& id) const {
  Key key(id, slot_count_);
  for (uint32_t first : key.buckets)
    for (uint32_t slot = first; slot < first + kBucket; ++slot) {
      if (tags_[slot].load(std::memory_order_acquire) != key.tag) continue;
      Control seen = control(slot);
      if (seen.is_live() && holds(slot, id)) return Found{slot, seen};
    }
  return std::nullopt;
}

std::optional<uint32_t> Arena::take_free(const Key& key, uint16_t maker) {
  uint32_t order[2] = {key.buckets[0], key.buckets[1]};
  auto used = [&](uint32_t first) {
    return std::count_if(tags_ + first, tags_ + first + kBucket, [](auto& tag) { return tag.load() >= kFirstHash; });
  };
  if (used(order[1]) < used(order[0])) std::swap(order[0], order[1]);
  for (uint32_t first : order)
    for (uint32_t slot = first; slot < first + kBucket; ++slot) {
      if (tags_[slot].load() >= kFirstHash) continue;
      note_use(slot);
      uint64_t never = kNever;
      tags_[slot].compare_exchange_strong(never,
                                          kVacant);  // before the claim: a dead client's is found by it
      Control seen = control(slot);
      if (seen.state == SlotState::kFree && change(slot, seen, {SlotState::kClaiming, maker, seen.generation}))
        return slot;
    }
  return std::nullopt;
}

// Of two claims of one id at least one sees the other, since both publish before they look. The one further
// on wins; between equals the lower slot, and the higher one is waited for until it has seen that.
bool Arena::is_first(const Key& key, const ObjectId& id, uint32_t mine) const {
  for (uint32_t first : key.buckets)
    for (uint32_t slot = first; slot < first + kBucket; ++slot) {
      if (slot == mine || tags_[slot].load() != key.tag) continue;
      for (int round = 0;; ++round) {
        Control seen = control(slot);
        bool rival = (seen.is_live() || seen.state == SlotState::kClaiming) && holds(slot, id);
        if (!rival) break;
        if (seen.is_live() || slot < mine || round == kDuelRounds) return false;
        sched_yield();
      }
    }
  return true;
}

Arena::ClaimResult Arena::claim(const ObjectId& id, uint16_t maker, uint64_t offset, uint64_t size, uint64_t owner) {
  if (find(id)) return {Claim::kExists, 0};
  Key key(id, slot_count_);
  auto slot = take_free(key, maker);
  if (!slot) return {Claim::kIndexFull, 0};
  Slot& s = slots_[*slot];
  auto words = words_of(id);
  for (size_t i = 0; i < words.size(); ++i) s.id[i].store(words[i], std::memory_order_relaxed);
  s.offset.store(offset, std::memory_order_relaxed);
  s.size.store(size, std::memory_order_relaxed);
  s.owner.store(owner, std::memory_order_relaxed);
  touch(*slot);
  tags_[*slot].store(key.tag);
  Control claimed = control(*slot);
  if (!is_first(key, id, *slot)) {
    free_slot(*slot);
    return {Claim::kExists, 0};
  }
  // Fails only when the node has taken this program for dead.
  if (!change(*slot, claimed, {SlotState::kWriting, maker, claimed.generation})) return {Claim::kExists, 0};
  return {Claim::kClaimed, *slot};
}

bool Arena::change(uint32_t slot, Control from, Control to) {
  uint64_t expected = from.pack();
  return slots_[slot].control.compare_exchange_strong(expected, to.pack());
}

void Arena::free_slot(uint32_t slot) {
  tags_[slot].store(kVacant);
  uint64_t next = control(slot).generation + 1;
  slots_[slot].control.store(Control{SlotState::kFree, kNoClient, next}.pack());
}

// Before a slot's tag says so: whoever finds no bit set need not look at the tags.
void Arena::note_use(uint32_t slot) {
  const uint32_t group = slot / kGroup;
  std::atomic<uint64_t>& word = header_of(base_).groups[group / 64];
  const uint64_t bit = uint64_t{1} << (group % 64);
  if ((word.load(std::memory_order_relaxed) & bit) == 0) word.fetch_or(bit);
}

bool Arena::was_group_used(uint32_t group) const {
  return (header_of(base_).groups[group / 64].load(std::memory_order_acquire) >> (group % 64) & 1) != 0;
}

bool Arena::was_used(uint32_t slot) const { return tags_[slot].load(std::memory_order_acquire) != kNever; }

ObjectId Arena::id_of(uint32_t slot) const {
  std::array<uint64_t, 4> words;
  for (size_t i = 0; i < words.size(); ++i) words[i] = slots_[slot].id[i].load(std::memory_order_relaxed);
  ObjectId id;
  std::memcpy(id.data(), words.data(), ObjectId::kSize);
  return id;
}

void Arena::touch(uint32_t slot) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  slots_[slot].last_use.store(static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec),
                              std::memory_order_relaxed);
}

bool Arena::has_readers(uint32_t slot) const {
  for (const auto& word : slots_[slot].readers)
    if (word.load() != 0) return true;
  return false;
}

std::atomic<uint64_t>& Arena::released() const { return header_of(base_).released; }

}  // namespace narke::store
