#include "tunnel/mux.h"

#include <algorithm>
#include <cstring>

namespace narke::tunnel {
namespace {

constexpr uint64_t kAckEvery = 16;              // messages
constexpr size_t kCreditEvery = Mux::kWindowBytes / 4;  // bytes

struct Header {
  uint32_t size;
  uint32_t stream;
  uint8_t kind;
  uint8_t zero[3];
};
static_assert(sizeof(Header) == Mux::kHeaderBytes);

Error broken(const std::string& what) { return {ErrorCode::kRefused, "it broke the tunnel's protocol: " + what}; }

template <class Number>
Number number_of(Bytes body) {
  Number out;
  std::memcpy(&out, body.data(), sizeof(out));
  return out;
}

uint8_t* append(ByteBuffer& to, Kind kind, StreamId stream, size_t size) {
  const Header header{static_cast<uint32_t>(size), stream, static_cast<uint8_t>(kind), {}};
  to.append(&header, sizeof(header));
  return to.extend(size);
}

// Whether a message of this kind may have this size.
bool is_sane(const Header& header) {
  switch (static_cast<Kind>(header.kind)) {
    case Kind::kOpen: return header.size == rpc::kPrefaceBytes;
    case Kind::kData: return header.size > 0 && header.size <= Mux::kMostData;
    case Kind::kClose:
    case Kind::kPing: return header.size == 0;
    case Kind::kCredit: return header.size == sizeof(uint32_t);
    case Kind::kAck: return header.size == sizeof(uint64_t);
    case Kind::kBye: return header.size <= 4096;
  }
  return false;
}

bool is_numbered(Kind kind) { return kind < Kind::kAck; }

}  // namespace

// ---- streams

uint8_t* Mux::keep(Kind kind, StreamId stream, size_t size) {
  ByteBuffer& message = kept_.emplace_back();
  message.reserve(kHeaderBytes + size);
  kept_bytes_ += kHeaderBytes + size;
  return append(message, kind, stream, size);
}

StreamId Mux::open(const rpc::Preface& preface) {
  const StreamId stream = next_id_;
  next_id_ += 2;
  flows_[stream];
  const std::string text = rpc::write_preface(preface);
  std::memcpy(keep(Kind::kOpen, stream, text.size()), text.data(), text.size());
  return stream;
}

size_t Mux::room(StreamId stream) const {
  const auto at = flows_.find(stream);
  return at == flows_.end() ? 0 : at->second.may_send;
}

void Mux::send(StreamId stream, Bytes bytes) {
  if (bytes.empty()) return;
  NARKE_CHECK(bytes.size() <= room(stream));
  flows_.at(stream).may_send -= bytes.size();
  while (!bytes.empty()) {
    const Bytes part = bytes.first(std::min(bytes.size(), kMostData));
    std::memcpy(keep(Kind::kData, stream, part.size()), part.data(), part.size());
    bytes = bytes.subspan(part.size());
  }
}

void Mux::used(StreamId stream, size_t bytes) {
  const auto at = flows_.find(stream);
  if (at == flows_.end()) return;
  Flow& flow = at->second;
  flow.to_return += bytes;
  if (flow.to_return < kCreditEvery) return;
  const auto credit = static_cast<uint32_t>(flow.to_return);
  flow.may_come += std::exchange(flow.to_return, 0);
  std::memcpy(keep(Kind::kCredit, stream, sizeof(credit)), &credit, sizeof(credit));
}

void Mux::close(StreamId stream) {
  if (flows_.erase(stream) == 0) return;
  if (stream % 2 != next_id_ % 2) --peers_streams_;
  keep(Kind::kClose, stream, 0);
}

// ---- out

void Mux::tell(Kind kind, Bytes bytes) {
  uint8_t* body = append(control_, kind, 0, bytes.size());
  if (!bytes.empty()) std::memcpy(body, bytes.data(), bytes.size());
}

void Mux::ping() { tell(Kind::kPing, {}); }

void Mux::bye(const std::string& why) {
  tell(Kind::kBye, Bytes(reinterpret_cast<const uint8_t*>(why.data()), std::min<size_t>(why.size(), 4096)));
}

bool Mux::has_output() const {
  return next_ < kept_.size() || !control_.empty() || ack_due_ || received_ - told_ >= kAckEvery;
}

void Mux::fill(ByteBuffer& to, size_t most) {
  if (received_ != told_ && (ack_due_ || received_ - told_ >= kAckEvery)) {
    told_ = received_;
    ack_due_ = false;
    tell(Kind::kAck, Bytes(reinterpret_cast<const uint8_t*>(&told_), sizeof(told_)));
  }
  to.append(control_.data(), control_.size());
  control_.clear();
  for (; next_ < kept_.size() && to.size() < most; ++next_) to.append(kept_[next_].data(), kept_[next_].size());
}

Status Mux::resume(uint64_t received) {
  if (Status taken = take_ack(received); !taken) return taken;
  next_ = 0;
  in_.clear();
  control_.clear();
  told_ = received_;  // the handshake has told
  ack_due_ = false;
  return ok_status();
}

// ---- in

Status Mux::feed(Bytes bytes) {
  in_.append(bytes.data(), bytes.size());
  size_t at = 0;
  Status status = ok_status();
  while (status.ok() && in_.size() - at >= kHeaderBytes) {
    Header header;
    std::memcpy(&header, in_.data() + at, sizeof(header));
    if (!is_sane(header)) return broken("a malformed header");
    if (in_.size() - at - kHeaderBytes < header.size) break;
    const Bytes body(in_.data() + at + kHeaderBytes, header.size);
    const auto kind = static_cast<Kind>(header.kind);
    if (is_numbered(kind)) ++received_;
    status = take(kind, header.stream, body);
    at += kHeaderBytes + header.size;
  }
  in_.drop_front(at);
  return status;
}

Status Mux::take(Kind kind, StreamId stream, Bytes body) {
  switch (kind) {
    case Kind::kOpen: return take_open(stream, body);
    case Kind::kData: return take_data(stream, body);
    case Kind::kCredit: return take_credit(stream, body);
    case Kind::kAck: return take_ack(number_of<uint64_t>(body));
    case Kind::kPing: return ok_status();
    case Kind::kBye: out_.on_bye({reinterpret_cast<const char*>(body.data()), body.size()}); return ok_status();
    case Kind::kClose: break;
  }
  if (flows_.erase(stream) == 0) return ok_status();  // both sides closed it
  if (stream % 2 != next_id_ % 2) --peers_streams_;
  out_.on_close(stream);
  return ok_status();
}

Status Mux::take_open(StreamId stream, Bytes body) {
  if (stream % 2 == next_id_ % 2 || stream <= last_peers_id_) return broken("a stream that cannot be opened");
  const auto preface = rpc::read_preface(body);
  if (!preface) return broken("a stream for nothing that is known");
  if (++peers_streams_ > kMostStreams) return broken("too many streams");
  last_peers_id_ = stream;
  flows_[stream];
  out_.on_open(stream, *preface);
  return ok_status();
}

Status Mux::take_data(StreamId stream, Bytes body) {
  const auto at = flows_.find(stream);
  if (at == flows_.end()) return ok_status();  // closed here, which is on its way there
  if (body.size() > at->second.may_come) return broken("more bytes than it may send");
  at->second.may_come -= body.size();
  out_.on_data(stream, body);
  return ok_status();
}

Status Mux::take_credit(StreamId stream, Bytes body) {
  const auto at = flows_.find(stream);
  if (at == flows_.end()) return ok_status();
  at->second.may_send += number_of<uint32_t>(body);
  if (at->second.may_send > kWindowBytes) return broken("more credit than there is");
  out_.on_credit(stream);
  return ok_status();
}

Status Mux::take_ack(uint64_t count) {
  if (count < acked_ || count - acked_ > kept_.size()) return broken("it has what was never sent");
  const auto drop = static_cast<size_t>(count - acked_);
  for (size_t i = 0; i < drop; ++i) kept_bytes_ -= kept_[i].size();
  kept_.erase(kept_.begin(), kept_.begin() + static_cast<long>(drop));
  acked_ = count;
  next_ -= std::min(next_, drop);
  return ok_status();
}

}  // namespace narke::tunnel
