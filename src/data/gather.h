// Picking rows by number out of columns in Arrow's layout, from one chunk or several.
//
// Threads: pure functions. Nothing is checked row by row: callers own the bounds (REQUIRES below).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace narke::data {

// One chunk of a column. Buffers are those of an Arrow array; `offset` is where its first row lies in them.
struct Chunk {
  const uint8_t* values = nullptr;    // fixed width: the rows; strings: the bytes
  const uint8_t* validity = nullptr;  // a bit a row, or null: all rows are valid
  const uint8_t* offsets = nullptr;   // strings: where each begins
  int64_t offset = 0, length = 0;     // rows
};

// Where a row lies: in which chunk, and where in it.
struct Place {
  uint32_t chunk = 0, row = 0;
};

inline bool bit_at(const uint8_t* bits, int64_t i) { return (bits[i >> 3] >> (i & 7)) & 1; }

// Rows, numbered through all chunks of these lengths, as places. False: a row is not in any of them.
bool locate(std::span<const uint32_t> rows, std::span<const int64_t> lengths, std::span<Place> out);

// Rows of fixed width (bytes). REQUIRES: places are inside the chunks; out has places.size() * width bytes.
void gather_fixed(std::span<const Chunk> chunks, size_t width, std::span<const Place> places, uint8_t* out);
// Rows of one bit each. REQUIRES: out has a bit a place.
void gather_bits(std::span<const Chunk> chunks, std::span<const Place> places, uint8_t* out);
// The validity of the rows; returns how many are null. REQUIRES: out has a bit a place.
int64_t gather_validity(std::span<const Chunk> chunks, std::span<const Place> places, uint8_t* out);

// Where each picked string begins, places.size() + 1 offsets; returns the bytes of all, or -1 when Offset is too small.
template <typename Offset>
int64_t gather_offsets(std::span<const Chunk> chunks, std::span<const Place> places, Offset* out);
// The bytes of the picked strings. REQUIRES: offsets are those of gather_offsets, out has as many bytes as it said.
template <typename Offset>
void gather_bytes(std::span<const Chunk> chunks, std::span<const Place> places, const Offset* offsets, uint8_t* out);

extern template int64_t gather_offsets(std::span<const Chunk>, std::span<const Place>, int32_t*);
extern template int64_t gather_offsets(std::span<const Chunk>, std::span<const Place>, int64_t*);
extern template void gather_bytes(std::span<const Chunk>, std::span<const Place>, const int32_t*, uint8_t*);
extern template void gather_bytes(std::span<const Chunk>, std::span<const Place>, const int64_t*, uint8_t*);

}  // namespace narke::data
