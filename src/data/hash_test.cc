#include "data/hash.h"

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace narke::data {
namespace {

template <typename T>
uint64_t hash_one(Number type, T value) {
  uint64_t hash = 0;
  Numbers column{type, reinterpret_cast<const uint8_t*>(&value), nullptr, 0, 1};
  hash_numbers(column, {&hash, 1});
  return hash;
}

TEST(Hash, EqualNumbersHashAlikeWhateverTheirWidth) {
  uint64_t want = hash_one<int64_t>(Number::kInt64, 7);
  EXPECT_EQ(hash_one<uint8_t>(Number::kUint8, 7), want);
  EXPECT_EQ(hash_one<float>(Number::kFloat32, 7), want);
  EXPECT_EQ(hash_one<double>(Number::kFloat64, 0.0), hash_one<double>(Number::kFloat64, -0.0));
  EXPECT_EQ(hash_one<double>(Number::kFloat64, NAN), hash_one<double>(Number::kFloat64, -NAN));
  EXPECT_NE(hash_one<int64_t>(Number::kInt64, 8), want);
}

TEST(Hash, ResultsAreFixed) {  // processes of different builds must agree
  EXPECT_EQ(hash_one<int64_t>(Number::kInt64, 1), hash_one<int64_t>(Number::kInt64, 1));
  std::string text = "narke engine";
  std::vector<int32_t> at{0, 5, 12};
  Chunk column{reinterpret_cast<const uint8_t*>(text.data()), nullptr, reinterpret_cast<const uint8_t*>(at.data()), 0,
               2};
  std::vector<uint64_t> narrow(2), wide(2);
  hash_strings<int32_t>(column, narrow);
  std::vector<int64_t> wide_at{0, 5, 12};
  column.offsets = reinterpret_cast<const uint8_t*>(wide_at.data());
  hash_strings<int64_t>(column, wide);
  EXPECT_EQ(narrow, wide);
  EXPECT_NE(narrow[0], narrow[1]);
}

TEST(Hash, ColumnsCountInTheirOrder) {
  uint64_t ab = 0, ba = 0;
  int64_t a = 1, b = 2;
  Numbers first{Number::kInt64, reinterpret_cast<const uint8_t*>(&a), nullptr, 0, 1};
  Numbers second{Number::kInt64, reinterpret_cast<const uint8_t*>(&b), nullptr, 0, 1};
  hash_numbers(first, {&ab, 1});
  hash_numbers(second, {&ab, 1});
  hash_numbers(second, {&ba, 1});
  hash_numbers(first, {&ba, 1});
  EXPECT_NE(ab, ba);
}

TEST(Hash, FixedRowsHashTheirBytes) {
  std::string rows = "aaaaaaaaaabbbbbbbbbbaaaaaaaaaa";
  Chunk column{reinterpret_cast<const uint8_t*>(rows.data()), nullptr, nullptr, 0, 3};
  std::vector<uint64_t> hashes(3);
  hash_fixed(column, 10, hashes);
  EXPECT_EQ(hashes[0], hashes[2]);
  EXPECT_NE(hashes[0], hashes[1]);
}

TEST(Hash, BucketsAreEvenForNumbersInARow) {
  std::vector<int64_t> values(10000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i);
  Numbers column{Number::kInt64, reinterpret_cast<const uint8_t*>(values.data()), nullptr, 0, 10000};
  std::vector<uint64_t> hashes(values.size());
  hash_numbers(column, hashes);
  EXPECT_EQ(std::set<uint64_t>(hashes.begin(), hashes.end()).size(), values.size());
  std::vector<uint32_t> ids(values.size());
  bucket_ids(hashes, 7, ids);
  std::vector<int> counts(7);
  for (uint32_t id : ids) ++counts.at(id);
  for (int count : counts) EXPECT_NEAR(count, 10000 / 7, 200);
}

}  // namespace
}  // namespace narke::data
