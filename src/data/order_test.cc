#include "data/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace narke::data {
namespace {

Numbers numbers(const std::vector<double>& values, const uint8_t* validity = nullptr) {
  return {Number::kFloat64, reinterpret_cast<const uint8_t*>(values.data()), validity, 0,
          static_cast<int64_t>(values.size())};
}

Numbers numbers(const std::vector<int32_t>& values) {
  return {Number::kInt32, reinterpret_cast<const uint8_t*>(values.data()), nullptr, 0,
          static_cast<int64_t>(values.size())};
}

TEST(Order, SortAgreesWithStableSort) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<double> first(500);
    std::vector<int32_t> second(500);
    for (double& v : first) v = static_cast<int>(random() % 7) - 3.5;
    for (int32_t& v : second) v = static_cast<int32_t>(random() % 9) - 4;
    std::vector<uint32_t> got(500), want(500);
    std::iota(want.begin(), want.end(), 0);
    bool down = round % 2 == 1;
    std::sort(want.begin(), want.end(), [&](uint32_t a, uint32_t b) {
      if (first[a] != first[b]) return first[a] < first[b];
      if (second[a] != second[b]) return down ? second[a] > second[b] : second[a] < second[b];
      return a < b;
    });
    std::vector<SortKey> keys{{numbers(first), false}, {numbers(second), down}};
    sort_order(keys, got);
    EXPECT_EQ(got, want);
  }
}

TEST(Order, NanAndThenNullsAreLastBothWays) {
  std::vector<double> values{NAN, 2, -0.0, 7, 0.0, INFINITY};
  uint8_t valid = 0b110111;  // 7 is null
  for (bool down : {false, true}) {
    std::vector<SortKey> keys{{numbers(values, &valid), down}};
    std::vector<uint32_t> got(6);
    sort_order(keys, got);
    EXPECT_EQ(got, down ? (std::vector<uint32_t>{5, 1, 2, 4, 0, 3}) : (std::vector<uint32_t>{2, 4, 1, 5, 0, 3}));
  }
}

TEST(Order, NothingToSort) {
  std::vector<double> none;
  std::vector<SortKey> keys{{numbers(none), false}};
  std::vector<uint32_t> got;
  sort_order(keys, got);
  EXPECT_TRUE(got.empty());
}

TEST(Order, PartitionKeepsTheOrderWithin) {
  std::vector<uint32_t> ids{2, 0, 2, 1, 0}, order(5);
  std::vector<int64_t> ends(4);
  ASSERT_TRUE(partition_order(ids, order, ends));
  EXPECT_EQ(order, (std::vector<uint32_t>{1, 4, 3, 0, 2}));
  EXPECT_EQ(ends, (std::vector<int64_t>{2, 3, 5, 5}));
  ends.resize(2);
  EXPECT_FALSE(partition_order(ids, order, ends));
}

TEST(Order, RangesCountBoundsNotAbove) {
  std::vector<double> values{1, 2, 2.5, 3, NAN, -8}, up{2, 3}, down{3, 2};
  std::vector<uint32_t> got(6);
  range_ids(numbers(values), numbers(up), false, got);
  EXPECT_EQ(got, (std::vector<uint32_t>{0, 1, 1, 2, 2, 0}));
  range_ids(numbers(values), numbers(down), true, got);
  EXPECT_EQ(got, (std::vector<uint32_t>{2, 2, 1, 1, 2, 2}));
}

TEST(Order, RangesAgreeWithUpperBound) {
  std::mt19937 random(5);
  for (size_t bounds = 0; bounds < 40; ++bounds) {
    std::vector<int32_t> edges(bounds), values(100);
    for (int32_t& v : edges) v = static_cast<int32_t>(random() % 50);
    for (int32_t& v : values) v = static_cast<int32_t>(random() % 52) - 1;
    std::sort(edges.begin(), edges.end());
    std::vector<uint32_t> got(100);
    range_ids(numbers(values), numbers(edges), false, got);
    for (size_t i = 0; i < 100; ++i)
      EXPECT_EQ(got[i], std::upper_bound(edges.begin(), edges.end(), values[i]) - edges.begin());
  }
}

TEST(Order, PermutationsHoldEachRowOnceAndFollowTheSeed) {
  std::vector<uint32_t> a(1000), b(1000), c(1000), sorted(1000);
  permutation(1, a);
  permutation(1, b);
  permutation(2, c);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  std::iota(sorted.begin(), sorted.end(), 0);
  std::sort(a.begin(), a.end());
  EXPECT_EQ(a, sorted);
}

TEST(Order, RandomIdsAreEven) {
  std::vector<uint32_t> ids(30000);
  random_ids(3, 3, ids);
  for (uint32_t id = 0; id < 3; ++id) EXPECT_NEAR(std::count(ids.begin(), ids.end(), id), 10000, 500);
}

TEST(Order, ThereIsNoNumberOfThreeBytes) {
  Number out;
  EXPECT_FALSE(number_of('i', 3, &out));
  EXPECT_FALSE(number_of('f', 2, &out));
  EXPECT_FALSE(number_of('s', 4, &out));
  ASSERT_TRUE(number_of('u', 2, &out));
  EXPECT_EQ(out, Number::kUint16);
}

}  // namespace
}  // namespace narke::data
