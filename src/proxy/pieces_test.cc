// The small pure parts: answers, values, targets, statistics.
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/answer.h"
#include "proxy/options.h"
#include "proxy/pickle_writer.h"
#include "proxy/stats.h"
#include "proxy/target.h"

namespace narke::proxy {
namespace {

using ::testing::HasSubstr;
using namespace std::string_literals;

std::string answer_bytes(uint8_t kind, uint16_t status, uint32_t load, std::string_view head, std::string_view body) {
  std::string out{'\x07', static_cast<char>(kind), '\0'};
  auto size = static_cast<uint32_t>(head.size());
  out.append(reinterpret_cast<const char*>(&status), 2);
  out.append(reinterpret_cast<const char*>(&load), 4);
  out.append(reinterpret_cast<const char*>(&size), 4);
  return out.append(head).append(body);
}

rpc::Bytes bytes_of(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

TEST(Answer, is_read) {
  std::string text = answer_bytes(1, 201, 7, "content-type\0text/plain\0x\0\0"s, "body");
  auto answer = read_answer(bytes_of(text));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->kind, AnswerKind::kWhole);
  EXPECT_EQ(answer->status, 201);
  EXPECT_EQ(answer->load, 7u);
  ASSERT_EQ(answer->headers.size(), 2u);
  EXPECT_EQ(answer->headers[0].value, "text/plain");
  EXPECT_EQ(answer->headers[1].value, "");
  EXPECT_EQ(answer->body, "body");
}

TEST(Answer, that_would_break_the_response_apart_is_refused) {
  EXPECT_FALSE(read_answer(bytes_of(answer_bytes(1, 200, 0, "a\0b\r\nevil: 1\0"s, ""))));
  EXPECT_FALSE(read_answer(bytes_of(answer_bytes(1, 200, 0, "a b\0c\0"s, ""))));
  EXPECT_FALSE(read_answer(bytes_of(answer_bytes(1, 200, 0, "\0c\0"s, ""))));
}

TEST(Answer, damaged_bytes_are_none) {
  std::string good = answer_bytes(1, 200, 0, "a\0b\0"s, "body");
  for (size_t size = 0; size < 17; ++size) EXPECT_FALSE(read_answer(bytes_of(good.substr(0, size)))) << size;
  EXPECT_FALSE(read_answer(bytes_of(answer_bytes(0, 200, 0, "", ""))));
  EXPECT_FALSE(read_answer(bytes_of(answer_bytes(99, 200, 0, "", ""))));
}

TEST(Answer, chunks_are_taken_one_by_one) {
  std::string_view body("\x02\0\0\0ab\x01\0\0\0c", 11);
  EXPECT_EQ(next_chunk(body), "ab");
  EXPECT_EQ(next_chunk(body), "c");
  EXPECT_TRUE(body.empty());
  for (std::string_view damaged : {std::string_view("\x02\0\0", 3), std::string_view("\x02\0\0\0a", 5)})
    EXPECT_FALSE(next_chunk(damaged));
}

TEST(EngineErrorKind, is_found_in_engine_errors_only) {
  EXPECT_EQ(engine_error_kind(bytes_of("\x20\x0e"s + "ActorDiedError" + "...")), "ActorDiedError");
  EXPECT_EQ(engine_error_kind(bytes_of("\x20\x7f"s + "short")), "");
  EXPECT_EQ(engine_error_kind(bytes_of("\x10whatever"s)), "");
}

TEST(PickleWriter, bytes_may_stay_apart) {
  PickleWriter whole, parted;
  std::string data(300, 'x');
  whole.bytes(data);
  parted.bytes_apart(data.size());
  std::string head = parted.finish();
  EXPECT_EQ(head.substr(0, parted.apart()) + data + head.substr(parted.apart()), whole.finish());
}

TEST(PickleWriter, writes_the_opcodes_of_protocol_4) {
  PickleWriter out;
  out.begin_tuple();
  out.text("a");
  out.integer(-2);
  out.none();
  out.boolean(true);
  out.begin_list();
  out.bytes("b");
  out.end_list();
  out.end_tuple();
  std::string value = out.finish();
  std::string expected = "\x80\x04(\x8c\x01"s + "a\x8a\x08\xfe\xff\xff\xff\xff\xff\xff\xffN\x88](C\x01" + "bet.";
  EXPECT_EQ(value.substr(16), expected);
  EXPECT_EQ(value[0], '\x08');
  uint64_t size = 0;
  std::memcpy(&size, value.data() + 8, 8);
  EXPECT_EQ(size, expected.size());
}

TEST(PickleWriter, text_is_always_utf8) {
  EXPECT_TRUE(is_utf8("gr\xc3\xbc\xc3\x9f"));
  EXPECT_FALSE(is_utf8("\xff"));
  EXPECT_FALSE(is_utf8("\xc0\xaf"));
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));
  EXPECT_EQ(to_utf8("a\xff"
                    "b"),
            "a\xef\xbf\xbd"
            "b");
}

