#include "node/cluster.h"

#include <gtest/gtest.h>

#include "node/testing/quiet_out.h"

namespace narke::node {
namespace {

using sched::kOne;
using wire::LeaseStatus;

template <class IdType>
IdType id_of(char c) {
  return IdType::from_bytes(std::string(IdType::kSize, c));
}

// Keeps what is said of leases, to programs and to other nodes.
class Spoken : public testing::QuietOut {
 public:
  std::vector<std::string> take() { return std::exchange(said_, {}); }
  int64_t now = 1'000;

 private:
  int64_t now_ms() override { return now; }
  WorkerId new_worker_id() override { return id_of<WorkerId>('w'); }
  void grant(const Grant&) override { said_.push_back("grant"); }
  void deny(const WorkerId&, uint32_t, LeaseStatus status, wire::FailureKind, const std::string&) override {
    said_.push_back(std::string("deny ") + wire::EnumNameLeaseStatus(status));
  }
  void send_lease_request(const NodeId& node, const LeaseRequest& request, bool) override {
    said_.push_back(std::string("ask ") + static_cast<char>(node.data()[0]) + " for " +
                    std::to_string(request.call_id));
  }
  void send_return_lease(const NodeId& node, const WorkerId&, uint64_t lease, bool, bool) override {
    said_.push_back(std::string("return ") + std::to_string(lease) + " to " + static_cast<char>(node.data()[0]));
  }
  void send_watch_group(const PgId&) override { said_.push_back("watch"); }

  std::vector<std::string> said_;
};

using Lines = std::vector<std::string>;

// A node without CPUs beside one, 'o', that has some.
class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() { add_node('o'); }

  static NodeConfig config() {
    NodeConfig out;
    out.node = id_of<NodeId>('s');
    return out;
  }
  void add_node(char name) {
    controller::Node node;
    node.id = id_of<NodeId>(name);
    cluster_.add_node(std::move(node));
    cluster_.on_pool_report(id_of<NodeId>(name), {{"CPU", kOne}}, {{"CPU", kOne}});
  }
  LeaseRequest request(uint32_t call_id) {
    LeaseRequest out;
    out.holder = program_;
    out.call_id = call_id;
    out.resources = {{"CPU", kOne}};
    return out;
  }
  // So much later, after some looks.
  Lines after(int64_t ms) {
    out_.now += ms;
    cluster_.tick();
    cluster_.settle();
    return out_.take();
  }
  bool answer(char node, uint32_t call_id, LeaseStatus status, uint64_t lease = 0) {
    return cluster_.on_lease_answer(id_of<NodeId>(node), program_, call_id, status, lease);
  }

  Spoken out_;
  Cluster cluster_{config(), {}, false, out_};
  const WorkerId program_ = id_of<WorkerId>('p');
};

TEST_F(ClusterTest, AnAnswerThatDoesNotComeIsAskedForAgainLessAndLessOften) {
  cluster_.request_lease(request(1));
  EXPECT_EQ(out_.take(), Lines{"ask o for 1"});
  EXPECT_EQ(after(2'900), Lines{});
  EXPECT_EQ(after(200), Lines{"ask o for 1"});
  EXPECT_EQ(after(3'100), Lines{});
  EXPECT_EQ(after(3'000), Lines{"ask o for 1"});
  EXPECT_TRUE(answer('o', 1, LeaseStatus::Granted, 7));
  EXPECT_EQ(after(100'000), Lines{});
}

TEST_F(ClusterTest, WhatIsGrantedTwiceIsReturned) {
  cluster_.request_lease(request(1));
  after(4'000);
  EXPECT_TRUE(answer('o', 1, LeaseStatus::Granted, 7));
  EXPECT_FALSE(answer('o', 1, LeaseStatus::Granted, 8));
  EXPECT_EQ(out_.take(), Lines{"return 8 to o"});
}

TEST_F(ClusterTest, AGroupAtANodeThatNobodyKnowsIsLookedForAgain) {
  controller::PlacementGroup group;
  group.id = id_of<PgId>('g');
  group.state = controller::GroupState::kCreated;
  group.nodes = {id_of<NodeId>('u')};
  LeaseRequest wanted = request(1);
  wanted.pg = group.id;
  cluster_.request_lease(std::move(wanted));
  EXPECT_EQ(out_.take(), Lines{"watch"});
  cluster_.on_group_news(group);
  EXPECT_EQ(out_.take(), Lines{"ask u for 1"});
  after(4'000);
  EXPECT_EQ(after(100), Lines{"watch"});
  group.nodes = {id_of<NodeId>('o')};
  cluster_.on_group_news(group);
  EXPECT_EQ(out_.take(), Lines{"ask o for 1"});
}

}  // namespace
}  // namespace narke::node
