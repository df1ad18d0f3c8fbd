#include "history/batch.h"

#include <gtest/gtest.h>

#include "history/table.h"

namespace narke::history {
namespace {

Record ended(uint64_t number, int64_t at_us) {
  Record record = blank_record();
  std::memcpy(record.task, &number, sizeof(number));
  record.state = State::kFinished;
  record.created_us = at_us - 30;
  record.pushed_us = at_us - 20;
  record.began_us = at_us - 10;
  record.ended_us = at_us;
  return record;
}

class BatchTest : public ::testing::Test {
 protected:
  std::vector<uint8_t> bytes() {
    std::vector<uint8_t> out(writer_.encoded_bytes());
    writer_.encode(out.data());
    return out;
  }
  static std::vector<Record> ended_of(const Batch& batch) {
    std::vector<Record> out;
    RowReader rows = batch.rows();
    for (Row row; rows.next(&row);) out.push_back(batch.record_of(row));
    return out;
  }
  static void expect_same(const Record& a, const Record& b) { EXPECT_EQ(std::memcmp(&a, &b, sizeof(a)), 0); }
  BatchWriter writer_;
};

TEST_F(BatchTest, what_ended_tasks_share_travels_once) {
  constexpr int64_t kNow = 1'700'000'000'000'000;
  for (uint64_t i = 0; i < 100; ++i) writer_.add(ended(i, kNow + static_cast<int64_t>(i)));
  const std::vector<uint8_t> sent = bytes();
  Batch batch;
  ASSERT_TRUE(Batch::decode(sent, &batch));
  EXPECT_EQ(batch.common().size(), 1u);
  const std::vector<Record> rows = ended_of(batch);
  ASSERT_EQ(rows.size(), 100u);
  EXPECT_EQ(batch.row_count(), 100u);
  for (uint64_t i = 0; i < 100; ++i) expect_same(rows[i], ended(i, kNow + static_cast<int64_t>(i)));
  EXPECT_LT(bytes().size(), 100 * 10u);
}

TEST_F(BatchTest, what_has_not_ended_travels_whole) {
  Record waiting = ended(1, 5'000'000'000);
  waiting.state = State::kRunning;
  waiting.ended_us = 0;
  Record slow = ended(2, 500'000'000'000);
  slow.created_us = 1;
  writer_.add(waiting);
  writer_.add(slow);
  const std::vector<uint8_t> sent = bytes();
  Batch batch;
  ASSERT_TRUE(Batch::decode(sent, &batch));
  ASSERT_EQ(batch.whole().size(), 1u);
  expect_same(batch.whole()[0], waiting);
  expect_same(ended_of(batch).at(0), slow);
}

TEST_F(BatchTest, bytes_that_are_no_batch_are_refused) {
  writer_.add(ended(1, 1'000));
  const std::vector<uint8_t> good = bytes();
  Batch out;
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(Batch::decode(std::span(good).first(size), &out)) << size;
  std::vector<uint8_t> bad = good;
  bad[16 + offsetof(Record, state)] = 200;
  EXPECT_FALSE(Batch::decode(bad, &out));
  BatchWriter pointing_nowhere;
  pointing_nowhere.add(Row{.place = 1, .ended_us = 1});
  bad.resize(pointing_nowhere.encoded_bytes());
  pointing_nowhere.encode(bad.data());
  EXPECT_FALSE(Batch::decode(bad, &out));
}

std::vector<std::string> text_of(const TaskTable& table) {
  std::vector<std::string> out;
  table.visit([&](const TaskView& task) {
    out.push_back(task.task.hex() + " " + std::to_string(task.attempt) + " " + std::to_string(task.created_us) + " " +
                  std::to_string(task.ended_us) + " " + std::string(name_of(task.state)) + " " + (*task.name)->name);
    return true;
  });
  return out;
}

// A table that takes the batch holds what one does that takes record for record, and its blocks hold the same.
void expect_taken(uint64_t waits, uint64_t fails_each) {
  Record waiting = ended(waits, 2'000'000);
  waiting.state = State::kPendingNode;
  waiting.began_us = waiting.ended_us = 0;
  const auto origin = std::make_shared<Origin>();
  const std::vector<NamePtr> names{std::make_shared<Name>(Name{"f", "module.f", {}}),
                                   std::make_shared<Name>(Name{"g", "module.g", {}})};
  const std::vector<FailurePtr> failures{nullptr, std::make_shared<Failure>(Failure{"X", "why"})};
  TaskTable one, all, read;
  BatchWriter writer;
  for (TaskTable* table : {&one, &all}) table->add(origin, waiting, names[0], nullptr);
  for (uint64_t i = 0; i < 2 * Chunk::kMostRows + 7; ++i) {
    Record record = ended(i, 3'000'000 + static_cast<int64_t>(i));
    record.name = i / 1'000 % 2;
    record.attempt = static_cast<int32_t>(i / 3'000);
    if (i % fails_each == 3) record.state = State::kFailed, record.failure = 1;
    one.add(origin, record, names[record.name], failures[record.failure]);
    writer.add(record);
    if (i % 2'500 != 0) continue;
    std::vector<uint8_t> bytes(writer.encoded_bytes());
    writer.encode(bytes.data());
    writer.clear();
    Batch batch;
    ASSERT_TRUE(Batch::decode(bytes, &batch));
    all.add(origin, batch, names, failures);
    if (i % 5'000 != 0) continue;
    for (const std::string& block : all.take_unwritten()) {
      Chunk chunk;
      ASSERT_TRUE(Chunk::decode(block, &chunk));
      read.load(std::move(chunk));
    }
  }
  std::vector<std::string> expected = text_of(one);
  EXPECT_EQ(all.under_way(), one.under_way());
  expected.erase(expected.begin() + static_cast<ptrdiff_t>(one.under_way()),
                 expected.begin() + static_cast<ptrdiff_t>(one.under_way() + writer.size()));
  EXPECT_EQ(text_of(all), expected);
  expected.erase(expected.begin(), expected.begin() + static_cast<ptrdiff_t>(one.under_way()));
  expected.erase(expected.begin(), expected.begin() + static_cast<ptrdiff_t>(expected.size() - read.size()));
  EXPECT_EQ(text_of(read), expected);
}

TEST(TakeBatchTest, whatever_is_under_way_or_failed) {
  constexpr uint64_t kNever = 1'000'000;
  expect_taken(7, kNever);
  expect_taken(7, 100);
  expect_taken(kNever, 100);
  expect_taken(kNever, kNever);
}

}  // namespace
}  // namespace narke::history
