// CRC-32C (Castagnoli, RFC 3720 appendix B.4), by which TFRecord files are checked.
#pragma once

#include <cstdint>
#include <span>

namespace narke::data {

// The checksum of the bytes; 0 of none.
uint32_t crc32c(std::span<const uint8_t> bytes);

}  // namespace narke::data
