#include "data/order.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "data/gather.h"
#include "data/numbers.h"

namespace narke::data {
namespace {

constexpr int kDigitBits = 11;
constexpr size_t kBuckets = size_t{1} << kDigitBits;
constexpr int kDigits = (64 + kDigitBits - 1) / kDigitBits;

// What stands last: 0 numbers, 1 NaN, 2 nulls.
enum Class : uint8_t { kNumber, kNan, kNull, kClasses };

// A number as 64 bits whose order as an unsigned integer is the number's.
template <typename Value>
uint64_t ordered_bits(Value value) {
  constexpr uint64_t kTop = uint64_t{1} << 63;
  if constexpr (std::is_floating_point_v<Value>) {
    auto bits = std::bit_cast<uint64_t>(static_cast<double>(value) + 0.0);  // -0 becomes 0
    return (bits & kTop) != 0 ? ~bits : bits | kTop;
  } else if constexpr (std::is_signed_v<Value>) {
    return static_cast<uint64_t>(static_cast<int64_t>(value)) ^ kTop;
  } else {
    return value;
  }
}

template <typename Value>
bool is_nan(Value value) {
  if constexpr (std::is_floating_point_v<Value>) return std::isnan(value);
  return false;
}

struct Entry {
  uint64_t bits;
  uint32_t row;
  Class kind;
};

// Stable counting sort of entries by digit(entry), which is below `buckets`; skipped when all are alike.
template <typename Digit>
void counting_pass(std::vector<Entry>& from, std::vector<Entry>& to, size_t buckets, Digit digit) {
  size_t counts[kBuckets] = {};
  for (const Entry& e : from) ++counts[digit(e)];
  if (counts[digit(from[0])] == from.size()) return;
  size_t at = 0;
  for (size_t b = 0; b < buckets; ++b) {
    size_t count = counts[b];
    counts[b] = at;
    at += count;
  }
  for (const Entry& e : from) to[counts[digit(e)]++] = e;
  from.swap(to);
}

// The entries of a key's rows in the order `rows`; says whether there are NaN or nulls.
bool fill(const SortKey& key, std::span<const uint32_t> rows, std::vector<Entry>& out) {
  bool odd = false;
  with_numbers(key.column, [&](auto values) {
    for (size_t i = 0; i < rows.size(); ++i) {
      uint32_t row = rows[i];
      bool valid = key.column.validity == nullptr || bit_at(key.column.validity, key.column.offset + row);
      Class kind = !valid ? kNull : is_nan(values[row]) ? kNan : kNumber;
      uint64_t bits = kind != kNumber ? 0 : ordered_bits(values[row]);
      out[i] = {key.descending && kind == kNumber ? ~bits : bits, row, kind};
      odd |= kind != kNumber;
    }
  });
  return odd;
}

// splitmix64: one step of the generator that seeds others.
uint64_t split_mix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// A number below `bound`, from 32 random bits; Lemire's multiplication, with rejection so that all are as likely.
uint32_t below(uint64_t& state, uint32_t bound) {
  uint64_t product = (split_mix(state) >> 32) * bound;
  if (static_cast<uint32_t>(product) < bound) {
    uint32_t threshold = -bound % bound;
    while (static_cast<uint32_t>(product) < threshold) product = (split_mix(state) >> 32) * bound;
  }
  return static_cast<uint32_t>(product >> 32);
}

// How many bounds are not above a key; without branches, since random keys would mispredict half of them.
uint32_t count_not_above(const std::vector<uint64_t>& bounds, uint64_t key) {
  const uint64_t* base = bounds.data();
  size_t size = bounds.size();
  while (size > 1) {
    size_t half = size / 2;
    base += base[half - 1] <= key ? half : 0;
    size -= half;
  }
  return static_cast<uint32_t>(base - bounds.data()) + (size == 1 && *base <= key);
}

}  // namespace

bool number_of(char kind, int64_t width, Number* out) {
  auto pick = [&](std::initializer_list<Number> by_width) {
    int step = width == 1 ? 0 : width == 2 ? 1 : width == 4 ? 2 : width == 8 ? 3 : 4;
    if (step >= static_cast<int>(by_width.size())) return false;
    *out = by_width.begin()[step];
    return true;
  };
  if (kind == 'i') return pick({Number::kInt8, Number::kInt16, Number::kInt32, Number::kInt64});
  if (kind == 'u') return pick({Number::kUint8, Number::kUint16, Number::kUint32, Number::kUint64});
  if (kind != 'f' || (width != 4 && width != 8)) return false;
  *out = width == 4 ? Number::kFloat32 : Number::kFloat64;
  return true;
}

void sort_order(std::span<const SortKey> keys, std::span<uint32_t> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint32_t>(i);
  if (out.empty()) return;
  std::vector<Entry> entries(out.size()), spare(out.size());
  for (size_t k = keys.size(); k-- > 0;) {
    bool odd = fill(keys[k], out, entries);
    for (int d = 0; d < kDigits; ++d)
      counting_pass(entries, spare, kBuckets,
                    [shift = d * kDigitBits](const Entry& e) { return (e.bits >> shift) & (kBuckets - 1); });
    if (odd) counting_pass(entries, spare, kClasses, [](const Entry& e) { return static_cast<size_t>(e.kind); });
    for (size_t i = 0; i < out.size(); ++i) out[i] = entries[i].row;
  }
}

bool partition_order(std::span<const uint32_t> ids, std::span<uint32_t> order, std::span<int64_t> ends) {
  std::vector<uint32_t> at(ends.size());
  for (uint32_t id : ids) {
    if (id >= ends.size()) return false;
    ++at[id];
  }
  uint32_t total = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    uint32_t count = at[i];
    at[i] = total;
    ends[i] = total += count;
  }
  for (size_t i = 0; i < ids.size(); ++i) order[at[ids[i]]++] = static_cast<uint32_t>(i);
  return true;
}

void range_ids(const Numbers& column, const Numbers& bounds, bool descending, std::span<uint32_t> out) {
  auto key = [&](auto value) { return descending ? ~ordered_bits(value) : ordered_bits(value); };
  std::vector<uint64_t> edges;
  with_numbers(bounds, [&](auto values) {
    for (int64_t i = 0; i < bounds.length; ++i) edges.push_back(key(values[i]));
  });
  auto last = static_cast<uint32_t>(edges.size());
  with_numbers(column, [&](auto values) {
    for (size_t i = 0; i < out.size(); ++i) {
      bool valid = column.validity == nullptr || bit_at(column.validity, column.offset + static_cast<int64_t>(i));
      out[i] = !valid || is_nan(values[i]) ? last : count_not_above(edges, key(values[i]));
    }
  });
}

void permutation(uint64_t seed, std::span<uint32_t> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint32_t>(i);
  for (size_t left = out.size(); left > 1; --left)
    std::swap(out[left - 1], out[below(seed, static_cast<uint32_t>(left))]);
}

void random_ids(uint64_t seed, uint32_t count, std::span<uint32_t> out) {
  for (uint32_t& id : out) id = below(seed, count);
}

}  // namespace narke::data
