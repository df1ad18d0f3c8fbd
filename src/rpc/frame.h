// Frames: a fixed header, a FlatBuffers table, raw bytes.
//
//   u32 body_size   bytes after the header (table + raw)
//   u16 type        wire::MessageType
//   u16 flags       reserved, 0
//   u32 table_size  bytes of the table, a multiple of 8
//   u32 call_id     pairs a reply with its request; 0 = one-way
//
// The next frame begins at the next multiple of 8, so that tables are aligned wherever they are read.
// Little-endian, as every machine this runs on.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <flatbuffers/flatbuffers.h>

#include "schema/narke_generated.h"

namespace narke::rpc {

using Bytes = std::span<const uint8_t>;

struct FrameHeader {
  uint32_t body_size;
  uint16_t type;
  uint16_t flags;
  uint32_t table_size;
  uint32_t call_id;
};
static_assert(sizeof(FrameHeader) == 16);

// Larger values travel by the object store; a larger frame is refused and the link closed.
inline constexpr uint32_t kMaxBodyBytes = 1u << 30;

struct Frame {
  wire::MessageType type;
  uint32_t call_id;
  Bytes table;
  Bytes raw;

  // The table as T, or nullptr when the bytes are not a valid T. Valid as long as the frame is.
  template <class T>
  const T* as() const {
    flatbuffers::Verifier verifier(table.data(), table.size(), 64, 1u << 24);
    return verifier.VerifyBuffer<T>(nullptr) ? flatbuffers::GetRoot<T>(table.data()) : nullptr;
  }
};

// Whether a header is one that a peer of ours could have sent.
inline bool is_sane(const FrameHeader& h) {
  return h.body_size <= kMaxBodyBytes && h.table_size <= h.body_size && h.table_size % 8 == 0 && h.flags == 0;
}

// Where what follows so many bytes begins.
inline size_t padded(size_t size) { return (size + 7) & ~size_t{7}; }

// The frame of a finished table alone, behind what is there.
inline void append_frame(std::string* to, wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) {
  const auto size = static_cast<uint32_t>(padded(table.GetSize()));
  const FrameHeader header{size, static_cast<uint16_t>(type), 0, size, 0};
  const size_t start = to->size();
  to->append(reinterpret_cast<const char*>(&header), sizeof(header));
  to->append(reinterpret_cast<const char*>(table.GetBufferPointer()), table.GetSize());
  to->resize(start + sizeof(header) + size, '\0');
}

}  // namespace narke::rpc
