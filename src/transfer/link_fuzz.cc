// Bytes of an untrusted or faulty peer, for both sides of a connection.
//
// Strategy: the first byte chooses the side and whether the peer knows the token. One that knows it shakes hands
// properly; then the input is read as short commands: headers with fields from the input (small ones hit what was
// asked), raw bytes, or a step of ours. Bytes come in pieces of every size.
// Invariants: nothing but an error ends the link; without the token nothing is ever told; bytes of objects are
// written only where they were asked for, and read only within what is given (the memory has the exact size).
#include <algorithm>
#include <cstring>
#include <deque>
#include <span>

#include "rpc/auth.h"
#include "rpc/tcp.h"
#include "transfer/link.h"

namespace narke::transfer {
namespace {

constexpr char kToken[] = "token";
constexpr uint64_t kObject = 3000;  // bytes of the only object
constexpr uint32_t kNumbers = 4;    // requests of ours

class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }
  uint8_t byte() { return left_.empty() ? 0 : take(1)[0]; }
  uint64_t number() {
    uint8_t kind = byte();
    if (kind % 8 == 0) return ~uint64_t{0} - byte();
    return kind % 2 == 0 ? byte() : byte() * uint64_t{256};
  }
  std::span<const uint8_t> take(size_t size) {
    auto front = left_.first(std::min(size, left_.size()));
    left_ = left_.subspan(front.size());
    return front;
  }

 private:
  std::span<const uint8_t> left_;
};

class FakeStream : public Stream {
 public:
  explicit FakeStream(std::deque<uint8_t>& in, std::string& out) : in_(in), out_(out) {}
  Moved read(uint8_t* data, size_t size) override {
    size_t n = std::min(size, in_.size());
    std::copy_n(in_.begin(), n, data);
    in_.erase(in_.begin(), in_.begin() + static_cast<long>(n));
    return {n, {}, false};
  }
  Moved write(const uint8_t* data, size_t size, bool) override {
    size_t n = std::min<size_t>(size, 1000);
    out_.append(reinterpret_cast<const char*>(data), n);
    return {n, {}, false};
  }
  int fd() const override { return -1; }

 private:
  std::deque<uint8_t>& in_;
  std::string& out_;
};

class Peer : LinkOut {
 public:
  Peer(Side side, bool knows) : side_(side), knows_(knows), object_(kObject, 1), room_(kObject) {
    link_ = std::make_unique<Link>(side, std::make_unique<FakeStream>(in_, out_), LinkConfig{kToken, "us", 1000},
                                   static_cast<LinkOut&>(*this), now_);
    step();
    if (knows_) shake_hands();
    if (side_ == Side::kAsker) ask();
  }
  void run(Input& input) {
    while (!input.empty() && !over_) command(input);
    step();
    NARKE_CHECK(knows_ || told_ == 0);
  }

 private:
  void shake_hands() {
    std::string nonce = rpc::make_nonce();
    if (side_ == Side::kGiver) {
      std::string hello = asker_hello(nonce, "peer");
      feed(hello);
      step();
      auto answer = read_giver_hello(out_);
      NARKE_CHECK(answer.ok());
      feed(proof_of(Side::kAsker, kToken, hello, answer.value().nonce));
    } else {
      std::string hello = out_;
      NARKE_CHECK(read_asker_hello(hello).ok());
      feed(giver_hello(nonce, proof_of(Side::kGiver, kToken, hello, nonce)));
    }
    step();
    NARKE_CHECK(!over_);
  }
  void ask() {
    for (uint32_t n = 0; n < kNumbers; ++n) {
      Header header{.kind = n == 0 ? Kind::kAsk : Kind::kGet, .number = n, .id = id()};
      header.offset = n * 256;
      header.length = n == 0 ? 0 : n * 512;
      link_->push({.header = header, .text = {}, .into = room_.data() + header.offset}, now_);
    }
    step();
  }
  void command(Input& input) {
    uint8_t what = input.byte();
    if (what % 4 == 0) return feed(input.take(input.byte()));
    if (what % 4 == 1) return step();
    Header header;
    static constexpr Kind kKinds[] = {Kind::kAsk,  Kind::kGet,    Kind::kDone, Kind::kOffer,
                                      Kind::kData, Kind::kAbsent, Kind::kWait};
    header.kind = kKinds[input.byte() % std::size(kKinds)];
    header.number = static_cast<uint32_t>(input.byte() % (kNumbers + 1));
    if (input.byte() % 8 != 0) header.id = id();
    header.offset = what % 4 == 2 ? header.number * 256 : input.number();
    header.length = what % 4 == 2 ? header.number * 512 : input.number();
    if (header.kind == Kind::kOffer || header.kind == Kind::kAbsent) header.text_bytes = input.byte();
    feed(encode(header));
    if (what % 8 < 4)
      feed(std::string(header.text_bytes + (header.kind == Kind::kData ? header.length % 4096 : 0), 'x'));
  }
  void step() {
    if (!over_ && !link_->step(now_ += 10).ok()) over_ = true;
  }
  void feed(std::span<const uint8_t> bytes) { in_.insert(in_.end(), bytes.begin(), bytes.end()); }
  void feed(const std::string& bytes) { in_.insert(in_.end(), bytes.begin(), bytes.end()); }
  static ObjectId id() {
    ObjectId id;
    std::memset(id.data(), 5, ObjectId::kSize);
    return id;
  }

  void on_up(const std::string&) override { ++told_; }
  void on_request(const Header& header) override {
    ++told_;
    NARKE_CHECK(side_ == Side::kGiver && header.is_request());
    if (header.kind == Kind::kDone) return;
    Header answer = header;
    bool inside = header.offset <= kObject && header.length <= kObject - header.offset;
    answer.kind = header.kind == Kind::kGet && inside ? Kind::kData : Kind::kAbsent;
    link_->push({.header = answer, .text = {}, .body = object_.data() + (inside ? header.offset : 0)}, now_);
  }
  void on_sent(const Header& header) override {
    ++told_;
    NARKE_CHECK(header.kind == Kind::kData);
  }
  void on_answer(const Header& header, const std::string& text) override {
    ++told_;
    NARKE_CHECK(side_ == Side::kAsker && header.number < kNumbers && header.id == id());
    NARKE_CHECK(text.size() == header.text_bytes);
  }

  Side side_;
  bool knows_, over_ = false;
  int told_ = 0;
  int64_t now_ = 0;
  std::vector<uint8_t> object_, room_;
  std::deque<uint8_t> in_;
  std::string out_;
  std::unique_ptr<Link> link_;
};

}  // namespace
}  // namespace narke::transfer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace narke::transfer;
  Input input({data, size});
  uint8_t first = input.byte();
  Peer peer(first % 2 == 0 ? Side::kGiver : Side::kAsker, first % 8 != 7);
  peer.run(input);
  return 0;
}
