#include "data/formula.h"

#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace narke::data {
namespace {

constexpr int64_t kMany = 5000;  // several pieces and a rest

template <typename Value>
Step<Value> constant(Value value) {
  return {Action::kConstant, nullptr, value};
}

template <typename Value>
Step<Value> column(const std::vector<Value>& values) {
  return {Action::kColumn, values.data(), 0};
}

template <typename Value>
Step<Value> act(Action action) {
  return {action, nullptr, 0};
}

template <typename Value>
std::vector<Value> computed(const std::vector<Step<Value>>& steps, int64_t rows) {
  std::vector<Value> out(static_cast<size_t>(rows));
  EXPECT_TRUE(is_formula<Value>(steps));
  compute_formula<Value>(steps, out);
  return out;
}

TEST(Formula, SequenceTimesTwoPlusOne) {
  std::vector<Step<int64_t>> steps{{Action::kSequence, nullptr, 7},
                                   constant<int64_t>(2),
                                   act<int64_t>(Action::kMultiply),
                                   constant<int64_t>(1),
                                   act<int64_t>(Action::kAdd)};
  auto made = computed(steps, kMany);
  for (int64_t i = 0; i < kMany; ++i) ASSERT_EQ(made[static_cast<size_t>(i)], (7 + i) * 2 + 1);
  EXPECT_EQ(sum_formula<int64_t>(steps, kMany), std::accumulate(made.begin(), made.end(), int64_t{0}));
}

TEST(Formula, ColumnsOnBothSidesKeepTheirOrder) {
  std::vector<double> price(kMany), discount(kMany);
  for (size_t i = 0; i < price.size(); ++i) price[i] = static_cast<double>(i), discount[i] = 0.25;
  std::vector<Step<double>> steps{column(price),
                                  constant(1.0),
                                  column(discount),
                                  act<double>(Action::kSubtract),
                                  act<double>(Action::kMultiply),
                                  constant(3.0),
                                  act<double>(Action::kDivide)};
  auto made = computed(steps, kMany);
  for (size_t i = 0; i < made.size(); ++i) ASSERT_EQ(made[i], price[i] * 0.75 / 3.0);
  EXPECT_EQ(sum_formula<double>(steps, 4), 6 * 0.75 / 3.0);
}

TEST(Formula, ConstantsAndIntegersThatWrap) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  std::vector<Step<int64_t>> steps{constant(kMax), constant<int64_t>(1), act<int64_t>(Action::kAdd)};
  EXPECT_EQ(computed(steps, 3), (std::vector<int64_t>(3, std::numeric_limits<int64_t>::min())));
  EXPECT_EQ(sum_formula<int64_t>(steps, 2), 0);
  EXPECT_EQ(sum_formula<int64_t>(steps, 0), 0);
}

TEST(Formula, WhatIsNoneIsRefused) {
  auto add = act<int64_t>(Action::kAdd);
  auto one = constant<int64_t>(1);
  EXPECT_FALSE(is_formula<int64_t>({}));
  EXPECT_FALSE(is_formula<int64_t>(std::vector{one, one}));
  EXPECT_FALSE(is_formula<int64_t>(std::vector{one, add}));
  EXPECT_FALSE(is_formula<int64_t>(std::vector{add, one, one}));
  EXPECT_FALSE(is_formula<int64_t>(std::vector{one, one, act<int64_t>(Action::kDivide)}));
  EXPECT_FALSE(is_formula<int64_t>(std::vector<Step<int64_t>>(kDeepestFormula + 1, one)));
}

}  // namespace
}  // namespace narke::data
