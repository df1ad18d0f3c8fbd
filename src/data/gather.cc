#include "data/gather.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

namespace narke::data {
namespace {

template <typename Value>
void gather_values(std::span<const Chunk> chunks, std::span<const Place> places, uint8_t* out) {
  auto* to = reinterpret_cast<Value*>(out);
  if (chunks.size() == 1) {
    const auto* from = reinterpret_cast<const Value*>(chunks[0].values) + chunks[0].offset;
    for (size_t i = 0; i < places.size(); ++i) to[i] = from[places[i].row];
    return;
  }
  std::vector<const Value*> from;
  for (const Chunk& c : chunks) from.push_back(reinterpret_cast<const Value*>(c.values) + c.offset);
  for (size_t i = 0; i < places.size(); ++i) to[i] = from[places[i].chunk][places[i].row];
}

struct Wide16 {
  uint64_t low, high;
};

// Sets bit i of `out` to at(i), a byte at a time; returns how many are zero.
template <typename At>
int64_t write_bits(size_t count, uint8_t* out, At at) {
  int64_t zeros = 0;
  for (size_t i = 0; i < count; i += 8) {
    uint8_t byte = 0;
    size_t end = std::min<size_t>(8, count - i);
    for (size_t b = 0; b < end; ++b) {
      bool bit = at(i + b);
      byte = static_cast<uint8_t>(byte | (bit << b));
      zeros += !bit;
    }
    out[i >> 3] = byte;
  }
  return zeros;
}

template <typename Offset>
const Offset* starts(const Chunk& chunk) {
  return reinterpret_cast<const Offset*>(chunk.offsets) + chunk.offset;
}

bool is_valid(const Chunk& chunk, uint32_t row) {
  return chunk.validity == nullptr || bit_at(chunk.validity, chunk.offset + row);
}

// Copies a short string by whole words where the source has room for it; most are short.
void copy_bytes(uint8_t* to, const uint8_t* from, size_t size) {
  if (size == 1)
    *to = *from;
  else
    std::memcpy(to, from, size);
}

constexpr size_t kFewChunks = 32;
constexpr size_t kBlock = 1024;  // rows at a time, so that what is counted stays in the cache

// Counts for each row the chunks that end before it: many comparisons, but several at once and none of them guessed.
bool locate_in_few(std::span<const uint32_t> rows, std::span<const int64_t> ends, std::span<Place> out) {
  std::array<uint32_t, kFewChunks + 1> begins{};
  for (size_t k = 0; k < ends.size(); ++k) begins[k + 1] = static_cast<uint32_t>(ends[k]);
  std::array<uint32_t, kBlock> chunk;
  for (size_t from = 0; from < rows.size(); from += kBlock) {
    auto block = rows.subspan(from, std::min(kBlock, rows.size() - from));
    chunk.fill(0);
    for (size_t k = 1; k <= ends.size(); ++k)
      for (size_t i = 0; i < block.size(); ++i) chunk[i] += block[i] >= begins[k];
    for (size_t i = 0; i < block.size(); ++i) {
      if (chunk[i] == ends.size()) return false;
      out[from + i] = {chunk[i], block[i] - begins[chunk[i]]};
    }
  }
  return true;
}

// Searches the chunk of a row only where it is another than that of the row before.
bool locate_in_many(std::span<const uint32_t> rows, std::span<const int64_t> ends, std::span<Place> out) {
  uint32_t chunk = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    int64_t row = rows[i];
    if (ends.empty() || row >= ends.back()) return false;
    int64_t begin = chunk == 0 ? 0 : ends[chunk - 1];
    if (row < begin || row >= ends[chunk]) {
      chunk = static_cast<uint32_t>(std::upper_bound(ends.begin(), ends.end(), row) - ends.begin());
      begin = chunk == 0 ? 0 : ends[chunk - 1];
    }
    out[i] = {chunk, static_cast<uint32_t>(row - begin)};
  }
  return true;
}

}  // namespace

bool locate(std::span<const uint32_t> rows, std::span<const int64_t> lengths, std::span<Place> out) {
  std::vector<int64_t> ends;
  int64_t total = 0;
  for (int64_t length : lengths) ends.push_back(total += length);
  if (ends.size() == 1) {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] >= total) return false;
      out[i] = {0, rows[i]};
    }
    return true;
  }
  return total <= std::numeric_limits<uint32_t>::max() && ends.size() <= kFewChunks ? locate_in_few(rows, ends, out)
                                                                                    : locate_in_many(rows, ends, out);
}

void gather_fixed(std::span<const Chunk> chunks, size_t width, std::span<const Place> places, uint8_t* out) {
  switch (width) {
    case 1: return gather_values<uint8_t>(chunks, places, out);
    case 2: return gather_values<uint16_t>(chunks, places, out);
    case 4: return gather_values<uint32_t>(chunks, places, out);
    case 8: return gather_values<uint64_t>(chunks, places, out);
    case 16: return gather_values<Wide16>(chunks, places, out);
    default: break;
  }
  for (size_t i = 0; i < places.size(); ++i) {
    const Chunk& c = chunks[places[i].chunk];
    std::memcpy(out + i * width, c.values + static_cast<size_t>(c.offset + places[i].row) * width, width);
  }
}

void gather_bits(std::span<const Chunk> chunks, std::span<const Place> places, uint8_t* out) {
  write_bits(places.size(), out, [&](size_t i) {
    const Chunk& c = chunks[places[i].chunk];
    return bit_at(c.values, c.offset + places[i].row);
  });
}

int64_t gather_validity(std::span<const Chunk> chunks, std::span<const Place> places, uint8_t* out) {
  return write_bits(places.size(), out, [&](size_t i) { return is_valid(chunks[places[i].chunk], places[i].row); });
}

template <typename Offset>
int64_t gather_offsets(std::span<const Chunk> chunks, std::span<const Place> places, Offset* out) {
  int64_t total = 0;
  for (size_t i = 0; i < places.size(); ++i) {
    out[i] = static_cast<Offset>(total);
    const Chunk& c = chunks[places[i].chunk];
    uint32_t row = places[i].row;
    const Offset* at = starts<Offset>(c);
    if (is_valid(c, row)) total += at[row + 1] - at[row];
    if (total > std::numeric_limits<Offset>::max()) return -1;
  }
  out[places.size()] = static_cast<Offset>(total);
  return total;
}

template <typename Offset>
void gather_bytes(std::span<const Chunk> chunks, std::span<const Place> places, const Offset* offsets, uint8_t* out) {
  for (size_t i = 0; i < places.size(); ++i) {
    auto size = static_cast<size_t>(offsets[i + 1] - offsets[i]);
    if (size == 0) continue;
    const Chunk& c = chunks[places[i].chunk];
    copy_bytes(out + offsets[i], c.values + starts<Offset>(c)[places[i].row], size);
  }
}

template int64_t gather_offsets(std::span<const Chunk>, std::span<const Place>, int32_t*);
template int64_t gather_offsets(std::span<const Chunk>, std::span<const Place>, int64_t*);
template void gather_bytes(std::span<const Chunk>, std::span<const Place>, const int32_t*, uint8_t*);
template void gather_bytes(std::span<const Chunk>, std::span<const Place>, const int64_t*, uint8_t*);

}  // namespace narke::data