TEST(Target, is_taken_apart) {
  Target target;
  ASSERT_TRUE(read_target("/a%20b/%C3%BC?x=1&y=%20#z", target));
  EXPECT_EQ(target.path, "/a b/\xc3\xbc");
  EXPECT_EQ(target.raw_path, "/a%20b/%C3%BC");
  EXPECT_EQ(target.query, "x=1&y=%20");
  ASSERT_TRUE(read_target("http://host:80/p?q", target));
  EXPECT_EQ(target.path, "/p");
  ASSERT_TRUE(read_target("http://host", target));
  EXPECT_EQ(target.path, "/");
  ASSERT_TRUE(read_target("/%zz%4", target));
  EXPECT_EQ(target.path, "/%zz%4");
  EXPECT_FALSE(read_target("nothing", target));
}

TEST(RequestId, looks_like_a_uuid) {
  EXPECT_EQ(make_request_id(0, 0), "00000000-0000-4000-8000-000000000000");
  EXPECT_EQ(make_request_id(~uint64_t{0}, ~uint64_t{0}), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

TEST(Stats, are_shown_in_the_text_format) {
  Stats stats;
  stats.count("/", "GET", "app", "Model", 200, 3);
  stats.count("/", "GET", "app", "Model", 500, 7000);
  std::string text = stats.prometheus("n1");
  EXPECT_THAT(text, HasSubstr("serve_num_http_requests_total{route=\"/\",method=\"GET\",application=\"app\","
                              "status_code=\"200\",node_id=\"n1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("serve_num_http_error_requests_total{route=\"/\",error_code=\"500\""));
  EXPECT_THAT(text, HasSubstr("serve_num_deployment_http_error_requests_total{deployment=\"Model\""));
  EXPECT_THAT(text, HasSubstr("node_id=\"n1\",le=\"5\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("le=\"2\"} 0\n"));
}

TEST(Stats, labels_cannot_break_out) {
  Stats stats;
  stats.count("/a\"\n\\", "GET", "app", "", 200, 1);
  EXPECT_THAT(stats.prometheus(""), HasSubstr("route=\"/a\\\"\\n\\\\\""));
}

TEST(Options, are_read) {
  std::string actor(32, 'a');
  auto options = parse_options({"--node-socket=s", "--token-file=t", "--controller=" + actor, "--port=0"});
  ASSERT_TRUE(options.ok()) << options.error().message;
  EXPECT_EQ(options.value().server.port, 0);
  EXPECT_FALSE(parse_options({"--port=x"}).ok());
  EXPECT_FALSE(parse_options({"--what=1"}).ok());
  EXPECT_FALSE(parse_options({"--port"}).ok());
  EXPECT_FALSE(parse_options({"--node-socket=s"}).ok());
}

}  // namespace
}  // namespace narke::proxy
