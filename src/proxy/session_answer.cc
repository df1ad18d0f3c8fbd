// What a session writes.
#include <cerrno>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "proxy/exchange.h"
#include "proxy/session.h"

namespace narke::proxy {
namespace {

constexpr size_t kLargePiece = 16 << 10;  // goes on at once, uncopied
constexpr size_t kKeptBytes = 64 << 10;

std::string_view reason_of(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 203: return "Non-Authoritative Information";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 418: return "I'm a teapot";
    case 422: return "Unprocessable Entity";
    case 423: return "Locked";
    case 424: return "Failed Dependency";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Status";
  }
}

bool belongs_to_connection(std::string_view name) {
  for (std::string_view each :
       {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "proxy-connection"})
    if (same_name(name, each)) return true;
  return false;
}

const Header* find(std::span<const Header> headers, std::string_view name) {
  for (const Header& header : headers)
    if (same_name(header.name, name)) return &header;
  return nullptr;
}

bool has_no_body(int status) { return status < 200 || status == 204 || status == 304; }

bool read_length(const Header* header, uint64_t& out) {
  if (header == nullptr || header->value.empty() || header->value.size() > 18) return false;
  out = 0;
  for (char c : header->value) {
    if (c < '0' || c > '9') return false;
    out = out * 10 + static_cast<uint64_t>(c - '0');
  }
  return true;
}

}  // namespace

std::string Session::head_of(int status, std::span<const Header> headers, std::string_view framing) {
  bool body_unread = parser_ && phase_ != Phase::kWebSocket && !parser_->is_done();
  bool keeps = parser_ == nullptr || (parser_->has_head() && parser_->head().keeps_alive);
  if (body_unread || !keeps || server_.is_draining()) closes_after_ = true;
  std::string out;
  out.reserve(256 + framing.size());
  out.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(reason_of(status)).append("\r\n");
  for (const Header& header : headers) {
    if (belongs_to_connection(header.name)) continue;
    out.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  if (find(headers, "date") == nullptr) out.append("date: ").append(server_.date()).append("\r\n");
  if (exchange_ && find(headers, "x-request-id") == nullptr && is_header_value(exchange_->request_id()))
    out.append("x-request-id: ").append(exchange_->request_id()).append("\r\n");
  out.append(framing);
  bool old_client = parser_ && parser_->has_head() && parser_->head().minor_version == 0;
  if (status != 101 && closes_after_)
    out.append("connection: close\r\n");
  else if (status != 101 && old_client)
    out.append("connection: keep-alive\r\n");
  out.append("\r\n");
  return out;
}

void Session::answer_whole(int status, std::span<const Header> headers, std::string_view body) {
  std::string framing;
  uint64_t length = body.size();
  if (is_head_ && body.empty()) read_length(find(headers, "content-length"), length);
  if (!has_no_body(status)) framing = "content-length: " + std::to_string(length) + "\r\n";
  write(head_of(status, headers, framing));
  if (!is_head_ && !has_no_body(status)) write(body);
  answer_over();
}

void Session::answer_start(int status, std::span<const Header> headers) {
  std::string framing;
  is_chunked_ = is_close_delimited_ = has_promised_ = false;
  bool old_client = parser_ && parser_->has_head() && parser_->head().minor_version == 0;
  if (read_length(find(headers, "content-length"), promised_)) {
    has_promised_ = true;
    framing = "content-length: " + std::to_string(promised_) + "\r\n";
  } else if (!has_no_body(status) && old_client) {
    is_close_delimited_ = closes_after_ = true;
  } else if (!has_no_body(status)) {
    is_chunked_ = true;
    framing = "transfer-encoding: chunked\r\n";
  }
  is_head_ = is_head_ || has_no_body(status);  // no body follows
  write(head_of(status, headers, framing));
}

void Session::answer_chunk(std::string_view body) {
  if (is_closed_ || body.empty() || is_head_) return;
  if (has_promised_) {
    if (body.size() > promised_) return abort();
    promised_ -= body.size();
  }
  if (!is_chunked_) return write(body);
  char size[24];
  int digits = std::snprintf(size, sizeof(size), "%zx\r\n", body.size());
  write({size, static_cast<size_t>(digits)});
  write(body);
  write("\r\n");
}

void Session::answer_end() {
  if (is_closed_) return;
  if (frames_) return send_close(1000, "");
  if (has_promised_ && promised_ > 0 && !is_head_) return abort();
  if (is_chunked_ && !is_head_) write("0\r\n\r\n");
  answer_over();
}

void Session::answer_error(int status, std::string_view text, std::span<const Header> headers) {
  if (is_closed_) return;
  if (frames_) return send_close(1011, "");
  if (exchange_) exchange_->count(status);
  if (!exchange_ && (status == 400 || (parser_ && !parser_->has_head()))) closes_after_ = true;
  std::vector<Header> all(headers.begin(), headers.end());
  all.push_back({"content-type", "text/plain; charset=utf-8"});
  answer_whole(status, all, text);
}

void Session::abort() {
  if (is_closed_) return;
  if (frames_) return send_close(1011, "");
  send_out();
  if (is_closed_) return;
  struct linger lingering{1, 0};  // a reset, where nothing else shows that the answer is not whole
  if (is_close_delimited_) ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &lingering, sizeof(lingering));
  close();
}

