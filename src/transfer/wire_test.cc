#include "transfer/wire.h"

#include <gmock/gmock.h>

#include "rpc/auth.h"

namespace narke::transfer {
namespace {

using ::testing::HasSubstr;

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Header some_header() {
  Header header{.kind = Kind::kGet, .flags = 3, .number = 9, .id = {}, .offset = 1 << 30, .length = 77};
  header.owner = 5;
  header.edition = 6;
  std::memset(header.id.data(), 4, ObjectId::kSize);
  return header;
}

TEST(Wire, HeadersComeBackAsTheyWere) {
  Header header = some_header();
  std::string bytes = encode(header);
  ASSERT_EQ(bytes.size(), kHeaderBytes);
  EXPECT_EQ(decode(bytes_of(bytes)), header);
}

TEST(Wire, MalformedHeadersAreRefused) {
  std::string bytes = encode(some_header());
  EXPECT_FALSE(decode(bytes_of(bytes.substr(1)))) << "short";
  std::string magic = bytes;
  magic[0] ^= 1;
  EXPECT_FALSE(decode(bytes_of(magic)));
  std::string kind = bytes;
  kind[4] = 99;
  EXPECT_FALSE(decode(bytes_of(kind)));
  auto refused = [](auto change) {
    Header header = some_header();
    change(header);
    return !decode(bytes_of(encode(header)));
  };
  EXPECT_TRUE(refused([](Header& h) { h.length = kMostData + 1; }));
  EXPECT_TRUE(refused([](Header& h) { h.offset = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](Header& h) { h.text_bytes = 1; })) << "requests have no text";
  EXPECT_TRUE(refused([](Header& h) { h.kind = Kind::kOffer, h.text_bytes = kMostText + 1; }));
}

TEST(Wire, HellosComeBackAsTheyWere) {
  std::string nonce = rpc::make_nonce(), proof(kProofBytes, 'p');
  std::string address(kMostAddress, 'a');
  auto asker = read_asker_hello(asker_hello(nonce, address));
  ASSERT_TRUE(asker.ok());
  EXPECT_EQ(asker.value().nonce, nonce);
  EXPECT_EQ(asker.value().address, address);
  auto giver = read_giver_hello(giver_hello(nonce, proof));
  ASSERT_TRUE(giver.ok());
  EXPECT_EQ(giver.value().proof, proof);
}

TEST(Wire, OtherVersionsAreRefusedInWords) {
  std::string hello = asker_hello(rpc::make_nonce(), "a:1");
  hello[4] = 9;
  auto read = read_asker_hello(hello);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kRefused);
  EXPECT_THAT(read.error().message, HasSubstr("version 9"));
  hello[0] = 'x';
  EXPECT_THAT(read_asker_hello(hello).error().message, HasSubstr("does not speak"));
  EXPECT_FALSE(read_giver_hello(hello).ok());
}

TEST(Wire, ProofsAreOfASideAHelloAndANonce) {
  std::string hello = asker_hello(rpc::make_nonce(), "a:1"), nonce = rpc::make_nonce();
  std::string proof = proof_of(Side::kAsker, "token", hello, nonce);
  EXPECT_EQ(proof.size(), kProofBytes);
  EXPECT_EQ(proof, proof_of(Side::kAsker, "token", hello, nonce));
  EXPECT_NE(proof, proof_of(Side::kGiver, "token", hello, nonce)) << "a proof cannot be played back";
  EXPECT_NE(proof, proof_of(Side::kAsker, "other", hello, nonce));
  EXPECT_NE(proof, proof_of(Side::kAsker, "token", asker_hello(rpc::make_nonce(), "a:1"), nonce));
  EXPECT_NE(proof, proof_of(Side::kAsker, "token", hello, rpc::make_nonce()));
}

}  // namespace
}  // namespace narke::transfer
