#include "gateway/file_source.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/log_files.h"

namespace narke::gateway {
namespace {

class FileSourceTest : public testing::Test {
 protected:
  FileSourceTest() {
    char name[] = "/tmp/narke-file-source-XXXXXX";
    dir_ = mkdtemp(name);
    path_ = dir_ + "/log";
  }
  ~FileSourceTest() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }

  // The next piece; pauses pass at once.
  std::optional<std::string> next(Source& source) {
    std::optional<std::string> out = "no answer";
    source.next([&](std::optional<std::string> piece) { out = std::move(piece); });
    return out;
  }
  static void at_once(std::chrono::milliseconds, std::function<void()> then) { then(); }

  std::string dir_, path_;
};

TEST_F(FileSourceTest, GivesAFileToItsEnd) {
  write("one\ntwo");
  const auto source = follow_file({.path = path_}, at_once);
  EXPECT_EQ(next(*source), "one\ntwo");
  EXPECT_EQ(next(*source), std::nullopt);
}

TEST_F(FileSourceTest, FollowsUntilItIsOver) {
  bool over = false;
  const auto source = follow_file({.path = path_, .whole_lines = true, .is_over = [&] { return over; }}, at_once);
  EXPECT_EQ(next(*source), "");  // not there yet
  write("a\nhal");
  EXPECT_EQ(next(*source), "a\n");
  EXPECT_EQ(next(*source), "");
  write("f");
  over = true;
  EXPECT_EQ(next(*source), "half");
  EXPECT_EQ(next(*source), std::nullopt);
}

TEST_F(FileSourceTest, DoesNotFollowLinks) {
  std::filesystem::create_symlink("/etc/passwd", path_);
  EXPECT_EQ(next(*follow_file({.path = path_}, at_once)), std::nullopt);
  EXPECT_FALSE(log_tail(path_, 5).ok());
}

TEST_F(FileSourceTest, FindsTheLastLines) {
  write("1\n2\n3\n4\n");
  EXPECT_EQ(log_tail(path_, 2).value(), 4u);
  EXPECT_EQ(log_tail(path_, 100).value(), 0u);
  write("5");
  EXPECT_EQ(log_tail(path_, 1).value(), 8u);
}

}  // namespace
}  // namespace narke::gateway
