#include "rpc/tcp.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>
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
constexpr size_t kAtOnce = 64;
constexpr auto kPrefaceLimit = std::chrono::seconds(5);
constexpr int kBacklog = 4096;
constexpr char kKinds[] = {static_cast<char>(LinkKind::kNode), static_cast<char>(LinkKind::kProgram),
                           static_cast<char>(LinkKind::kData), static_cast<char>(LinkKind::kTunnel), '\0'};

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

std::optional<NodeId> node_of_hex(std::string_view hex) {
  if (hex.size() != 2 * NodeId::kSize) return std::nullopt;
  std::string bytes(NodeId::kSize, '\0');
  for (size_t i = 0; i < NodeId::kSize; ++i) {
    uint8_t byte = 0;
    const char* first = hex.data() + 2 * i;
    if (std::from_chars(first, first + 2, byte, 16).ptr != first + 2) return std::nullopt;
    bytes[i] = static_cast<char>(byte);
  }
  return NodeId::from_bytes(bytes);
}

bool is_loopback(const in_addr& v4) { return ntohl(v4.s_addr) >> 24 == 127; }

bool is_loopback(const in6_addr& v6) {
  if (!IN6_IS_ADDR_V4MAPPED(&v6)) return IN6_IS_ADDR_LOOPBACK(&v6);
  return v6.s6_addr[12] == 127;
}

std::string peer_text(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST] = "somebody";
  auto* at = reinterpret_cast<sockaddr*>(&address);
  if (getpeername(fd, at, &size) == 0) getnameinfo(at, size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
  return host;
}

}  // namespace

std::string write_preface(const Preface& preface) {
  std::string out(kMagic, kMagicBytes);
  out += static_cast<char>(preface.kind);
  out += preface.target.view();
  out += preface.node.view();
  out += static_cast<char>(preface.tls);
  static_assert(kMagicBytes + 1 + WorkerId::kSize + NodeId::kSize + 1 == kPrefaceBytes);
  return out;
}

std::optional<Preface> read_preface(Bytes bytes) {
  if (bytes.size() != kPrefaceBytes || std::memcmp(bytes.data(), kMagic, kMagicBytes) != 0) return std::nullopt;
  Preface out;
  out.kind = static_cast<LinkKind>(bytes[kMagicBytes]);
  if (std::strchr(kKinds, static_cast<char>(out.kind)) == nullptr || bytes[kMagicBytes] == 0) return std::nullopt;
  const uint8_t* at = bytes.data() + kMagicBytes + 1;
  std::memcpy(out.target.data(), at, WorkerId::kSize);
  std::memcpy(out.node.data(), at + WorkerId::kSize, NodeId::kSize);
  out.tls = bytes[kPrefaceBytes - 1] != 0;
  return out;
}

NodeId head_alias() { return NodeId::from_bytes(std::string(NodeId::kSize, '\0')); }

Result<Endpoint> parse_endpoint(const std::string& whole) {
  const size_t slash = whole.find('/');
  const std::string text = whole.substr(0, slash);
  const size_t colon = text.rfind(':');
  Endpoint out;
  if (colon == std::string::npos) return Error{ErrorCode::kFailed, "'" + whole + "' is not HOST:PORT"};
  if (slash != std::string::npos) {
    const auto node = node_of_hex(std::string_view(whole).substr(slash + 1));
    if (!node) return Error{ErrorCode::kFailed, "'" + whole + "' does not end in the id of a node"};
    out.node = *node;
  }
  out.host = text.substr(0, colon);
  if (out.host.size() >= 2 && out.host.front() == '[' && out.host.back() == ']')
    out.host = out.host.substr(1, out.host.size() - 2);
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + colon + 1, end, out.port);
  if (error != std::errc() || at != end || out.port < 1 || out.port > 65535 || out.host.empty())
    return Error{ErrorCode::kFailed, "'" + whole + "' is not HOST:PORT with a port from 1 to 65535"};
  return out;
}

