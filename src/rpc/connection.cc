#include "rpc/connection.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/auth.h"
#include "rpc/reactor.h"

namespace narke::rpc {
namespace {

constexpr size_t kReadBytes = 64 << 10;
constexpr size_t kWriteAtBytes = 64 << 10;  // more than this in the output leaves at once
constexpr size_t kMostFds = 250;              // the kernel takes 253 at once (SCM_MAX_FD)
constexpr size_t kMostReadBytes = 8 << 20;  // then other links have their turn

Bytes table_bytes(const flatbuffers::FlatBufferBuilder& table) { return {table.GetBufferPointer(), table.GetSize()}; }

std::string_view as_view(const flatbuffers::Vector<uint8_t>* bytes) {
  if (bytes == nullptr) return {};
  return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

// Empty buffers above this are given back: those of all links together stay within a bound, however many there are.
size_t kept_bytes(size_t links) {
  constexpr size_t kMost = 1 << 20, kLeast = 64 << 10, kTogether = 64 << 20;
  return std::clamp(kTogether / std::max<size_t>(links, 1), kLeast, kMost);
}

}  // namespace

Connection::Connection(Reactor& reactor, int fd, bool is_server, Handler* handler, const Identity& identity)
    : reactor_(reactor), fd_(fd), is_server_(is_server), handler_(handler), identity_(identity) {}

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
  for (int fd : fds_out_) ::close(fd);
  for (int fd : fds_in_) ::close(fd);
}

// ---- sending ----

uint8_t* Connection::append(ByteBuffer& to, wire::MessageType type, uint32_t call_id, Bytes table, size_t raw_size) {
  size_t table_size = padded(table.size());
  size_t body = table_size + raw_size;
  FrameHeader header{static_cast<uint32_t>(body), static_cast<uint16_t>(type), 0, static_cast<uint32_t>(table_size),
                     call_id};
  uint8_t* at = to.extend(sizeof(header) + padded(body));
  std::memcpy(at, &header, sizeof(header));
  at += sizeof(header);
  std::memcpy(at, table.data(), table.size());
  std::memset(at + table.size(), 0, table_size - table.size());
  at += table_size;
  std::memset(at + raw_size, 0, padded(body) - body);
  return at;
}

uint8_t* Connection::room_for(wire::MessageType type, uint32_t call_id, Bytes table, size_t size) {
  NARKE_CHECK(size + table.size() < kMaxBodyBytes);
  uint8_t* room = append(state_ == State::kOpen ? out_ : held_, type, call_id, table, size);
  if (state_ == State::kClosed) held_.clear();  // the memory stays, the bytes are dropped
  if (state_ == State::kOpen) reactor_.mark_dirty(*this);
  return room;
}

uint8_t* Connection::send_with_room(wire::MessageType type, uint32_t call_id,
                                    const flatbuffers::FlatBufferBuilder& table, size_t size) {
  return room_for(type, call_id, table_bytes(table), size);
}

void Connection::send_frame(wire::MessageType type, uint32_t call_id, Bytes table, Bytes raw) {
  uint8_t* room = room_for(type, call_id, table, raw.size());
  if (!raw.empty()) std::memcpy(room, raw.data(), raw.size());
  after_append();
}

void Connection::send(wire::MessageType type, uint32_t call_id, const flatbuffers::FlatBufferBuilder& table, Bytes raw,
                      Bytes raw2) {
  uint8_t* room = send_with_room(type, call_id, table, raw.size() + raw2.size());
  if (!raw.empty()) std::memcpy(room, raw.data(), raw.size());
  if (!raw2.empty()) std::memcpy(room + raw.size(), raw2.data(), raw2.size());
  after_append();
}

void Connection::after_append() {
  if (state_ == State::kOpen && unsent_bytes() >= kWriteAtBytes) write_some();
}

bool Connection::send_fd(int fd) {
  if (pipe_) return true;  // descriptors do not travel over one
  const int copy = fds_out_.size() < kMostFds ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
  if (copy >= 0) fds_out_.push_back(copy);
  return copy >= 0;
}

void Connection::flush() {
  if (state_ != State::kClosed && unsent_bytes() != 0 && !wants_write_) write_some();
}

void Connection::begin_with(const std::string& preface) {
  if (!tls_) out_.append(reinterpret_cast<const uint8_t*>(preface.data()), preface.size());
  wants_write_ = true;
  reactor_.arm(slot_, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

void Connection::encrypt(std::string preface) {
  const auto side = is_server_ ? TlsStream::Side::kServer : TlsStream::Side::kClient;
  tls_ = std::make_unique<TlsStream>(reactor_.tls_key(), fd_, side, std::move(preface));
}

void Connection::on_writable() {
  wants_write_ = false;
  reactor_.arm(slot_, EPOLLIN, EPOLL_CTL_MOD);
  flush();
  if (tls_ && state_ != State::kClosed) read_encrypted();  // a handshake begins, or goes on, by reading
}

// As write_once(); also negative, with errno 0, when the peer has to say something first.
long Connection::write_encrypted() {
  const Moved moved = tls_->write(out_.data() + out_sent_, unsent_bytes());
  if (!moved.error.empty()) fail(moved.refused ? ErrorCode::kRefused : ErrorCode::kDisconnected, moved.error);
  writes_after_read_ = moved.bytes == 0 && tls_->waits_to_read();
  errno = writes_after_read_ ? 0 : EAGAIN;
  return moved.bytes == 0 ? -1 : static_cast<long>(moved.bytes);
}

long Connection::write_once() {
  iovec part{out_.data() + out_sent_, unsent_bytes()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostFds)];
  if (!fds_out_.empty()) {
    size_t size = sizeof(int) * fds_out_.size();
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(head), fds_out_.data(), size);
  }
  return sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Connection::write_some() {
  if (pipe_) {
    pipe_->write({out_.data(), out_.size()});
    out_.clear();
    return;
  }
  while (unsent_bytes() != 0) {
    long n = tls_ ? write_encrypted() : write_once();
    if (n < 0) {
      if (state_ == State::kClosed || errno == 0) return;
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return fail(ErrorCode::kDisconnected, std::string("write: ") + strerror(errno));
      if (!wants_write_) reactor_.arm(slot_, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
      wants_write_ = true;
      return;
    }
    for (int fd : fds_out_) ::close(fd);
    fds_out_.clear();
    out_sent_ += static_cast<size_t>(n);
  }
  out_.clear();
  out_sent_ = 0;
  out_.shrink_above(kept_bytes(reactor_.slots_.size()));
  if (wants_write_) reactor_.arm(slot_, EPOLLIN, EPOLL_CTL_MOD);
  wants_write_ = false;
}

// ---- receiving ----

void Connection::on_readable() { tls_ ? read_encrypted() : read_plain(); }

size_t Connection::room_to_read() const {
  if (in_.size() < sizeof(FrameHeader)) return kReadBytes;
  FrameHeader header;
  std::memcpy(&header, in_.data(), sizeof(header));
  return std::max(kReadBytes, sizeof(header) + padded(header.body_size) - in_.size());  // the rest of a large frame
}

void Connection::read_encrypted() {
  size_t total = 0;
  do {
    const size_t had = in_.size(), room = room_to_read();
    const Moved moved = tls_->read(in_.extend(room), room);
    in_.resize(had + moved.bytes);
    if (!moved.error.empty()) return fail(moved.refused ? ErrorCode::kRefused : ErrorCode::kDisconnected, moved.error);
    if (moved.bytes == 0) break;
    total += moved.bytes;
    parse();
  } while (state_ != State::kClosed && tls_->has_more() && total < kMostReadBytes);
  if (state_ == State::kClosed) return;
  if (total >= kMostReadBytes && tls_->has_more()) reactor_.read_again(*this);
  if (writes_after_read_) write_some();
  if (tls_->waits_to_write() && !wants_write_ && state_ != State::kClosed) begin_with({});
}

void Connection::read_plain() {
  const size_t had = in_.size(), room = room_to_read();
  iovec part{in_.extend(room), room};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostFds)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t n = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  in_.resize(had + (n > 0 ? static_cast<size_t>(n) : 0));
  if (n == 0) return fail(ErrorCode::kDisconnected, "the peer closed the connection");
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return fail(ErrorCode::kDisconnected, std::string("read: ") + strerror(errno));
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      fds_in_.push_back(fd);
    }
  }
  parse();
}

