#include "controller/controller.h"

#include <deque>
#include <set>

#include <gtest/gtest.h>

namespace narke::controller {
namespace {

using sched::kOne;
using sched::ResourceSet;
using wire::ActorState;
using wire::CreateActorStatus;
using wire::DeathCause;

template <class IdType>
IdType id_of(char c) {
  return IdType::from_bytes(std::string(IdType::kSize, c));
}

// Keeps what the controller says; a test names all of it, or fails.
class FakeOut : public Out {
 public:
  ~FakeOut() override {
    for (const std::string& line : said) ADD_FAILURE() << "nobody expected: " << line;
  }
  int64_t now_ms() override { return 1; }
  void place_actor(const NodeId&, const Actor& actor) override {
    said.push_back("place " + actor.spec.class_name + " #" + std::to_string(actor.incarnation));
  }
  void end_actor(const NodeId&, const ActorId&, EndKind kind) override {
    said.push_back(kind == EndKind::AtOnce ? "kill" : kind == EndKind::Graceful ? "end gracefully" : "take back");
  }
  void reserve(const NodeId& node, const PlacementGroup& group, const std::vector<size_t>& which) override {
    said.push_back("reserve " + std::to_string(which.size()));
    if (node == id_of<NodeId>('n'))
      for (const size_t bundle : which) taken.push_back(*pool.allocate(group.bundles[bundle]));
    asked.push_back({group.id, node, group.attempt});
  }
  void unreserve(const NodeId& node, const PlacementGroup&, const std::vector<size_t>& which) override {
    said.push_back(which.empty() ? "unreserve" : "unreserve " + std::to_string(which.size()));
    if (node != id_of<NodeId>('n')) return;
    for (const sched::Allocation& each : taken) pool.release(each);
    taken.clear();
  }
  void actor_changed(const WorkerId&, const Actor& actor) override {
    said.push_back(wire::EnumNameActorState(actor.state));
    last = actor;
  }
  void group_changed(const PlacementGroup& group) override { said.push_back(state_name(group.state)); }
  void touched(Table, const std::string& key) override { kept.insert(key); }

  void expect(const std::vector<std::string>& lines) {
    EXPECT_EQ(std::vector<std::string>(said.begin(), said.end()), lines);
    said.clear();
  }

  struct Asked {
    PgId group;
    NodeId node;
    uint32_t attempt;
  };
  std::deque<std::string> said;
  std::deque<Asked> asked;  // reservations without an answer
  std::set<std::string> kept;  // keys of records to be kept
  Actor last;
  sched::ResourcePool pool{ResourceSet{{"CPU", 4 * kOne}}};
  std::vector<sched::Allocation> taken;
};

class ControllerTest : public ::testing::Test {
 protected:
  ControllerTest() {
    Node node;
    node.id = id_of<NodeId>('n');
    node.pool = &out_.pool;
    controller_.nodes.add(std::move(node));
    job_ = controller_.start_job(driver_, id_of<NodeId>('n'), 77, "").id;
  }

  void add_other_node(char id, int cpus) {
    Node node;
    node.id = id_of<NodeId>(id);
    const ResourceSet total{{"CPU", cpus * kOne}};
    node.mirror = std::make_shared<sched::ResourcePool>(sched::ResourcePool::mirror(total, total));
    node.pool = node.mirror.get();
    controller_.add_node(std::move(node));
  }

  // The node that was asked first answers.
  void answer(bool ok = true) {
    const FakeOut::Asked asked = out_.asked.front();
    out_.asked.pop_front();
    controller_.on_reserved(asked.group, asked.node, asked.attempt, ok);
  }

  ActorSpec spec(char id, const std::string& name = "") {
    ActorSpec spec;
    spec.id = id_of<ActorId>(id);
    spec.job = job_;
    spec.owner.worker = driver_;
    spec.class_name = "Counter";
    spec.name = name;
    spec.placement = {{"CPU", kOne}};
    return spec;
  }
  ActorId create(ActorSpec spec) {
    const ActorId id = spec.id;
    EXPECT_EQ(controller_.actors.create(std::move(spec), {}, driver_).status, CreateActorStatus::Created);
    out_.expect({"place Counter #0"});
    return id;
  }
  ActorId alive(ActorSpec spec) {
    const ActorId id = create(std::move(spec));
    controller_.actors.on_started(id, 0, {id_of<WorkerId>('w'), controller_.actors.find(id)->node, "path"}, 123);
    out_.expect({"Alive"});
    return id;
  }

