#include "journal/journal.h"

#include <filesystem>
#include <fstream>
#include <map>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace narke::journal {
namespace {

namespace fs = std::filesystem;
using Records = std::map<std::pair<int, std::string>, std::string>;

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() : folder_(fs::temp_directory_path() / ("narke-journal-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
  }
  ~JournalTest() override { fs::remove_all(folder_); }
  std::string path() const { return folder_ / "journal"; }

  static Records all(Journal& journal) {
    Records out;
    EXPECT_TRUE(
        journal.load([&](int table, const std::string& key, const std::string& value) { out[{table, key}] = value; })
            .ok());
    return out;
  }
  std::unique_ptr<Journal> open() {
    auto opened = Journal::open(path());
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return std::move(opened).value();
  }

  fs::path folder_;
};

TEST_F(JournalTest, KeepsWhatWasAppliedAndForgetsWhatWasErased) {
  const std::string binary("\0\xff x", 4);
  {
    auto journal = open();
    EXPECT_TRUE(journal->apply({{1, "a", "x"}, {2, "a", binary}, {1, "b", ""}}).ok());
    EXPECT_TRUE(journal->apply({{1, "a", std::nullopt}, {1, "b", "z"}}).ok());
  }
  EXPECT_EQ(all(*open()), (Records{{{2, "a"}, binary}, {{1, "b"}, "z"}}));
}

TEST_F(JournalTest, TwoProcessesDoNotShareIt) {
  auto journal = open();
  EXPECT_TRUE(journal->apply({{1, "a", "x"}}).ok());
  EXPECT_FALSE(Journal::open(path()).ok());
}

TEST_F(JournalTest, RefusesWhatIsNoJournal) {
  std::ofstream(path()) << std::string(5'000, 'x');
  const auto opened = Journal::open(path());
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().message.find(path()), std::string::npos);
}

// A transaction sets two records alike; whatever moment the writer is killed at, they are alike.
TEST_F(JournalTest, AKillAtAnyMomentLeavesWholeTransactions) {
  for (int round = 0; round < 10; ++round) {
    const pid_t writer = fork();
    if (writer == 0) {
      auto journal = Journal::open(path());
      for (int i = 0; journal.ok(); ++i) {
        const std::string value(static_cast<size_t>(i % 5'000), static_cast<char>('a' + i % 26));
        if (!journal.value()->apply({{1, "one", value}, {2, "two", value}}).ok()) _exit(1);
      }
      _exit(1);
    }
    usleep(5'000 + 3'000 * static_cast<useconds_t>(round));
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    Records records = all(*open());
    EXPECT_EQ((records[{1, "one"}]), (records[{2, "two"}]));
  }
}

// The write-ahead log is cut short, as by a host that lost power while it was written.
TEST_F(JournalTest, ALogThatEndsAnywhereGivesAStateThatOnceWasTrue) {
  const pid_t writer = fork();
  if (writer == 0) {
    auto journal = Journal::open(path());
    for (int i = 0; i < 40; ++i)
      (void)journal.value()->apply({{1, "one", std::to_string(i)}, {2, "two", std::to_string(i)}});
    _exit(0);  // without closing: the log stays
  }
  waitpid(writer, nullptr, 0);
  const std::string log = path() + "-wal";
  const auto size = fs::file_size(log);
  const fs::path copy = folder_ / "copy";
  for (uintmax_t cut = 0; cut < size; cut += 1 + size / 97) {
    fs::remove_all(copy);
    fs::create_directories(copy);
    fs::copy(path(), copy / "journal");
    fs::copy(log, copy / "journal-wal");
    fs::resize_file(copy / "journal-wal", cut);
    auto opened = Journal::open(copy / "journal");
    ASSERT_TRUE(opened.ok()) << "cut at " << cut << ": " << opened.error().message;
    Records records = all(*opened.value());
    EXPECT_EQ((records[{1, "one"}]), (records[{2, "two"}])) << "cut at " << cut;
  }
}

}  // namespace
}  // namespace narke::journal
