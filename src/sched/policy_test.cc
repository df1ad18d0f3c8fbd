#include "sched/policy.h"

#include <algorithm>
#include <deque>
#include <random>

#include <gtest/gtest.h>

namespace narke::sched {
namespace {

// Nodes with stable addresses for their views.
class Nodes {
 public:
  size_t add(ResourceSet total, Labels labels = {}) {
    pools_.emplace_back(std::move(total));
    labels_.push_back(std::move(labels));
    views_.push_back({id(views_.size()), &pools_.back(), &labels_.back()});
    return views_.size() - 1;
  }
  static NodeId id(size_t index) {
    NodeId id;
    id.data()[0] = static_cast<uint8_t>(index);
    id.data()[1] = static_cast<uint8_t>(index >> 8);
    return id;
  }
  ResourcePool& pool(size_t index) { return pools_[index]; }
  std::span<const NodeView> views() const { return views_; }

 private:
  std::deque<ResourcePool> pools_;
  std::deque<Labels> labels_;
  std::vector<NodeView> views_;
};

const ResourceSet kCpu = {{"CPU", kOne}};

TEST(Hybrid, FillsTheLocalNodeHalfThenTheEmptiest) {
  Nodes nodes;
  for (int i = 0; i < 3; ++i) nodes.add({{"CPU", 4 * kOne}});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(pick_hybrid(nodes.views(), kCpu, 1).node, 1u);
    nodes.pool(1).allocate(kCpu);
  }
  EXPECT_EQ(pick_hybrid(nodes.views(), kCpu, 1).node, 2u);
}

TEST(Hybrid, TellsWaitingFromImpossible) {
  Nodes nodes;
  nodes.add({{"CPU", kOne}});
  nodes.pool(0).allocate(kCpu);
  EXPECT_EQ(pick_hybrid(nodes.views(), kCpu, 0).kind, Choice::Kind::kWait);
  EXPECT_EQ(pick_hybrid(nodes.views(), {{"GPU", 1}}, 0).kind, Choice::Kind::kInfeasible);
  EXPECT_EQ(pick_hybrid({}, kCpu, 0).kind, Choice::Kind::kInfeasible);
}

TEST(Spread, TakesNodesInTurn) {
  Nodes nodes;
  for (int i = 0; i < 3; ++i) nodes.add({{"CPU", 4 * kOne}});
  uint64_t cursor = 0;
  for (const size_t expected : {0u, 1u, 2u, 0u}) EXPECT_EQ(pick_spread(nodes.views(), kCpu, &cursor).node, expected);
}

TEST(Affinity, HardStaysSoftMayLeave) {
  Nodes nodes;
  nodes.add({{"CPU", kOne}});
  nodes.add({{"CPU", kOne}});
  EXPECT_EQ(pick_affinity(nodes.views(), kCpu, Nodes::id(1), false, 0).node, 1u);
  EXPECT_EQ(pick_affinity(nodes.views(), kCpu, Nodes::id(9), false, 0).kind, Choice::Kind::kInfeasible);
  EXPECT_EQ(pick_affinity(nodes.views(), kCpu, Nodes::id(9), true, 0).kind, Choice::Kind::kNode);
}

TEST(LabelsPolicy, HardMustHoldPreferredShould) {
  Nodes nodes;
  nodes.add({{"CPU", kOne}}, {{"zone", "a"}});
  nodes.add({{"CPU", kOne}}, {{"zone", "b"}});
  nodes.add({{"CPU", kOne}}, {{"zone", "b"}, {"fast", "yes"}});
  Strategy strategy;
  strategy.kind = Strategy::Kind::kLabels;
  strategy.hard = {{"zone", LabelCondition::Kind::kIn, {"b"}}};
  strategy.preferred = {{"fast", LabelCondition::Kind::kExists, {}}};
  EXPECT_EQ(pick_labels(nodes.views(), kCpu, strategy).node, 2u);
  strategy.hard = {{"zone", LabelCondition::Kind::kNotIn, {"b"}}};
  EXPECT_EQ(pick_labels(nodes.views(), kCpu, strategy).node, 0u);
  strategy.hard = {{"zone", LabelCondition::Kind::kAbsent, {}}};
  EXPECT_EQ(pick_labels(nodes.views(), kCpu, strategy).kind, Choice::Kind::kInfeasible);
  strategy.fallbacks = {{{"zone", LabelCondition::Kind::kIn, {"a"}}}};
  EXPECT_EQ(pick_labels(nodes.views(), kCpu, strategy).node, 0u);
}

TEST(Bundles, FollowTheirStrategy) {
  Nodes nodes;
  for (int i = 0; i < 3; ++i) nodes.add({{"CPU", 2 * kOne}});
  const std::vector<ResourceSet> two(2, kCpu), four(4, kCpu), three(3, kCpu);
  using Places = std::vector<size_t>;
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kPack, two), (Places{0, 0}));
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kPack, four), (Places{0, 0, 1, 1}));
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kStrictPack, three), std::nullopt);
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kStrictSpread, three), (Places{0, 1, 2}));
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kStrictSpread, four), std::nullopt);
  const auto spread = place_bundles(nodes.views(), BundleStrategy::kSpread, four);
  ASSERT_TRUE(spread);
  for (size_t node = 0; node < 3; ++node) EXPECT_GE(std::count(spread->begin(), spread->end(), node), 1);
}

