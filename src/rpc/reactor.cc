#include "rpc/reactor.h"

#include <cerrno>
#include <limits>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/tcp.h"

namespace narke::rpc {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int kSocketBytes = 1 << 20;

// A path that begins with '@' names a socket without a file (see unix(7), abstract): nothing to clean up.
bool is_abstract(const std::string& path) { return !path.empty() && path[0] == '@'; }

struct SocketAddress {
  sockaddr_un address{};
  socklen_t size = sizeof(sockaddr_un);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

// File sockets are guarded by their permissions; the others by asking who is at the other end.
bool is_same_user(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

Result<SocketAddress> socket_address(const std::string& path) {
  SocketAddress out;
  sockaddr_un& address = out.address;
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return Error{ErrorCode::kFailed, "the socket path is longer than " + std::to_string(sizeof(address.sun_path) - 1) +
                                         " bytes, choose a shorter session directory: " + path};
  std::memcpy(address.sun_path, path.data(), path.size());
  if (!is_abstract(path)) return out;
  address.sun_path[0] = '\0';
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  return out;
}

Error os_error(ErrorCode code, const std::string& what) { return {code, what + ": " + strerror(errno)}; }

void enlarge(int fd) {
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof(kSocketBytes));
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSocketBytes, sizeof(kSocketBytes));
}

}  // namespace

Reactor::Reactor(Identity identity, Surroundings* surroundings)
    : identity_(std::move(identity)), surroundings_(surroundings), next_due_ns_(kNever) {
  if (surroundings_) return;
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  NARKE_CHECK(epoll_ >= 0 && wake_fd_ >= 0);
  watch(wake_fd_, [this] {
    uint64_t count;
    [[maybe_unused]] ssize_t n = read(wake_fd_, &count, sizeof(count));
  });
}

Reactor::~Reactor() {
  slots_.clear();
  if (epoll_ >= 0) {
    ::close(wake_fd_);
    ::close(epoll_);
  }
  if (!listen_path_.empty()) unlink(listen_path_.c_str());
}

// ---- slots: what an event belongs to, safe against descriptors that were reused ----

uint32_t Reactor::add_slot(int fd) {
  uint32_t index;
  if (free_slots_.empty()) {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[index].fd = fd;
  return index;
}

void Reactor::free_slot(uint32_t index) {
  Slot& slot = slots_[index];
  if (slot.fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, slot.fd, nullptr);
  ++slot.generation;
  slot.fd = -1;
  slot.connection.reset();
  slot.callback = nullptr;
  free_slots_.push_back(index);
}

void Reactor::arm(uint32_t index, uint32_t events, int op) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = uint64_t{slots_[index].generation} << 32 | index;
  NARKE_CHECK(epoll_ctl(epoll_, op, slots_[index].fd, &event) == 0);
}

ConnectionPtr Reactor::adopt(int fd, bool is_server, Handler* handler, bool trusted) {
  auto connection = std::make_shared<Connection>(*this, fd, is_server, handler, identity_);
  return add(std::move(connection), trusted);
}

ConnectionPtr Reactor::adopt(std::unique_ptr<Pipe> pipe, bool is_server, Handler* handler, bool trusted) {
  auto connection = std::make_shared<Connection>(*this, -1, is_server, handler, identity_);
  connection->pipe_ = std::move(pipe);
  return add(std::move(connection), trusted);
}

ConnectionPtr Reactor::add(ConnectionPtr connection, bool trusted) {
  uint32_t index = add_slot(connection->fd_);
  slots_[index].connection = connection;
  connection->slot_ = index;
  if (connection->fd_ >= 0) arm(index, EPOLLIN, EPOLL_CTL_ADD);
  if (trusted)
    connection->state_ = Connection::State::kOpen;
  else if (connection->is_server_)
    connection->send_challenge();
  if (!trusted && connection->fd_ >= 0) limit_handshake(connection);
  return connection;
}

// The other end may take the stream and never speak: it is stopped, or is not what it was taken for.
void Reactor::limit_handshake(const ConnectionPtr& connection) {
  after(handshake_limit_, [link = std::weak_ptr(connection)] {
    const ConnectionPtr still = link.lock();
    if (still && still->state_ == Connection::State::kHandshaking)
      still->fail(ErrorCode::kTimeout, "the other end did not answer the handshake in time");
  });
}

