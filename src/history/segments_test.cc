#include "history/segments.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narke::history {
namespace {

namespace fs = std::filesystem;

class SegmentsTest : public ::testing::Test {
 protected:
  SegmentsTest() : folder_(fs::temp_directory_path() / ("narke-segments-" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
  }
  ~SegmentsTest() override { fs::remove_all(folder_); }

  static std::string block(uint64_t first, size_t rows) {
    TaskTable table;
    for (uint64_t i = first; i < first + rows; ++i) {
      Record record = blank_record();
      std::memcpy(record.task, &i, sizeof(i));
      record.state = State::kFinished;
      record.began_us = 1;
      table.add(std::make_shared<Origin>(), record, std::make_shared<Name>(), nullptr);
    }
    return table.take_unwritten().at(0);
  }
  size_t rows(size_t* damaged = nullptr) {
    size_t ignored = 0;
    TaskTable table;
    EXPECT_TRUE(read_segments(folder_.string(), &table, damaged ? damaged : &ignored).ok());
    return table.size();
  }
  std::vector<fs::path> files() {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_ / "history")) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
  }

  fs::path folder_;
};

TEST_F(SegmentsTest, what_was_written_is_read_by_the_sessions_folder_or_its_own) {
  SegmentWriter writer((folder_ / "history").string());
  EXPECT_TRUE(writer.append(block(0, 10)).ok());
  EXPECT_TRUE(writer.append(block(10, 5)).ok());
  EXPECT_EQ(rows(), 15u);
  TaskTable table;
  size_t damaged = 0;
  EXPECT_TRUE(read_segments((folder_ / "history").string(), &table, &damaged).ok());
  EXPECT_EQ(table.size(), 15u);
}

TEST_F(SegmentsTest, a_second_writer_goes_on_in_a_new_file) {
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(SegmentWriter((folder_ / "history").string()).append(block(0, 10)).ok());
  EXPECT_EQ(files().size(), 2u);
  EXPECT_EQ(rows(), 20u);
}

TEST_F(SegmentsTest, old_files_make_room) {
  const std::string each = block(0, 100);
  SegmentLimits limits;
  limits.segment_bytes = 2 * each.size() + 100;
  limits.total_bytes = 4 * limits.segment_bytes;
  SegmentWriter writer((folder_ / "history").string(), limits);
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(writer.append(each).ok());
  uint64_t total = 0;
  for (const fs::path& path : files()) total += fs::file_size(path);
  EXPECT_LE(total, limits.total_bytes);
  EXPECT_GE(rows(), 500u);
  EXPECT_LT(rows(), 1000u);
}

TEST_F(SegmentsTest, files_that_are_too_old_go) {
  SegmentWriter((folder_ / "history").string()).append(block(0, 10)).ok();
  fs::last_write_time(files().at(0), fs::file_time_type::clock::now() - std::chrono::hours(24 * 8));
  EXPECT_TRUE(SegmentWriter((folder_ / "history").string()).append(block(0, 3)).ok());
  EXPECT_EQ(rows(), 3u);
}

TEST_F(SegmentsTest, a_torn_end_costs_only_itself) {
  {
    SegmentWriter writer((folder_ / "history").string());
    EXPECT_TRUE(writer.append(block(0, 10)).ok());
    EXPECT_TRUE(writer.append(block(10, 10)).ok());
  }
  const fs::path path = files().at(0);
  const auto size = fs::file_size(path);
  for (const uintmax_t cut : {1u, 100u, 700u}) {
    fs::resize_file(path, size - cut);
    size_t damaged = 0;
    EXPECT_EQ(rows(&damaged), 10u);
    EXPECT_EQ(damaged, 1u);
  }
}

TEST_F(SegmentsTest, a_folder_without_history_says_what_to_give) {
  TaskTable table;
  size_t damaged = 0;
  const Status read = read_segments("/nowhere", &table, &damaged);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(read.error().message, ::testing::HasSubstr("session's folder"));
}

}  // namespace
}  // namespace narke::history