std::string routed_endpoint(const std::string& host_port, const NodeId& node) { return host_port + "/" + node.hex(); }

bool is_loopback(const std::string& host) {
  in_addr v4{};
  in6_addr v6{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return is_loopback(v4);
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return is_loopback(v6);
  return host == "localhost";
}

bool is_from_loopback(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return false;
  if (address.ss_family == AF_INET) return is_loopback(reinterpret_cast<sockaddr_in*>(&address)->sin_addr);
  if (address.ss_family == AF_INET6) return is_loopback(reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr);
  return address.ss_family == AF_UNIX;
}

bool must_encrypt(wire::TlsUse use, const Endpoint& to) {
  if (use != wire::TlsUse::Auto) return use == wire::TlsUse::Always;
  return !to.node.is_nil() || !is_loopback(to.host);
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

Result<std::unique_ptr<Door>> Door::open(Reactor& reactor, const std::string& host, int port, Arrival arrival,
                                         Log log) {
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
  std::unique_ptr<Door> door(new Door(reactor, fd, std::move(arrival), std::move(log)));
  door->port_ = port_of(fd);
  reactor.watch(fd, [raw = door.get()] { raw->accept_some(); });
  return door;
}

Door::~Door() {
  while (!guests_.empty()) dismiss(guests_.begin()->first, true);
  reactor_.unwatch(fd_);
  ::close(fd_);
}

// Some at a time: thousands may come at once, and what the first ones say is read in between.
void Door::accept_some() {
  for (size_t i = 0; i < kAtOnce; ++i) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (guests_.size() >= kMostGuests) make_room();
    prepare_stream(fd);
    guests_[fd].limit = reactor_.after(kPrefaceLimit, [this, fd] { dismiss(fd, true); });
    reactor_.watch(fd, [this, fd] { read_some(fd); });
  }
}

// Whoever has been silent for longest goes: those who only hold the door keep nobody out.
void Door::make_room() {
  const auto first = std::min_element(guests_.begin(), guests_.end(),
                                      [](const auto& a, const auto& b) { return a.second.limit < b.second.limit; });
  const int fd = first->first;
  read_some(fd);
  dismiss(fd, true);
}

void Door::read_some(int fd) {
  Guest& guest = guests_.at(fd);
  char bytes[kPrefaceBytes];
  const ssize_t got = recv(fd, bytes, kPrefaceBytes - guest.bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return dismiss(fd, true);
  guest.bytes.append(bytes, static_cast<size_t>(got));
  const bool is_stranger =
      guest.bytes.compare(0, kMagicBytes, kMagic, 0, std::min(guest.bytes.size(), kMagicBytes)) != 0;
  if (!is_stranger && guest.bytes.size() < kPrefaceBytes) return;
  std::optional<Preface> preface;
  if (!is_stranger) preface = read_preface({reinterpret_cast<const uint8_t*>(guest.bytes.data()), guest.bytes.size()});
  const std::string why = objection(preface, fd);
  if (!why.empty()) return turn_away(fd, why);
  dismiss(fd, false);
  arrival_(*preface, fd);
}

std::string Door::objection(const std::optional<Preface>& preface, int fd) const {
  if (!preface) return "this is the port of a Narke node, and the first bytes were not those of one of its programs";
  const wire::TlsUse use = reactor_.identity().tls;
  const bool must = use == wire::TlsUse::Always || (use == wire::TlsUse::Auto && !is_from_loopback(fd));
  if (!must || preface->tls) return {};
  return "links to this node are encrypted, and this one is not; start the other side without --tls=off, with the same "
         "release of narke";
}

void Door::turn_away(int fd, const std::string& why) {
  if (log_) log_("a connection from " + peer_text(fd) + " was turned away: " + why);
  const std::string answer = refusal_frame(why);
  [[maybe_unused]] ssize_t sent = send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);  // if it listens
  dismiss(fd, true);
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
