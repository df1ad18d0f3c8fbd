#include "gateway/guard.h"

#include <gtest/gtest.h>

namespace narke::gateway {
namespace {

const Guard& guard() {
  static const Guard one({"secret", {"head.example.org", ".cluster.local"}});
  return one;
}

Request ask(const std::string& path, Headers headers = {}, const std::string& method = "GET") {
  Request out;
  out.method = method;
  out.path = path;
  out.headers = std::move(headers);
  out.headers.try_emplace("host", "127.0.0.1:8265");
  return out;
}

int status(const Request& request) {
  const auto refused = guard().refusal(request);
  return refused ? refused->status : 200;
}

TEST(Guard, ATokenIsAlwaysNeeded) {
  EXPECT_EQ(status(ask("/api/jobs/")), 401);
  EXPECT_EQ(status(ask("/api/jobs/", {{"authorization", "Bearer secret"}})), 200);
  EXPECT_EQ(status(ask("/api/jobs/", {{"authorization", "bearer secret"}})), 200);
  EXPECT_EQ(status(ask("/api/jobs/", {{"x-ray-authorization", "Bearer secret"}})), 200);
  for (const char* wrong : {"Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "secret", "Basic secret"})
    EXPECT_EQ(status(ask("/api/jobs/", {{"authorization", wrong}})), 403) << wrong;
}

TEST(Guard, HealthAndThePageAreOpen) {
  for (const char* path : {"/", "/healthz", "/api/gcs_healthz", "/api/authentication_mode", "/assets/index.js"})
    EXPECT_EQ(status(ask(path)), 200) << path;
  for (const char* path : {"/api/version", "/metrics", "/api/v0/logs", "/static", "/assetsx"})
    EXPECT_EQ(status(ask(path)), 401) << path;
}

TEST(Guard, ForeignHostsAreRefusedEvenWithTheToken) {
  for (const char* host : {"evil.com", "evil.com:8265", "127.0.0.1.evil.com", "localhost.evil.com", "cluster.local"})
    EXPECT_EQ(status(ask("/api/version", {{"host", host}, {"authorization", "Bearer secret"}})), 403) << host;
  EXPECT_EQ(status(ask("/healthz", {{"host", "evil.com"}})), 403);
  for (const char* host : {"localhost", "10.1.2.3:8265", "[::1]:8265", "head.example.org", "a.b.cluster.local:80"})
    EXPECT_EQ(status(ask("/api/version", {{"host", host}, {"authorization", "Bearer secret"}})), 200) << host;
  EXPECT_EQ(status(ask("/api/version", {{"host", "a b"}, {"authorization", "Bearer secret"}})), 400);
}

TEST(Guard, PagesOfOthersAreRefused) {
  const Headers token = {{"authorization", "Bearer secret"}};
  const auto with = [&](Headers more) {
    more.insert(token.begin(), token.end());
    return more;
  };
  EXPECT_EQ(status(ask("/api/jobs/", with({{"origin", "http://evil.com"}}), "POST")), 403);
  EXPECT_EQ(status(ask("/api/jobs/", with({{"origin", "null"}}), "DELETE")), 403);
  EXPECT_EQ(status(ask("/api/jobs/", with({{"origin", "http://127.0.0.1:9999"}}), "POST")), 403);
  EXPECT_EQ(status(ask("/api/jobs/", with({{"sec-fetch-site", "cross-site"}}), "DELETE")), 403);
  EXPECT_EQ(status(ask("/api/jobs/", with({{"sec-fetch-site", "same-site"}}))), 403);
  EXPECT_EQ(status(ask("/api/jobs/", with({{"origin", "http://127.0.0.1:8265"}}), "POST")), 200);
  EXPECT_EQ(status(ask("/", {{"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "navigate"}})), 200);
}

std::string cookie() {
  const Response login = guard().login(ask("/api/authenticate", {{"authorization", "Bearer secret"}}, "POST"));
  EXPECT_EQ(login.status, 200);
  const std::string& header = login.headers.at(0).second;
  EXPECT_NE(header.find("HttpOnly"), header.npos);
  EXPECT_NE(header.find("SameSite=Strict"), header.npos);
  return header.substr(0, header.find(';'));
}

TEST(Guard, TheCookieOpensAndIsNotTheToken) {
  EXPECT_EQ(cookie().find("secret"), std::string::npos);
  EXPECT_EQ(status(ask("/api/jobs/", {{"cookie", "a=b; " + cookie()}})), 200);
  EXPECT_EQ(status(ask("/api/jobs/", {{"cookie", std::string(kCookieName) + "=guess"}})), 403);
  EXPECT_EQ(guard().login(ask("/api/authenticate", {{"authorization", "Bearer x"}}, "POST")).status, 403);
  EXPECT_EQ(guard().login(ask("/api/authenticate", {}, "POST")).status, 401);
}

TEST(Guard, BrowsersDoNotSeeSecrets) {
  EXPECT_TRUE(guard().may_see_secrets(ask("/", {{"authorization", "Bearer secret"}})));
  EXPECT_FALSE(guard().may_see_secrets(ask("/", {{"authorization", "Bearer secret"}, {"user-agent", "Mozilla/5.0"}})));
  EXPECT_FALSE(guard().may_see_secrets(ask("/", {{"cookie", cookie()}})));
}

}  // namespace
}  // namespace narke::gateway