  FakeOut out_;
  Controller controller_{out_};
  WorkerId driver_ = id_of<WorkerId>('d');
  JobId job_;
};

Fate killed() { return fate_of_status(123, 9); }

TEST_F(ControllerTest, CountsJobsFromOne) {
  EXPECT_EQ(job_.hex(), "01000000");
  EXPECT_EQ(controller_.start_job(id_of<WorkerId>('e'), id_of<NodeId>('n'), 78, "").id.hex(), "02000000");
}

TEST_F(ControllerTest, RestartsAsOftenAsAllowed) {
  ActorSpec wanted = spec('a');
  wanted.max_restarts = 1;
  const ActorId id = alive(std::move(wanted));
  controller_.actors.on_gone(id, 0, killed());
  out_.expect({"Restarting", "place Counter #1"});
  controller_.actors.on_gone(id, 0, killed());  // late news of the first process
  controller_.actors.on_started(id, 1, {}, 124);
  out_.expect({"Alive"});
  controller_.actors.on_gone(id, 1, killed());
  out_.expect({"Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::WorkerDied);
  EXPECT_NE(out_.last.message.find("pid 123"), std::string::npos);
  EXPECT_NE(out_.last.message.find("SIGKILL"), std::string::npos);
}

TEST_F(ControllerTest, AFailedInitIsFinal) {
  ActorSpec wanted = spec('a');
  wanted.max_restarts = -1;
  const ActorId id = create(std::move(wanted));
  controller_.actors.on_init_failed(id, 0, {1, 2, 3});
  out_.expect({"kill", "Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::InitFailed);
  EXPECT_EQ(out_.last.error, (std::vector<uint8_t>{1, 2, 3}));
  controller_.actors.on_gone(id, 0, killed());
}

TEST_F(ControllerTest, NamesAreUniqueWithinANamespaceAndFreedAtOnce) {
  const ActorId first = alive(spec('a', "name"));
  EXPECT_EQ(controller_.actors.create(spec('b', "name"), {}, driver_).status, CreateActorStatus::NameTaken);
  ActorSpec same = spec('b', "name");
  same.get_if_exists = true;
  const Actors::Created existing = controller_.actors.create(std::move(same), {}, driver_);
  EXPECT_EQ(existing.status, CreateActorStatus::Existing);
  EXPECT_EQ(existing.actor->spec.id, first);
  ActorSpec elsewhere = spec('c', "name");
  elsewhere.name_space = "other";
  create(std::move(elsewhere));
  controller_.actors.out_of_scope(first);
  out_.expect({"end gracefully"});
  EXPECT_EQ(controller_.actors.find_named("", "name"), nullptr);
  create(spec('b', "name"));
  controller_.actors.on_gone(first, 0, killed());
  out_.expect({"Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::OutOfScope);
}

TEST_F(ControllerTest, KillEndsAtOnceOrRestarts) {
  ActorSpec wanted = spec('a');
  wanted.max_restarts = 1;
  const ActorId id = alive(std::move(wanted));
  controller_.actors.kill(id, false);
  out_.expect({"kill"});
  controller_.actors.on_gone(id, 0, killed());
  out_.expect({"Restarting", "place Counter #1"});
  controller_.actors.kill(id, true);
  out_.expect({"kill", "Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::Killed);
  controller_.actors.kill(id, true);
}

TEST_F(ControllerTest, AKillThatIsSaidTwiceIsDoneOnce) {
  ActorSpec wanted = spec('a');
  wanted.max_restarts = -1;
  const ActorId id = alive(std::move(wanted));
  controller_.actors.kill(id, false, 7);
  out_.expect({"kill"});
  controller_.actors.on_gone(id, 0, killed());
  out_.expect({"Restarting", "place Counter #1"});
  controller_.actors.on_started(id, 1, {}, 124);
  out_.expect({"Alive"});
  controller_.actors.kill(id, false, 7);
  controller_.actors.kill(id, false, 8);
  out_.expect({"kill"});
}

// ---- nodes that are to go ----

TEST_F(ControllerTest, WhatMayBeRestartedMovesFromADrainingNodeWithoutCounting) {
  add_other_node('o', 4);
  ActorSpec wanted = spec('a');
  wanted.max_restarts = 1;
  wanted.strategy = {sched::Strategy::Kind::kAffinity, id_of<NodeId>('o'), true, {}, {}, {}};
  const ActorId mover = create(std::move(wanted));
  ActorSpec other = spec('b');
  other.strategy = {sched::Strategy::Kind::kAffinity, id_of<NodeId>('o'), true, {}, {}, {}};
  const ActorId stays = create(std::move(other));
  for (const ActorId& id : {mover, stays}) controller_.actors.on_started(id, 0, {}, 5);
  out_.expect({"Alive", "Alive"});
  EXPECT_TRUE(controller_.drain_node(id_of<NodeId>('o'), {wire::DrainReason::Preemption, "spot", 0}));
  out_.expect({"end gracefully"});
  controller_.actors.on_gone(mover, 0, killed());
  out_.expect({"Restarting", "place Counter #1"});
  EXPECT_EQ(controller_.actors.find(mover)->node, id_of<NodeId>('n'));
  EXPECT_EQ(controller_.actors.find(mover)->restarts, 0);
  EXPECT_EQ(controller_.actors.find(stays)->node, id_of<NodeId>('o'));
  controller_.on_node_gone(id_of<NodeId>('o'), "it was drained");
  out_.expect({"Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::NodeDrained);
}

TEST_F(ControllerTest, WithoutAnotherPlaceAnActorStaysOnADrainingNode) {
  add_other_node('o', 8);
  ActorSpec wanted = spec('a');
  wanted.max_restarts = -1;
  wanted.placement = {{"CPU", 8 * kOne}};
  const ActorId id = alive(std::move(wanted));
  EXPECT_TRUE(controller_.drain_node(id_of<NodeId>('o'), {wire::DrainReason::Preemption, "", 0}));
  EXPECT_EQ(controller_.actors.find(id)->state, ActorState::Alive);
}

TEST_F(ControllerTest, AnActorThatHadNotBegunWhereItWasBeginsAsANewIncarnation) {
  add_other_node('o', 8);
  ActorSpec wanted = spec('a');
  wanted.placement = {{"CPU", 8 * kOne}};
  const ActorId id = create(std::move(wanted));
  controller_.on_node_gone(id_of<NodeId>('o'), "it is out of reach");
  out_.expect({"place Counter #1"});
  controller_.actors.on_started(id, 0, {id_of<WorkerId>('w'), id_of<NodeId>('o'), "path"}, 5);
  out_.expect({"kill"});  // out of reach, it began there all the same
  EXPECT_EQ(controller_.actors.find(id)->restarts, 0);
}

TEST_F(ControllerTest, NodesAreFoundWhicheverHaveGone) {
  for (const char name : {'o', 'p', 'q'}) add_other_node(name, 1);
  controller_.on_node_gone(id_of<NodeId>('o'), "it went");
  EXPECT_EQ(controller_.nodes.find(id_of<NodeId>('o')), nullptr);
  EXPECT_EQ(controller_.nodes.find_ended(id_of<NodeId>('o'))->why, "it went");
  for (const char name : {'p', 'q'}) EXPECT_EQ(controller_.nodes.find(id_of<NodeId>(name))->id, id_of<NodeId>(name));
  ASSERT_EQ(controller_.nodes.views().size(), 3u);
  EXPECT_EQ(controller_.nodes.views()[2].id, id_of<NodeId>('q'));
  controller_.drain_node(id_of<NodeId>('q'), {wire::DrainReason::Idle, "", 0});
  EXPECT_TRUE(controller_.nodes.views()[2].closed);
}

TEST_F(ControllerTest, WhatWasChargedAndNeverShowsInAReportIsFreeAgain) {
  add_other_node('o', 8);
  const NodeId other = id_of<NodeId>('o');
  controller_.nodes.set_pool(other, {{"CPU", 8 * kOne}}, {{"CPU", 6 * kOne}});
  controller_.nodes.charge(other, {{"CPU", 2 * kOne}});
  EXPECT_FALSE(controller_.nodes.forget_charges());
  EXPECT_EQ(controller_.nodes.find(other)->pool->available().get("CPU"), 4 * kOne);
  bool forgotten = false;
  for (int i = 0; i < 8; ++i) forgotten |= controller_.nodes.forget_charges();
  EXPECT_TRUE(forgotten);
  EXPECT_EQ(controller_.nodes.find(other)->pool->available().get("CPU"), 6 * kOne);
}

TEST_F(ControllerTest, LeavingOnPurposeIsNotRestarted) {
  ActorSpec wanted = spec('a');
  wanted.max_restarts = -1;
  const ActorId id = alive(std::move(wanted));
  controller_.actors.exiting(id);
  controller_.actors.on_gone(id, 0, killed());
  out_.expect({"Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::Exited);
}

TEST_F(ControllerTest, ActorsEndWithTheirOwnerUnlessDetached) {
  ActorSpec kept = spec('d', "kept");
  kept.detached = true;
  create(std::move(kept));
  alive(spec('a'));
  ActorSpec owned = spec('b');
  owned.owner.worker = id_of<WorkerId>('w');
  create(std::move(owned));
  controller_.on_worker_gone(id_of<WorkerId>('w'), "It crashed.");
  out_.expect({"kill", "Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::OwnerDied);
  controller_.finish_job(job_, "has left");
  out_.expect({"kill"});  // its watcher, the driver, is gone
  EXPECT_EQ(controller_.actors.find(id_of<ActorId>('a'))->cause, DeathCause::JobFinished);
  EXPECT_NE(controller_.actors.find_named("", "kept"), nullptr);
}

TEST_F(ControllerTest, AnActorBoundToAMissingNodeDies) {
  ActorSpec wanted = spec('a');
  wanted.strategy.kind = sched::Strategy::Kind::kAffinity;
  wanted.strategy.node = id_of<NodeId>('x');
  controller_.actors.create(std::move(wanted), {}, driver_);
  out_.expect({"Dead"});
  EXPECT_EQ(out_.last.cause, DeathCause::Unschedulable);
}

TEST_F(ControllerTest, WatchersHearOfAllChanges) {
  const ActorId id = alive(spec('a'));
  EXPECT_EQ(controller_.actors.watch(id, id_of<WorkerId>('v'))->state, ActorState::Alive);
  EXPECT_EQ(controller_.actors.watch(id_of<ActorId>('z'), driver_), nullptr);
  controller_.actors.on_gone(id, 0, killed());
  out_.expect({"Dead", "Dead"});
}

// ---- placement groups --------------------------------------------------------------------------------------

PlacementGroup make_group(char id, size_t bundles, int cpus) {
  PlacementGroup group;
  group.id = id_of<PgId>(id);
  group.bundles.assign(bundles, ResourceSet{{"CPU", cpus * kOne}});
  return group;
}

TEST_F(ControllerTest, GroupsWaitTheirTurnButNobodyIsHeldUpByTheImpossible) {
  PlacementGroup impossible = make_group('s', 2, 1);
  impossible.strategy = sched::BundleStrategy::kStrictSpread;
  EXPECT_TRUE(controller_.groups.create(std::move(impossible)).ok());
  EXPECT_TRUE(controller_.groups.create(make_group('a', 2, 2)).ok());
  answer();
  out_.expect({"reserve 2", "CREATED"});
  EXPECT_TRUE(controller_.groups.create(make_group('b', 1, 3)).ok());
  EXPECT_TRUE(controller_.groups.create(make_group('c', 1, 3)).ok());
  EXPECT_EQ(controller_.groups.pending().size(), 3u);
  EXPECT_TRUE(controller_.remove_group(id_of<PgId>('a')));
  out_.expect({"unreserve", "REMOVED"});
  controller_.groups.retry();
  answer();
  out_.expect({"reserve 1", "CREATED"});
  EXPECT_EQ(controller_.groups.find(id_of<PgId>('b'))->state, GroupState::kCreated);
  EXPECT_FALSE(controller_.remove_group(id_of<PgId>('a')));
}

TEST_F(ControllerTest, ARemovedGroupTakesItsActorsAlong) {
  EXPECT_TRUE(controller_.groups.create(make_group('a', 1, 1)).ok());
  answer();
  out_.expect({"reserve 1", "CREATED"});
  ActorSpec member = spec('a');
  member.pg = id_of<PgId>('a');
  alive(std::move(member));
  controller_.remove_group(id_of<PgId>('a'));
  out_.expect({"kill", "Dead", "unreserve", "REMOVED"});
  EXPECT_EQ(out_.last.cause, DeathCause::PlacementGroupRemoved);
}

TEST_F(ControllerTest, GroupsHaveNamesAndEndWithTheirJob) {
  PlacementGroup named = make_group('a', 1, 1);
  named.name = "g";
  named.job = job_;
  EXPECT_TRUE(controller_.groups.create(std::move(named)).ok());
  answer();
  out_.expect({"reserve 1", "CREATED"});
  PlacementGroup twin = make_group('b', 1, 1);
  twin.name = "g";
  EXPECT_FALSE(controller_.groups.create(std::move(twin)).ok());
  EXPECT_NE(controller_.groups.find_named("", "g"), nullptr);
  controller_.finish_job(job_, "has left");
  out_.expect({"unreserve", "REMOVED"});
  EXPECT_EQ(controller_.groups.find_named("", "g"), nullptr);
}

TEST_F(ControllerTest, AGroupStandsWhenAllItsNodesAgreeAndGivesBackWhenOneDoesNot) {
  add_other_node('m', 4);
  PlacementGroup spread = make_group('a', 2, 3);
  spread.strategy = sched::BundleStrategy::kStrictSpread;
  EXPECT_TRUE(controller_.groups.create(std::move(spread)).ok());
  out_.expect({"reserve 1", "reserve 1"});
  answer(false);
  answer();
  out_.expect({"unreserve 1"});
  EXPECT_TRUE(controller_.groups.any_pending());
  controller_.nodes.set_pool(id_of<NodeId>('m'), {{"CPU", 4 * kOne}}, {{"CPU", 4 * kOne}});
  controller_.retry();
  out_.expect({"reserve 1", "reserve 1"});
  answer();
  answer();
  out_.expect({"CREATED"});
}

TEST_F(ControllerTest, WhatAGoneNodeHadIsLookedForElsewhere) {
  add_other_node('m', 8);
  add_other_node('o', 8);
  EXPECT_TRUE(controller_.groups.create(make_group('a', 1, 6)).ok());
  answer();
  out_.expect({"reserve 1", "CREATED"});
  const NodeId first = controller_.groups.find(id_of<PgId>('a'))->nodes[0];
  ActorSpec member = spec('a');
  member.pg = id_of<PgId>('a');
  member.max_restarts = 1;
  alive(std::move(member));
  controller_.on_node_gone(first, "its link ended");
  out_.expect({"PENDING", "reserve 1", "Restarting"});
  answer();
  out_.expect({"CREATED", "place Counter #1"});
  EXPECT_NE(controller_.groups.find(id_of<PgId>('a'))->nodes[0], first);
}

// A head that is started again would look for its bundle where nobody has it.
TEST_F(ControllerTest, WhatAWaitingGroupLosesIsKept) {
  add_other_node('m', 8);
  add_other_node('o', 8);
  PlacementGroup spread = make_group('a', 3, 3);
  spread.strategy = sched::BundleStrategy::kStrictSpread;
  EXPECT_TRUE(controller_.groups.create(std::move(spread)).ok());
  for (int i = 0; i < 3; ++i) answer();
  out_.expect({"reserve 1", "reserve 1", "reserve 1", "CREATED"});
  controller_.on_node_gone(id_of<NodeId>('m'), "its link ended");
  out_.expect({"PENDING"});
  out_.kept.clear();
  controller_.on_node_gone(id_of<NodeId>('o'), "its link ended");
  EXPECT_TRUE(out_.kept.contains(std::string(id_of<PgId>('a').view())));
}

TEST_F(ControllerTest, AnActorThatFitsNowhereGoesToTheNodeThatComesLater) {
  ActorSpec big = spec('a');
  big.placement = {{"CPU", 8 * kOne}};
  controller_.actors.create(std::move(big), {}, driver_);
  out_.expect({"place Counter #0"});
  add_other_node('m', 8);
  out_.expect({"take back"});
  controller_.retry();  // what is asked for is not asked for again
  out_.expect({});
  Fate waited;
  controller_.actors.on_gone(id_of<ActorId>('a'), 0, waited);
  out_.expect({"place Counter #1"});
  EXPECT_EQ(controller_.actors.find(id_of<ActorId>('a'))->node, id_of<NodeId>('m'));
  EXPECT_EQ(controller_.actors.find(id_of<ActorId>('a'))->restarts, 0);
}

TEST_F(ControllerTest, AnActorWhoseNodeKeepsItHasBegunAndDiesAsOthersDo) {
  ActorSpec big = spec('a');
  big.placement = {{"CPU", 8 * kOne}};
  controller_.actors.create(std::move(big), {}, driver_);
  add_other_node('m', 8);
  out_.expect({"place Counter #0", "take back"});
  controller_.actors.on_gone(id_of<ActorId>('a'), 0, killed());  // in its constructor
  out_.expect({"Dead"});
}

TEST_F(ControllerTest, AnActorThatItsNodeKeptDiesWithTheNode) {
  ActorSpec big = spec('a', "kept");
  big.detached = true;
  big.placement = {{"CPU", 8 * kOne}};
  controller_.actors.create(std::move(big), {}, driver_);
  add_other_node('m', 8);
  out_.expect({"place Counter #0", "take back"});
  controller_.actors.on_started(id_of<ActorId>('a'), 0, {}, 5);
  out_.expect({"Alive"});
  controller_.on_node_gone(id_of<NodeId>('n'), "its link ended");
  out_.expect({"Dead"});
}

// ---- keys and fates ----------------------------------------------------------------------------------------

TEST(KeyValue, OverwritesOnlyWhenAsked) {
  KeyValue kv;
  EXPECT_TRUE(kv.put("ns", "a1", "x", false));
  EXPECT_FALSE(kv.put("ns", "a1", "y", false));
  EXPECT_EQ(*kv.get("ns", "a1"), "x");
  EXPECT_FALSE(kv.put("ns", "a1", "y", true));
  EXPECT_EQ(*kv.get("ns", "a1"), "y");
  EXPECT_EQ(kv.get("other", "a1"), nullptr);
}

TEST(KeyValue, FindsAndRemovesByPrefix) {
  KeyValue kv;
  for (const char* key : {"a1", "a2", "b"}) kv.put("ns", key, "v", true);
  EXPECT_EQ(kv.keys("ns", "a"), (std::vector<std::string>{"a1", "a2"}));
  EXPECT_EQ(kv.remove("ns", "a", false), 0u);
  EXPECT_EQ(kv.remove("ns", "a", true), 2u);
  EXPECT_EQ(kv.keys("ns", ""), (std::vector<std::string>{"b"}));
}

TEST(Fate, SaysHowAProcessEnded) {
  EXPECT_EQ(fate_of_status(5, 3 << 8).message, "The worker process (pid 5) exited with code 3.");
  EXPECT_EQ(fate_of_status(5, 11).signal, 11);
  EXPECT_NE(fate_of_status(5, 11).message.find("SIGSEGV"), std::string::npos);
  EXPECT_STREQ(cause_name(unknown_fate(5).cause), "unknown");
}

}  // namespace
}  // namespace narke::controller
