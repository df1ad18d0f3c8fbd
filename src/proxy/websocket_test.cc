#include "proxy/websocket.h"

#include <gtest/gtest.h>

namespace narke::proxy {
namespace {

// A client's frame: masked.
std::string masked(uint8_t first, std::string_view payload) {
  std::string out{static_cast<char>(first)};
  if (payload.size() < 126) {
    out.push_back(static_cast<char>(0x80 | payload.size()));
  } else {
    out.push_back('\xfe');
    out.push_back(static_cast<char>(payload.size() >> 8));
    out.push_back(static_cast<char>(payload.size()));
  }
  const char mask[4] = {1, 2, 3, 4};
  out.append(mask, 4);
  for (size_t i = 0; i < payload.size(); ++i) out.push_back(static_cast<char>(payload[i] ^ mask[i % 4]));
  return out;
}

TEST(WebSocket, the_handshake_is_that_of_the_rfc) {
  EXPECT_EQ(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(WebSocket, messages_come_whole_however_they_are_cut) {
  std::string text = masked(0x01, "hel") + masked(0x89, "?") + masked(0x80, "lo") + masked(0x82, std::string(300, 'b'));
  for (size_t step : {1, 2, 5, 1000}) {
    FrameReader reader(1 << 20);
    std::vector<FrameReader::Message> got;
    for (size_t at = 0; at < text.size(); at += step) ASSERT_TRUE(reader.feed(text.substr(at, step), got));
    ASSERT_EQ(got.size(), 3u);
    EXPECT_EQ(got[0].opcode, Opcode::kPing);
    EXPECT_EQ(got[1].payload, "hello");
    EXPECT_EQ(got[2].opcode, Opcode::kBinary);
    EXPECT_EQ(got[2].payload.size(), 300u);
  }
}

TEST(WebSocket, a_close_has_its_code_and_reason) {
  FrameReader reader(100);
  std::vector<FrameReader::Message> got;
  ASSERT_TRUE(reader.feed(masked(0x88, close_payload(1001, "bye")), got));
  EXPECT_EQ(got[0].code, 1001);
  EXPECT_EQ(got[0].payload, "bye");
}

TEST(WebSocket, nothing_counts_after_a_close) {
  FrameReader reader(100);
  std::vector<FrameReader::Message> got;
  ASSERT_TRUE(reader.feed(masked(0x88, close_payload(1000, "")) + masked(0x81, "late") + "\xff\xff", got));
  ASSERT_TRUE(reader.feed(masked(0x89, "later"), got));
  EXPECT_EQ(got.size(), 1u);
}

TEST(WebSocket, a_key_is_16_bytes_in_base64) {
  EXPECT_TRUE(is_websocket_key("dGhlIHNhbXBsZSBub25jZQ=="));
  for (const char* key : {"", "short", "!!!!IHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=a"})
    EXPECT_FALSE(is_websocket_key(key)) << key;
}

struct Broken {
  const char* what;
  std::string bytes;
  uint16_t code;
};

class BrokenFrames : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenFrames, end_the_stream) {
  FrameReader reader(1000);
  std::vector<FrameReader::Message> got;
  EXPECT_FALSE(reader.feed(GetParam().bytes, got)) << GetParam().what;
  EXPECT_EQ(reader.fault(), GetParam().code) << GetParam().what;
}

INSTANTIATE_TEST_SUITE_P(
    of, BrokenFrames,
    ::testing::Values(Broken{"not masked",
                             std::string("\x81\x01"
                                         "a"),
                             1002},
                      Broken{"reserved bit", masked(0xc1, "a"), 1002},
                      Broken{"unknown opcode", masked(0x83, "a"), 1002},
                      Broken{"a part of nothing", masked(0x80, "a"), 1002},
                      Broken{"a message within another", masked(0x01, "a") + masked(0x81, "b"), 1002},
                      Broken{"a ping in parts", masked(0x09, "a"), 1002},
                      Broken{"a long ping", masked(0x89, std::string(126, 'a')), 1002},
                      Broken{"a close of one byte", masked(0x88, "a"), 1002},
                      Broken{"a close with a bad code", masked(0x88, std::string("\x03\xed")), 1002},
                      Broken{"text that is none", masked(0x81, "\xff"), 1007},
                      Broken{"too large", masked(0x82, std::string(1001, 'a')), 1009}),
    [](const auto& info) {
      std::string name = info.param.what;
      for (char& c : name)
        if (c == ' ') c = '_';
      return name;
    });

TEST(WebSocket, frames_of_all_lengths_have_the_shortest_head) {
  EXPECT_EQ(make_frame(Opcode::kText, std::string(125, 'a')).size(), 127u);
  EXPECT_EQ(make_frame(Opcode::kText, std::string(126, 'a')).size(), 130u);
  EXPECT_EQ(make_frame(Opcode::kText, std::string(65536, 'a')).size(), 65546u);
  EXPECT_EQ(make_frame(Opcode::kText, "a", false), std::string("\x01\x01"
                                                               "a"));
  EXPECT_EQ(make_frame(Opcode::kContinue, "a"), std::string("\x80\x01"
                                                            "a"));
}

}  // namespace
}  // namespace narke::proxy
