#include "transfer/stream.h"

#include <cerrno>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

struct HostPort {
  std::string host, port;
};

Result<HostPort> split(const std::string& address) {
  size_t colon = address.rfind(':');
  if (colon != std::string::npos && colon != 0 && colon + 1 != address.size()) {
    std::string host = address.substr(0, colon);
    bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    if (bracketed || host.find(':') == std::string::npos) return HostPort{host, address.substr(colon + 1)};
  }
  return Error{ErrorCode::kFailed, "'" + address + "' is not of the form host:port"};
}

Result<int> start_connect(const addrinfo& to) {
  int fd = socket(to.ai_family, to.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to.ai_protocol);
  if (fd >= 0 && (connect(fd, to.ai_addr, to.ai_addrlen) == 0 || errno == EINPROGRESS)) return fd;
  Error error{ErrorCode::kDisconnected, strerror(errno)};
  if (fd >= 0) close(fd);
  return error;
}

}  // namespace

std::unique_ptr<Stream> plain_stream(int fd) {
  int on = 1;
  // Descriptors that are no TCP sockets (tests use socket pairs) have none of these options, and need none.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return std::make_unique<PlainStream>(fd);
}

Result<int> dial(const std::string& address) {
  auto parts = split(address);
  if (!parts.ok()) return parts.error();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int failed = getaddrinfo(parts.value().host.c_str(), parts.value().port.c_str(), &hints, &found);
  if (failed != 0) return Error{ErrorCode::kDisconnected, gai_strerror(failed)};
  auto fd = start_connect(*found);
  freeaddrinfo(found);
  return fd;
}

}  // namespace narke::transfer
