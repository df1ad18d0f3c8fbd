// Hashes of rows, by which equal keys meet in one partition.
#pragma once

#include <cstdint>
#include <span>

#include "data/gather.h"
#include "data/order.h"

namespace narke::data {

// Each adds a column to the hashes of its rows (in: 0, or the hashes of the columns before). The results are the same
// in every process and on every little-endian machine. Equal numbers hash alike whatever their width and kind; integers
// beyond 2^53 that round to the same double share a hash. Nulls have a hash of their own.
void hash_numbers(const Numbers& column, std::span<uint64_t> hashes);
// Strings; Offset is int32_t or int64_t.
template <typename Offset>
void hash_strings(const Chunk& column, std::span<uint64_t> hashes);
// Rows of `width` bytes each.
void hash_fixed(const Chunk& column, size_t width, std::span<uint64_t> hashes);

extern template void hash_strings<int32_t>(const Chunk&, std::span<uint64_t>);
extern template void hash_strings<int64_t>(const Chunk&, std::span<uint64_t>);

// hash modulo `count`, by multiplication: as even, and without a division.
void bucket_ids(std::span<const uint64_t> hashes, uint32_t count, std::span<uint32_t> out);

}  // namespace narke::data
