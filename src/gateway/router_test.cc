#include "gateway/router.h"

#include <gtest/gtest.h>

namespace narke::gateway {
namespace {

Router made() {
  Router out;
  for (const auto& [method, pattern] : {std::pair{"GET", "/api/jobs/"},
                                        {"POST", "/api/jobs/"},
                                        {"GET", "/api/jobs/{id}"},
                                        {"GET", "/api/jobs/{id}/logs"},
                                        {"GET", "/api/v0/logs/{media}"}}) {
    Route route;
    route.method = method;
    route.pattern = pattern;
    out.add(std::move(route));
  }
  return out;
}

TEST(Router, FindsByMethodAndPath) {
  const Router router = made();
  EXPECT_EQ(router.match("GET", "/api/jobs").route->pattern, "/api/jobs/");
  EXPECT_EQ(router.match("HEAD", "/api/jobs/").route->method, "GET");
  const Router::Match match = router.match("GET", "/api/jobs/raysubmit_1/logs");
  EXPECT_EQ(match.route->pattern, "/api/jobs/{id}/logs");
  EXPECT_EQ(match.parts, std::vector<std::string>{"raysubmit_1"});
}

TEST(Router, SaysWhatIsWrong) {
  const Router router = made();
  const Router::Match wrong = router.match("DELETE", "/api/jobs/");
  EXPECT_EQ(wrong.route, nullptr);
  EXPECT_EQ(wrong.miss, Router::Miss::kWrongMethod);
  EXPECT_EQ(wrong.allowed, "GET, POST");
  EXPECT_EQ(router.match("GET", "/api/nothing").miss, Router::Miss::kNoPath);
  EXPECT_EQ(router.match("GET", "/api/jobs//logs").route, nullptr);
}

TEST(Router, DescribesItself) {
  const json::value document = made().openapi();
  EXPECT_TRUE(document.at("paths").at("/api/jobs/").as_object().contains("post"));
  EXPECT_EQ(document.at("paths").at("/api/jobs/{id}").at("get").at("parameters").at(0).at("name"), "id");
}

}  // namespace
}  // namespace narke::gateway
