#include "transfer/link.h"

#include <algorithm>
#include <utility>

#include "rpc/auth.h"
#include "rpc/tcp.h"

namespace narke::transfer {
namespace {

constexpr size_t kMostBytesOfStep = 8 << 20;  // then other links of the thread have their turn
constexpr size_t kMostBytesOfCall = 1 << 20;

Error over(const Stream::Moved& moved) {
  return {moved.refused ? ErrorCode::kRefused : ErrorCode::kDisconnected, moved.error};
}

Error broken(const std::string& what) { return {ErrorCode::kRefused, "it broke the transfer protocol: " + what}; }

}  // namespace

Link::Link(Side side, std::unique_ptr<Stream> stream, const LinkConfig& config, LinkOut& out, int64_t now_ms)
    : side_(side), stream_(std::move(stream)), config_(config), out_(out), moved_ms_(now_ms) {
  if (side_ == Side::kGiver) return;
  hello_ = asker_hello(rpc::make_nonce(), config_.address);
  draft_ = hello_;  // the stream has sent the preface
}

void Link::push(Outgoing outgoing, int64_t now_ms) {
  if (!is_busy()) moved_ms_ = now_ms;
  queue_.push_back(std::move(outgoing));
}

bool Link::is_busy() const { return !is_up() || !queue_.empty() || !asked_.empty() || incoming_.has_header; }

Status Link::step(int64_t now_ms) {
  if (Status moved = read(now_ms); !moved.ok()) return moved;
  if (Status moved = write(now_ms); !moved.ok()) return moved;
  // The asker gives up first: it can say to whom this matters.
  int64_t patience_ms = side_ == Side::kAsker ? config_.stall_ms : 3 * config_.stall_ms;
  if (!is_busy() || now_ms - moved_ms_ < patience_ms) return ok_status();
  return Error{ErrorCode::kTimeout, "no byte moved for " + std::to_string(patience_ms) + " ms"};
}

// ---- reading

void Link::Incoming::advance(uint64_t bytes) {
  into += bytes;
  left -= bytes;
  if (received != nullptr) received->fetch_add(bytes, std::memory_order_relaxed);
}

Status Link::read(int64_t now_ms) {
  for (size_t total = 0; total < kMostBytesOfStep;) {
    auto moved = read_once();
    if (!moved.ok()) return moved.error();
    if (moved.value() == 0) return ok_status();
    total += moved.value();
    moved_ms_ = now_ms;
    if (Status done = consume(); !done.ok()) return done;
  }
  return ok_status();
}

// A body's bytes go where they belong, all others into the buffer.
Result<size_t> Link::read_once() {
  bool direct = incoming_.left != 0;
  if (!direct && begin_ != 0) {
    std::copy(buffer_.begin() + begin_, buffer_.begin() + end_, buffer_.begin());
    end_ -= std::exchange(begin_, 0);
  }
  uint8_t* to = direct ? incoming_.into : buffer_.data() + end_;
  size_t room = direct ? std::min<uint64_t>(incoming_.left, kMostBytesOfCall) : buffer_.size() - end_;
  auto moved = stream_->read(to, room);
  if (!moved.error.empty()) return over(moved);
  if (direct) {
    incoming_.advance(moved.bytes);
  } else {
    end_ += moved.bytes;
  }
  return moved.bytes;
}

std::string_view Link::take(size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(buffer_.data()) + begin_, size);
  begin_ += size;
  return bytes;
}

Status Link::consume() {
  for (;;) {
    auto more = is_up() ? consume_message() : consume_hello();
    if (!more.ok()) return more.error();
    if (!more.value()) return ok_status();
  }
}

// True when something was taken out of the buffer.
Result<bool> Link::consume_hello() {
  size_t need = side_ == Side::kAsker ? kGiverHelloBytes : stage_ == Stage::kHello ? kAskerHelloBytes : kProofBytes;
  if (buffered() < need) return false;
  if (side_ == Side::kAsker && stage_ == Stage::kProof) return broken("it spoke before it was asked");
  std::string_view bytes = take(need);
  Status checked = side_ == Side::kAsker ? check_giver(bytes) : check_asker(bytes);
  if (!checked.ok()) return checked.error();
  return true;
}

Status Link::check_giver(std::string_view bytes) {
  auto hello = read_giver_hello(bytes);
  if (!hello.ok()) return hello.error();
  const std::string& nonce = hello.value().nonce;
  if (!rpc::is_same_proof(hello.value().proof, proof_of(Side::kGiver, config_.token, hello_, nonce)))
    return Error{ErrorCode::kRefused, "it does not hold this cluster's token"};
  draft_ = draft_.substr(written_) + proof_of(Side::kAsker, config_.token, hello_, nonce);
  written_ = 0;
  stage_ = Stage::kProof;  // up when the proof is written
  return ok_status();
}