void Connection::deliver(Bytes bytes) {
  if (state_ == State::kClosed) return;
  in_.append(bytes.data(), bytes.size());
  parse();
}

void Connection::deliver_end(const std::string& why) { fail(ErrorCode::kDisconnected, why); }

void Connection::parse() {
  size_t at = 0;
  while (state_ != State::kClosed && in_.size() - at >= sizeof(FrameHeader)) {
    FrameHeader header;
    std::memcpy(&header, in_.data() + at, sizeof(header));
    if (!is_sane(header)) return fail(ErrorCode::kRefused, "the peer sent bytes that are no frame");
    size_t whole = sizeof(header) + padded(header.body_size);
    if (in_.size() - at < whole) break;
    const uint8_t* body = in_.data() + at + sizeof(header);
    Frame frame{static_cast<wire::MessageType>(header.type), header.call_id, Bytes(body, header.table_size),
                Bytes(body + header.table_size, header.body_size - header.table_size)};
    handle(frame);
    at += whole;
  }
  in_.drop_front(at);
  in_.shrink_above(kept_bytes(reactor_.slots_.size()));
}

void Connection::handle(const Frame& frame) {
  if (frame.type == wire::MessageType::Challenge && !is_server_) {
    const auto* challenge = frame.as<wire::Challenge>();
    if (challenge != nullptr && challenge->refusal() != nullptr && challenge->refusal()->size() > 0)
      return fail(ErrorCode::kRefused, challenge->refusal()->str());
  }
  if (state_ == State::kOpen) return handler_->on_frame(*this, frame);
  handle_handshake(frame);
}

