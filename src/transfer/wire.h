// What two nodes say to each other over a data connection. Numbers are little-endian; every part has a fixed size.
//
//   asker                                       giver
//   preface (64, rpc/tcp.h)                               which of the node's services is meant
//   AskerHello (128): nonce, its address
//                                   GiverHello (64): nonce, proof
//   proof (32)
//   Header + text: Ask, Get, Done   Header + text + bytes: Offer, Data, Absent, Wait
//
// A proof is HMAC-SHA256, by the cluster's token, over a word for the side, the asker's hello and the giver's
// nonce: both sides prove that they hold the token, which never travels, and neither can use the other's proof.
// Answers name the number of their request and may come in any order.
// Pure functions; threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/id.h"
#include "base/result.h"

namespace narke::transfer {

inline constexpr size_t kAskerHelloBytes = 128;
inline constexpr size_t kGiverHelloBytes = 64;
inline constexpr size_t kProofBytes = 32;
inline constexpr size_t kHeaderBytes = 72;
inline constexpr size_t kMostAddress = 104;      // bytes of a node's address
inline constexpr size_t kMostText = 2048;        // bytes
inline constexpr uint64_t kMostData = 64 << 20;  // bytes of one Data
inline constexpr uint16_t kVersion = 1;

enum class Kind : uint8_t {
  kAsk = 1,   // may I have this object? Answered by Offer or Absent. The giver keeps it until Done.
  kGet = 2,   // the bytes [offset, offset + length) of this edition; answered by Data or Absent
  kDone = 3,  // an Ask has ended; not answered
  kOffer = 16,   // length: the object's bytes; owner; edition. A text is the address of a node to ask instead.
  kData = 17,    // offset, length; that many bytes follow
  kAbsent = 18,  // not here, or not any more: the text says why
  kWait = 19,    // the request is not forgotten: what it needs is on its way
};

inline constexpr uint8_t kDirect = 1;  // of Ask: do not send me elsewhere
inline constexpr uint8_t kKept = 2;    // of Done: the asker has the object now

struct Header {
  Kind kind = Kind::kAsk;
  uint8_t flags = 0;
  uint16_t text_bytes = 0;
  uint32_t number = 0;  // the asker's, of a request
  ObjectId id;
  uint64_t offset = 0, length = 0;  // bytes
  uint64_t owner = 0;               // store::owner_key()
  uint64_t edition = 0;             // two copies with one edition hold the same bytes

  bool is_request() const { return kind == Kind::kAsk || kind == Kind::kGet || kind == Kind::kDone; }
  bool operator==(const Header&) const = default;
};

std::string encode(const Header& header);
// Nothing when the bytes are no header: `bytes` has kHeaderBytes. Lengths are within their bounds.
std::optional<Header> decode(std::span<const uint8_t> bytes);

// The first words of each side.
std::string asker_hello(const std::string& nonce, const std::string& address);
struct AskerHello {
  std::string nonce, address;
};
Result<AskerHello> read_asker_hello(std::string_view bytes);
std::string giver_hello(const std::string& nonce, const std::string& proof);
struct GiverHello {
  std::string nonce, proof;
};
Result<GiverHello> read_giver_hello(std::string_view bytes);

enum class Side { kAsker, kGiver };
// hello: the asker's, whole.
std::string proof_of(Side side, const std::string& token, std::string_view hello, const std::string& giver_nonce);

}  // namespace narke::transfer
