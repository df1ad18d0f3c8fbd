#include "transfer/stream.h"

#include <cerrno>

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/tcp.h"

namespace narke::transfer {
namespace {

bool is_later(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

class PlainStream : public Stream {
 public:
  explicit PlainStream(int fd) : fd_(fd) {}
  ~PlainStream() override { close(fd_); }

  Moved read(uint8_t* data, size_t size) override {
    ssize_t n = recv(fd_, data, size, 0);
    if (n == 0) return {0, "the peer closed the connection"};
    return result(n);
  }
  Moved write(const uint8_t* data, size_t size, bool more) override {
    return result(send(fd_, data, size, MSG_NOSIGNAL | (more ? MSG_MORE : 0)));
  }
  int fd() const override { return fd_; }

 private:
  static Moved result(ssize_t n) {
    if (n >= 0) return {static_cast<size_t>(n), {}};
    if (is_later(errno)) return {};
    return {0, strerror(errno)};
  }
  int fd_;
};

}  // namespace

std::unique_ptr<Stream> plain_stream(int fd) {
  rpc::prepare_stream(fd);  // without effect on socket pairs, as tests use them
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return std::make_unique<PlainStream>(fd);
}

Result<int> dial(const std::string& address) {
  auto at = rpc::parse_host_port(address);
  if (!at.ok()) return at.error();
  return rpc::begin_connect(at.value().host, at.value().port);
}

}  // namespace narke::transfer
