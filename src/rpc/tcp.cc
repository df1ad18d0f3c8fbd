#include "rpc/tcp.h"

#include <cerrno>
#include <charconv>
#include <cstring>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace narke::rpc {
namespace {

constexpr char kMagic[] = "NARKE1";
constexpr size_t kMagicBytes = sizeof(kMagic) - 1;
constexpr size_t kMostGuests = 1024;  // whose preface is not complete
constexpr auto kPrefaceLimit = std::chrono::seconds(5);
constexpr int kBacklog = 4096;

Error os_error(const std::string& what) { return {ErrorCode::kDisconnected, what + ": " + strerror(errno)}; }

struct Addresses {
  addrinfo* first = nullptr;
  ~Addresses() {
    if (first != nullptr) freeaddrinfo(first);
  }
};

Status resolve(const std::string& host, int port, int flags, Addresses* out) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  const int failure =
      getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &out->first);
  if (failure == 0) return ok_status();
  return Error{ErrorCode::kNotFound, "the host '" + host + "' has no address: " + gai_strerror(failure)};
}

void set_option(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof(value)); }

int port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  const bool v6 = address.ss_family == AF_INET6;
  return ntohs(v6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                  : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

}  // namespace

std::string write_preface(const Preface& preface) {
  std::string out(kMagic, kMagicBytes);
  out += static_cast<char>(preface.kind);
  out += preface.target.view();
  out.resize(kPrefaceBytes);
  return out;
}

std::optional<Preface> read_preface(Bytes bytes) {
  if (bytes.size() != kPrefaceBytes || std::memcmp(bytes.data(), kMagic, kMagicBytes) != 0) return std::nullopt;
  Preface out;
  out.kind = static_cast<LinkKind>(bytes[kMagicBytes]);
  if (out.kind != LinkKind::kNode && out.kind != LinkKind::kProgram && out.kind != LinkKind::kData) return std::nullopt;
  std::memcpy(out.target.data(), bytes.data() + kMagicBytes + 1, WorkerId::kSize);
  return out;
}

Result<HostPort> parse_host_port(const std::string& text) {
  const size_t colon = text.rfind(':');
  HostPort out;
  if (colon == std::string::npos) return Error{ErrorCode::kFailed, "'" + text + "' is not HOST:PORT"};
  out.host = text.substr(0, colon);
  if (out.host.size() >= 2 && out.host.front() == '[' && out.host.back() == ']')
    out.host = out.host.substr(1, out.host.size() - 2);
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + colon + 1, end, out.port);
  if (error != std::errc() || at != end || out.port < 1 || out.port > 65535 || out.host.empty())
    return Error{ErrorCode::kFailed, "'" + text + "' is not HOST:PORT with a port from 1 to 65535"};
  return out;
}

std::string host_port_text(const std::string& host, int port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

void prepare_stream(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 10'000);
}

Result<int> begin_connect(const std::string& host, int port) {
  Addresses addresses;
  if (Status found = resolve(host, port, 0, &addresses); !found) return found.error();
  const addrinfo& to = *addresses.first;
  const int fd = socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return os_error("can't open a socket");
  prepare_stream(fd);
  set_option(fd, IPPROTO_TCP, TCP_SYNCNT, 2);  // an unreachable host is known within seven seconds
  if (::connect(fd, to.ai_addr, to.ai_addrlen) == 0 || errno == EINPROGRESS) return fd;
  Error error = os_error("nobody answers at " + host_port_text(host, port));
  ::close(fd);
  return error;
}

// ---- the door ----------------------------------------------------------------------------------------------

Result<std::unique_ptr<Door>> Door::open(Reactor& reactor, const std::string& host, int port, Arrival arrival) {
  Addresses addresses;
  if (Status found = resolve(host, port, AI_PASSIVE, &addresses); !found) return found.error();
  const addrinfo& at = *addresses.first;
  const int fd = socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return os_error("can't open a socket");
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd, at.ai_addr, at.ai_addrlen) != 0 || ::listen(fd, kBacklog) != 0) {
    Error error = os_error("can't listen at " + host_port_text(host, port) +
                           "; choose another port with --port, or end the program that has it");
    ::close(fd);
    return error;
  }
  std::unique_ptr<Door> door(new Door(reactor, fd, std::move(arrival)));
  door->port_ = port_of(fd);
  reactor.watch(fd, [raw = door.get()] { raw->accept_all(); });
  return door;
}

Door::~Door() {
  while (!guests_.empty()) dismiss(guests_.begin()->first, true);
  reactor_.unwatch(fd_);
  ::close(fd_);
}

void Door::accept_all() {
  int fd;
  while ((fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
    if (guests_.size() >= kMostGuests) {
      ::close(fd);
      continue;
    }
    prepare_stream(fd);
    guests_[fd].limit = reactor_.after(kPrefaceLimit, [this, fd] { dismiss(fd, true); });
    reactor_.watch(fd, [this, fd] { read_some(fd); });
  }
}

void Door::read_some(int fd) {
  Guest& guest = guests_.at(fd);
  char bytes[kPrefaceBytes];
  const ssize_t got = recv(fd, bytes, kPrefaceBytes - guest.bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return dismiss(fd, true);
  guest.bytes.append(bytes, static_cast<size_t>(got));
  if (guest.bytes.size() < kPrefaceBytes) return;
  const auto preface = read_preface({reinterpret_cast<const uint8_t*>(guest.bytes.data()), guest.bytes.size()});
  dismiss(fd, !preface);
  if (preface) arrival_(*preface, fd);
}

void Door::dismiss(int fd, bool close_it) {
  const auto at = guests_.find(fd);
  if (at == guests_.end()) return;
  reactor_.cancel(at->second.limit);
  guests_.erase(at);
  reactor_.unwatch(fd);
  if (close_it) ::close(fd);
}

}  // namespace narke::rpc
