#include "history/query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narke::history {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ask = void (*)(const TaskTable&, const Query&, flexbuffers::Builder&);
using Filters = std::vector<std::array<std::string, 3>>;

class QueryTest : public ::testing::Test {
 protected:
  QueryTest() {
    Origin who;
    who.pid = 41;
    who.worker.data()[0] = 1, who.node.data()[0] = 2, who.job.data()[0] = 3;
    worker_ = std::make_shared<Origin>(who);
    for (uint8_t i = 0; i < 10; ++i) add(i, i < 6 ? "f" : "g", i == 9 ? State::kFailed : State::kFinished);
  }
  void add(uint8_t number, const std::string& function, State state) {
    Record record = blank_record();
    record.task[0] = number;
    record.began_us = 10'000 + number;
    record.ended_us = is_final(state) ? record.began_us + 5 : 0;
    record.state = state;
    const auto name = std::make_shared<Name>(Name{function, function, {{"CPU", 5'000}}});
    const FailurePtr failure =
        state == State::kFailed ? std::make_shared<Failure>(Failure{"TASK_CANCELLED", "why"}) : nullptr;
    table_.add(worker_, record, name, failure);
  }
  static std::vector<uint8_t> body(const Filters& filters, int limit = -1, int offset = -1, bool detail = false) {
    flexbuffers::Builder out;
    out.Map([&] {
      if (limit >= 0) out.Int("limit", limit);
      if (offset >= 0) out.Int("offset", offset);
      out.Bool("detail", detail);
      out.Vector("filters", [&] {
        for (const auto& filter : filters)
          out.Vector([&] {
            for (const std::string& part : filter) out.String(part);
          });
      });
    });
    out.Finish();
    return out.GetBuffer();
  }
  flexbuffers::Map ask(const std::vector<uint8_t>& body, Ask answer = list_tasks) {
    Result<Query> query =
        Query::parse(flexbuffers::GetRoot(body).AsMap(), [this](const WorkerId&) { return blocked_; });
    EXPECT_TRUE(query.ok()) << query.error().message;
    flexbuffers::Builder out;
    out.Map([&] { answer(table_, query.value(), out); });
    out.Finish();
    bytes_ = out.GetBuffer();
    return flexbuffers::GetRoot(bytes_).AsMap();
  }
  std::vector<int> first_bytes(const flexbuffers::Map& answer) {
    std::vector<int> out;
    const auto tasks = answer["tasks"].AsVector();
    for (size_t i = 0; i < tasks.size(); ++i)
      out.push_back(std::stoi(tasks[i].AsMap()["task_id"].AsString().str().substr(0, 2), nullptr, 16));
    return out;
  }
  std::string refusal(const std::vector<uint8_t>& body) {
    Result<Query> query = Query::parse(flexbuffers::GetRoot(body).AsMap());
    return query.ok() ? "(none)" : query.error().message;
  }

  OriginPtr worker_;
  TaskTable table_;
  bool blocked_ = false;
  std::vector<uint8_t> bytes_;
};

TEST_F(QueryTest, rows_come_latest_first_in_pages) {
  EXPECT_THAT(first_bytes(ask(body({}, 3))), ElementsAre(9, 8, 7));
  EXPECT_THAT(first_bytes(ask(body({}, 3, 8))), ElementsAre(1, 0));
  EXPECT_EQ(ask(body({}, 3))["total"].AsInt64(), 10);
}

TEST_F(QueryTest, filters_compare_without_case_and_count_what_meets_them) {
  const auto answer = ask(body({{"name", "=", "G"}, {"state", "!=", "failed"}}, 2));
  EXPECT_THAT(first_bytes(answer), ElementsAre(8, 7));
  EXPECT_EQ(answer["num_filtered"].AsInt64(), 3);
  EXPECT_THAT(first_bytes(ask(body({{"error_type", "=", "none"}, {"worker_pid", "=", "41"}}, 1))), ElementsAre(8));
  EXPECT_THAT(first_bytes(ask(body({{"error_type", "=", "TASK_CANCELLED"}}))), ElementsAre(9));
  const std::string id = "04" + std::string(46, 'f');
  EXPECT_THAT(first_bytes(ask(body({{"task_id", "=", id}}))), ElementsAre(4));
  EXPECT_EQ(ask(body({{"task_id", "!=", id}}))["num_filtered"].AsInt64(), 9);
}

TEST_F(QueryTest, a_waiting_worker_shows_in_its_tasks_state) {
  add(20, "h", State::kRunning);
  EXPECT_THAT(first_bytes(ask(body({{"state", "=", "RUNNING"}}))), ElementsAre(20));
  blocked_ = true;
  EXPECT_THAT(first_bytes(ask(body({{"state", "=", "RUNNING"}}))), ElementsAre());
  EXPECT_THAT(first_bytes(ask(body({{"state", "=", "RUNNING_IN_RAY_GET"}}))), ElementsAre(20));
}

TEST_F(QueryTest, details_hold_times_resources_and_errors) {
  const auto answer = ask(body({{"name", "=", "g"}}, 1, 0, true));
  const auto row = answer["tasks"].AsVector()[0].AsMap();
  EXPECT_EQ(row["required_resources"].AsMap()["CPU"].AsDouble(), 0.5);
  EXPECT_EQ(row["error_message"].AsString().str(), "why");
  const auto events = row["events"].AsVector();
  EXPECT_EQ(events[events.size() - 1].AsMap()["state"].AsString().str(), "FAILED");
}

TEST_F(QueryTest, summaries_count_by_function_and_state) {
  const auto answer = ask(body({}), summarize_tasks);
  EXPECT_EQ(answer["total_tasks"].AsInt64(), 10);
  const auto rows = answer["summary"].AsVector();
  ASSERT_EQ(rows.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const auto row = rows[i].AsMap();
    const auto counts = row["state_counts"].AsMap();
    const bool is_f = row["func_or_class_name"].AsString().str() == "f";
    EXPECT_EQ(counts["FINISHED"].AsInt64(), is_f ? 6 : 3);
    EXPECT_EQ(counts["FAILED"].AsInt64(), is_f ? 0 : 1);
  }
}

TEST_F(QueryTest, profiles_are_events_but_no_tasks) {
  Record record = blank_record();
  record.kind = Kind::kProfile;
  record.state = State::kFinished;
  record.began_us = 5, record.ended_us = 6;
  table_.add(worker_, record, std::make_shared<Name>(Name{"load", "load", {}}),
             std::make_shared<Failure>(Failure{"", "{\"rows\": 3}"}));
  EXPECT_EQ(ask(body({}))["total"].AsInt64(), 10);
  const auto events = ask(body({}), task_events)["events"].AsVector();
  ASSERT_EQ(events.size(), 11u);
  EXPECT_EQ(events[0].AsMap()["type"].AsString().str(), "PROFILE");
  EXPECT_EQ(events[0].AsMap()["extra"].AsString().str(), "{\"rows\": 3}");
}

TEST_F(QueryTest, bad_questions_are_refused_with_what_there_is) {
  EXPECT_THAT(refusal(body({{"colour", "=", "red"}})), HasSubstr("no column 'colour'"));
  EXPECT_THAT(refusal(body({{"colour", "=", "red"}})), HasSubstr("func_or_class_name"));
  EXPECT_THAT(refusal(body({{"name", "<", "x"}})), HasSubstr("there are '=' and '!='"));
  EXPECT_THAT(refusal(body({{"task_id", "=", "12"}})), HasSubstr("48 hexadecimal digits"));
  flexbuffers::Builder out;
  out.Map([&] { out.Int("limit", -1); });
  out.Finish();
  EXPECT_THAT(refusal(out.GetBuffer()), HasSubstr("limit must be"));
  flexbuffers::Builder text;
  text.Map([&] { text.String("filters", "name=f"); });
  text.Finish();
  EXPECT_THAT(refusal(text.GetBuffer()), HasSubstr("must be a list"));
}

}  // namespace
}  // namespace narke::history
