#include "base/log_files.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace narke {
namespace {

namespace fs = std::filesystem;

class LogFilesTest : public ::testing::Test {
 protected:
  LogFilesTest() {
    char name[] = "/tmp/narke-logs-XXXXXX";
    folder_ = mkdtemp(name);
    write("worker-1.out", "first\n\x01mark needle\nA Needle here\nlast\n");
    fs::create_directory(folder_ + "/old");
    write("old/worker-2.err", "another needle\n");
  }
  ~LogFilesTest() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ + "/" + name) << text; }
  std::string folder_;
};

TEST_F(LogFilesTest, names_stay_in_the_folder) {
  EXPECT_TRUE(is_log_name("old/worker-2.err"));
  for (const char* bad : {"", "/etc/passwd", "../token", "old/../../token", ".hidden", "old//x", "a/"})
    EXPECT_FALSE(is_log_name(bad)) << bad;
  EXPECT_FALSE(read_log(folder_, "../x", 0, 10).ok());
  fs::create_symlink("/etc/hostname", folder_ + "/link.out");
  EXPECT_FALSE(read_log(folder_, "link.out", 0, 10).ok());
  EXPECT_EQ(log_files(folder_, "*").size(), 2u);
}

TEST_F(LogFilesTest, pieces_and_tails) {
  EXPECT_EQ(read_log(folder_, "worker-1.out", 0, 5).value(), "first");
  EXPECT_EQ(read_log(folder_, "worker-1.out", 1000, 5).value(), "");
  const std::string path = folder_ + "/worker-1.out";
  EXPECT_EQ(log_tail(path, 1).value(), fs::file_size(path) - 5);
  EXPECT_EQ(log_tail(path, 100).value(), 0u);
  EXPECT_EQ(log_tail(path, 0).value(), fs::file_size(path));
  EXPECT_FALSE(log_tail(folder_, 1).ok());
}

TEST_F(LogFilesTest, old_files_and_the_oldest_of_too_many_go) {
  write("worker-3.out", std::string(1000, 'x'));
  const auto now_ms = log_files(folder_, "worker-3.out")[0].modified_ms;
  EXPECT_EQ(prune_logs(folder_, {}, {}, now_ms), 0u);
  EXPECT_EQ(prune_logs(folder_, {"worker-3.out"}, {.total_bytes = 10}, now_ms), 1u);
  EXPECT_EQ(log_files(folder_, "worker-*").size(), 1u);
  EXPECT_EQ(prune_logs(folder_, {}, {.keep_ms = 1000}, now_ms + 2000), 1u);
  EXPECT_EQ(log_files(folder_, "*").size(), 1u);  // no worker's: it stays
}

TEST_F(LogFilesTest, a_search_names_file_and_line) {
  const LogMatches found = search_logs(folder_, {.wanted = "nEEdle"});
  ASSERT_EQ(found.matches.size(), 2u);
  EXPECT_TRUE(found.complete);
  EXPECT_EQ(found.matches[0].name, "old/worker-2.err");
  EXPECT_EQ(found.matches[1].line, 3);
  EXPECT_EQ(found.matches[1].text, "A Needle here");
  EXPECT_EQ(search_logs(folder_, {.wanted = "needle", .glob = "*.err"}).matches.size(), 1u);
  EXPECT_FALSE(search_logs(folder_, {.wanted = "needle", .most_matches = 1}).complete);
}

TEST(GlobTest, stars_and_question_marks) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("worker-*.out", "worker-12.out"));
  EXPECT_TRUE(matches_glob("*a*b", "xxaybab"));
  EXPECT_TRUE(matches_glob("n?de", "node"));
  EXPECT_FALSE(matches_glob("worker-*.out", "worker-12.err"));
  EXPECT_FALSE(matches_glob("", "a"));
  EXPECT_FALSE(matches_glob(std::string(200, '*') + "b", std::string(5000, 'a')));  // and it ends
}

}  // namespace
}  // namespace narke
