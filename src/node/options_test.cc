#include "node/options.h"

#include <gtest/gtest.h>

namespace narke::node {
namespace {

using sched::kOne;

TEST(Options, AreReadFromTheCommandLine) {
  const auto options = parse_options({"--session-dir", "/s", "--resource", "CPU=2", "--resource=x=0.5",
                                      "--object-store-memory", "1000", "--labels", "a=b,c=d", "--owner-pid", "7"},
                                     "0.9");
  ASSERT_TRUE(options.ok()) << options.error().message;
  EXPECT_EQ(options.value().resources, (sched::ResourceSet{{"CPU", 2 * kOne}, {"x", kOne / 2}}));
  EXPECT_EQ(options.value().object_store_bytes, 1000u);
  EXPECT_EQ(options.value().labels.at("c"), "d");
  EXPECT_EQ(options.value().owner_pid, 7);
  EXPECT_EQ(options.value().memory_threshold, 0.9);
}

TEST(Options, ThatAreWrongAreNamed) {
  const auto message = [](const std::vector<std::string>& arguments) {
    const auto options = parse_options(arguments, nullptr);
    return options.ok() ? std::string() : options.error().message;
  };
  EXPECT_NE(message({}).find("--session-dir"), std::string::npos);
  EXPECT_NE(message({"--frobnicate"}).find("--frobnicate"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--resource", "CPU=-1"}).find("CPU=-1"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--resource", "CPU=nan"}).find("CPU=nan"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--owner-pid"}).find("needs a value"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--head=1"}).find("--head"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--tls", "maybe"}).find("maybe"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--tls-cert", "c"}).find("--tls-key"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--outside"}).find("--join"), std::string::npos);
  EXPECT_NE(message({"--session-dir", "/s", "--grace-ms", "-1"}).find("--grace-ms"), std::string::npos);
  EXPECT_FALSE(parse_options({"--session-dir", "/s"}, "2").ok());
}

TEST(Options, AreAllInTheHelp) { EXPECT_NE(usage().find("--object-store-memory BYTES"), std::string::npos); }

}  // namespace
}  // namespace narke::node
