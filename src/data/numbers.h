// Typed views of columns of numbers.
#pragma once

#include "data/order.h"

namespace narke::data {

// Calls f(pointer to the first row) with the column's C++ type.
template <typename F>
void with_numbers(const Numbers& column, F f) {
  auto typed = [&]<typename Value>(Value) { f(reinterpret_cast<const Value*>(column.values) + column.offset); };
  switch (column.type) {
    case Number::kInt8: return typed(int8_t{});
    case Number::kInt16: return typed(int16_t{});
    case Number::kInt32: return typed(int32_t{});
    case Number::kInt64: return typed(int64_t{});
    case Number::kUint8: return typed(uint8_t{});
    case Number::kUint16: return typed(uint16_t{});
    case Number::kUint32: return typed(uint32_t{});
    case Number::kUint64: return typed(uint64_t{});
    case Number::kFloat32: return typed(float{});
    case Number::kFloat64: return typed(double{});
  }
}

}  // namespace narke::data
