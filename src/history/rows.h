// Ended attempts as bytes, some nine each: what sets one apart from the one before it.
//
// Problem: a record of 48 bytes is copied through two sockets' buffers, the node's table and the disk half a million
// times a second; what a task differs by from the last one is a count and a few microseconds. So a worker writes rows
// like this once, and they stay so: on the way, in the node's memory and in files.
// Layout of a row: 16 bits, two for each field of Row in its order, that say how long its value is (0, 1, 3 or 8
// bytes), then the values, little endian. Each is a difference, zigzag encoded: numbers and ends from the row before,
// other times from the last known of this row plus one (0: unknown), places from the row before.
// Times that lie more than 2^62 us apart are not kept. 16 bits of ones, and 32 for a place, say that from here on rows
// are counted from nothing and places from that one: so what others wrote is taken over as it is. Pure. One owner at a
// time.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace narke::history {

struct Row {
  uint64_t number = 0;  // the first eight bytes of the task's id
  uint64_t place = 0;   // where the owner of the rows keeps what this one shares with others
  // Microseconds since 1970; 0: not known, but for ended_us.
  int64_t ended_us = 0, began_us = 0, pushed_us = 0, created_us = 0, ready_us = 0;
};

// The five times, which rows, records and views all have by the same names.
template <typename To, typename From>
void copy_times(To& to, const From& from) {
  to.created_us = from.created_us, to.ready_us = from.ready_us, to.pushed_us = from.pushed_us;
  to.began_us = from.began_us, to.ended_us = from.ended_us;
}

class RowWriter {
 public:
  void add(const Row& row);
  // All rows of another writer, whose places are counted from `first_place` here. REQUIRES: skim() has passed them.
  void append(std::span<const uint8_t> bytes, size_t size, uint32_t first_place);
  size_t size() const { return size_; }
  // With the room that readers need behind them.
  std::span<const uint8_t> bytes() const;
  // Nothing is kept but the memory.
  void clear();
  // `size` rows that another writer wrote, in place of those here. False: too few bytes.
  bool assign(std::span<const uint8_t> bytes, size_t size);
  // No row follows: memory beyond what there is goes.
  void seal();
  size_t capacity_bytes() const { return bytes_.capacity(); }

 private:
  void make_room(size_t more);
  void begin_anew(uint32_t first_place);

  std::vector<uint8_t> bytes_;  // used_ of them say something
  size_t used_ = 0, size_ = 0;
  Row last_;
  bool follows_others_ = false;
};

// Reads rows in their order. Bytes that nobody wrote so give rows that nobody meant, never a byte beyond their end.
class RowReader {
 public:
  RowReader(std::span<const uint8_t> bytes, size_t size);
  // False: there are no more, or what follows is no row.
  bool next(Row* row);
  // Whether every row was read, and nothing is left but the room behind them.
  bool is_done() const { return left_ == 0 && at_ == end_; }

 private:
  bool begin_anew();

  const uint8_t* at_;
  const uint8_t* end_;
  size_t left_;
  uint64_t first_place_ = 0;
  Row last_;
};

// Looks through rows that one writer wrote without taking over others', in a fraction of the time that reading takes:
// calls `each` with the number and place of a row and whether it is known when it began. False: they are no such rows,
// or `each` said so.
template <class Each>
bool skim(std::span<const uint8_t> bytes, size_t size, Each each);

// ---- how ----

inline constexpr size_t kRowRoom = 64;  // behind the last row: rows are read and written with whole words
inline constexpr uint64_t kRowMasks[] = {0, 0xff, 0xff'ffff, ~uint64_t{0}};
inline constexpr uint8_t kRowLengths[] = {0, 1, 3, 8};
// Of the values that a byte of lengths stands for.
inline constexpr std::array<uint8_t, 256> kRowTogether = [] {
  std::array<uint8_t, 256> out{};
  for (size_t i = 0; i < out.size(); ++i)
    for (size_t shift = 0; shift < 8; shift += 2) out[i] = static_cast<uint8_t>(out[i] + kRowLengths[i >> shift & 3]);
  return out;
}();
inline constexpr uint16_t kRowReserved = 0xc000;  // bits that no row has

inline int64_t unzigzag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1)); }

template <class Each>
bool skim(std::span<const uint8_t> bytes, size_t size, Each each) {
  if (bytes.size() < kRowRoom) return false;
  const uint8_t *at = bytes.data(), *const end = at + bytes.size() - kRowRoom;
  uint64_t number = 0, place = 0;
  for (; size > 0 && at < end; --size) {
    uint16_t lengths;
    uint64_t word;
    std::memcpy(&lengths, at, sizeof(lengths));
    if (lengths & kRowReserved) return false;
    std::memcpy(&word, at + 2, sizeof(word));
    number += static_cast<uint64_t>(unzigzag(word & kRowMasks[lengths & 3]));
    if (lengths & 12) {
      std::memcpy(&word, at + 2 + kRowLengths[lengths & 3], sizeof(word));
      place += static_cast<uint64_t>(unzigzag(word & kRowMasks[lengths >> 2 & 3]));
    }
    if (!each(number, place, (lengths & 0xc0) != 0)) return false;
    at += 2 + kRowTogether[lengths & 0xff] + kRowTogether[lengths >> 8];
  }
  return size == 0 && at == end;
}

}  // namespace narke::history
