// The shared memory of the store: header, index, data. Mapped by the node and by every program.
//
//   Header   4 KiB; a bit for each group of slots that was ever used
//   slots    what each object is, where it lies, who reads it
//   tags     buckets of 8 x u64: hash of the id in the slot of the same number
//   data     capacity_bytes
//
// An object's slot is in one of two buckets, chosen by its id; there are no chains, so nothing ever needs to
// be moved or rebuilt. Look-ups take no lock and cannot be fooled by a concurrent delete:
//   reader   finds a sealed slot, sets its bit in the slot's mask, then reads `control` again; unchanged
//   means pinned deleter  changes `control` first, then reads the masks; memory is reused only after they are
//   all zero
// `control` holds state, maker and generation in one word, so every change is one compare-and-swap and a slot
// that was reused in between is noticed.
//
//   Free -> Claiming -> Writing -> Sealed -> Deleting -> Free
//                                  Sealed -> Evicting -> Spilled -> Sealed (restored) ; Spilled -> Deleting
//
// Who may change what: the maker claims, writes, seals, aborts and erases its own; the node everything. An
// object's block belongs to its maker's space until the node adopts the object (maker becomes kServer).
// Threads: any, any process.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "base/id.h"
#include "base/result.h"

namespace narke::store {

inline constexpr uint16_t kReaderBits = 255;  // clients below this number have a bit of their own
inline constexpr uint16_t kServerBit = 255;   // pins the node holds for others
inline constexpr uint16_t kServer = 0xfffe;   // as a maker
inline constexpr uint16_t kNoClient = 0xffff;
inline constexpr uint64_t kBlockAlign = 64;  // bytes

enum class SlotState : uint8_t { kFree, kClaiming, kWriting, kSealed, kSpilled, kEvicting, kDeleting };

// The control word of a slot.
struct Control {
  SlotState state = SlotState::kFree;
  uint16_t maker = kNoClient;
  uint64_t generation = 0;  // 40 bits; grows when the slot or the place of its data is reused

  static Control unpack(uint64_t word) {
    return {static_cast<SlotState>(word & 0xff), static_cast<uint16_t>(word >> 8), word >> 24};
  }
  uint64_t pack() const { return static_cast<uint64_t>(state) | static_cast<uint64_t>(maker) << 8 | generation << 24; }
  // Present for users of the store: listed, found by its id.
  bool is_live() const { return state >= SlotState::kWriting && state <= SlotState::kEvicting; }
  bool operator==(const Control&) const = default;
};

struct alignas(128) Slot {
  std::atomic<uint64_t> control;
  std::atomic<uint64_t> id[4];
  std::atomic<uint64_t> offset;    // in the data; meaningless when spilled
  std::atomic<uint64_t> size;      // bytes of the object; its block is block_bytes(size)
  std::atomic<uint64_t> last_use;  // coarse monotonic nanoseconds
  std::atomic<uint64_t> owner;     // owner_key() of the program that owns the object; 0: not said
  std::atomic<uint64_t> readers[4];
};

// What a slot keeps of an owner's id.
inline uint64_t owner_key(const WorkerId& owner) {
  uint64_t key;
  std::memcpy(&key, owner.data(), sizeof key);
  return key;
}

// Bytes of data that an object of `size` bytes takes.
inline uint64_t block_bytes(uint64_t size) {
  uint64_t unit = size < (64u << 10) ? kBlockAlign : 4096;
  return size == 0 ? unit : (size + unit - 1) / unit * unit;
}

// A view of arena memory; copies see the same arena. Owns nothing.
class Arena {
 public:
  enum class Claim { kClaimed, kExists, kIndexFull };
  struct ClaimResult {
    Claim outcome;
    uint32_t slot;  // valid when claimed
  };

  // Bytes of an arena for so much data.
  static uint64_t bytes_for(uint64_t capacity_bytes);
  // Writes a header over zeroed memory of bytes_for(capacity_bytes).
  static Arena format(void* base, uint64_t capacity_bytes);
  // Fails when the memory is not an arena of this version and size.
  static Result<Arena> open(void* base, uint64_t bytes);

  // The live slot of this object, with the control word it had.
  struct Found {
    uint32_t slot;
    Control control;
  };
  std::optional<Found> find(const ObjectId& id) const;
  // Claims a slot in state Writing. Two claims of one id: one is told kExists.
  ClaimResult claim(const ObjectId& id, uint16_t maker, uint64_t offset, uint64_t size, uint64_t owner = 0);
  // One compare-and-swap of the control word.
  bool change(uint32_t slot, Control from, Control to);
  // Frees a slot that only the caller may change (its own Writing, or Deleting without readers).
  void free_slot(uint32_t slot);

  Control control(uint32_t slot) const { return Control::unpack(slots_[slot].control.load()); }
  ObjectId id_of(uint32_t slot) const;
  Slot& at(uint32_t slot) const { return slots_[slot]; }
  // Calls visit(slot) for every slot that was ever used, in order; other slots' pages are not brought in.
  template <class F>
  void each_used(F visit) const {
    for (uint32_t group = 0; group < slot_count_ / kGroup; ++group) {
      if (!was_group_used(group)) continue;
      for (uint32_t slot = group * kGroup; slot < (group + 1) * kGroup; ++slot)
        if (was_used(slot)) visit(slot);
    }
  }
  void touch(uint32_t slot);  // used now

  void set_reader(uint32_t slot, uint16_t bit) { word(slot, bit).fetch_or(mask(bit)); }
  void clear_reader(uint32_t slot, uint16_t bit) { word(slot, bit).fetch_and(~mask(bit)); }
  bool is_reader(uint32_t slot, uint16_t bit) const { return word(slot, bit).load() & mask(bit); }
  bool has_readers(uint32_t slot) const;

  // Grows when a reader of a Deleting object has gone.
  std::atomic<uint64_t>& released() const;

  uint32_t slot_count() const { return slot_count_; }
  uint64_t capacity_bytes() const { return capacity_; }
  uint8_t* data(uint64_t offset) const { return data_ + offset; }
  uint8_t* base() const { return base_; }
  uint64_t bytes() const { return static_cast<uint64_t>(data_ - base_) + capacity_; }

 private:
  struct Key;  // hash of an id: its tag and its two buckets
  static constexpr uint32_t kGroup = 64;  // slots that have one bit in the header: whether any of them was used
  explicit Arena(void* base);
  std::optional<uint32_t> take_free(const Key& key, uint16_t maker);
  bool was_used(uint32_t slot) const;
  bool was_group_used(uint32_t group) const;
  void note_use(uint32_t slot);
  bool is_first(const Key& key, const ObjectId& id, uint32_t mine) const;
  bool holds(uint32_t slot, const ObjectId& id) const;
  std::atomic<uint64_t>& word(uint32_t slot, uint16_t bit) const { return slots_[slot].readers[bit / 64]; }
  static uint64_t mask(uint16_t bit) { return uint64_t{1} << (bit % 64); }

  uint8_t* base_;
  std::atomic<uint64_t>* tags_;
  Slot* slots_;
  uint8_t* data_;
  uint64_t capacity_;
  uint32_t slot_count_;
};

}  // namespace narke::store
