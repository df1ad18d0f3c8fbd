#include "data/formula.h"

#include <algorithm>
#include <array>
#include <type_traits>

namespace narke::data {
namespace {

constexpr int64_t kRows = 1024;  // computed at once
constexpr int64_t kLanes = 8;    // sums that run beside each other

template <typename Value>
using Room = std::array<std::array<Value, kRows>, kDeepestFormula>;

// What stands on the stack: a value a row, or one for all.
template <typename Value>
struct Operand {
  const Value* rows = nullptr;
  Value value = 0;
};

template <typename Value>
Value combined(Action action, Value left, Value right) {
  if constexpr (std::is_same_v<Value, int64_t>) {
    auto a = static_cast<uint64_t>(left), b = static_cast<uint64_t>(right);
    if (action == Action::kAdd) return static_cast<int64_t>(a + b);
    return static_cast<int64_t>(action == Action::kSubtract ? a - b : a * b);
  } else {
    if (action == Action::kAdd) return left + right;
    if (action == Action::kSubtract) return left - right;
    return action == Action::kMultiply ? left * right : left / right;
  }
}

template <Action kAction, typename Value>
Operand<Value> combine(Operand<Value> left, Operand<Value> right, Value* out, int64_t count) {
  if (left.rows == nullptr && right.rows == nullptr) return {nullptr, combined(kAction, left.value, right.value)};
  if (left.rows == nullptr)
    for (int64_t i = 0; i < count; ++i) out[i] = combined(kAction, left.value, right.rows[i]);
  else if (right.rows == nullptr)
    for (int64_t i = 0; i < count; ++i) out[i] = combined(kAction, left.rows[i], right.value);
  else
    for (int64_t i = 0; i < count; ++i) out[i] = combined(kAction, left.rows[i], right.rows[i]);
  return {out, 0};
}

template <typename Value>
Operand<Value> operate(Action action, Operand<Value> left, Operand<Value> right, Value* out, int64_t count) {
  switch (action) {
    case Action::kAdd: return combine<Action::kAdd>(left, right, out, count);
    case Action::kSubtract: return combine<Action::kSubtract>(left, right, out, count);
    case Action::kMultiply: return combine<Action::kMultiply>(left, right, out, count);
    default: return combine<Action::kDivide>(left, right, out, count);
  }
}

template <typename Value>
Operand<Value> leaf(const Step<Value>& step, Value* out, int64_t first, int64_t count) {
  if (step.action == Action::kColumn) return {step.column + first, 0};
  if (step.action == Action::kConstant) return {nullptr, step.value};
  Value start = combined(Action::kAdd, step.value, static_cast<Value>(first));
  for (int64_t i = 0; i < count; ++i) out[i] = combined(Action::kAdd, start, static_cast<Value>(i));
  return {out, 0};
}

// The values of rows [first, first + count); what has no place of its own lies in `room`.
template <typename Value>
Operand<Value> values(std::span<const Step<Value>> steps, Room<Value>& room, int64_t first, int64_t count) {
  std::array<Operand<Value>, kDeepestFormula> stack;
  uint32_t depth = 0;
  for (const Step<Value>& step : steps) {
    if (step.action <= Action::kConstant) {
      stack[depth] = leaf(step, room[depth].data(), first, count);
      ++depth;
    } else {
      --depth;
      stack[depth - 1] = operate(step.action, stack[depth - 1], stack[depth], room[depth - 1].data(), count);
    }
  }
  return stack[0];
}

template <typename Value>
Value sum_of(Operand<Value> made, int64_t count) {
  if (made.rows == nullptr) return combined(Action::kMultiply, made.value, static_cast<Value>(count));
  std::array<Value, kLanes> sums{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] = combined(Action::kAdd, sums[lane], made.rows[i + lane]);
  for (; i < count; ++i) sums[0] = combined(Action::kAdd, sums[0], made.rows[i]);
  Value total = 0;
  for (Value sum : sums) total = combined(Action::kAdd, total, sum);
  return total;
}

// Calls f(values, first row, rows) for a few rows after another.
template <typename Value, typename F>
void for_pieces(std::span<const Step<Value>> steps, int64_t rows, F f) {
  Room<Value> room;
  for (int64_t first = 0; first < rows; first += kRows) {
    int64_t count = std::min(kRows, rows - first);
    f(values(steps, room, first, count), first, count);
  }
}

}  // namespace

template <typename Value>
bool is_formula(std::span<const Step<Value>> steps) {
  uint32_t depth = 0;
  for (const Step<Value>& step : steps) {
    if (step.action <= Action::kConstant) {
      if (++depth > kDeepestFormula) return false;
    } else if (depth-- < 2 || (std::is_same_v<Value, int64_t> && step.action == Action::kDivide)) {
      return false;
    }
  }
  return depth == 1;
}

template <typename Value>
void compute_formula(std::span<const Step<Value>> steps, std::span<Value> out) {
  for_pieces(steps, static_cast<int64_t>(out.size()), [&](Operand<Value> made, int64_t first, int64_t count) {
    Value* to = out.data() + first;
    if (made.rows == nullptr)
      std::fill_n(to, count, made.value);
    else
      std::copy_n(made.rows, count, to);
  });
}

template <typename Value>
Value sum_formula(std::span<const Step<Value>> steps, int64_t rows) {
  Value total = 0;
  for_pieces(steps, rows, [&](Operand<Value> made, int64_t, int64_t count) {
    total = combined(Action::kAdd, total, sum_of(made, count));
  });
  return total;
}

template bool is_formula(std::span<const Step<int64_t>>);
template bool is_formula(std::span<const Step<double>>);
template void compute_formula(std::span<const Step<int64_t>>, std::span<int64_t>);
template void compute_formula(std::span<const Step<double>>, std::span<double>);
template int64_t sum_formula(std::span<const Step<int64_t>>, int64_t);
template double sum_formula(std::span<const Step<double>>, int64_t);

}  // namespace narke::data
