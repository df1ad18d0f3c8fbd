#include "proxy/server.h"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <limits>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json_text.h"
#include "proxy/pickle_writer.h"
#include "proxy/session.h"
#include "proxy/target.h"

namespace narke::proxy {
namespace {

constexpr int kBacklog = 4096;
constexpr size_t kScratchBytes = 512 << 10;
constexpr int64_t kTickMs = 100;
constexpr int kFeedWindow = 0, kItemWindow = 32;

uint64_t random_seed() {
  uint64_t seed = 0;
  NARKE_CHECK(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
  return seed;
}

std::string host_of(const sockaddr_storage& address, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &six.sin6_addr, text, sizeof(text));
    port = ntohs(six.sin6_port);
  } else {
    const auto& four = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &four.sin_addr, text, sizeof(text));
    port = ntohs(four.sin_port);
  }
  return text;
}

Result<int> listen_on(const addrinfo& where) {
  int fd = ::socket(where.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error{ErrorCode::kFailed, std::strerror(errno)};
  int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd, where.ai_addr, where.ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0) return fd;
  Error error{ErrorCode::kFailed, std::strerror(errno)};
  ::close(fd);
  return error;
}

}  // namespace

std::string routes_json(const Router& router) {
  std::string out = "{";
  for (const Route& route : router.routes()) {
    if (out.size() > 1) out += ", ";
    out += json_text(to_utf8(route.prefix)) + ": " + json_text(to_utf8(route.app));
  }
  return out + "}";
}

Server::Server(const ServerConfig& config, Loop& loop, Calls& calls, Router& router)
    : config_(config),
      loop_(loop),
      calls_(calls),
      router_(router),
      scratch_(kScratchBytes),
      random_(random_seed()),
      request_method_(Calls::method("serve_http", kItemWindow)),
      feed_method_(Calls::method("serve_feed", kFeedWindow)) {
  set_date();
}

Server::~Server() {
  while (!sessions_.empty()) {
    std::shared_ptr<Session> session = sessions_.begin()->second;
    session->close();
  }
  buried_.clear();
  if (listener_ >= 0) {
    if (accepts_) loop_.remove(listener_);
    ::close(listener_);
  }
}

Result<std::unique_ptr<Server>> Server::make(const ServerConfig& config, Loop& loop, Calls& calls, Router& router) {
  std::unique_ptr<Server> server(new Server(config, loop, calls, router));
  if (config.tls.is_set()) {
    auto tls = TlsContext::make(config.tls);
    if (!tls) return tls.error();
    server->tls_ = std::move(tls).value();
  }
  if (!config.access_log.empty() && !server->log_.open(config.access_log))
    return Error{ErrorCode::kFailed,
                 "the access log " + config.access_log + " cannot be opened: " + std::strerror(errno)};
  if (Status s = server->listen(); !s) return s.error();
  return server;
}

Status Server::listen() {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  std::string port = std::to_string(config_.port);
  std::string place = config_.host + ":" + port;
  if (int code = ::getaddrinfo(config_.host.c_str(), port.c_str(), &hints, &found); code != 0)
    return Error{ErrorCode::kFailed, "cannot listen on " + place + ": " + gai_strerror(code)};
  Result<int> fd = listen_on(*found);
  ::freeaddrinfo(found);
  if (!fd)
    return Error{ErrorCode::kFailed,
                 "cannot listen on " + place + ": " + fd.error().message + "; choose another port with http_options"};
  listener_ = fd.value();
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  NARKE_CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  host_of(bound, port_);
  loop_.add(listener_, EPOLLIN, *this);
  return ok_status();
}

void Server::on_events(uint32_t) {
  for (int i = 0; i < 64 && accepts_; ++i)
    if (!accept_one()) return;
}

bool Server::accept_one() {
  sockaddr_storage from{};
  socklen_t size = sizeof(from);
  int fd = ::accept4(listener_, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    bool short_of_files = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
    if (short_of_files) {  // until the next tick
      accepts_ = false;
      loop_.remove(listener_);
    }
    return false;
  }
  if (sessions_.size() >= config_.most_connections) {
    ::close(fd);
    return true;
  }
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  int port = 0;
  std::string host = host_of(from, port);
  auto session = std::make_shared<Session>(*this, fd, std::move(host), port, tls_.get());
  sessions_.emplace(session.get(), session);
  session->start();
  return true;
}

void Server::closed(Session& session) {
  auto found = sessions_.find(&session);
  if (found == sessions_.end()) return;
  buried_.push_back(std::move(found->second));
  sessions_.erase(found);
}

void Server::look_again(Session& session) { again_.push_back(session.shared_from_this()); }

void Server::flush_later(Session& session) { unflushed_.push_back(session.shared_from_this()); }

// Until nothing is left that one part of the proxy has for another, or for a socket.
void Server::settle() {
  do {
    for (auto& session : std::exchange(again_, {})) session->resume();
    calls_.settle();
    for (auto& session : std::exchange(unflushed_, {})) session->flush_out();
    calls_.settle();
  } while (!again_.empty() || !unflushed_.empty());
}

void Server::drain() {
  if (is_draining()) return;
  drain_until_ms_ = loop_.now_ms() + config_.drain_ms;
  if (accepts_) loop_.remove(listener_);
  accepts_ = false;
  ::close(std::exchange(listener_, -1));
  std::vector<std::shared_ptr<Session>> all;
  for (auto& [key, session] : sessions_) all.push_back(session);
  for (auto& session : all) session->finish_up();
}

int Server::turn() {
  settle();
  buried_.clear();
  if (loop_.now_ms() >= next_tick_ms_) tick();
  int64_t wait = next_tick_ms_ - loop_.now_ms();
  if (int64_t due = router_.next_due_ms(loop_.now_ms()); due >= 0) {
    router_.pump_all(loop_.now_ms());
    settle();
    wait = std::min(wait, std::max<int64_t>(due - loop_.now_ms(), 1));
  }
  return static_cast<int>(std::clamp<int64_t>(wait, 0, kTickMs));
}

void Server::tick() {
  next_tick_ms_ = loop_.now_ms() + kTickMs;
  set_date();
  log_.flush();
  router_.pump_all(loop_.now_ms());
  std::vector<std::shared_ptr<Session>> all;
  all.reserve(sessions_.size());
  for (auto& [key, session] : sessions_) all.push_back(session);
  for (auto& session : all) session->check_deadlines(loop_.now_ms());
  if (!accepts_ && listener_ >= 0) {
    accepts_ = true;
    loop_.add(listener_, EPOLLIN, *this);
  }
  if (is_draining() && (sessions_.empty() || loop_.now_ms() >= drain_until_ms_)) loop_.stop();
  settle();
}

std::string Server::make_id() {
  uint64_t high = random_(), low = random_();
  return make_request_id(high, low);
}

void Server::set_date() {
  time_t now = time(nullptr);
  tm parts{};
  gmtime_r(&now, &parts);
  char text[40];
  size_t size = std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  date_.assign(text, size);
}

}  // namespace narke::proxy
