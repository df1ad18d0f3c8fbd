#include "data/parquet_pages.h"

#include <cstring>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narke::data {
namespace {

using Bytes = std::vector<uint8_t>;
using testing::ElementsAre;
using testing::ElementsAreArray;

std::vector<uint32_t> unpacked(const Bytes& bytes, int width, size_t count) {
  std::vector<uint32_t> out(count);
  if (!unpack_hybrid(bytes, width, out)) return {};
  return out;
}

template <typename Value>
Bytes bytes_of(const std::vector<Value>& values) {
  Bytes made(values.size() * sizeof(Value));
  std::memcpy(made.data(), values.data(), made.size());
  return made;
}

template <typename Value>
std::vector<Value> values_in(const Bytes& bytes) {
  std::vector<Value> made(bytes.size() / sizeof(Value));
  std::memcpy(made.data(), bytes.data(), bytes.size());
  return made;
}

// The numbers, bit-packed in one run of whole groups.
Bytes packed(const std::vector<uint32_t>& numbers, int width) {
  size_t groups = (numbers.size() + 7) / 8;
  Bytes out;
  uint64_t header = groups << 1 | 1;
  for (; header >= 0x80; header >>= 7) out.push_back(static_cast<uint8_t>(header | 0x80));
  out.push_back(static_cast<uint8_t>(header));
  size_t start = out.size();
  out.resize(start + groups * static_cast<size_t>(width));
  for (size_t i = 0; i < numbers.size(); ++i)
    for (int bit = 0; bit < width; ++bit) {
      size_t at = i * static_cast<size_t>(width) + static_cast<size_t>(bit);
      if ((numbers[i] >> bit & 1) != 0) out[start + at / 8] |= static_cast<uint8_t>(1 << at % 8);
    }
  return out;
}

TEST(ParquetHybrid, RunsAndGroups) {
  EXPECT_THAT(unpacked({0x06, 0x05}, 3, 3), ElementsAre(5, 5, 5));
  // The format's own example: 0 to 7 of 3 bits.
  EXPECT_THAT(unpacked({0x03, 0x88, 0xc6, 0xfa}, 3, 8), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(unpacked({0x02, 0x07, 0x03, 0x88, 0xc6, 0xfa}, 3, 5), ElementsAre(7, 0, 1, 2, 3));
  EXPECT_THAT(unpacked({0x04}, 0, 2), ElementsAre(0, 0));
}

TEST(ParquetHybrid, EveryWidth) {
  for (int width = 1; width <= 32; ++width) {
    std::vector<uint32_t> numbers;
    for (uint32_t i = 0; i < 203; ++i)
      numbers.push_back(static_cast<uint32_t>((i * uint64_t{0x9e3779b97f4a7c15}) >> (64 - width)));
    EXPECT_THAT(unpacked(packed(numbers, width), width, numbers.size()), ElementsAreArray(numbers)) << width;
  }
}

TEST(ParquetHybrid, WhatIsMissing) {
  std::vector<uint32_t> out(9);
  EXPECT_FALSE(unpack_hybrid({}, 3, out));
  EXPECT_FALSE(unpack_hybrid(Bytes{0x03, 0x88, 0xc6}, 3, out));
  EXPECT_FALSE(unpack_hybrid(Bytes{0x06}, 3, out));
  EXPECT_FALSE(unpack_hybrid(Bytes{0x00, 0x01}, 3, out)) << "a run of nothing would never end";
}

Bytes coded(const std::vector<uint32_t>& numbers, int width) {
  Bytes made = packed(numbers, width);
  made.insert(made.begin(), static_cast<uint8_t>(width));
  return made;
}

TEST(ParquetPages, CodedAndPlainOnes) {
  Bytes first = coded({2, 0, 1, 1, 2}, 2), second = bytes_of<uint64_t>({7, 8, 9}), last = coded({0, 0, 2}, 2);
  std::vector<Page> pages = {{first, 5, true}, {second, 3, false}, {last, 3, true}};
  Bytes dictionary = bytes_of<uint64_t>({10, 20, 30});
  PagedColumn column{pages, false, 8, dictionary};
  Bytes out(11 * 8);
  ASSERT_TRUE(read_values(column, out));
  EXPECT_THAT(values_in<uint64_t>(out), ElementsAre(30, 10, 20, 20, 30, 7, 8, 9, 10, 10, 30));
  out.resize(4 * 8);
  ASSERT_TRUE(pick_values(column, std::vector<uint32_t>{1, 1, 6, 10}, out));
  EXPECT_THAT(values_in<uint64_t>(out), ElementsAre(10, 10, 8, 30));
  EXPECT_FALSE(pick_values(column, std::vector<uint32_t>{6, 1}, out)) << "rows must ascend";
  EXPECT_FALSE(pick_values(column, std::vector<uint32_t>{11}, out));
  Bytes bits(2);
  EXPECT_FALSE(test_values(column, Bytes{0, 0, 1}, bits)) << "plain values are in no dictionary";
}

TEST(ParquetPages, PagesWithoutWantedRowsArePassedOver) {
  Bytes second = bytes_of<uint32_t>({7, 8, 9});
  std::vector<Page> pages = {{{}, 1000, true}, {second, 3, false}};
  Bytes out(4);
  ASSERT_TRUE(pick_values({pages, false, 4, {}}, std::vector<uint32_t>{1002}, out));
  EXPECT_THAT(values_in<uint32_t>(out), ElementsAre(9));
  EXPECT_FALSE(pick_values({pages, false, 4, {}}, std::vector<uint32_t>{999}, out));
}

TEST(ParquetPages, Tests) {
  std::vector<uint32_t> numbers;
  for (uint32_t i = 0; i < 77; ++i) numbers.push_back(i * 7 % 5);
  Bytes one = coded(numbers, 3), two = coded({4, 4}, 3);
  std::vector<Page> pages = {{one, 77, true}, {one, 77, true}, {two, 2, true}};
  Bytes bits((77 * 2 + 2 + 7) / 8);
  ASSERT_TRUE(test_values({pages, false, 0, {}}, Bytes{0, 1, 0, 0, 1}, bits));
  for (size_t i = 0; i < 77 * 2 + 2; ++i) {
    uint32_t code = i < 154 ? numbers[i % 77] : 4;
    EXPECT_EQ(bits[i / 8] >> i % 8 & 1, code == 1 || code == 4) << i;
  }
}

TEST(ParquetPages, LevelsSayThatAllRowsAreThere) {
  Bytes values = bytes_of<uint32_t>({5, 6, 7});
  auto with_levels = [&](Bytes levels) {
    Bytes page = bytes_of<uint32_t>({static_cast<uint32_t>(levels.size())});
    page.insert(page.end(), levels.begin(), levels.end());
    page.insert(page.end(), values.begin(), values.end());
    std::vector<Page> pages = {{page, 3, false}};
    Bytes out(12);
    return read_values({pages, true, 4, {}}, out);
  };
  EXPECT_TRUE(with_levels({0x06, 0x01}));
  EXPECT_TRUE(with_levels({0x03, 0x07}));
  EXPECT_FALSE(with_levels({0x03, 0x05})) << "the second is null";
  EXPECT_FALSE(with_levels({0x04, 0x01, 0x02, 0x00})) << "the last is null";
  EXPECT_FALSE(with_levels({}));
}

TEST(ParquetPages, Damage) {
  Bytes out(12);
  auto reads = [&](const Bytes& bytes, bool is_coded, bool nullable) {
    std::vector<Page> pages = {{bytes, 3, is_coded}};
    Bytes dictionary = bytes_of<uint32_t>({1, 2});
    return read_values({pages, nullable, 4, dictionary}, out);
  };
  EXPECT_FALSE(reads(bytes_of<uint32_t>({1, 2}), false, false)) << "a value is missing";
  EXPECT_FALSE(reads(coded({0, 2, 0}, 2), true, false)) << "2 is not in the dictionary";
  EXPECT_FALSE(reads(Bytes{33, 0x06, 0x00}, true, false)) << "numbers have 32 bits at most";
  EXPECT_FALSE(reads(Bytes{0xff, 0xff, 0xff, 0xff, 0x06}, false, true)) << "levels are longer than the page";
  EXPECT_TRUE(reads(coded({0, 1, 0}, 2), true, false));
}

TEST(ParquetHeaders, OfDataAndDictionaries) {
  // kind 0, 300 bytes plain, 100 stored; a DataPageHeader of 10 rows with encoding 8, levels and statistics.
  Bytes data = {0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0xc8, 0x01, 0x2c, 0x15, 0x14, 0x15, 0x10, 0x15,
                0x06, 0x15, 0x06, 0x1c, 0x18, 0x02, 0xaa, 0xbb, 0x16, 0x00, 0x00, 0x00, 0x00, 0x99};
  PageHeader header;
  ASSERT_TRUE(read_page_header(data, &header));
  EXPECT_EQ(header.kind, 0);
  EXPECT_EQ(header.plain_bytes, 300);
  EXPECT_EQ(header.stored_bytes, 100);
  EXPECT_EQ(header.values, 10);
  EXPECT_EQ(header.encoding, kRleDictionary);
  EXPECT_EQ(header.header_bytes, 27);
  for (size_t cut = 0; cut < 27; ++cut) EXPECT_FALSE(read_page_header(std::span(data).first(cut), &header)) << cut;
}

TEST(ParquetHeaders, NestingHasAnEnd) {
  PageHeader header;
  EXPECT_FALSE(read_page_header(Bytes(100000, 0x1c), &header));
}

}  // namespace
}  // namespace narke::data
