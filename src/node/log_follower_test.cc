#include "node/log_follower.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "node/service.h"

namespace narke::node {
namespace {

class LogFollowerTest : public ::testing::Test, public LogOut {
 protected:
  LogFollowerTest() {
    char folder[] = "/tmp/narke-log-XXXXXX";
    folder_ = mkdtemp(folder);
    follower_ = std::make_unique<LogFollower>(reactor_, folder_, *this);
    follower_->follow(worker_);
  }
  ~LogFollowerTest() override {
    follower_.reset();
    std::filesystem::remove_all(folder_);
  }
  void on_lines(const std::vector<LogText>& lines) override {
    for (const LogText& line : lines) {
      said_.push_back((line.is_error ? "E:" : "O:") + line.text);
      speakers_.push_back(line.speaker);
    }
  }
  void write(bool is_error, const std::string& text) {
    std::ofstream(LogFollower::path(folder_, worker_, is_error), std::ios::app) << text;
  }
  void on_rotated(const WorkerId& worker) override {
    EXPECT_EQ(worker, worker_);
    ++rotations_;
  }
  void turn_until(size_t lines) {
    for (int i = 0; i < 200 && said_.size() < lines; ++i) {
      reactor_.wait(50);
      reactor_.dispatch();
    }
  }

  rpc::Reactor reactor_{rpc::Identity{}};
  std::string folder_;
  WorkerId worker_ = random_worker_id();
  std::unique_ptr<LogFollower> follower_;
  std::vector<std::string> said_, speakers_;
  int rotations_ = 0;
};

TEST_F(LogFollowerTest, HandsOverWholeLines) {
  write(false, "one\ntw");
  turn_until(1);
  EXPECT_EQ(said_, (std::vector<std::string>{"O:one"}));
  write(false, "o\n");
  write(true, "oh\n");
  turn_until(3);
  std::sort(said_.begin(), said_.end());
  EXPECT_EQ(said_, (std::vector<std::string>{"E:oh", "O:one", "O:two"}));
}

TEST_F(LogFollowerTest, NamesWhoSpoke) {
  const std::string mark(kSpeakerMark);
  write(false, "before\n" + mark + "f\none\ntwo\n" + mark + "g\nthree\n");
  turn_until(4);
  EXPECT_EQ(said_, (std::vector<std::string>{"O:before", "O:one", "O:two", "O:three"}));
  EXPECT_EQ(speakers_, (std::vector<std::string>{"", "f", "f", "g"}));
}

TEST_F(LogFollowerTest, ReadsTheUnfinishedLineAtTheEnd) {
  write(true, "a\nlast words");
  follower_->finish(worker_);
  EXPECT_EQ(said_, (std::vector<std::string>{"E:a", "E:last words"}));
  EXPECT_EQ(LogFollower::tail(folder_, worker_, 5), "words");
}

TEST_F(LogFollowerTest, CutsEndlessLines) {
  write(false, std::string(20'000, 'x'));
  follower_->finish(worker_);
  ASSERT_EQ(said_.size(), 3u);
  EXPECT_EQ(said_[0].size(), 2 + 8 * 1024u);
}

TEST_F(LogFollowerTest, AFileThatGrewTooLargeGetsAnotherNameAndNoLineIsLost) {
  follower_ = std::make_unique<LogFollower>(reactor_, folder_, *this, LogLimits{.most_bytes = 10, .backups = 2});
  follower_->follow(worker_);
  const std::string path = LogFollower::path(folder_, worker_, false);
  write(false, "first line\n");
  turn_until(1);
  EXPECT_EQ(rotations_, 1);
  std::ofstream(path + ".1", std::ios::app) << "late\n";  // the worker still has the old file
  turn_until(2);
  write(false, "new\n");
  turn_until(3);
  EXPECT_EQ(said_, (std::vector<std::string>{"O:first line", "O:late", "O:new"}));
  for (const char* more : {"another line\n", "and one more\n"}) {
    const size_t before = said_.size();
    write(false, more);
    turn_until(before + 1);
  }
  EXPECT_EQ(rotations_, 3);
  EXPECT_TRUE(std::filesystem::exists(path + ".2"));
  EXPECT_FALSE(std::filesystem::exists(path + ".3"));
}

TEST_F(LogFollowerTest, ReadsALotInPieces) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "a line of some length, number " + std::to_string(i) + "\n";
  write(false, text);
  turn_until(100'000);
  EXPECT_EQ(said_.size(), 100'000u);
  EXPECT_EQ(said_.back(), "O:a line of some length, number 99999");
}

}  // namespace
}  // namespace narke::node