// The answer is complete: what comes next?
void Session::answer_over() {
  if (is_closed_) return;
  if (exchange_) exchange_->finished();
  server_.bury(std::move(exchange_));
  exchange_.reset();
  is_chunked_ = is_close_delimited_ = has_promised_ = is_head_ = false;
  if (closes_after_) {
    phase_ = Phase::kHead;
    ends_ = true;
    if (unsent() == 0) linger_or_close();
    return;
  }
  if (parser_) parser_->reset();
  phase_ = Phase::kHead;
  deadline_ms_ =
      server_.loop().now_ms() + (in_.empty() ? server_.config().keep_alive_ms : server_.config().head_timeout_ms);
  if (!in_step_) server_.look_again(*this);
}

void Session::linger_or_close() {
  bool all_read = in_.empty() && parser_ && parser_->is_done();
  if (all_read && !tls_) return close();
  linger();
}

// ---- WebSocket ----

void Session::accept_websocket(std::span<const Header> headers) {
  const std::string* key = parser_->head().find("sec-websocket-key");
  std::string framing =
      "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: " + accept_key(*key) + "\r\n";
  write(head_of(101, headers, framing));
  frames_ = std::make_unique<FrameReader>(server_.config().most_message_bytes);
  deadline_ms_ = -1;
  server_.look_again(*this);
}

void Session::send_message(Opcode opcode, std::string_view payload, uint16_t part) {
  if (!frames_ || close_sent_) return;
  write(make_frame((part & kContinues) ? Opcode::kContinue : opcode, payload, !(part & kMoreFollows)));
}

void Session::send_close(uint16_t code, std::string_view reason) {
  if (is_closed_) return;
  if (!frames_) return answer_error(403, "Forbidden");
  if (!std::exchange(close_sent_, true)) write(make_frame(Opcode::kClose, close_payload(code, reason)));
  if (unsent() == 0) return linger();
  ends_ = true;
}

// ---- bytes ----

// Leaves at the end of the loop's turn, with what else is written in it. Only large pieces go on at once, uncopied.
void Session::write(std::string_view plain) {
  if (is_closed_) return;
  if (tls_) {
    if (!tls_->send(plain, out_)) return close();
    return flush_soon();
  }
  if (plain.size() >= kLargePiece) plain.remove_prefix(write_at_once(plain));
  if (is_closed_ || plain.empty()) return;
  if (out_.empty()) stalled_since_ms_ = server_.loop().now_ms();
  out_.append(plain);
  flush_soon();
}

// Bytes that left, behind what was written before.
size_t Session::write_at_once(std::string_view plain) {
  send_out();
  if (is_closed_ || unsent() > 0) return 0;
  ssize_t sent = ::send(fd_, plain.data(), plain.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) close();
  return sent < 0 ? 0 : static_cast<size_t>(sent);
}

void Session::flush_soon() {
  if (!std::exchange(flush_due_, true)) server_.flush_later(*this);
}

// Hands the socket what it takes.
void Session::send_out() {
  while (unsent() > 0) {
    ssize_t sent = ::send(fd_, out_.data() + out_sent_, unsent(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) return close();
    out_sent_ += static_cast<size_t>(sent);
    stalled_since_ms_ = server_.loop().now_ms();
  }
  out_.clear();
  if (out_.capacity() > kKeptBytes) out_.shrink_to_fit();
  out_sent_ = 0;
  stalled_since_ms_ = -1;
}

void Session::flush_out() {
  flush_due_ = false;
  if (is_closed_) return;
  send_out();
  if (is_closed_) return;
  if (unsent() > 0) return want(interest_ | EPOLLOUT);
  if (ends_) return phase_ == Phase::kWebSocket ? linger() : linger_or_close();
  if (exchange_) exchange_->written();
}

}  // namespace narke::proxy
