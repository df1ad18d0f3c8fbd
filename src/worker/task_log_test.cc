#include "worker/task_log.h"

#include <gtest/gtest.h>

#include "worker/submitter.h"
#include "worker/testing/fake_links.h"

namespace narke::worker {
namespace {

using history::Record;
using history::State;
using testing::FakeLinks;
using testing::Mail;
using testing::Network;
using testing::numbered;

class TaskLogTest : public ::testing::Test {
 protected:
  TaskLogTest() {
    spec_ = new CallSpec;
    spec_->function = new Function(numbered<FunctionId>(1), "pickled", "module.outer.f");
    spec_->name = "shown";
    shape_.shape.resources = {{"CPU", 10'000}};
    spec_->lease_class = &shape_;
    log_.set_job(numbered<JobId>(3));
  }
  TaskPtr task(uint32_t number) {
    TaskPtr task(new Task);
    task->spec = spec_;
    task->id = numbered<TaskId>(number);
    task->created_us = 77;
    return task;
  }
  // What the node was sent.
  std::vector<Mail> sent() {
    log_.send(*links_.node());
    return links_.sent_to_node();
  }
  static history::Batch batch(const Mail& mail) {
    history::Batch out;
    const bool good =
        history::Batch::decode({reinterpret_cast<const uint8_t*>(mail.raw.data()), mail.raw.size()}, &out);
    EXPECT_TRUE(good);
    return out;
  }
  static std::vector<Record> records(const Mail& mail) {
    const history::Batch all = batch(mail);
    std::vector<Record> out;
    history::RowReader rows = all.rows();
    for (history::Row row; rows.next(&row);) out.push_back(all.record_of(row));
    out.insert(out.end(), all.whole().begin(), all.whole().end());
    return out;
  }

  Network network_;
  FakeLinks links_{network_, 1};
  LeaseClass shape_;
  CallSpecPtr spec_;
  TaskLog log_;
};

TEST_F(TaskLogTest, names_travel_once_and_records_refer_to_them) {
  log_.task(*task(1), State::kPendingNode);
  log_.task(*task(2), State::kFailed, "WORKER_DIED", "signal 9");
  const std::vector<Mail> first = sent();
  ASSERT_EQ(first.size(), 1u);
  const auto* events = first[0].as<wire::TaskEvents>();
  ASSERT_EQ(events->names()->size(), 1u);
  EXPECT_EQ(events->names()->Get(0)->name()->str(), "shown");
  EXPECT_EQ(events->names()->Get(0)->function()->str(), "f");
  EXPECT_EQ(events->names()->Get(0)->resources()->Get(0)->amount(), 10'000);
  EXPECT_EQ(events->failures()->Get(0)->message()->str(), "signal 9");
  const std::vector<Record> told = records(first[0]);
  ASSERT_EQ(told.size(), 2u);
  const Record &failed = told[0], &waiting = told[1];  // what has ended comes first
  EXPECT_EQ(waiting.created_us, 77);
  EXPECT_EQ(waiting.failure, 0u);
  EXPECT_EQ(failed.failure, 1u);
  EXPECT_EQ(failed.state, State::kFailed);
  EXPECT_EQ(std::memcmp(waiting.parent + 20, numbered<JobId>(3).data(), 4), 0);
  log_.task(*task(3), State::kPendingNode);
  EXPECT_EQ(sent().at(0).as<wire::TaskEvents>()->names()->size(), 0u);
}

TEST_F(TaskLogTest, nothing_to_say_sends_nothing) { EXPECT_TRUE(sent().empty()); }

TEST_F(TaskLogTest, a_full_buffer_is_given_up_and_says_so) {
  for (uint32_t i = 0; i <= TaskLog::kMostRecords; ++i) log_.task(*task(i), State::kPendingNode);
  EXPECT_EQ(log_.size(), 1u);
  const std::vector<Mail> mail = sent();
  EXPECT_EQ(mail[0].as<wire::TaskEvents>()->dropped(), TaskLog::kMostRecords);
  uint32_t last = 0;
  std::memcpy(&last, records(mail[0]).back().task, sizeof(last));
  EXPECT_EQ(last, TaskLog::kMostRecords);
  EXPECT_EQ(log_.dropped(), 0u);
}

TEST_F(TaskLogTest, too_many_names_begin_anew) {
  for (size_t i = 0; i <= TaskLog::kMostNames; ++i)
    log_.profile(TaskId(), ActorId(), "n" + std::to_string(i), "", 1, 2);
  EXPECT_EQ(sent().at(0).as<wire::TaskEvents>()->reset(), false);
  log_.profile(TaskId(), ActorId(), "again", "", 1, 2);
  const std::vector<Mail> mail = sent();
  EXPECT_EQ(mail[0].as<wire::TaskEvents>()->reset(), true);
  EXPECT_EQ(mail[0].as<wire::TaskEvents>()->names()->Get(0)->index(), 0u);
}

}  // namespace
}  // namespace narke::worker
