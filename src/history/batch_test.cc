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
  Batch decoded() {
    Batch out;
    EXPECT_TRUE(Batch::decode(bytes(), &out));
    return out;
  }
  static void expect_same(const Record& a, const Record& b) { EXPECT_EQ(std::memcmp(&a, &b, sizeof(a)), 0); }
  BatchWriter writer_;
};

TEST_F(BatchTest, what_ended_tasks_share_travels_once) {
  constexpr int64_t kNow = 1'700'000'000'000'000;
  for (uint64_t i = 0; i < 100; ++i) writer_.add(ended(i, kNow + static_cast<int64_t>(i)));
  const Batch batch = decoded();
  EXPECT_EQ(batch.common().size(), 1u);
  ASSERT_EQ(batch.rows().size(), 100u);
  for (uint64_t i = 0; i < 100; ++i)
    expect_same(batch.record_of(batch.rows()[i]), ended(i, kNow + static_cast<int64_t>(i)));
  EXPECT_LT(bytes().size(), 100 * 40u);
}

TEST_F(BatchTest, what_has_not_ended_or_took_very_long_travels_whole) {
  Record waiting = ended(1, 5'000'000'000);
  waiting.state = State::kRunning;
  waiting.ended_us = 0;
  Record slow = ended(2, 500'000'000'000);
  slow.created_us = 1;
  writer_.add(waiting);
  writer_.add(slow);
  const Batch batch = decoded();
  ASSERT_EQ(batch.whole().size(), 2u);
  expect_same(batch.whole()[0], waiting);
  expect_same(batch.whole()[1], slow);
}

TEST_F(BatchTest, bytes_that_are_no_batch_are_refused) {
  writer_.add(ended(1, 1'000));
  const std::vector<uint8_t> good = bytes();
  Batch out;
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(Batch::decode(std::span(good).first(size), &out)) << size;
  std::vector<uint8_t> bad = good;
  bad[24 + sizeof(Record) + offsetof(BatchRow, common)] = 1;  // a common record that is not there
  EXPECT_FALSE(Batch::decode(bad, &out));
  bad = good;
  bad[24 + offsetof(Record, state)] = 200;
  EXPECT_FALSE(Batch::decode(bad, &out));
}

TEST_F(BatchTest, a_table_takes_a_batch_as_it_takes_its_records) {
  Record waiting = ended(7, 2'000'000);
  waiting.state = State::kPendingNode;
  waiting.began_us = waiting.ended_us = 0;
  const auto origin = std::make_shared<Origin>();
  const std::vector<NamePtr> names{std::make_shared<Name>(Name{"f", "module.f", {}})};
  const std::vector<FailurePtr> failures{nullptr, std::make_shared<Failure>(Failure{"X", "why"})};
  TaskTable one, all;
  for (TaskTable* table : {&one, &all}) table->add(origin, waiting, names[0], nullptr);
  for (uint64_t i = 0; i < 2 * Chunk::kMostRows; ++i) {
    Record record = ended(i, 3'000'000 + static_cast<int64_t>(i));
    if (i % 100 == 3) record.state = State::kFailed, record.failure = 1;
    one.add(origin, record, names[0], failures[record.failure]);
    writer_.add(record);
  }
  all.add(origin, decoded(), names, failures);
  const auto text_of = [](const TaskTable& table) {
    std::vector<std::string> out;
    table.visit([&](const TaskView& task) {
      out.push_back(task.task.hex() + " " + std::to_string(task.created_us) + " " + std::to_string(task.ended_us) +
                    " " + std::string(name_of(task.state)) + " " + (*task.name)->name);
      return true;
    });
    return out;
  };
  EXPECT_EQ(all.under_way(), 0u);
  EXPECT_EQ(text_of(all), text_of(one));
}

}  // namespace
}  // namespace narke::history
