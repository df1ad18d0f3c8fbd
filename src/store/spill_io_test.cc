#include "store/spill_io.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "store/testing/fakes.h"

namespace narke::store::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SpillIoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "narke-spill-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    directory_ = root_ + "/a/b";
    auto made = make_file_spill_io(directory_);
    ASSERT_TRUE(made.ok());
    io_ = std::move(made).value();
  }
  void TearDown() override {
    io_.reset();
    fs::remove_all(root_);
  }

  SpillJob run(SpillJob job) {
    io_->start(std::move(job));
    pollfd wait{io_->event_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&wait, 1, 10'000), 1);
    auto done = io_->take_done();
    EXPECT_EQ(done.size(), 1u);
    return std::move(done.at(0));
  }
  SpillJob write_job(uint64_t file) {
    SpillJob job;
    job.is_write = true;
    job.file = file;
    for (uint32_t i = 0; i < 3; ++i)
      job.parts.push_back({.id = object(i), .data = content_[i].data(), .size = content_[i].size()});
    return job;
  }
  static SpillJob read_job(const SpillJob& written, size_t part, uint8_t* into) {
    SpillJob job;
    job.file = written.file;
    job.parts = {written.parts.at(part)};
    job.parts[0].data = into;
    return job;
  }
  size_t files() { return static_cast<size_t>(std::distance(fs::directory_iterator(directory_), {})); }

  std::vector<uint8_t> content_[3] = {std::vector<uint8_t>(1000, 1), std::vector<uint8_t>(0),
                                      std::vector<uint8_t>(3 << 20, 3)};
  std::string root_, directory_;
  std::unique_ptr<SpillIo> io_;
};

TEST_F(SpillIoTest, WhatIsWrittenIsReadBack) {
  SpillJob written = run(write_job(7));
  ASSERT_EQ(written.error, "");
  EXPECT_EQ(written.file_bytes, fs::file_size(directory_ + "/7.spill"));
  for (size_t part = 0; part < 3; ++part) {
    std::vector<uint8_t> back(content_[part].size() + 1);
    EXPECT_EQ(run(read_job(written, part, back.data())).error, "");
    back.pop_back();
    EXPECT_EQ(back, content_[part]);
  }
}

TEST_F(SpillIoTest, RemovedFilesAreGone) {
  SpillJob written = run(write_job(7));
  io_->remove(7);
  uint8_t byte = 0;
  EXPECT_THAT(run(read_job(written, 1, &byte)).error, HasSubstr("7.spill: No such file"));
}

TEST_F(SpillIoTest, ChangedFilesAreNoticed) {
  SpillJob written = run(write_job(7));
  std::fstream file(directory_ + "/7.spill", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(written.parts[2].position + 5));
  file.put('!');
  file.close();
  std::vector<uint8_t> back(3 << 20);
  EXPECT_THAT(run(read_job(written, 2, back.data())).error, HasSubstr("checksum"));
  fs::resize_file(directory_ + "/7.spill", written.parts[2].position + 10);
  EXPECT_THAT(run(read_job(written, 2, back.data())).error, HasSubstr("cannot read"));
}

// The kernel takes part of the bytes, then refuses: as on a full disk.
TEST_F(SpillIoTest, AShortWriteLeavesNoFile) {
  auto old_handler = signal(SIGXFSZ, SIG_IGN);
  rlimit old{}, small{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = {1 << 20, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  SpillJob written = run(write_job(7));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_THAT(written.error, HasSubstr("cannot write"));
  EXPECT_EQ(files(), 0u);
}

TEST_F(SpillIoTest, AMissingDirectoryIsAnError) {
  fs::remove_all(directory_);
  EXPECT_THAT(run(write_job(7)).error, HasSubstr("cannot create"));
}

TEST_F(SpillIoTest, OnlyItsOwnFilesAreCleared) {
  ASSERT_EQ(run(write_job(7)).error, "");
  std::ofstream(directory_ + "/8.tmp") << "half";
  std::ofstream(directory_ + "/notes.txt") << "mine";
  io_.reset();
  auto again = make_file_spill_io(directory_);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(files(), 1u);
  EXPECT_TRUE(fs::exists(directory_ + "/notes.txt"));
}

TEST_F(SpillIoTest, AnUnusableDirectoryIsAnError) {
  std::ofstream(root_ + "/file") << "x";
  auto made = make_file_spill_io(root_ + "/file/sub");
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error().message, HasSubstr(root_ + "/file/sub"));
}

}  // namespace
}  // namespace narke::store::testing
