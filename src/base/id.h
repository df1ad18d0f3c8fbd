// Binary identifiers. Sizes are Ray's, so that programs that print or parse them see the same lengths.
//
// Value types; thread-safe to copy. A nil id is all 0xff.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace narke {

template <class Tag, size_t N>
class Id {
 public:
  static constexpr size_t kSize = N;

  constexpr Id() { bytes_.fill(0xff); }
  // REQUIRES: bytes.size() == N.
  static Id from_bytes(std::string_view bytes) {
    Id id;
    std::memcpy(id.bytes_.data(), bytes.data(), N);
    return id;
  }
  template <class Wire>  // a flatbuffers struct of the same size
  static Id from_wire(const Wire* wire) {
    Id id;
    if (wire != nullptr) std::memcpy(id.bytes_.data(), wire, N);
    return id;
  }
  template <class Wire>
  Wire to_wire() const {
    Wire wire;
    static_assert(sizeof(Wire) == N);
    std::memcpy(static_cast<void*>(&wire), bytes_.data(), N);
    return wire;
  }

  bool is_nil() const {
    for (uint8_t b : bytes_)
      if (b != 0xff) return false;
    return true;
  }
  uint8_t* data() { return bytes_.data(); }
  const uint8_t* data() const { return bytes_.data(); }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes_.data()), N}; }
  std::string hex() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out(2 * N, '0');
    for (size_t i = 0; i < N; ++i) {
      out[2 * i] = kDigits[bytes_[i] >> 4];
      out[2 * i + 1] = kDigits[bytes_[i] & 15];
    }
    return out;
  }
  auto operator<=>(const Id&) const = default;

 private:
  std::array<uint8_t, N> bytes_;
};

using JobId = Id<struct JobTag, 4>;
using ActorId = Id<struct ActorTag, 16>;
using TaskId = Id<struct TaskTag, 24>;
using ObjectId = Id<struct ObjectTag, 28>;
using WorkerId = Id<struct WorkerTag, 28>;
using NodeId = Id<struct NodeTag, 28>;
using PgId = Id<struct PgTag, 18>;
using FunctionId = Id<struct FunctionTag, 16>;

// The return value `index` (from 1) or the put `index` (with kPutBit) of a task.
inline constexpr uint32_t kPutBit = 0x80000000u;
inline ObjectId object_of(const TaskId& task, uint32_t index) {
  ObjectId id;
  std::memcpy(id.data(), task.data(), TaskId::kSize);
  std::memcpy(id.data() + TaskId::kSize, &index, 4);
  return id;
}
inline TaskId task_of(const ObjectId& object) { return TaskId::from_bytes(object.view()); }
inline uint32_t index_of(const ObjectId& object) {
  uint32_t index;
  std::memcpy(&index, object.data() + TaskId::kSize, 4);
  return index;
}

}  // namespace narke

template <class Tag, size_t N>
struct std::hash<narke::Id<Tag, N>> {
  // Ids are unique in their first bytes or in their last ones: both take part.
  size_t operator()(const narke::Id<Tag, N>& id) const noexcept {
    uint64_t a = 0, b = 0;
    std::memcpy(&a, id.data(), N < 8 ? N : 8);
    if constexpr (N >= 16) std::memcpy(&b, id.data() + N - 8, 8);
    uint64_t c = 0;
    if constexpr (N >= 24) std::memcpy(&c, id.data() + 8, 8);
    uint64_t h = (a ^ (c * 0x9e3779b97f4a7c15ull) ^ (b << 29 | b >> 35)) * 0xff51afd7ed558ccdull;
    return h ^ (h >> 32);
  }
};
