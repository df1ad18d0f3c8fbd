#include "base/own_log.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>
#include <unistd.h>

namespace narke {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMoment = 1'767'225'600'123;  // 2026-01-01T00:00:00.123Z

class OwnLogTest : public ::testing::Test {
 protected:
  OwnLogTest() { fs::create_directories(folder_); }
  ~OwnLogTest() override {
    fs::remove_all(folder_);
    unsetenv("RAY_BACKEND_LOG_JSON");
  }
  static std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string folder_ = (fs::temp_directory_path() / ("own_log_test_" + std::to_string(getpid()))).string();
  std::string path_ = folder_ + "/daemon.log";
};

TEST(LogLineTest, text_and_json) {
  EXPECT_EQ(log_line("raylet", "all \"well\"", kMoment, false), "2026-01-01T00:00:00.123Z all \"well\"");
  EXPECT_EQ(log_line("raylet", "all \"well\"\n\\", kMoment, true),
            R"({"asctime": "2026-01-01T00:00:00.123Z", "levelname": "I", "component": "raylet", "pid": )" +
                std::to_string(getpid()) + R"(, "message": "all \"well\"\u000a\\"})");
}

TEST_F(OwnLogTest, json_on_request) {
  setenv("RAY_BACKEND_LOG_JSON", "1", 1);
  OwnLog log;
  log.open(path_, "raylet");
  log.write("began");
  const std::string text = text_of(path_);
  EXPECT_TRUE(text.starts_with("{\"asctime\"") && text.ends_with("\"message\": \"began\"}\n")) << text;
}

TEST_F(OwnLogTest, a_large_one_gets_another_name_and_the_oldest_goes) {
  OwnLog log;
  log.open(path_, "raylet", {60, 2});
  for (int i = 0; i < 12; ++i) log.write("line number " + std::to_string(i));
  EXPECT_NE(text_of(path_).find("number 11"), std::string::npos);
  EXPECT_TRUE(fs::exists(path_ + ".1"));
  EXPECT_TRUE(fs::exists(path_ + ".2"));
  EXPECT_FALSE(fs::exists(path_ + ".3"));
}

TEST_F(OwnLogTest, goes_on_in_the_file_that_is_there) {
  std::ofstream(path_) << std::string(100, 'x');
  OwnLog log;
  log.open(path_, "raylet", {60, 1});
  log.write("later");
  EXPECT_EQ(text_of(path_ + ".1"), std::string(100, 'x'));
}

}  // namespace
}  // namespace narke
