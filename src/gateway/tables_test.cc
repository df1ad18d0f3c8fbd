#include "gateway/tables.h"

#include <gtest/gtest.h>

#include "gateway/node_link.h"

namespace narke::gateway {
namespace {

// Actors a0 (ALIVE, pid 10), a1 (DEAD, pid 9), and so on, in turns.
std::vector<uint8_t> actors(int count) {
  return map_body([&](flexbuffers::Builder& out) {
    out.Vector("actors", [&] {
      for (int i = 0; i < count; ++i)
        out.Map([&] {
          out.String("actor_id", "a" + std::to_string(i));
          out.String("class_name", i % 3 == 0 ? "Keeper" : "Worker");
          out.String("state", i % 2 == 0 ? "ALIVE" : "DEAD");
          out.String("name", "");
          out.Int("pid", 10 - i);
        });
    });
  });
}

class TablesTest : public ::testing::Test {
 protected:
  Selection select(const Query& query, int count = 6) {
    body_ = actors(count);
    return select_rows(rows_in(flexbuffers::GetRoot(body_.data(), body_.size()).AsMap()["actors"].AsVector()),
                       *table_named("actors"), query);
  }
  static std::vector<std::string> ids(const Selection& selection) {
    std::vector<std::string> out;
    for (const json::value& row : selection.rows) out.push_back(text_at(row.get_object(), "actor_id"));
    return out;
  }
  using Ids = std::vector<std::string>;
  std::vector<uint8_t> body_;
};

TEST_F(TablesTest, a_page_in_the_order_of_ids) {
  Query query;
  query.limit = 2;
  query.offset = 1;
  const Selection out = select(query);
  EXPECT_EQ(ids(out), (Ids{"a1", "a2"}));
  EXPECT_EQ(out.total, 6u);
  EXPECT_EQ(out.filtered, 6u);
  EXPECT_EQ(out.rows[0].at("class_name"), "Worker");
  EXPECT_TRUE(out.rows[0].at("job_id").is_null());  // the row has none
  EXPECT_EQ(out.rows[0].at("name"), "");
}

TEST_F(TablesTest, conditions_search_and_order) {
  Query query;
  query.conditions = {{"state", "=", "alive"}};
  query.sort_by = "pid";
  EXPECT_EQ(ids(select(query)), (Ids{"a4", "a2", "a0"}));
  query.descending = true;
  query.search = "KEEP";
  EXPECT_EQ(ids(select(query)), (Ids{"a0"}));
}

TEST_F(TablesTest, rows_of_json_are_chosen_alike) {
  Query query;
  query.conditions = {{"class_name", "~", "ork"}};
  query.sort_by = "state";
  const Selection from_words = select(query);
  const json::array rows = array_at(json_of(flexbuffers::GetRoot(body_.data(), body_.size()).AsMap()), "actors");
  EXPECT_EQ(ids(select_rows(rows_in(rows), *table_named("actors"), query)), ids(from_words));
}

TEST_F(TablesTest, no_rows_are_no_trouble) {
  body_ = map_body([](auto&) {});
  const auto none = flexbuffers::GetRoot(body_.data(), body_.size()).AsMap()["actors"].AsVector();
  EXPECT_EQ(select_rows(rows_in(none), *table_named("actors"), {}).total, 0u);
}

TEST(ActorSummaryTest, counts_of_jobs_are_added) {
  const auto counted = parse_json(R"({"summary": [
    {"class_name": "A", "state": "ALIVE", "job_id": "01", "count": 2},
    {"class_name": "A", "state": "ALIVE", "job_id": "02", "count": 3},
    {"class_name": "A", "state": "DEAD", "job_id": "02", "count": 1}]})");
  const json::object out = actor_summary(counted->get_object());
  const json::value& cluster = out.at("data").at("result").at("result").at("node_id_to_summary").at("cluster");
  EXPECT_EQ(cluster.at("summary").at("A").at("state_counts").at("ALIVE").as_int64(), 5);
  EXPECT_EQ(cluster.at("total_actors").as_int64(), 6);
}

}  // namespace
}  // namespace narke::gateway
