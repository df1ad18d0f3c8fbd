// Strategy: a mux gets a stream of messages, well-formed and not, from a peer that owes it nothing, while its own side
// opens, sends, closes and changes lines.
// Invariants: no crash; it never hands out more bytes than the window; after an error it is not used any more.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <unordered_map>

#include "tunnel/mux.h"

namespace narke::tunnel {
namespace {

class Peer : MuxOut {
 public:
  explicit Peer(bool dials) : mux_(dials, *this), theirs_(dials ? 2 : 1) {}

  void run(std::span<const uint8_t> input) {
    input_ = input;
    while (!input_.empty() && !over_) step();
    ByteBuffer out;
    mux_.fill(out, 1 << 20);
  }

 private:
  uint8_t byte() {
    if (input_.empty()) return 0;
    const uint8_t first = input_[0];
    input_ = input_.subspan(1);
    return first;
  }
  void feed(const std::string& bytes) {
    over_ = !mux_.feed({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}).ok();
  }
  void feed_message(uint8_t kind, uint32_t stream, const std::string& body) {
    const auto size = static_cast<uint32_t>(body.size());
    std::string bytes(reinterpret_cast<const char*>(&size), 4);
    bytes.append(reinterpret_cast<const char*>(&stream), 4);
    bytes += static_cast<char>(kind);
    feed(bytes + std::string(3, '\0') + body);
  }
  void step() {
    const uint8_t what = byte();
    const uint32_t stream = theirs_ + 2u * (byte() % 8);
    switch (what % 10) {
      case 0: return feed_message(1, stream, rpc::write_preface({.kind = rpc::LinkKind::kData}));
      case 1: return feed_message(2, stream, std::string(1 + byte() * 100u, 'd'));
      case 2: return feed_message(3, stream, "");
      case 3: return feed_message(4, stream, std::string(1, static_cast<char>(byte())) + std::string(3, '\0'));
      case 4: return feed_message(5, 0, std::string(1, static_cast<char>(byte())) + std::string(7, '\0'));
      case 5: return feed(std::string(1 + byte() % 40, static_cast<char>(byte())));
      case 6: own_ = mux_.open({.kind = rpc::LinkKind::kProgram}); return;
      case 7: {
        const std::string text(std::min<size_t>(mux_.room(own_), byte() * 10u), 'o');
        return mux_.send(own_, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
      }
      case 8: return mux_.close(what % 4 == 0 ? own_ : stream);
      default: over_ = !mux_.resume(byte() % 4).ok();
    }
  }

  void on_open(StreamId stream, const rpc::Preface&) override { NARKE_CHECK(stream % 2 == theirs_ % 2); }
  void on_data(StreamId stream, Bytes bytes) override {
    size_t& unused = unused_[stream];
    unused += bytes.size();
    NARKE_CHECK(unused <= Mux::kWindowBytes);
    if (unused % 2 == 0) mux_.used(stream, std::exchange(unused, 0));
  }
  void on_credit(StreamId stream) override { NARKE_CHECK(mux_.room(stream) <= Mux::kWindowBytes); }
  void on_close(StreamId stream) override { NARKE_CHECK(mux_.room(stream) == 0); }
  void on_bye(const std::string&) override { over_ = true; }

  Mux mux_;
  uint32_t theirs_;
  StreamId own_ = 0;
  bool over_ = false;
  std::unordered_map<StreamId, size_t> unused_;
  std::span<const uint8_t> input_;
};

}  // namespace
}  // namespace narke::tunnel

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  narke::tunnel::Peer peer(data[0] % 2 == 0);
  peer.run({data + 1, size - 1});
  return 0;
}
