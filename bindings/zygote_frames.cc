#include "bindings/zygote_frames.h"

#include <cerrno>
#include <cstring>

#include <unistd.h>

#include "bindings/py_util.h"

namespace narke::py {

namespace {

constexpr uint32_t kMaxFrameBytes = 16 << 20;

// Reads exactly `size` bytes; false at the end of the link.
bool read_all(int fd, uint8_t* to, size_t size) {
  for (size_t have = 0; have < size;) {
    const ssize_t n = read(fd, to + have, size - have);
    if (n == 0 || (n < 0 && errno != EINTR)) return false;
    if (n > 0) have += static_cast<size_t>(n);
  }
  return true;
}

rpc::FrameHeader header_of(const Packet& packet) {
  rpc::FrameHeader header;
  std::memcpy(&header, packet.bytes.data(), sizeof(header));
  return header;
}

}  // namespace

rpc::Frame Packet::frame() const {
  const rpc::FrameHeader header = header_of(*this);
  return {static_cast<wire::MessageType>(header.type),
          header.call_id,
          rpc::Bytes(bytes.data() + sizeof(header), header.table_size),
          {}};
}

bool read_packet(int fd, Packet* out) {
  out->bytes.resize(sizeof(rpc::FrameHeader));
  if (!read_all(fd, out->bytes.data(), out->bytes.size())) return false;
  const rpc::FrameHeader header = header_of(*out);
  if (!rpc::is_sane(header) || header.body_size > kMaxFrameBytes)
    return PyErr_Format(PyExc_ValueError, "a zygote's link brought bytes that are no frame"), false;
  out->bytes.resize(sizeof(header) + rpc::padded(header.body_size));
  return read_all(fd, out->bytes.data() + sizeof(header), out->bytes.size() - sizeof(header));
}

bool write_all(int fd, const void* bytes, size_t size) {
  for (size_t sent = 0; sent < size;) {
    const ssize_t n = write(fd, static_cast<const char*>(bytes) + sent, size - sent);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) sent += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace narke::py