// ---- handshake ----

void Connection::handle_handshake(const Frame& frame) {
  if (is_server_ && frame.type == wire::MessageType::Hello) return check_hello(frame);
  if (!is_server_ && frame.type == wire::MessageType::Challenge) return answer_challenge(frame);
  fail(ErrorCode::kRefused, "the peer did not begin with a handshake");
}

std::string refusal_frame(const std::string& why) {
  flatbuffers::FlatBufferBuilder b;
  const auto text = b.CreateString(why);
  b.Finish(wire::CreateChallenge(b, kProtocolVersion, kProtocolVersion, 0, 0, text));
  std::string out;
  append_frame(&out, wire::MessageType::Challenge, b);
  return out;
}

// The peer is told why, as far as it listens.
void Connection::refuse(const std::string& why) {
  const std::string frame = refusal_frame(why);
  out_.append(frame.data(), frame.size());
  write_some();
  fail(ErrorCode::kRefused, why);
}

void Connection::send_challenge() {
  nonce_ = make_nonce();
  flatbuffers::FlatBufferBuilder b;
  auto bytes = [&](const std::string& s) {
    return b.CreateVector(reinterpret_cast<const uint8_t*>(s.data()), s.size());
  };
  auto nonce = bytes(nonce_);
  auto cluster = bytes(identity_.cluster);
  b.Finish(wire::CreateChallenge(b, kProtocolVersion, kProtocolVersion, nonce, cluster));
  append(out_, wire::MessageType::Challenge, 0, table_bytes(b), 0);
  flush();
}

void Connection::answer_challenge(const Frame& frame) {
  const auto* challenge = frame.as<wire::Challenge>();
  if (challenge == nullptr) return fail(ErrorCode::kRefused, "the peer's handshake is damaged");
  if (challenge->version_min() > kProtocolVersion || challenge->version_max() < kProtocolVersion)
    return fail(ErrorCode::kRefused, "the peer speaks protocol versions " + std::to_string(challenge->version_min()) +
                                         " to " + std::to_string(challenge->version_max()) + ", this program " +
                                         std::to_string(kProtocolVersion) + ": use matching releases of narke");
  flatbuffers::FlatBufferBuilder b;
  std::string proof = prove(identity_.token, as_view(challenge->nonce()));
  auto proof_bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(proof.data()), proof.size());
  auto self = identity_.self.to_wire<wire::WorkerId>();
  b.Finish(wire::CreateHello(b, kProtocolVersion, proof_bytes, &self, getpid()));
  append(out_, wire::MessageType::Hello, 0, table_bytes(b), 0);
  become_open();
}

void Connection::check_hello(const Frame& frame) {
  const auto* hello = frame.as<wire::Hello>();
  if (hello == nullptr) return refuse("the peer's handshake is damaged");
  if (hello->version() != kProtocolVersion)
    return refuse("the peer speaks protocol version " + std::to_string(hello->version()) + ", this program " +
                  std::to_string(kProtocolVersion) + ": use matching releases of narke");
  if (!is_same_proof(prove(identity_.token, nonce_), as_view(hello->proof())))
    return refuse("the peer does not know this cluster's token");
  peer_ = WorkerId::from_wire(hello->worker());
  peer_pid_ = hello->pid();
  become_open();
}

void Connection::become_open() {
  state_ = State::kOpen;
  out_.append(held_.data(), held_.size());
  held_ = ByteBuffer();
  if (!wants_write_) write_some();
  if (state_ == State::kOpen) handler_->on_open(*this);
}

// ---- ending ----

void Connection::close(Error why) {
  flush();
  if (state_ != State::kClosed) fail(why.code, why.message);
}

void Connection::fail(ErrorCode code, const std::string& message) {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  why_ = {code, message};
  reactor_.mark_closing(*this);
}

int Connection::take_fd() {
  if (fds_in_.empty()) return -1;
  int fd = fds_in_.front();
  fds_in_.pop_front();
  return fd;
}

}  // namespace narke::rpc
