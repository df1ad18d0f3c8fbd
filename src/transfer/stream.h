// Bytes over a connected socket, without waiting: plain, or in TLS (rpc/tls.h). Nothing else touches the socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "rpc/tcp.h"
#include "rpc/tls.h"

namespace narke::transfer {

class Stream {
 public:
  using Moved = rpc::Moved;
  virtual ~Stream() = default;
  // Into data, at most `size` > 0 bytes.
  virtual Moved read(uint8_t* data, size_t size) = 0;
  // more: further bytes follow at once, so that small ones may wait for them.
  virtual Moved write(const uint8_t* data, size_t size, bool more) = 0;
  virtual int fd() const = 0;  // for epoll
  // The last write goes on when the socket can be read, the last read when it can be written (TLS's handshake).
  virtual bool waits_to_read() const { return false; }
  virtual bool waits_to_write() const { return false; }
  // There is something to read that the socket does not show.
  virtual bool has_more() const { return false; }
};

// Take the descriptor over and make it non-blocking. preface: leaves first, as it is; empty for who has read one.
std::unique_ptr<Stream> plain_stream(int fd, std::string preface = {});
std::unique_ptr<Stream> tls_stream(const rpc::TlsKey& key, int fd, std::string preface = {});

// Begins to connect to an endpoint (rpc/tcp.h); the first write tells how that ended. A name, other than a number, is
// looked up first, which may wait.
struct Dialled {
  int fd = -1;
  rpc::Preface preface;
};
Result<Dialled> dial(const std::string& address, wire::TlsUse tls = wire::TlsUse::Auto);

}  // namespace narke::transfer
