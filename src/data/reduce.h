// Reductions by group: row i belongs to group ids[i]. Nulls are left out; `counts` says how many values were not null.
#pragma once

#include <cstdint>
#include <span>

#include "data/order.h"

namespace narke::data {

// What a group's values come to; counts[g] == 0 leaves results[g] without meaning.
// REQUIRES for all: ids are below counts.size(), which is results.size(); counts are 0 at first.

// Sums; integers wrap around at 64 bits. `Sum` is int64_t for integers, double for floats.
template <typename Sum>
void sum_groups(std::span<const uint32_t> ids, const Numbers& column, std::span<Sum> results,
                std::span<int64_t> counts);
// The least (or greatest) values; NaN only where there is nothing else. `Value` is the column's own type.
template <typename Value>
void extreme_groups(std::span<const uint32_t> ids, const Numbers& column, bool greatest, std::span<Value> results,
                    std::span<int64_t> counts);
// Means, and sums of squared distances from them, in two passes, which loses no digits to large means.
void moment_groups(std::span<const uint32_t> ids, const Numbers& column, std::span<double> means,
                   std::span<double> squares, std::span<int64_t> counts);

extern template void sum_groups(std::span<const uint32_t>, const Numbers&, std::span<int64_t>, std::span<int64_t>);
extern template void sum_groups(std::span<const uint32_t>, const Numbers&, std::span<double>, std::span<int64_t>);
extern template void extreme_groups(std::span<const uint32_t>, const Numbers&, bool, std::span<int64_t>,
                                    std::span<int64_t>);
extern template void extreme_groups(std::span<const uint32_t>, const Numbers&, bool, std::span<double>,
                                    std::span<int64_t>);

}  // namespace narke::data