TEST(Bundles, GoToNodesWithTheirLabels) {
  Nodes nodes;
  for (const char* zone : {"a", "b", "a"}) nodes.add({{"CPU", 2 * kOne}}, {{"zone", zone}});
  const std::vector<ResourceSet> two(2, kCpu);
  using Places = std::vector<size_t>;
  const auto in = [](const char* zone) {
    return std::vector<LabelCondition>{{"zone", LabelCondition::Kind::kIn, {zone}}};
  };
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kPack, two, {in("b"), in("b")}), (Places{1, 1}));
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kPack, two, {in("b"), in("a")}), (Places{1, 0}));
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kPack, two, {{}, in("b")}), (Places{1, 1}));
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kStrictPack, two, {in("b"), in("a")}), std::nullopt);
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kStrictSpread, two, {in("a"), in("a")}), (Places{0, 2}));
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kStrictSpread, two, {in("b"), in("b")}), std::nullopt);
  EXPECT_EQ(place_bundles(nodes.views(), BundleStrategy::kPack, two, {in("nowhere"), {}}), std::nullopt);
}

// Property: what a policy chooses fits, over ten thousand nodes as over one.
TEST(Policies, NeverChooseANodeThatDoesNotFit) {
  std::mt19937 random(7);
  for (const size_t count : {1u, 10u, 10'000u}) {
    Nodes nodes;
    for (size_t i = 0; i < count; ++i) {
      nodes.add({{"CPU", static_cast<Amount>(1 + random() % 8) * kOne}}, {{"zone", std::to_string(random() % 3)}});
      nodes.pool(i).allocate({{"CPU", static_cast<Amount>(random() % 8) * kOne}});
    }
    uint64_t cursor = 0;
    for (int i = 0; i < 50; ++i) {
      const ResourceSet demand = {{"CPU", static_cast<Amount>(1 + random() % 9) * kOne}};
      Strategy strategy;
      strategy.kind = static_cast<Strategy::Kind>(random() % 4);
      strategy.soft = random() % 2;
      strategy.node = Nodes::id(random() % count);
      strategy.hard = {{"zone", LabelCondition::Kind::kIn, {"1"}}};
      const Choice choice = pick_node(nodes.views(), demand, strategy, random() % count, &cursor);
      if (choice.kind == Choice::Kind::kNode) EXPECT_TRUE(nodes.pool(choice.node).fits(demand));
      if (choice.kind == Choice::Kind::kWait) EXPECT_TRUE(nodes.pool(choice.node).feasible(demand));
    }
  }
}

}  // namespace
}  // namespace narke::sched
