// Frames over a zygote's descriptors, read and written with blocking calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rpc/frame.h"

namespace narke::py {

// A frame as it travels: header, table, padding. Its parts point into `bytes`.
struct Packet {
  std::vector<uint8_t> bytes;
  rpc::Frame frame() const;
};

// False at the end of the link; also, with a ValueError set, for bytes that are no frame. Needs the GIL.
bool read_packet(int fd, Packet* out);
// False when nobody reads there any more.
bool write_all(int fd, const void* bytes, size_t size);

}  // namespace narke::py
