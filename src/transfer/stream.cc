#include "transfer/stream.h"

#include <cerrno>

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

namespace narke::transfer {
namespace {

bool is_later(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

class PlainStream : public Stream {
 public:
  PlainStream(int fd, std::string preface) : fd_(fd), preface_(std::move(preface)) {}
  ~PlainStream() override { close(fd_); }

  Moved read(uint8_t* data, size_t size) override {
    ssize_t n = recv(fd_, data, size, 0);
    if (n == 0) return {0, "the peer closed the connection", false};
    return result(n);
  }
  Moved write(const uint8_t* data, size_t size, bool more) override {
    while (!preface_.empty()) {
      Moved moved = result(send(fd_, preface_.data(), preface_.size(), MSG_NOSIGNAL | MSG_MORE));
      if (moved.bytes == 0) return moved;
      preface_.erase(0, moved.bytes);
    }
    return result(send(fd_, data, size, MSG_NOSIGNAL | (more ? MSG_MORE : 0)));
  }
  int fd() const override { return fd_; }

 private:
  static Moved result(ssize_t n) {
    if (n >= 0) return {static_cast<size_t>(n), {}, false};
    if (is_later(errno)) return {};
    return {0, strerror(errno), false};
  }
  int fd_;
  std::string preface_;
};

class EncryptedStream : public Stream {
 public:
  EncryptedStream(const rpc::TlsKey& key, int fd, std::string preface)
      : fd_(fd), tls_(key, fd, preface.empty() ? Side::kServer : Side::kClient, std::move(preface)) {}
  ~EncryptedStream() override { close(fd_); }

  Moved read(uint8_t* data, size_t size) override { return tls_.read(data, size); }
  Moved write(const uint8_t* data, size_t size, bool) override { return tls_.write(data, size); }
  int fd() const override { return fd_; }
  bool waits_to_read() const override { return tls_.waits_to_read(); }
  bool waits_to_write() const override { return tls_.waits_to_write(); }
  bool has_more() const override { return tls_.has_more(); }

 private:
  using Side = rpc::TlsStream::Side;
  int fd_;
  rpc::TlsStream tls_;
};

void prepare(int fd) {
  rpc::prepare_stream(fd);  // without effect on socket pairs, as tests use them
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

}  // namespace

std::unique_ptr<Stream> plain_stream(int fd, std::string preface) {
  prepare(fd);
  return std::make_unique<PlainStream>(fd, std::move(preface));
}

std::unique_ptr<Stream> tls_stream(const rpc::TlsKey& key, int fd, std::string preface) {
  prepare(fd);
  return std::make_unique<EncryptedStream>(key, fd, std::move(preface));
}

Result<Dialled> dial(const std::string& address, wire::TlsUse tls) {
  auto at = rpc::parse_endpoint(address);
  if (!at.ok()) return at.error();
  auto fd = rpc::begin_connect(at.value().host, at.value().port);
  if (!fd.ok()) return fd.error();
  const rpc::Preface preface{
      .kind = rpc::LinkKind::kData, .target = {}, .node = at.value().node, .tls = rpc::must_encrypt(tls, at.value())};
  return Dialled{fd.value(), preface};
}

}  // namespace narke::transfer
