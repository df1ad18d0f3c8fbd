#include "proxy/request_parser.h"

#include <gtest/gtest.h>

namespace narke::proxy {
namespace {

using Fault = RequestParser::Fault;

// Feeds everything, in pieces of `step` bytes, holding back what is not used, as a session does.
void feed_all(RequestParser& parser, std::string_view text, size_t step) {
  std::string held;
  for (size_t at = 0; at < text.size(); at += step) {
    held.append(text.substr(at, step));
    for (size_t used = 1; used > 0 && !held.empty() && !parser.is_done();) {
      bool had_head = parser.has_head();
      used = parser.feed(held);
      held.erase(0, used);
      if (!had_head && parser.has_head()) used = 1;
    }
  }
}

class Pieces : public ::testing::TestWithParam<size_t> {};

TEST_P(Pieces, a_request_with_a_body_is_read_whole) {
  RequestParser parser({});
  feed_all(parser, "POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nContent-Length: 5\r\n\r\nhello", GetParam());
  ASSERT_TRUE(parser.is_done());
  EXPECT_EQ(parser.fault(), Fault::kNone);
  EXPECT_EQ(parser.head().method, "POST");
  EXPECT_EQ(parser.head().target, "/a?b=c");
  EXPECT_EQ(*parser.head().find("x-two"), "1");
  EXPECT_EQ(parser.head().content_length, 5u);
  EXPECT_TRUE(parser.head().keeps_alive);
  EXPECT_EQ(parser.body(), "hello");
}

TEST_P(Pieces, chunks_become_one_body) {
  RequestParser parser({});
  feed_all(parser,
           "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
           GetParam());
  ASSERT_TRUE(parser.is_done()) << parser.reason();
  EXPECT_TRUE(parser.head().is_chunked);
  EXPECT_EQ(parser.body(), "abcde");
}

INSTANTIATE_TEST_SUITE_P(of, Pieces, ::testing::Values(1, 3, 7, 1000));

TEST(RequestParser, what_follows_a_request_is_left) {
  RequestParser parser({});
  std::string two = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
  size_t used = parser.feed(two);
  EXPECT_TRUE(parser.is_done());
  EXPECT_EQ(two.substr(used, 6), "GET /2");
  parser.reset();
  parser.feed(std::string_view(two).substr(used));
  EXPECT_EQ(parser.head().target, "/2");
}

TEST(RequestParser, a_head_that_is_too_large_is_a_fault) {
  RequestParser parser({.head_bytes = 200});
  parser.feed("GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(400, 'a') + "\r\n\r\n");
  EXPECT_EQ(parser.fault(), Fault::kHeadTooLarge);
}

TEST(RequestParser, a_body_above_the_limit_is_a_fault_as_soon_as_its_length_is_known) {
  RequestParser parser({});
  parser.feed("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
  parser.set_body_limit(10);
  EXPECT_EQ(parser.fault(), Fault::kBodyTooLarge);
}

TEST(RequestParser, chunks_above_the_limit_are_a_fault) {
  RequestParser parser({});
  parser.feed("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  parser.set_body_limit(4);
  parser.feed("8\r\nabcdefgh\r\n0\r\n\r\n");
  EXPECT_EQ(parser.fault(), Fault::kBodyTooLarge);
}

class Malformed : public ::testing::TestWithParam<const char*> {};

TEST_P(Malformed, is_a_fault) {
  RequestParser parser({});
  std::string_view text = GetParam();
  size_t used = parser.feed(text);
  if (parser.has_head() && parser.fault() == Fault::kNone) parser.feed(text.substr(used));
  EXPECT_EQ(parser.fault(), Fault::kMalformed);
}

INSTANTIATE_TEST_SUITE_P(
    of, Malformed,
    ::testing::Values("GARBAGE\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n",
                      "GET / HTTP/1.1\r\nHost x\r\n\r\n", "GET / HTTP/1.1\r\nA B: c\r\n\r\n",
                      // smuggling: two lengths, a length beside chunks, a length that is none
                      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
                      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
                      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
                      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                      // and encodings that are not chunked alone
                      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
                      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
                      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                      "POST / HTTP/1.1\r\nHost: x\r\n Transfer-Encoding: chunked\r\n\r\n",
                      "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                      // one length twice, in two headers or in one
                      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
                      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello",
                      // hosts that would become a path or a user
                      "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
                      "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n",
                      "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"));

TEST_P(Pieces, empty_lines_before_a_request_are_passed_over) {
  RequestParser parser({});
  feed_all(parser, "\r\n\r\nGET /a HTTP/1.1\r\nHost: x:8000\r\n\r\n", GetParam());
  ASSERT_TRUE(parser.is_done()) << parser.reason();
  EXPECT_EQ(parser.head().target, "/a");
}

TEST(RequestParser, only_one_expectation_is_known) {
  RequestParser parser({});
  parser.feed("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n");
  EXPECT_TRUE(parser.head().expects_continue && !parser.head().expects_other);
  parser.reset();
  parser.feed("POST / HTTP/1.1\r\nHost: x\r\nExpect: more\r\nContent-Length: 1\r\n\r\n");
  EXPECT_TRUE(!parser.head().expects_continue && parser.head().expects_other);
}

TEST(RequestParser, a_line_feed_in_a_chunk_extension_is_a_fault) {
  RequestParser parser({});
  feed_all(parser, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"\n\"\r\nabc\r\n0\r\n\r\n",
           1000);
  EXPECT_EQ(parser.fault(), Fault::kMalformed);
}

TEST(RequestParser, two_hosts_are_a_fault) {
  RequestParser parser({});
  parser.feed("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n");
  EXPECT_EQ(parser.fault(), Fault::kMalformed);
}

TEST(RequestParser, a_body_of_known_length_can_be_taken_as_it_is) {
  RequestParser parser(RequestParser::Limits{});
  std::string_view text = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabcdefGET";
  text.remove_prefix(parser.feed(text));
  ASSERT_TRUE(parser.has_head() && !parser.is_done());
  EXPECT_EQ(parser.take_plain(text.substr(0, 2)), "ab");
  EXPECT_FALSE(parser.is_done());
  EXPECT_EQ(parser.take_plain(text.substr(2)), "cdef");
  EXPECT_TRUE(parser.is_done());
  parser.reset();
  EXPECT_FALSE(parser.is_done());
}

}  // namespace
}  // namespace narke::proxy
