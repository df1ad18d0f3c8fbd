#include "data/reduce.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace narke::data {
namespace {

const std::vector<uint32_t> kIds{0, 1, 0, 1, 2};

template <typename T>
Numbers column(Number type, const std::vector<T>& values, const uint8_t* validity = nullptr) {
  return {type, reinterpret_cast<const uint8_t*>(values.data()), validity, 0, static_cast<int64_t>(values.size())};
}

TEST(Reduce, SumsLeaveOutNullsAndCountTheRest) {
  std::vector<int32_t> values{1, 2, 3, 4, 5};
  uint8_t valid = 0b01011;  // 3 and 5 are null
  std::vector<int64_t> sums(3), counts(3);
  sum_groups<int64_t>(kIds, column(Number::kInt32, values, &valid), sums, counts);
  EXPECT_EQ(sums, (std::vector<int64_t>{1, 6, 0}));
  EXPECT_EQ(counts, (std::vector<int64_t>{1, 2, 0}));
}

TEST(Reduce, IntegersWrapAround) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  std::vector<int64_t> values{kMax, 0, 1, 0, 0}, sums(3), counts(3);
  sum_groups<int64_t>(kIds, column(Number::kInt64, values), sums, counts);
  EXPECT_EQ(sums[0], std::numeric_limits<int64_t>::min());
}

TEST(Reduce, ExtremesPreferNumbersToNan) {
  std::vector<double> values{NAN, 4, 1, NAN, NAN}, least(3), most(3);
  std::vector<int64_t> counts(3), again(3);
  extreme_groups<double>(kIds, column(Number::kFloat64, values), false, least, counts);
  extreme_groups<double>(kIds, column(Number::kFloat64, values), true, most, again);
  EXPECT_EQ(least[0], 1);
  EXPECT_EQ(most[1], 4);
  EXPECT_TRUE(std::isnan(least[2]));
  EXPECT_EQ(counts, (std::vector<int64_t>{2, 2, 1}));
}

TEST(Reduce, MomentsSurviveLargeMeans) {
  std::vector<double> values{1e9, 3, 1e9 + 2, 5, 7}, means(3), squares(3);
  std::vector<int64_t> counts(3);
  moment_groups(kIds, column(Number::kFloat64, values), means, squares, counts);
  EXPECT_EQ(means, (std::vector<double>{1e9 + 1, 4, 7}));
  EXPECT_EQ(squares, (std::vector<double>{2, 2, 0}));
}

}  // namespace
}  // namespace narke::data
