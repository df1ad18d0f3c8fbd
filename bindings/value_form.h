// The bytes of a stored value, without Python: the form byte, and the forms that C++ writes by itself.
//
// Layout, little endian:
//   kNone kTrue kFalse   nothing follows
//   kInt                 i64
//   kFloat               f64
//   kStr kBytes          the bytes (utf-8 for kStr) up to the end of the value
//   kPickle kError       PickleHeader, n_buffers of BufferEntry, the pickle, then the buffers (see
//   place_buffer) kArray               ArrayHeader, ndim of u64 (shape), then the items (see place_buffer)
//   kRefList kRefTuple   u32 count, count of (u8 id size, id, u32 owner size, owner); see kSameOwner
//   kEngineError         u8 kind size, kind, u32 message size, message, id in hex up to the end
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace narke::py {

static_assert(std::endian::native == std::endian::little, "stored values are little endian");

enum class Form : uint8_t {
  kNone = 0x01,
  kTrue = 0x02,
  kFalse = 0x03,
  kInt = 0x04,
  kFloat = 0x05,
  kStr = 0x06,
  kBytes = 0x07,
  kPickle = 0x08,
  kArray = 0x09,
  kRefList = 0x0a,
  kRefTuple = 0x0b,
  kError = 0x10,
  kEngineError = 0x20,
};

struct PickleHeader {
  Form form;
  uint8_t zero[3];
  uint32_t n_buffers;
  uint64_t pickle_size;
};
static_assert(sizeof(PickleHeader) == 16);

struct BufferEntry {
  uint64_t offset;  // from the start of the value
  uint64_t size;
};

struct ArrayHeader {
  Form form;
  uint8_t type;   // index into kArrayTypes
  uint8_t ndim;   // at most kMaxDims
  uint8_t order;  // 'C' or 'F'
  uint32_t zero;
};
static_assert(sizeof(ArrayHeader) == 8);

// numpy's type strings in native byte order; the position is what is stored, so append only.
inline constexpr const char* kArrayTypes[] = {"?",  "i1", "u1", "i2", "u2", "i4", "u4",
                                              "i8", "u8", "f2", "f4", "f8", "c8", "c16"};
inline constexpr size_t kArrayItemSizes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 8, 16};
inline constexpr size_t kArrayTypeCount = sizeof(kArrayItemSizes) / sizeof(kArrayItemSizes[0]);
inline constexpr size_t kMaxDims = 32;

// Buffers from this size on start on a 64-byte boundary and are read in place; smaller ones start on a
// 16-byte boundary and are copied when read, so that a handful of bytes never pins a stored object.
inline constexpr uint64_t kInPlaceBytes = 512;

// In place of an owner's size: the owner of the ref before, and nothing follows.
inline constexpr uint32_t kSameOwner = UINT32_MAX;

// The offset at which a buffer of `size` bytes goes when everything before `end` is taken.
constexpr uint64_t place_buffer(uint64_t end, uint64_t size) {
  const uint64_t alignment = size >= kInPlaceBytes ? 64 : 16;
  return (end + alignment - 1) & ~(alignment - 1);
}

// True for a value that get() raises: kError and kEngineError.
inline bool is_error(const uint8_t* data, size_t size) {
  return size > 0 && (data[0] == uint8_t(Form::kError) || data[0] == uint8_t(Form::kEngineError));
}

// A failure born in the engine. `kind` is the name of a class of narke.exceptions (at most 255 bytes, longer
// ones are cut), `id_hex` the id of the task, actor or object it is about, in hex, or empty.
std::string encode_engine_error(std::string_view kind, std::string_view message, std::string_view id_hex);

// An exception that is pickled already (without out-of-band buffers), as narke._private.execution gives it.
std::string encode_pickled_error(std::string_view pickled);

struct EngineError {
  std::string_view kind;
  std::string_view message;
  std::string_view id_hex;
};
// Reads a kEngineError value; false if the bytes are not one. The views point into `data`.
bool read_engine_error(const uint8_t* data, size_t size, EngineError* out);

}  // namespace narke::py
