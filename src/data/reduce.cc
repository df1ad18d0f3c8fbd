#include "data/reduce.h"

#include <cmath>
#include <type_traits>

#include "data/gather.h"
#include "data/numbers.h"

namespace narke::data {
namespace {

// Calls f(group, value) for each row that is not null.
template <typename F>
void for_valid(std::span<const uint32_t> ids, const Numbers& column, F f) {
  with_numbers(column, [&](auto values) {
    if (column.validity == nullptr) {
      for (size_t i = 0; i < ids.size(); ++i) f(ids[i], values[i]);
      return;
    }
    for (size_t i = 0; i < ids.size(); ++i)
      if (bit_at(column.validity, column.offset + static_cast<int64_t>(i))) f(ids[i], values[i]);
  });
}

template <typename Value>
bool is_better(Value value, Value than, bool greatest) {
  if constexpr (std::is_floating_point_v<Value>) {
    if (std::isnan(than)) return true;
  }
  return greatest ? value > than : value < than;
}

}  // namespace

template <typename Sum>
void sum_groups(std::span<const uint32_t> ids, const Numbers& column, std::span<Sum> results,
                std::span<int64_t> counts) {
  for (Sum& result : results) result = 0;
  for_valid(ids, column, [&](uint32_t group, auto value) {
    if constexpr (std::is_same_v<Sum, int64_t>) {
      auto sum = static_cast<uint64_t>(results[group]) + static_cast<uint64_t>(static_cast<int64_t>(value));
      results[group] = static_cast<int64_t>(sum);
    } else {
      results[group] += static_cast<double>(value);
    }
    ++counts[group];
  });
}

template <typename Value>
void extreme_groups(std::span<const uint32_t> ids, const Numbers& column, bool greatest, std::span<Value> results,
                    std::span<int64_t> counts) {
  for_valid(ids, column, [&](uint32_t group, auto raw) {
    auto value = static_cast<Value>(raw);
    if (counts[group]++ == 0 || is_better(value, results[group], greatest)) results[group] = value;
  });
}

void moment_groups(std::span<const uint32_t> ids, const Numbers& column, std::span<double> means,
                   std::span<double> squares, std::span<int64_t> counts) {
  sum_groups(ids, column, means, counts);
  for (size_t g = 0; g < means.size(); ++g) {
    if (counts[g] != 0) means[g] /= static_cast<double>(counts[g]);
    squares[g] = 0;
  }
  for_valid(ids, column, [&](uint32_t group, auto value) {
    double distance = static_cast<double>(value) - means[group];
    squares[group] += distance * distance;
  });
}

template void sum_groups(std::span<const uint32_t>, const Numbers&, std::span<int64_t>, std::span<int64_t>);
template void sum_groups(std::span<const uint32_t>, const Numbers&, std::span<double>, std::span<int64_t>);
template void extreme_groups(std::span<const uint32_t>, const Numbers&, bool, std::span<int64_t>, std::span<int64_t>);
template void extreme_groups(std::span<const uint32_t>, const Numbers&, bool, std::span<double>, std::span<int64_t>);

}  // namespace narke::data
