#include "node/spread.h"

#include <algorithm>
#include <cstring>
#include <map>

#include <gtest/gtest.h>

namespace narke::node {
namespace {

using std::chrono::milliseconds;

NodeId node(uint64_t number) {
  NodeId id = NodeId::from_bytes(std::string(NodeId::kSize, 'n'));
  std::memcpy(id.data(), &number, sizeof(number));
  return id;
}

size_t number(const NodeId& id) {
  uint64_t out;
  std::memcpy(&out, id.data(), sizeof(out));
  return out;
}

std::vector<NodeId> nodes(size_t count) {
  std::vector<NodeId> out;
  for (size_t i = 0; i < count; ++i) out.push_back(node(i));
  return out;
}

// Everybody views, every node changes in every round: what that costs, and how much later a change is known everywhere.
struct Crowd {
  explicit Crowd(size_t count) : all(nodes(count)), known(count * count) {
    for (const NodeId& id : all) spread.add_viewer(id);
  }
  void turn() {
    for (const NodeId& id : all) spread.changed(id);
    ++round;
    for (const Spread::News& news : spread.take())
      for (const NodeId& viewer : news.viewers)
        for (const NodeId& id : news.nodes) {
          ++entries;
          known[number(viewer) * all.size() + number(id)] = round;
        }
    milliseconds_passed += spread.pause();
  }
  size_t oldest() const { return round - *std::min_element(known.begin(), known.end()); }
  Spread spread;
  std::vector<NodeId> all;
  std::vector<size_t> known;  // by viewer and node: the round
  size_t round = 0, entries = 0;
  milliseconds milliseconds_passed{0};
};

TEST(Spread, in_a_small_cluster_all_are_told_of_all_at_once_and_the_same) {
  Spread spread;
  for (const NodeId& id : nodes(20)) spread.add_viewer(id);
  EXPECT_TRUE(spread.take().empty());
  for (const uint64_t changed : {3, 7, 3}) spread.changed(node(changed));
  const std::vector<Spread::News> news = spread.take();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].nodes.size(), 2u);
  EXPECT_EQ(news[0].viewers.size(), 20u);
  EXPECT_TRUE(spread.take().empty());
  EXPECT_EQ(spread.pause(), milliseconds(40));
}

TEST(Spread, one_who_views_a_large_busy_cluster_is_told_everything_at_once) {
  Spread spread;
  spread.add_viewer(node(1));
  for (const NodeId& id : nodes(5'000)) spread.changed(id);
  const std::vector<Spread::News> news = spread.take();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].nodes.size(), 5'000u);
  EXPECT_LE(spread.pause(), milliseconds(40));
}

TEST(Spread, ten_times_the_nodes_cost_about_ten_times_as_much_though_all_view_all) {
  double per_second[2];
  for (const size_t size : {100, 1'000}) {
    Crowd crowd(size);
    while (crowd.milliseconds_passed < milliseconds(2'000)) crowd.turn();
    per_second[size / 1'000] =
        static_cast<double>(crowd.entries) / static_cast<double>(crowd.milliseconds_passed.count());
  }
  EXPECT_LT(per_second[1], 12 * per_second[0]);
}

TEST(Spread, whatever_changes_is_known_to_all_some_rounds_later) {
  Crowd crowd(600);
  for (int i = 0; i < 40; ++i) crowd.turn();
  EXPECT_LT(crowd.oldest(), 33u);
  EXPECT_GT(crowd.oldest(), 1u);  // a crowd that is told in turns
  for (int i = 0; i < 40; ++i) crowd.spread.take();  // nothing changes any more
  EXPECT_TRUE(crowd.spread.take().empty());
}

TEST(Spread, news_in_turns_are_complete_when_the_changes_end) {
  Crowd crowd(600);
  for (int i = 0; i < 10; ++i) crowd.turn();
  std::map<NodeId, size_t> told;
  for (const NodeId& id : crowd.all) crowd.spread.changed(id);
  for (int i = 0; i < 40; ++i)
    for (const Spread::News& news : crowd.spread.take())
      for (const NodeId& viewer : news.viewers) told[viewer] += news.nodes.size();
  ASSERT_EQ(told.size(), 600u);
  for (const auto& [viewer, count] : told) EXPECT_GE(count, 600u);
}

TEST(Spread, who_has_left_is_told_nothing_and_told_of_no_more) {
  Spread spread;
  spread.add_viewer(node(1));
  spread.add_viewer(node(2));
  spread.changed(node(3));
  spread.changed(node(4));
  spread.remove_viewer(node(2));
  spread.forget(node(4));
  const std::vector<Spread::News> news = spread.take();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].nodes, std::vector{node(3)});
  EXPECT_EQ(news[0].viewers, std::vector{node(1)});
  EXPECT_FALSE(spread.is_viewer(node(2)));
}

}  // namespace
}  // namespace narke::node
