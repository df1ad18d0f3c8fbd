// The order of rows: by numeric keys, by partition, at random. Rows are numbered with 32 bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace narke::data {

enum class Number : uint8_t { kInt8, kInt16, kInt32, kInt64, kUint8, kUint16, kUint32, kUint64, kFloat32, kFloat64 };

// The Number of a kind ('i', 'u', 'f') and width in bytes; false: there is none.
bool number_of(char kind, int64_t width, Number* out);

// A column of numbers as Arrow has it; `offset` is where its first row lies.
struct Numbers {
  Number type = Number::kInt64;
  const uint8_t* values = nullptr;
  const uint8_t* validity = nullptr;  // null: all rows are valid
  int64_t offset = 0, length = 0;
};

struct SortKey {
  Numbers column;
  bool descending = false;
};

// The rows in order of the keys, the first one mattering most; stable. NaN stand after all numbers, nulls after those,
// whichever the direction. REQUIRES: there is a key, all have out.size() rows, fewer than 2^32.
void sort_order(std::span<const SortKey> keys, std::span<uint32_t> out);

// The rows grouped by id, in their order within each; `ends` says where each group ends.
// Returns false when an id is not below ends.size().
bool partition_order(std::span<const uint32_t> ids, std::span<uint32_t> order, std::span<int64_t> ends);

// For each row, how many of the ascending `bounds` are not above it (below it, when descending: bounds descend, too).
// NaN and nulls come last. REQUIRES: bounds have no nulls and no NaN and are of the column's type.
void range_ids(const Numbers& column, const Numbers& bounds, bool descending, std::span<uint32_t> out);

// 0 to out.size() - 1 in random order. Equal seeds give equal orders on every machine.
void permutation(uint64_t seed, std::span<uint32_t> out);
// Numbers below `count`, each as likely. REQUIRES: 0 < count < 2^32.
void random_ids(uint64_t seed, uint32_t count, std::span<uint32_t> out);

}  // namespace narke::data
