#include "data/hash.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "data/numbers.h"

namespace narke::data {
namespace {

constexpr uint64_t kNull = 0x6a09e667f3bcc909, kNan = 0xbb67ae8584caa73b;  // fractions of square roots
constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
  return x ^ (x >> 32);
}

uint64_t joined(uint64_t before, uint64_t added) { return mix(before * kOdd + added); }

uint64_t hash_of(const uint8_t* bytes, size_t size) {
  uint64_t hash = mix(kOdd + size);
  for (; size >= 8; bytes += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    hash = mix(hash ^ word) + kOdd;
  }
  uint64_t rest = 0;
  std::memcpy(&rest, bytes, size);
  return mix(hash ^ rest);
}

template <typename Value>
uint64_t number_bits(Value value) {
  auto number = static_cast<double>(value) + 0.0;  // -0 becomes 0
  return std::isnan(number) ? kNan : std::bit_cast<uint64_t>(number);
}

}  // namespace

void hash_numbers(const Numbers& column, std::span<uint64_t> hashes) {
  with_numbers(column, [&](auto values) {
    for (size_t i = 0; i < hashes.size(); ++i) {
      bool valid = column.validity == nullptr || bit_at(column.validity, column.offset + static_cast<int64_t>(i));
      hashes[i] = joined(hashes[i], valid ? number_bits(values[i]) : kNull);
    }
  });
}

template <typename Offset>
void hash_strings(const Chunk& column, std::span<uint64_t> hashes) {
  const auto* starts = reinterpret_cast<const Offset*>(column.offsets) + column.offset;
  for (size_t i = 0; i < hashes.size(); ++i) {
    bool valid = column.validity == nullptr || bit_at(column.validity, column.offset + static_cast<int64_t>(i));
    auto size = static_cast<size_t>(starts[i + 1] - starts[i]);
    hashes[i] = joined(hashes[i], valid ? hash_of(column.values + starts[i], size) : kNull);
  }
}

void hash_fixed(const Chunk& column, size_t width, std::span<uint64_t> hashes) {
  for (size_t i = 0; i < hashes.size(); ++i) {
    int64_t row = column.offset + static_cast<int64_t>(i);
    bool valid = column.validity == nullptr || bit_at(column.validity, row);
    hashes[i] = joined(hashes[i], valid ? hash_of(column.values + static_cast<size_t>(row) * width, width) : kNull);
  }
}

template void hash_strings<int32_t>(const Chunk&, std::span<uint64_t>);
template void hash_strings<int64_t>(const Chunk&, std::span<uint64_t>);

void bucket_ids(std::span<const uint64_t> hashes, uint32_t count, std::span<uint32_t> out) {
  for (size_t i = 0; i < hashes.size(); ++i) out[i] = static_cast<uint32_t>(((hashes[i] >> 32) * count) >> 32);
}

}  // namespace narke::data
