#include "node/evacuation.h"

#include <gtest/gtest.h>

namespace narke::node {
namespace {

NodeId node(char letter) { return NodeId::from_bytes(std::string(NodeId::kSize, letter)); }
ObjectId object(char letter) { return ObjectId::from_bytes(std::string(ObjectId::kSize, letter)); }

struct Fake : Evacuation::Out {
  std::vector<Evacuation::Object> to_move() override { return here; }
  std::vector<NodeId> shelters() override { return nodes; }
  void ask(const NodeId& shelter, const std::vector<Evacuation::Object>& objects) override {
    asked.emplace_back(shelter, objects.size());
  }
  void moved(const NodeId& shelter, const std::vector<Evacuation::Object>& objects) override {
    gone.emplace_back(shelter, objects.size());
  }
  std::vector<Evacuation::Object> here;
  std::vector<NodeId> nodes;
  std::vector<std::pair<NodeId, size_t>> asked, gone;
};

using Said = std::vector<std::pair<NodeId, size_t>>;

TEST(Evacuation, WhatIsTakenIsMovedOnce) {
  Fake fake;
  fake.nodes = {node('a')};
  fake.here = {{object('x'), 1}, {object('y'), 2}};
  Evacuation evacuation(fake);
  evacuation.look(0);
  EXPECT_FALSE(evacuation.is_done());
  evacuation.look(1);
  EXPECT_EQ(fake.asked, (Said{{node('a'), 2}}));
  evacuation.on_taken(node('a'), {object('x'), object('y')});
  EXPECT_EQ(fake.gone, (Said{{node('a'), 2}}));
  evacuation.look(2);
  EXPECT_TRUE(evacuation.is_done());
  EXPECT_EQ(fake.asked.size(), 1u);
}

TEST(Evacuation, WhatOneRefusesTheNextIsAskedFor) {
  Fake fake;
  fake.nodes = {node('a'), node('b')};
  fake.here = {{object('x'), 1}};
  Evacuation evacuation(fake);
  evacuation.look(0);
  evacuation.on_taken(node('a'), {});
  evacuation.look(1);
  EXPECT_EQ(fake.asked, (Said{{node('a'), 1}, {node('b'), 1}}));
  evacuation.on_node_gone(node('b'));
  fake.nodes = {node('a')};
  evacuation.look(2);
  EXPECT_EQ(fake.asked.size(), 2u);
  EXPECT_FALSE(evacuation.is_done());
  evacuation.look(5'000);  // refusals are forgotten after a while
  EXPECT_EQ(fake.asked.size(), 3u);
}

TEST(Evacuation, WhatIsErasedMeanwhileIsNotLeft) {
  Fake fake;
  fake.nodes = {node('a')};
  fake.here = {{object('x'), 1}};
  Evacuation evacuation(fake);
  evacuation.look(0);
  fake.here.clear();
  evacuation.on_taken(node('a'), {});
  evacuation.look(1);
  EXPECT_TRUE(evacuation.is_done());
}

TEST(Evacuation, WithoutAShelterThingsStay) {
  Fake fake;
  fake.here = {{object('x'), 1}};
  Evacuation evacuation(fake);
  evacuation.look(0);
  EXPECT_FALSE(evacuation.is_done());
  EXPECT_TRUE(fake.asked.empty());
}

}  // namespace
}  // namespace narke::node
