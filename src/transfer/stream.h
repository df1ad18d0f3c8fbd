// Bytes over a connected socket, without waiting. An encrypting stream takes the plain one's place by
// TransferConfig::wrap; nothing else touches the socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace narke::transfer {

class Stream {
 public:
  // What a read or write has done: bytes > 0 were moved; 0 bytes and no error: not now; otherwise the stream is over.
  struct Moved {
    size_t bytes = 0;
    std::string error;
  };
  virtual ~Stream() = default;
  // Into data, at most `size` > 0 bytes.
  virtual Moved read(uint8_t* data, size_t size) = 0;
  // more: further bytes follow at once, so that small ones may wait for them.
  virtual Moved write(const uint8_t* data, size_t size, bool more) = 0;
  virtual int fd() const = 0;  // for epoll
};

// Takes the descriptor over and makes it non-blocking.
std::unique_ptr<Stream> plain_stream(int fd);

// Begins to connect to "host:port" ("[host]:port" for IPv6); the first write tells how that ended. A name, other than
// a number, is looked up first, which may wait.
Result<int> dial(const std::string& address);

}  // namespace narke::transfer