Status Link::check_asker(std::string_view bytes) {
  if (stage_ == Stage::kHello) {
    auto hello = read_asker_hello(bytes);
    if (!hello.ok()) return hello.error();
    hello_ = bytes;
    peer_ = hello.value().address;
    nonce_ = rpc::make_nonce();
    draft_ = giver_hello(nonce_, proof_of(Side::kGiver, config_.token, hello_, nonce_));
    stage_ = Stage::kProof;
    return ok_status();
  }
  if (!rpc::is_same_proof(bytes, proof_of(Side::kAsker, config_.token, hello_, nonce_)))
    return Error{ErrorCode::kRefused, "it does not hold this cluster's token"};
  stage_ = Stage::kUp;
  out_.on_up(peer_);
  return ok_status();
}

Result<bool> Link::consume_message() {
  if (!incoming_.has_header) return begin_message();
  if (incoming_.text.size() < incoming_.header.text_bytes) {
    if (buffered() < incoming_.header.text_bytes) return false;
    incoming_.text = take(incoming_.header.text_bytes);
  }
  if (incoming_.left != 0 && buffered() != 0) {
    std::string_view bytes = take(std::min<uint64_t>(incoming_.left, buffered()));
    std::memcpy(incoming_.into, bytes.data(), bytes.size());
    incoming_.advance(bytes.size());
  }
  if (incoming_.left != 0) return false;
  end_message();
  return true;
}

Result<bool> Link::begin_message() {
  if (buffered() < kHeaderBytes) return false;
  std::string_view bytes = take(kHeaderBytes);
  auto header = decode({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!header) return broken("a header is malformed");
  if (Status accepted = accept(*header); !accepted.ok()) return accepted.error();
  incoming_.has_header = true;
  incoming_.header = *header;
  return true;
}

// Whether this message may come now, and where its bytes go.
Status Link::accept(const Header& header) {
  if (side_ == Side::kGiver) {
    if (!header.is_request()) return broken("an answer came where requests are expected");
    if (header.kind != Kind::kDone && ++unanswered_ > kMostRequests) return broken("it asks for too much at a time");
    return ok_status();
  }
  auto asked = asked_.find(header.number);
  if (header.is_request() || asked == asked_.end()) return broken("an answer to nothing that was asked");
  const Header& request = asked->second.header;
  if (header.id != request.id) return broken("an answer about another object");
  if (header.kind == Kind::kOffer && request.kind != Kind::kAsk) return broken("an offer that was not asked for");
  if (header.kind != Kind::kData) return ok_status();
  if (request.kind != Kind::kGet || header.offset != request.offset || header.length != request.length)
    return broken("bytes that were not asked for");
  incoming_.into = asked->second.into;
  incoming_.received = asked->second.received;
  incoming_.left = header.length;
  return ok_status();
}

void Link::end_message() {
  Incoming done = std::exchange(incoming_, {});
  if (side_ == Side::kGiver) return out_.on_request(done.header);
  if (done.header.kind != Kind::kWait) asked_.erase(done.header.number);
  out_.on_answer(done.header, done.text);
}

// ---- writing

Status Link::write(int64_t now_ms) {
  for (size_t total = 0; total < kMostBytesOfStep && has_to_write();) {
    if (is_up() && draft_.empty()) draft_next();
    auto moved = write_once();
    if (!moved.ok()) return moved.error();
    if (moved.value() == 0) return ok_status();
    total += moved.value();
    moved_ms_ = now_ms;
  }
  return ok_status();
}

void Link::draft_next() {
  Outgoing& next = queue_.front();
  next.header.text_bytes = static_cast<uint16_t>(next.text.size());
  draft_ = encode(next.header) + next.text;
  // Before the request leaves, so that its answer finds it.
  if (side_ == Side::kAsker && next.header.kind != Kind::kDone) asked_[next.header.number] = next;
}

Result<size_t> Link::write_once() {
  uint64_t body = is_up() && queue_.front().header.kind == Kind::kData ? queue_.front().header.length : 0;
  uint64_t total = draft_.size() + body;
  Stream::Moved moved;
  if (written_ < draft_.size()) {
    bool more = body != 0 || queue_.size() > 1;
    moved = stream_->write(reinterpret_cast<const uint8_t*>(draft_.data()) + written_, draft_.size() - written_, more);
  } else {
    uint64_t at = written_ - draft_.size();
    moved = stream_->write(queue_.front().body + at, std::min<uint64_t>(body - at, kMostBytesOfCall), false);
  }
  if (!moved.error.empty()) return over(moved);
  written_ += moved.bytes;
  if (written_ < total) return moved.bytes;
  draft_.clear();
  written_ = 0;
  if (!is_up()) {
    if (side_ == Side::kAsker && stage_ == Stage::kProof) stage_ = Stage::kUp;
    return moved.bytes;
  }
  Header sent = queue_.front().header;
  queue_.pop_front();
  if (side_ == Side::kAsker) return moved.bytes;
  if (sent.kind != Kind::kWait) --unanswered_;
  if (sent.kind == Kind::kData) out_.on_sent(sent);
  return moved.bytes;
}

}  // namespace narke::transfer
