#include "data/gather.h"

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace narke::data {
namespace {

template <typename T>
Chunk chunk_of(const std::vector<T>& values, int64_t offset = 0) {
  return {reinterpret_cast<const uint8_t*>(values.data()), nullptr, nullptr, offset,
          static_cast<int64_t>(values.size()) - offset};
}

std::vector<Place> located(const std::vector<uint32_t>& rows, const std::vector<int64_t>& lengths) {
  std::vector<Place> out(rows.size());
  EXPECT_TRUE(locate(rows, lengths, out));
  return out;
}

TEST(Gather, RowsAreFoundInTheirChunks) {
  auto places = located({0, 4, 3, 9, 5}, {4, 0, 1, 5});
  std::vector<std::pair<uint32_t, uint32_t>> got;
  for (Place p : places) got.emplace_back(p.chunk, p.row);
  EXPECT_EQ(got, (std::vector<std::pair<uint32_t, uint32_t>>{{0, 0}, {2, 0}, {0, 3}, {3, 4}, {3, 0}}));
}

TEST(Gather, RowsAreFoundInManyChunks) {
  for (size_t chunks : {2, 31, 32, 33, 100}) {
    std::vector<int64_t> lengths;
    std::vector<Place> want;
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
      lengths.push_back(chunk * 7 % 50);
      for (uint32_t row = 0; row < lengths.back(); ++row) want.push_back({chunk, row});
    }
    std::vector<uint32_t> rows;
    for (size_t i = 0; i < want.size(); ++i) rows.push_back(static_cast<uint32_t>(i * 7919 % want.size()));
    auto got = located(rows, lengths);
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(got[i].chunk, want[rows[i]].chunk);
      EXPECT_EQ(got[i].row, want[rows[i]].row);
    }
    std::vector<Place> out(1);
    EXPECT_FALSE(locate(std::vector<uint32_t>{static_cast<uint32_t>(want.size())}, lengths, out));
  }
}

TEST(Gather, ARowBeyondTheEndIsRefused) {
  std::vector<Place> out(1);
  EXPECT_FALSE(locate(std::vector<uint32_t>{10}, std::vector<int64_t>{4, 6}, out));
  EXPECT_FALSE(locate(std::vector<uint32_t>{4}, std::vector<int64_t>{4}, out));
}

TEST(Gather, FixedWidthsAcrossChunks) {
  std::vector<int64_t> a{9, 10, 11}, b{20, 21};
  std::vector<Chunk> chunks{chunk_of(a, 1), chunk_of(b)};
  std::vector<int64_t> out(4);
  gather_fixed(chunks, 8, located({3, 0, 2, 1}, {2, 2}), reinterpret_cast<uint8_t*>(out.data()));
  EXPECT_EQ(out, (std::vector<int64_t>{21, 10, 20, 11}));
}

TEST(Gather, AWidthOfThreeBytes) {
  std::string rows = "aaabbbccc", out(6, ' ');
  Chunk chunk{reinterpret_cast<const uint8_t*>(rows.data()), nullptr, nullptr, 0, 3};
  gather_fixed({&chunk, 1}, 3, located({2, 0}, {3}), reinterpret_cast<uint8_t*>(out.data()));
  EXPECT_EQ(out, "cccaaa");
}

TEST(Gather, BitsAndValidityCountNulls) {
  uint8_t bits = 0b00101100;
  Chunk chunk{&bits, &bits, nullptr, 1, 6};
  uint8_t out = 0;
  auto places = located({5, 0, 1, 2}, {6});  // bits 6, 1, 2, 3: 0 0 1 1
  gather_bits({&chunk, 1}, places, &out);
  EXPECT_EQ(out, 0b1100);
  EXPECT_EQ(gather_validity({&chunk, 1}, places, &out), 2);
}

TEST(Gather, StringsAcrossChunksWithNulls) {
  std::string one = "catdog", two = "x";
  std::array<int32_t, 3> one_at{0, 3, 6};
  std::array<int32_t, 3> two_at{0, 1, 1};
  uint8_t valid = 0b01;
  std::vector<Chunk> chunks{
      {reinterpret_cast<const uint8_t*>(one.data()), &valid, reinterpret_cast<const uint8_t*>(one_at.data()), 0, 2},
      {reinterpret_cast<const uint8_t*>(two.data()), nullptr, reinterpret_cast<const uint8_t*>(two_at.data()), 0, 2}};
  auto places = located({2, 1, 0, 3}, {2, 2});
  std::array<int32_t, 5> offsets{};
  ASSERT_EQ(gather_offsets(chunks, places, offsets.data()), 4);
  std::string out(4, ' ');
  gather_bytes(chunks, places, offsets.data(), reinterpret_cast<uint8_t*>(out.data()));
  EXPECT_EQ(out, "xcat");
  EXPECT_EQ(offsets, (std::array<int32_t, 5>{0, 1, 1, 4, 4}));
}

TEST(Gather, OffsetsThatDoNotFitAreReported) {
  std::vector<int32_t> at{0, 1 << 30};
  Chunk chunk{nullptr, nullptr, reinterpret_cast<const uint8_t*>(at.data()), 0, 1};
  std::vector<Place> places(3);
  std::vector<int32_t> out(4);
  EXPECT_EQ(gather_offsets<int32_t>({&chunk, 1}, places, out.data()), -1);
}

}  // namespace
}  // namespace narke::data
