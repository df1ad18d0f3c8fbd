#include "gateway/url.h"

#include <gtest/gtest.h>

namespace narke::gateway {
namespace {

TEST(Target, SplitsAndDecodes) {
  const auto target = parse_target("/api/jobs/a%20b?limit=5&filter_keys=x&filter_keys=y%3D1&flag&s=a+b#part");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/api/jobs/a b");
  const std::vector<std::pair<std::string, std::string>> want = {
      {"limit", "5"}, {"filter_keys", "x"}, {"filter_keys", "y=1"}, {"flag", ""}, {"s", "a b"}};
  EXPECT_EQ(target->query, want);
}

TEST(Target, RefusesWhatLeadsElsewhere) {
  for (const char* bad : {"", "api", "http://evil/", "/a/../b", "/a/%2e%2e/b", "/..", "/a%00b", "/%zz", "/%4",
                          "/a\\..\\b", "/?x=%", "/static/..%2f..%2fetc/passwd", "*"})
    EXPECT_FALSE(parse_target(bad)) << bad;
}

TEST(Target, TwoDotsInANameAreNoStep) { EXPECT_TRUE(parse_target("/a..b/..c")); }

TEST(Names, StayInTheirFolder) {
  EXPECT_TRUE(is_plain_name("worker-1.out"));
  for (const char* bad : {"", ".", "..", "a/b", "/etc/passwd"}) EXPECT_FALSE(is_plain_name(bad)) << bad;
  EXPECT_FALSE(is_plain_name(std::string_view("a\0b", 3)));
}

TEST(Host, WithAndWithoutPort) {
  EXPECT_EQ(host_of("LocalHost:8265"), "localhost");
  EXPECT_EQ(host_of("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(host_of("[::1]:80"), "::1");
  for (const char* bad : {"", ":80", "a b", "a:b", "[::1", "a:123456", "evil.com/x", "user@host"})
    EXPECT_FALSE(host_of(bad)) << bad;
}

TEST(Cookie, IsFoundByItsWholeName) {
  EXPECT_EQ(cookie_of("a=1; token=xyz; b=2", "token"), "xyz");
  EXPECT_EQ(cookie_of("xtoken=1", "token"), "");
  EXPECT_EQ(cookie_of("", "token"), "");
}

}  // namespace
}  // namespace narke::gateway
