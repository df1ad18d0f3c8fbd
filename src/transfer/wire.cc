#include "transfer/wire.h"

#include <bit>

#include "rpc/auth.h"

namespace narke::transfer {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kHeaderMagic = 0x4f54524e;  // "NRTO"
constexpr uint32_t kHelloMagic = 0x4854524e;   // "NRTH"

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Takes values off the front of bytes that are long enough.
class Taker {
 public:
  explicit Taker(std::string_view bytes) : left_(bytes) {}
  template <class T>
  T take() {
    T value;
    std::memcpy(&value, left_.data(), sizeof value);
    left_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view take(size_t size) {
    std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return bytes;
  }

 private:
  std::string_view left_;
};

bool is_known(Kind kind) {
  switch (kind) {
    case Kind::kAsk:
    case Kind::kGet:
    case Kind::kDone:
    case Kind::kOffer:
    case Kind::kData:
    case Kind::kAbsent:
    case Kind::kWait: return true;
  }
  return false;
}

bool is_sound(const Header& h) {
  if (!is_known(h.kind) || h.text_bytes > kMostText) return false;
  if (h.is_request() && h.text_bytes != 0) return false;
  if (h.kind != Kind::kGet && h.kind != Kind::kData) return true;
  return h.length <= kMostData && h.offset + h.length >= h.offset && (h.kind == Kind::kGet || h.text_bytes == 0);
}

Result<Taker> open_hello(std::string_view bytes, size_t size) {
  Taker taker(bytes);
  if (bytes.size() != size || taker.take<uint32_t>() != kHelloMagic)
    return Error{ErrorCode::kRefused, "it does not speak Narke's transfer protocol"};
  if (uint16_t version = taker.take<uint16_t>(); version != kVersion)
    return Error{ErrorCode::kRefused, "it speaks version " + std::to_string(version) +
                                          " of the transfer protocol and this node version " +
                                          std::to_string(kVersion) + "; use the same version of Narke on all nodes"};
  return taker;
}

}  // namespace

std::string encode(const Header& h) {
  std::string out;
  out.reserve(kHeaderBytes);
  put(out, kHeaderMagic);
  put(out, h.kind);
  put(out, h.flags);
  put(out, h.text_bytes);
  put(out, h.number);
  out.append(h.id.view());
  put(out, h.offset);
  put(out, h.length);
  put(out, h.owner);
  put(out, h.edition);
  return out;
}

std::optional<Header> decode(std::span<const uint8_t> bytes) {
  if (bytes.size() != kHeaderBytes) return std::nullopt;
  Taker taker({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (taker.take<uint32_t>() != kHeaderMagic) return std::nullopt;
  Header h;
  h.kind = taker.take<Kind>();
  h.flags = taker.take<uint8_t>();
  h.text_bytes = taker.take<uint16_t>();
  h.number = taker.take<uint32_t>();
  h.id = ObjectId::from_bytes(taker.take(ObjectId::kSize));
  h.offset = taker.take<uint64_t>();
  h.length = taker.take<uint64_t>();
  h.owner = taker.take<uint64_t>();
  h.edition = taker.take<uint64_t>();
  if (!is_sound(h)) return std::nullopt;
  return h;
}

std::string asker_hello(const std::string& nonce, const std::string& address) {
  NARKE_CHECK(nonce.size() == rpc::kNonceBytes && address.size() <= kMostAddress);
  std::string out;
  put(out, kHelloMagic);
  put(out, kVersion);
  put(out, static_cast<uint16_t>(address.size()));
  out += nonce + address;
  out.resize(kAskerHelloBytes);
  return out;
}

Result<AskerHello> read_asker_hello(std::string_view bytes) {
  auto opened = open_hello(bytes, kAskerHelloBytes);
  if (!opened.ok()) return opened.error();
  Taker taker = opened.value();
  auto size = taker.take<uint16_t>();
  if (size > kMostAddress) return Error{ErrorCode::kRefused, "its address is too long"};
  std::string nonce(taker.take(rpc::kNonceBytes));
  return AskerHello{std::move(nonce), std::string(taker.take(size))};
}

std::string giver_hello(const std::string& nonce, const std::string& proof) {
  NARKE_CHECK(nonce.size() == rpc::kNonceBytes && proof.size() == kProofBytes);
  std::string out;
  put(out, kHelloMagic);
  put(out, kVersion);
  put(out, uint16_t{0});
  out += nonce + proof;
  out.resize(kGiverHelloBytes);
  return out;
}

Result<GiverHello> read_giver_hello(std::string_view bytes) {
  auto opened = open_hello(bytes, kGiverHelloBytes);
  if (!opened.ok()) return opened.error();
  Taker taker = opened.value();
  taker.take<uint16_t>();
  std::string nonce(taker.take(rpc::kNonceBytes));
  return GiverHello{std::move(nonce), std::string(taker.take(kProofBytes))};
}

std::string proof_of(Side side, const std::string& token, std::string_view hello, const std::string& giver_nonce) {
  std::string text = side == Side::kAsker ? "narke transfer asker 1" : "narke transfer giver 1";
  text.append(hello).append(giver_nonce);
  return rpc::prove(token, text);
}

}  // namespace narke::transfer
