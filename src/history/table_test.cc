#include "history/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narke::history {
namespace {

template <class IdType>
IdType id_of(uint64_t number) {
  IdType id = IdType::from_bytes(std::string(IdType::kSize, '\0'));
  std::memcpy(id.data(), &number, std::min<size_t>(sizeof(number), IdType::kSize));
  return id;
}

OriginPtr origin(uint64_t number) {
  return std::make_shared<Origin>(Origin{id_of<WorkerId>(number), id_of<NodeId>(1), id_of<JobId>(1), 100});
}
NamePtr name(const std::string& text) {
  return std::make_shared<Name>(Name{text, "module." + text, {{"CPU", 10'000}}});
}

Record record_of(uint64_t task, State state, int attempt = 0) {
  Record record = blank_record();
  std::memcpy(record.task, id_of<TaskId>(task).data(), TaskId::kSize);
  record.state = state;
  record.attempt = attempt;
  record.created_us = 1'000 + static_cast<int64_t>(task);
  return record;
}
Record ran(uint64_t task, State state = State::kFinished, int attempt = 0) {
  Record record = record_of(task, state, attempt);
  record.began_us = record.created_us + 10;
  if (is_final(state)) record.ended_us = record.began_us + 5;
  return record;
}

class TableTest : public ::testing::Test {
 protected:
  std::vector<TaskView> all() {
    std::vector<TaskView> out;
    table_.visit([&](const TaskView& task) {
      out.push_back(task);
      return true;
    });
    return out;
  }
  TaskView only() {
    EXPECT_EQ(all().size(), 1u);
    return all().at(0);
  }

  OriginPtr driver_ = origin(1), worker_ = origin(2);
  NamePtr f_ = name("f");
  TaskTable table_;
};

TEST_F(TableTest, what_a_submitter_and_a_worker_say_becomes_one_row) {
  Record waiting = record_of(7, State::kPendingNode);
  waiting.ready_us = 1'500;
  table_.add(driver_, waiting, f_, nullptr);
  EXPECT_EQ(only().state, State::kPendingNode);
  EXPECT_FALSE(only().placed);
  table_.add(worker_, ran(7, State::kRunning), f_, nullptr);
  EXPECT_EQ(only().state, State::kRunning);
  EXPECT_EQ(only().origin->get(), worker_.get());
  table_.add(worker_, ran(7), f_, nullptr);
  const TaskView task = only();
  EXPECT_EQ(task.task, id_of<TaskId>(7));
  EXPECT_EQ(task.state, State::kFinished);
  EXPECT_TRUE(task.placed);
  EXPECT_EQ(task.ready_us, 1'500);
  EXPECT_EQ(task.ended_us - task.began_us, 5);
  EXPECT_EQ(table_.under_way(), 0u);
}

TEST_F(TableTest, attempts_are_rows_of_their_own) {
  table_.add(worker_, ran(7, State::kFailed, 0), f_, std::make_shared<Failure>(Failure{"WORKER_DIED", "oops"}));
  table_.add(worker_, ran(7, State::kFinished, 1), f_, nullptr);
  ASSERT_EQ(all().size(), 2u);
  EXPECT_EQ(all()[0].attempt, 1);
  EXPECT_EQ((*all()[1].failure)->message, "oops");
}

TEST_F(TableTest, a_submitters_late_news_leave_nothing_waiting) {
  table_.add(worker_, ran(7), f_, nullptr);
  table_.add(driver_, record_of(7, State::kSubmitted), f_, nullptr);  // told before, read after
  EXPECT_EQ(table_.under_way(), 1u);
  table_.add(driver_, record_of(7, State::kFinished), f_, nullptr);  // it has the answer
  EXPECT_EQ(table_.under_way(), 0u);
  EXPECT_EQ(only().state, State::kFinished);
}

TEST_F(TableTest, a_failure_counts_once) {
  table_.add(worker_, ran(7, State::kRunning), f_, nullptr);
  table_.end_program(worker_->worker, 5'000, std::make_shared<Failure>(Failure{"WORKER_DIED", "signal 9"}));
  table_.add(driver_, record_of(7, State::kFailed), f_, std::make_shared<Failure>(Failure{"WORKER_DIED", "again"}));
  EXPECT_EQ(only().state, State::kFailed);
  EXPECT_EQ((*only().failure)->message, "signal 9");
  EXPECT_EQ(only().ended_us, 5'000);
}

TEST_F(TableTest, a_submitters_end_fails_what_waits_but_not_what_runs_elsewhere) {
  table_.add(driver_, record_of(1, State::kPendingArgs), f_, nullptr);
  table_.add(worker_, ran(2, State::kRunning), f_, nullptr);
  table_.end_program(driver_->worker, 5'000, std::make_shared<Failure>(Failure{"WORKER_DIED", "left"}));
  EXPECT_EQ(table_.under_way(), 1u);
  EXPECT_EQ(all()[0].task, id_of<TaskId>(2));
}

TEST_F(TableTest, what_has_ended_or_runs_elsewhere_by_now_does_not_fail_with_a_program) {
  const auto why = std::make_shared<Failure>(Failure{"WORKER_DIED", "left"});
  table_.add(driver_, record_of(1, State::kPendingArgs), f_, nullptr);
  table_.add(worker_, ran(1, State::kRunning), f_, nullptr);  // the driver's, and runs by now
  table_.add(worker_, ran(2, State::kRunning), f_, nullptr);
  table_.add(worker_, ran(2), f_, nullptr);
  table_.end_program(driver_->worker, 5'000, why);
  EXPECT_EQ(table_.under_way(), 1u);
  table_.end_program(worker_->worker, 6'000, why);
  EXPECT_EQ(table_.under_way(), 0u);
  std::vector<State> states;
  for (const TaskView& task : all()) states.push_back(task.state);
  EXPECT_THAT(states, testing::UnorderedElementsAre(State::kFailed, State::kFinished));
}

TEST_F(TableTest, the_oldest_ended_go_first) {
  TaskTable small({2 * Chunk::kMostRows, 10});
  for (uint64_t i = 0; i < 5 * Chunk::kMostRows; ++i) small.add(worker_, ran(i), f_, nullptr);
  EXPECT_LE(small.size(), 2 * Chunk::kMostRows);
  uint64_t newest = 0;
  small.visit([&](const TaskView& task) {
    std::memcpy(&newest, task.task.data(), sizeof(newest));
    return false;
  });
  EXPECT_EQ(newest, 5 * Chunk::kMostRows - 1);
}

TEST_F(TableTest, too_many_under_way_are_counted_as_lost) {
  TaskTable small({100, 3});
  for (uint64_t i = 0; i < 5; ++i) small.add(driver_, record_of(i, State::kPendingArgs), f_, nullptr);
  EXPECT_EQ(small.under_way(), 3u);
  EXPECT_EQ(small.lost(), 2u);
}

TEST_F(TableTest, a_million_rows_fit_into_sixteen_megabytes) {
  for (uint64_t i = 0; i < 1'000'000; ++i) table_.add(worker_, ran(i), f_, nullptr);
  EXPECT_EQ(table_.size(), 1'000'000u);
  EXPECT_LT(table_.bytes(), 16u << 20);
}

// ---- blocks ----

TEST_F(TableTest, blocks_hold_each_row_once_and_read_back_alike) {
  std::vector<std::string> blocks;
  const FailurePtr failure = std::make_shared<Failure>(Failure{"TASK_EXECUTION_EXCEPTION", "ValueError: x"});
  for (uint64_t i = 0; i < 2 * Chunk::kMostRows + 100; ++i) {
    table_.add(i % 2 ? worker_ : driver_, ran(i, i % 7 ? State::kFinished : State::kFailed),
               name("g" + std::to_string(i % 3)), i % 7 ? nullptr : failure);
    if (i % 1'000 == 999)
      for (std::string& block : table_.take_unwritten()) blocks.push_back(std::move(block));
  }
  for (std::string& block : table_.take_unwritten()) blocks.push_back(std::move(block));
  EXPECT_TRUE(table_.take_unwritten().empty());
  TaskTable read;
  for (const std::string& block : blocks) {
    Chunk chunk;
    ASSERT_TRUE(Chunk::decode(block, &chunk));
    read.load(std::move(chunk));
  }
  ASSERT_EQ(read.size(), table_.size());
  const std::vector<TaskView> before = all();
  size_t at = 0;
  read.visit([&](const TaskView& task) {
    const TaskView& was = before[at++];
    EXPECT_EQ(task.task, was.task);
    EXPECT_EQ(task.state, was.state);
    EXPECT_EQ((*task.name)->name, (*was.name)->name);
    EXPECT_EQ((*task.name)->resources, (*was.name)->resources);
    EXPECT_EQ((*task.origin)->worker, (*was.origin)->worker);
    EXPECT_EQ(*task.failure != nullptr, *was.failure != nullptr);
    return true;
  });
}

TEST_F(TableTest, damaged_blocks_are_refused) {
  for (uint64_t i = 0; i < 20; ++i) table_.add(worker_, ran(i), name("n" + std::to_string(i)), nullptr);
  const std::string block = table_.take_unwritten().at(0);
  Chunk chunk;
  for (size_t size = 0; size < block.size(); ++size) EXPECT_FALSE(Chunk::decode(block.substr(0, size), &chunk)) << size;
  EXPECT_FALSE(Chunk::decode(block + "x", &chunk));
  for (size_t at = 0; at < block.size(); ++at) {  // whatever it says then, it is read within its bounds
    std::string damaged = block;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    if (!Chunk::decode(damaged, &chunk)) continue;
    std::vector<Row> rows;
    chunk.read(&rows);
    for (const Row& row : rows) EXPECT_NE(chunk.view_of(row).name, nullptr);
  }
}

}  // namespace
}  // namespace narke::history
