// The connection itself: reading, phases, deadlines. What is written is in session_answer.cc.
#include "proxy/session.h"

#include <cerrno>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/exchange.h"
#include "proxy/pickle_writer.h"

namespace narke::proxy {
namespace {

constexpr size_t kWholeBody = 256 << 10;     // bodies up to this are sent on with their head
constexpr size_t kMostHeld = 64 << 10;       // bytes of later requests held while one is answered
constexpr size_t kMostUnsent = 1 << 20;
constexpr size_t kMostMessages = 16;
constexpr int64_t kLingerMs = 2000;

bool has_word(const std::string* list, std::string_view word) {
  if (list == nullptr) return false;
  for (size_t at = 0; at <= list->size();) {
    size_t comma = std::min(list->find(',', at), list->size());
    std::string_view each(list->data() + at, comma - at);
    while (!each.empty() && each.front() == ' ') each.remove_prefix(1);
    while (!each.empty() && each.back() == ' ') each.remove_suffix(1);
    if (same_name(each, word)) return true;
    at = comma + 1;
  }
  return false;
}

}  // namespace

Session::Session(Server& server, int fd, std::string client_host, int client_port, const TlsContext* tls)
    : server_(server), fd_(fd), client_host_(std::move(client_host)), client_port_(client_port) {
  if (tls != nullptr) tls_ = std::make_unique<TlsFilter>(*tls);
}

Session::~Session() {
  if (fd_ >= 0) ::close(fd_);
}

void Session::start() {
  interest_ = EPOLLIN;
  server_.loop().add(fd_, interest_, *this);
  deadline_ms_ = server_.loop().now_ms() + server_.config().head_timeout_ms;
}

void Session::close() {
  if (is_closed_) return;
  is_closed_ = true;
  if (exchange_) exchange_->client_gone();
  exchange_.reset();
  server_.loop().remove(fd_);
  ::close(std::exchange(fd_, -1));
  server_.closed(*this);
}

void Session::want(uint32_t events) {
  if (is_closed_ || events == interest_) return;
  interest_ = events;
  server_.loop().change(fd_, events, *this);
}

void Session::on_events(uint32_t events) {
  auto alive = shared_from_this();
  if ((events & EPOLLOUT) != 0) flush_out();
  if (!is_closed_ && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) readable();
  if (!is_closed_) resume();
}

void Session::readable() {
  ssize_t size = ::recv(fd_, server_.scratch(), server_.scratch_size(), MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return close();
  std::string_view bytes(server_.scratch(), static_cast<size_t>(size));
  if (phase_ == Phase::kLingering) return;
  int64_t now = server_.loop().now_ms();
  bool first_of_request = phase_ == Phase::kHead && in_.empty();
  if (first_of_request) deadline_ms_ = now + server_.config().head_timeout_ms;
  if (phase_ == Phase::kBody || phase_ == Phase::kStreaming) deadline_ms_ = now + server_.config().body_stall_ms;
  if (!tls_) {
    if (phase_ == Phase::kStreaming && in_.empty()) bytes.remove_prefix(feed_plain(bytes));
    if (!is_closed_) in_.append(bytes);
    return;
  }
  std::string wire;
  bool good = tls_->receive(bytes, in_, wire);
  out_ += wire;
  flush_soon();
  if (!good && !is_closed_) close();
}

void Session::resume() {
  if (in_step_ || is_closed_) return;
  auto alive = shared_from_this();
  in_step_ = true;
  while (!is_closed_ && step()) {
  }
  in_step_ = false;
  if (is_closed_) return;
  if (phase_ == Phase::kHead && in_.empty() && parser_ && !parser_->has_begun()) {
    parser_.reset();
    in_.shrink_to_fit();
  }
  bool reads = unsent() < kMostUnsent && in_.size() < kMostHeld + kWholeBody;
  if (phase_ == Phase::kAnswering) reads = in_.size() < kMostHeld;
  if (phase_ == Phase::kStreaming) reads = reads && exchange_ && exchange_->takes_more();
  if (phase_ == Phase::kWebSocket) reads = reads && messages_.size() < kMostMessages;
  want((reads ? uint32_t{EPOLLIN} : 0) | (unsent() > 0 && !flush_due_ ? uint32_t{EPOLLOUT} : 0));
}

size_t Session::feed_parser() {
  size_t used = parser_->feed(in_);
  if (used == in_.size())
    in_.clear();
  else
    in_.erase(0, used);
  return used;
}

// Does the next thing that can be done with what is here; false when nothing can.
bool Session::step() {
  switch (phase_) {
    case Phase::kHead: {
      if (in_.empty() || closes_after_) return false;
      if (!parser_) parser_ = std::make_unique<RequestParser>(RequestParser::Limits{});
      feed_parser();
      if (parser_->fault() != RequestParser::Fault::kNone) return request_fault();
      if (!parser_->has_head()) return false;
      on_head();
      return true;
    }
    case Phase::kBody: {
      if (!parser_->is_done()) feed_parser();
      if (parser_->fault() != RequestParser::Fault::kNone) return request_fault();
      if (!parser_->is_done()) return false;
      phase_ = Phase::kAnswering;
      exchange_->begin(&parser_->body());
      return true;
    }
    case Phase::kStreaming: return feed_body();
    case Phase::kWebSocket: return feed_messages();
    default: return false;
  }
}

bool Session::request_fault() {
  switch (parser_->fault()) {
    case RequestParser::Fault::kHeadTooLarge: answer_error(431, "The request's header fields are too large."); break;
    case RequestParser::Fault::kBodyTooLarge: answer_error(413, "The request's body is too large."); break;
    default: answer_error(400, "Invalid HTTP request: " + parser_->reason()); break;
  }
  return false;
}

void Session::on_head() {
  RequestHead& head = parser_->head();
  Target target;
  if (!read_target(head.target, target)) return answer_error(400, "The request's target is not a path.");
  if (head.minor_version > 0 && head.find("host") == nullptr) return answer_error(400, "The Host header is missing.");
  if (head.expects_other) return answer_error(417, "Of expectations only 100-continue is known here.");
  is_head_ = head.method == "HEAD";
  if (answer_here(target)) return;
  const Route* route = server_.router().find(target.path);
  if (server_.router().version() < 0) return answer_error(503, "The proxy does not know its routes yet.");
  if (route == nullptr)
    return answer_error(
        404, "Path '" + to_utf8(target.path) + "' not found. Ping http://.../-/routes for available routes.");
  uint64_t limit = route->body_limit > 0 ? route->body_limit : server_.config().body_limit;
  parser_->set_body_limit(limit);
  if (parser_->fault() != RequestParser::Fault::kNone) {
    request_fault();
    return;
  }
  bool upgrades = head.wants_upgrade && has_word(head.find("upgrade"), "websocket");
  if (upgrades) return begin_websocket(*route, target);
  bool has_body = head.is_chunked || head.content_length > 0;
  if (has_body && head.expects_continue) write("HTTP/1.1 100 Continue\r\n\r\n");
  bool streams = head.is_chunked || head.content_length > kWholeBody;
  exchange_ = std::make_shared<Exchange>(server_, *this, *route, head, target, false);
  deadline_ms_ = server_.loop().now_ms() + server_.config().body_stall_ms;
  phase_ = streams ? Phase::kStreaming : Phase::kBody;
  if (streams) exchange_->begin(nullptr);
}

// The proxy's own routes.
bool Session::answer_here(const Target& target) {
  if (!target.path.starts_with("/-/")) return false;
  std::string body;
  std::string_view type = "text/plain; charset=utf-8";
  if (target.path == "/-/healthz") {
    if (server_.is_draining()) return answer_error(503, "This node is being drained."), true;
    if (server_.router().version() < 0) return answer_error(503, "The proxy does not know its routes yet."), true;
    body = "success";
  } else if (target.path == "/-/routes") {
    type = "application/json";
    body = routes_json(server_.router());
  } else if (target.path == "/-/metrics") {
    type = "text/plain; version=0.0.4; charset=utf-8";
    body = server_.stats().prometheus(server_.config().node);
  } else {
    return false;
  }
  Header header{"content-type", type};
  answer_whole(200, {&header, 1}, body);
  return true;
}

void Session::begin_websocket(const Route& route, const Target& target) {
  const RequestHead& head = parser_->head();
  const std::string* version = head.find("sec-websocket-version");
  const std::string* key = head.find("sec-websocket-key");
  const bool has_body = head.is_chunked || head.content_length > 0;
  if (head.method != "GET" || head.minor_version == 0 || has_body || key == nullptr || !is_websocket_key(*key))
    return answer_error(400, "The WebSocket handshake is malformed.");
  if (version == nullptr || *version != "13") {
    Header header{"sec-websocket-version", "13"};
    return answer_error(426, "Only version 13 of the WebSocket protocol is spoken here.", {&header, 1});
  }
  exchange_ = std::make_shared<Exchange>(server_, *this, route, head, target, true);
  phase_ = Phase::kWebSocket;
  closes_after_ = true;
  exchange_->begin(nullptr);
}

// Sends on what belongs to a body of known length, uncopied; how much it was.
size_t Session::feed_plain(std::string_view bytes) {
  if (bytes.empty() || parser_->head().is_chunked || !exchange_ || !exchange_->takes_more()) return 0;
  std::string_view part = parser_->take_plain(bytes);
  const bool is_last = parser_->is_done();
  if (is_last) phase_ = Phase::kAnswering;
  exchange_->feed(is_last ? FeedKind::kLastBody : FeedKind::kBody, part);
  return part.size();
}

bool Session::feed_body() {
  if (!exchange_ || !exchange_->takes_more()) return false;
  if (!parser_->head().is_chunked) {
    const size_t used = feed_plain(in_);
    in_.erase(0, used);
    return used > 0;
  }
  size_t used = in_.empty() ? 0 : feed_parser();
  if (parser_->fault() != RequestParser::Fault::kNone) return request_fault();
  bool is_last = parser_->is_done();
  if (used == 0 && !is_last && in_.size() > kMostHeld)
    return answer_error(431, "A line of the request's chunks is too long."), false;
  if (used == 0 && !is_last) return false;
  if (!parser_->body().empty() || is_last)
    exchange_->feed(is_last ? FeedKind::kLastBody : FeedKind::kBody, parser_->body());
  parser_->body().clear();
  if (is_last) phase_ = Phase::kAnswering;
  return true;
}

bool Session::feed_messages() {
  if (!frames_ || !exchange_) return false;
  if (!in_.empty()) {
    std::vector<FrameReader::Message> read;
    frames_->feed(in_, read);
    in_.clear();
    for (FrameReader::Message& message : read) messages_.push_back(std::move(message));
  }
  if (messages_.empty() && frames_->fault() != 0) {
    exchange_->feed(FeedKind::kDisconnect, "", frames_->fault());
    send_close(frames_->fault(), "");  // the exchange may be gone after it
    finish_up();
  }
  if (messages_.empty()) return false;
  FrameReader::Message& message = messages_.front();
  bool is_data = message.opcode == Opcode::kText || message.opcode == Opcode::kBinary;
  if (is_data && !exchange_->takes_more()) return false;
  FrameReader::Message taken = std::move(message);
  messages_.pop_front();
  take_message(taken);
  return true;
}

void Session::take_message(const FrameReader::Message& message) {
  switch (message.opcode) {
    case Opcode::kText: return exchange_->feed(FeedKind::kText, message.payload);
    case Opcode::kBinary: return exchange_->feed(FeedKind::kBinary, message.payload);
    case Opcode::kPing: return write(make_frame(Opcode::kPong, message.payload));
    case Opcode::kClose:
      exchange_->feed(FeedKind::kDisconnect, message.payload, message.code);
      if (!close_sent_) send_close(message.code == 1005 ? 1000 : message.code, "");
      return finish_up();
    default: return;
  }
}

void Session::check_deadlines(int64_t now_ms) {
  if (is_closed_) return;
  auto alive = shared_from_this();
  if (is_idle()) out_.shrink_to_fit();
  if (exchange_) exchange_->check_deadline(now_ms);
  if (is_closed_) return;
  if (stalled_since_ms_ >= 0 && now_ms - stalled_since_ms_ > server_.config().body_stall_ms) return close();
  if (deadline_ms_ < 0 || now_ms < deadline_ms_) return;
  if (phase_ == Phase::kAnswering || phase_ == Phase::kWebSocket) return;
  bool idle = phase_ == Phase::kLingering || (phase_ == Phase::kHead && in_.empty() && !parser_);
  if (idle) return close();
  // A body that the replica does not take yet is not the client's fault.
  if (phase_ == Phase::kStreaming && exchange_ && !exchange_->takes_more()) return;
  answer_error(408, "The request did not arrive in time.");
}

void Session::finish_up() {
  closes_after_ = true;
  if (is_closed_) return;
  const bool rests = phase_ == Phase::kHead && in_.empty() && (!parser_ || !parser_->has_begun());
  if (rests && unsent() == 0) return close();
  if (rests) ends_ = true;
  if (phase_ == Phase::kWebSocket && close_sent_ && unsent() == 0) return linger();
}

// What was written shall arrive although the client still sends: wait a little for its end.
void Session::linger() {
  if (is_closed_ || phase_ == Phase::kLingering) return;
  if (exchange_) exchange_->client_gone();
  server_.bury(std::move(exchange_));
  exchange_.reset();
  phase_ = Phase::kLingering;
  in_.clear();
  ::shutdown(fd_, SHUT_WR);
  deadline_ms_ = server_.loop().now_ms() + kLingerMs;
  want(EPOLLIN);
}

}  // namespace narke::proxy
