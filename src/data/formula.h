// Formulas over columns of numbers, computed a few rows at a time, so that what stands between stays in the nearest
// cache and nothing is made that is only summed.
#pragma once

#include <cstdint>
#include <span>

namespace narke::data {

enum class Action : uint8_t { kColumn, kSequence, kConstant, kAdd, kSubtract, kMultiply, kDivide };

// One step of a formula in postfix order. `Value` is int64_t, which wraps around, or double.
template <typename Value>
struct Step {
  Action action = Action::kConstant;
  const Value* column = nullptr;  // kColumn: a value a row
  Value value = 0;                // kConstant; kSequence: the first row's, each next is one more
};

constexpr uint32_t kDeepestFormula = 16;

// Whether the steps leave one value and hold no more than kDeepestFormula at once; integers are not divided.
template <typename Value>
bool is_formula(std::span<const Step<Value>> steps);
// The values of out.size() rows. REQUIRES: is_formula(steps), columns have as many rows.
template <typename Value>
void compute_formula(std::span<const Step<Value>> steps, std::span<Value> out);
// The sum of the values of `rows` rows. REQUIRES: as above.
template <typename Value>
Value sum_formula(std::span<const Step<Value>> steps, int64_t rows);

extern template bool is_formula(std::span<const Step<int64_t>>);
extern template bool is_formula(std::span<const Step<double>>);
extern template void compute_formula(std::span<const Step<int64_t>>, std::span<int64_t>);
extern template void compute_formula(std::span<const Step<double>>, std::span<double>);
extern template int64_t sum_formula(std::span<const Step<int64_t>>, int64_t);
extern template double sum_formula(std::span<const Step<double>>, int64_t);

}  // namespace narke::data
