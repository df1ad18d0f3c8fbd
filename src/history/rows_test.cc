#include "history/rows.h"

#include <limits>
#include <random>

#include <gtest/gtest.h>

namespace narke::history {
namespace {

constexpr int64_t kNow = 1'700'000'000'000'000;

std::vector<int64_t> fields(const Row& row) {
  return {static_cast<int64_t>(row.number),
          static_cast<int64_t>(row.place),
          row.ended_us,
          row.began_us,
          row.pushed_us,
          row.created_us,
          row.ready_us};
}

std::vector<Row> written_and_read(const std::vector<Row>& rows) {
  RowWriter writer;
  for (const Row& row : rows) writer.add(row);
  RowReader reader(writer.bytes(), writer.size());
  std::vector<Row> out;
  for (Row row; reader.next(&row);) out.push_back(row);
  EXPECT_TRUE(reader.is_done());
  return out;
}

void expect_same(const std::vector<Row>& rows) {
  const std::vector<Row> read = written_and_read(rows);
  ASSERT_EQ(read.size(), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(fields(read[i]), fields(rows[i])) << i;
}

TEST(RowsTest, what_was_written_is_read) {
  expect_same({});
  expect_same({Row{}});
  expect_same({{7, 0, kNow, kNow - 5, kNow - 9, kNow - 20, 0}, {6, 0, kNow + 3, kNow - 5, 0, kNow - 20, kNow - 19}});
  expect_same({{1, 3, kNow, 0, 0, kNow - 3'600'000'000, 0}, {2, 1, kNow - 1, kNow + 500, kNow + 900, kNow - 1, 1}});
  constexpr int64_t kFar = std::numeric_limits<int64_t>::max() / 2;
  expect_same({{~uint64_t{0}, 0, kFar, 1, kFar, 1, 2}, {0, ~uint64_t{0}, -1, kFar, -1, -kFar, -1}});
}

TEST(RowsTest, rows_of_any_values_come_back) {
  std::mt19937_64 random(5);
  const auto any = [&] {
    const uint64_t bits = random() % 62;
    return static_cast<int64_t>(random() & ((uint64_t{1} << bits) - 1)) * (random() % 4 == 0 ? -1 : 1);
  };
  std::vector<Row> rows;
  for (int i = 0; i < 5'000; ++i)
    rows.push_back({static_cast<uint64_t>(any()), static_cast<uint64_t>(any()), any(), any(), any(), any(), any()});
  expect_same(rows);
}

TEST(RowsTest, short_tasks_one_after_the_other_take_ten_bytes_each) {
  RowWriter writer;
  for (uint64_t i = 0; i < 1'000; ++i) {
    const int64_t end = kNow + 4 * static_cast<int64_t>(i);
    writer.add({i, 0, end, end - 2, end - 1'500, end - 1'500, 0});
  }
  EXPECT_LT(writer.bytes().size(), 10'000u);
  writer.seal();
  EXPECT_LT(writer.capacity_bytes(), 10'000u);
}

TEST(RowsTest, a_writer_that_was_cleared_begins_anew) {
  RowWriter writer;
  writer.add({5, 1, kNow, kNow, kNow, kNow, kNow});
  writer.clear();
  writer.add({5, 1, kNow, kNow, kNow, kNow, kNow});
  Row row;
  RowReader reader(writer.bytes(), writer.size());
  ASSERT_TRUE(reader.next(&row));
  EXPECT_EQ(row.ended_us, kNow);
  EXPECT_TRUE(reader.is_done());
}

TEST(RowsTest, what_others_wrote_is_taken_over_as_it_is) {
  RowWriter all, others;
  others.add({9, 0, kNow, kNow - 1, 0, 0, 0});
  others.add({10, 2, kNow + 1, kNow, 0, 0, 0});
  all.add({5, 3, kNow, kNow, 0, 0, 0});
  all.append(others.bytes(), others.size(), 70);
  all.append(others.bytes(), others.size(), 0);
  all.add({6, 4, kNow, kNow, 0, 0, 0});
  RowReader reader(all.bytes(), all.size());
  std::vector<uint64_t> numbers, places;
  for (Row row; reader.next(&row);) numbers.push_back(row.number), places.push_back(row.place);
  EXPECT_TRUE(reader.is_done());
  EXPECT_EQ(numbers, (std::vector<uint64_t>{5, 9, 10, 9, 10, 6}));
  EXPECT_EQ(places, (std::vector<uint64_t>{3, 70, 72, 0, 2, 4}));
}

TEST(RowsTest, skimming_tells_what_reading_would) {
  RowWriter writer;
  for (uint64_t i = 0; i < 300; ++i)
    writer.add({i * i % 97, i % 3, kNow + static_cast<int64_t>(i * i), i % 5 ? kNow : 0, kNow, 0, i % 7 ? kNow : 0});
  RowReader reader(writer.bytes(), writer.size());
  Row row;
  const bool good = skim(writer.bytes(), writer.size(), [&](uint64_t number, uint64_t place, bool began) {
    return reader.next(&row) && number == row.number && place == row.place && began == (row.began_us != 0);
  });
  EXPECT_TRUE(good);
  EXPECT_TRUE(reader.is_done());
  const auto any = [](uint64_t, uint64_t, bool) { return true; };
  EXPECT_FALSE(skim(writer.bytes(), writer.size() - 1, any));
  EXPECT_FALSE(skim(writer.bytes(), writer.size() + 1, any));
  EXPECT_FALSE(skim(writer.bytes().first(20), 1, any));
  RowWriter others;  // what has been taken over already is nobody's to send
  others.append(writer.bytes(), writer.size(), 0);
  EXPECT_FALSE(skim(others.bytes(), others.size(), any));
}

TEST(RowsTest, bytes_that_nobody_wrote_are_read_within_their_bounds) {
  std::mt19937_64 random(7);
  for (size_t size = 0; size < 400; ++size) {
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    Row row;
    size_t count = 0;
    for (RowReader reader(bytes, 1'000); reader.next(&row);) ++count;
    EXPECT_LE(2 * count, size);
    skim(bytes, 1'000, [](uint64_t, uint64_t, bool) { return true; });
  }
}

}  // namespace
}  // namespace narke::history