ConnectionPtr Reactor::adopt_guest(int fd, bool tls, Handler* handler) {
  auto connection = std::make_shared<Connection>(*this, fd, true, handler, identity_);
  if (tls) connection->encrypt({});
  return add(std::move(connection), false);
}

const TlsKey& Reactor::tls_key() {
  if (!tls_key_) tls_key_ = std::make_unique<TlsKey>(identity_.token);
  return *tls_key_;
}

Result<ConnectionPtr> Reactor::connect(const std::string& path, Handler* handler) {
  Result<SocketAddress> address = socket_address(path);
  if (!address) return address.error();
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return os_error(ErrorCode::kOverloaded, "can't open a socket");
  enlarge(fd);
  if (::connect(fd, address.value().get(), address.value().size) != 0) {
    Error error = os_error(ErrorCode::kDisconnected, "nobody answers at " + path);
    ::close(fd);
    return error;
  }
  if (is_abstract(path) && !is_same_user(fd)) {
    ::close(fd);
    return Error{ErrorCode::kRefused, "another user listens at " + path};
  }
  return adopt(fd, false, handler);
}

Result<ConnectionPtr> Reactor::connect_tcp(const std::string& endpoint, Preface preface, Handler* handler) {
  if (surroundings_) return surroundings_->connect(*this, endpoint, write_preface(preface), handler);
  Result<Endpoint> to = parse_endpoint(endpoint);
  if (!to) return to.error();
  Result<int> fd = begin_connect(to.value().host, to.value().port);
  if (!fd) return fd.error();
  if (!to.value().node.is_nil()) preface.node = to.value().node;
  preface.tls = must_encrypt(identity_.tls, to.value());
  ConnectionPtr connection = adopt(fd.value(), false, handler);
  if (preface.tls) connection->encrypt(write_preface(preface));
  connection->begin_with(write_preface(preface));
  return connection;
}

Status Reactor::listen(const std::string& path, std::function<Handler*(Connection&)> on_accept) {
  Result<SocketAddress> address = socket_address(path);
  if (!address) return address.error();
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return os_error(ErrorCode::kOverloaded, "can't open a socket");
  bool is_file = !is_abstract(path);
  if (is_file) unlink(path.c_str());
  if (bind(fd, address.value().get(), address.value().size) != 0 || (is_file && chmod(path.c_str(), 0600) != 0) ||
      ::listen(fd, 4096) != 0) {
    Error error = os_error(ErrorCode::kFailed, "can't listen at " + path);
    ::close(fd);
    return error;
  }
  if (is_file) listen_path_ = path;
  watch(fd, [this, fd, is_file, on_accept = std::move(on_accept)] {
    int peer;
    while ((peer = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)) >= 0) {
      if (!is_file && !is_same_user(peer)) {
        ::close(peer);
        continue;
      }
      enlarge(peer);
      ConnectionPtr connection = adopt(peer, true, nullptr);
      connection->handler_ = on_accept(*connection);
    }
  });
  return ok_status();
}

void Reactor::watch(int fd, std::function<void()> on_readable) {
  uint32_t index = add_slot(fd);
  slots_[index].callback = std::move(on_readable);
  slots_[index].events = EPOLLIN;
  watched_[fd] = index;
  arm(index, EPOLLIN, EPOLL_CTL_ADD);
}

void Reactor::unwatch(int fd) {
  auto found = watched_.find(fd);
  if (found == watched_.end()) return;
  free_slot(found->second);
  watched_.erase(found);
}

void Reactor::watch_for(int fd, bool reading, bool writing) {
  const auto found = watched_.find(fd);
  if (found == watched_.end()) return;
  const uint32_t events = (reading ? EPOLLIN : 0u) | (writing ? EPOLLOUT : 0u);
  const uint32_t before = std::exchange(slots_[found->second].events, events);
  if (events == before) return;
  arm(found->second, events, before == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD);
}

// ---- timers ----

