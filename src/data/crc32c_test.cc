#include "data/crc32c.h"

#include <numeric>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace narke::data {
namespace {

uint32_t of(std::string_view text) { return crc32c({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); }

TEST(Crc32c, KnownValues) {  // RFC 3720, appendix B.4
  std::vector<uint8_t> bytes(32);
  EXPECT_EQ(crc32c(bytes), 0x8a9136aa);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  EXPECT_EQ(crc32c(bytes), 0x46dd794e);
  EXPECT_EQ(of("123456789"), 0xe3069283);
  EXPECT_EQ(of(""), 0u);
}

}  // namespace
}  // namespace narke::data