Reactor::TimerId Reactor::after(std::chrono::milliseconds delay, std::function<void()> callback) {
  TimerId id = next_timer_++;
  timers_.emplace(now() + delay, std::make_pair(id, std::move(callback)));
  next_due_ns_ = timers_.begin()->first.time_since_epoch().count();
  return id;
}

void Reactor::cancel(TimerId timer) {
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->second.first != timer) continue;
    timers_.erase(it);
    break;
  }
  next_due_ns_ = timers_.empty() ? kNever : timers_.begin()->first.time_since_epoch().count();
}

void Reactor::run_timers() {
  const Clock::time_point until = now();
  while (!timers_.empty() && timers_.begin()->first <= until) {
    auto callback = std::move(timers_.begin()->second.second);
    timers_.erase(timers_.begin());
    callback();
  }
  next_due_ns_ = timers_.empty() ? kNever : timers_.begin()->first.time_since_epoch().count();
}

std::optional<Reactor::Clock::time_point> Reactor::next_due() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first;
}

int Reactor::clamp_to_timers(int timeout_ms) const {
  int64_t due = next_due_ns_.load(std::memory_order_relaxed);
  if (due == kNever) return timeout_ms;
  int64_t left_ms = (due - Clock::now().time_since_epoch().count() + 999'999) / 1'000'000;
  if (left_ms < 0) left_ms = 0;
  return timeout_ms < 0 || left_ms < timeout_ms ? static_cast<int>(left_ms) : timeout_ms;
}

// ---- the loop's two halves ----

int Reactor::wait(int timeout_ms) {
  event_count_ = 0;
  int n = epoll_wait(epoll_, events_, std::size(events_), timeout_ms == 0 ? 0 : clamp_to_timers(timeout_ms));
  if (n > 0) event_count_ = n;
  return n;
}

void Reactor::handle_event(const epoll_event& event) {
  auto index = static_cast<uint32_t>(event.data.u64);
  auto generation = static_cast<uint32_t>(event.data.u64 >> 32);
  if (index >= slots_.size() || slots_[index].generation != generation) return;
  if (slots_[index].callback) {
    auto callback = slots_[index].callback;  // it may unwatch itself
    return callback();
  }
  ConnectionPtr connection = slots_[index].connection;
  if (!connection || connection->is_closed()) return;
  if (event.events & EPOLLOUT) connection->on_writable();
  if (!connection->is_closed() && event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) connection->on_readable();
}

void Reactor::dispatch() {
  int count = event_count_;
  event_count_ = 0;
  read_rest();
  for (int i = 0; i < count; ++i) handle_event(events_[i]);
  if (next_due_ns_.load(std::memory_order_relaxed) != kNever) run_timers();
  deliver_closed();
  flush_all();
}

void Reactor::deliver_closed() {
  while (!closing_.empty()) {
    ConnectionPtr connection = std::move(closing_.back());
    closing_.pop_back();
    free_slot(connection->slot_);
    if (connection->pipe_) connection->pipe_->close();
    if (connection->fd_ >= 0)
      ::close(std::exchange(connection->fd_, -1));  // now, though others may hold the connection a while longer
    if (connection->handler_ != nullptr) connection->handler_->on_closed(*connection, connection->why_);
  }
}

void Reactor::flush_all() {
  for (size_t i = 0; i < dirty_.size(); ++i) {
    dirty_[i]->dirty_ = false;
    dirty_[i]->flush();
  }
  dirty_.clear();
}

void Reactor::read_again(Connection& connection) {
  unread_.push_back(slots_[connection.slot_].connection);
  wake();
}

void Reactor::read_rest() {
  for (const ConnectionPtr& connection : std::exchange(unread_, {}))
    if (!connection->is_closed()) connection->on_readable();
}

void Reactor::mark_dirty(Connection& connection) {
  if (connection.dirty_) return;
  connection.dirty_ = true;
  dirty_.push_back(slots_[connection.slot_].connection);
}

void Reactor::mark_closing(Connection& connection) {
  if (connection.closing_) return;
  connection.closing_ = true;
  closing_.push_back(slots_[connection.slot_].connection);
  wake();  // someone may be waiting while another thread found out
}

void Reactor::wake() {
  if (wake_fd_ < 0) return;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(wake_fd_, &one, sizeof(one));
}

}  // namespace narke::rpc
