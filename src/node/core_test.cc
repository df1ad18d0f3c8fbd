#include "node/core.h"

#include <algorithm>
#include <deque>

#include <gtest/gtest.h>

namespace narke::node {
namespace {

using sched::kOne;

template <class IdType>
IdType id_of(int number) {
  IdType id = IdType::from_bytes(std::string(IdType::kSize, 'i'));
  for (size_t i = 0; i < 4; ++i) id.data()[i] = static_cast<uint8_t>(number >> (8 * i));
  return id;
}

// Keeps what the node says; a test names all of it, or fails.
class FakeOut : public Out {
 public:
  ~FakeOut() override {
    for (const std::string& line : said) ADD_FAILURE() << "nobody expected: " << line;
  }
  int64_t now_ms() override { return now; }
  WorkerId new_worker_id() override { return id_of<WorkerId>(1'000 + ++workers); }
  void grant(const Grant& grant) override {
    last_lease = grant.lease;
    leases[grant.call_id] = grant.lease;
    last_worker = grant.worker;
    devices = grant.allocation->devices;
    say("grant " + std::to_string(grant.call_id));
  }
  void deny(const WorkerId&, uint32_t call_id, wire::LeaseStatus, wire::FailureKind failure,
            const std::string& message) override {
    say("deny " + std::to_string(call_id) + " " + wire::EnumNameFailureKind(failure));
    text = message;
  }
  void reclaim(const WorkerId&, uint64_t lease) override { say("reclaim " + std::to_string(lease)); }
  void notice(const JobId&, const std::string& kind, const std::string& message) override {
    say("notice " + kind);
    text = message;
  }
  void start_worker(const Worker& worker) override {
    say("start");
    started.push_back(worker.id);
  }
  EnvironmentState environment(const JobId&, const std::string& runtime_env) override {
    return runtime_env.empty() ? EnvironmentState{} : environment_state;
  }
  void stop_worker(const Worker& worker, StopKind kind, const std::string&) override {
    say(kind == StopKind::kAsk ? "ask to leave" : "kill");
    stopped = worker.id;
  }
  void start_actor(const Worker& worker) override {
    say("become #" + std::to_string(worker.incarnation));
    last_worker = worker.id;
  }
  void lease_ended(const Worker& worker) override { EXPECT_TRUE(worker.lease.has_value()); }
  void actor_started(const Worker&) override { say("actor started"); }
  void actor_init_failed(const Worker&, std::vector<uint8_t>) override { say("init failed"); }
  void actor_gone(const ActorId&, int, const Fate&) override { say("actor gone"); }
  void actor_unplaceable(const ActorId&, wire::DeathCause cause, const std::string& message) override {
    say(std::string("unplaceable ") + wire::EnumNameDeathCause(cause));
    text = message;
  }
  void worker_gone(const WorkerId&, const JobId&, const Fate& fate) override {
    say("gone");
    text = fate.message;
  }
  bool group_exists(const PgId&) override { return groups_exist; }
  bool owns_actors(const WorkerId&) override { return owners; }

  void say(const std::string& line) {
    if (!muted) said.push_back(line);
  }
  void expect(const std::vector<std::string>& lines) {
    EXPECT_EQ(std::vector<std::string>(said.begin(), said.end()), lines);
    said.clear();
  }

  int64_t now = 1'000;
  int workers = 0;
  bool groups_exist = true, owners = false, muted = false;
  uint64_t last_lease = 0;
  std::map<uint32_t, uint64_t> leases;  // by call
  WorkerId last_worker, stopped;
  EnvironmentState environment_state;  // of all but the job's own
  std::vector<sched::DeviceShares> devices;
  std::deque<WorkerId> started;
  std::string text;
  std::deque<std::string> said;
};

class CoreTest : public ::testing::Test {
 protected:
  static NodeConfig config() {
    NodeConfig config;
    config.node = id_of<NodeId>(1);
    config.resources = {{"CPU", 2 * kOne}, {"GPU", kOne}};
    config.prestart_limit = 2;
    config.max_starting = 3;
    config.max_workers = 6;
    config.idle_keep = 1;
    return config;
  }
  ~CoreTest() override { core_.check_invariants(); }

  // Everything up to the node's silence, workers registered.
  void settle() {
    core_.settle();
    while (!out_.started.empty()) {
      const WorkerId worker = out_.started.front();
      out_.started.pop_front();
      EXPECT_TRUE(core_.on_registered(worker, 100, "path"));
      core_.settle();
    }
  }
  void request_in_environment(uint32_t call) {
    LeaseRequest request;
    request.holder = id_of<WorkerId>(1);
    request.call_id = call;
    request.job = job_;
    request.resources = cpu_;
    request.runtime_env = "{\"pip\": [\"nope\"]}";
    core_.request_lease(std::move(request));
  }
  void ask(int holder, uint32_t call, ResourceSet resources, PgId group = {}, int bundle = -1) {
    request(holder, call, std::move(resources), group, bundle);
    settle();
  }
  void request(int holder, uint32_t call, ResourceSet resources, PgId group = {}, int bundle = -1) {
    LeaseRequest request;
    request.holder = id_of<WorkerId>(holder);
    request.call_id = call;
    request.job = job_;
    request.resources = std::move(resources);
    request.pg = group;
    request.bundle = bundle;
    request.retriable = true;
    request.task_name = "work";
    core_.request_lease(std::move(request));
  }
  void give_back(int holder, uint32_t call) {
    core_.return_lease(id_of<WorkerId>(holder), out_.leases.at(call), false, false);
    settle();
  }
  void place(int actor, ResourceSet placement, ResourceSet running, int incarnation = 0) {
    ActorRequest request;
    request.actor = id_of<ActorId>(actor);
    request.owner = id_of<WorkerId>(1);
    request.job = job_;
    request.placement = std::move(placement);
    request.running = std::move(running);
    request.class_name = "Counter";
    request.incarnation = incarnation;
    core_.place_actor(std::move(request));
    settle();
  }
  sched::Amount free(const char* name) { return core_.pool().available().get(name); }

  FakeOut out_;
  Core core_{config(), out_};
  JobId job_ = id_of<JobId>(1);
  const ResourceSet cpu_ = {{"CPU", kOne}};
};

TEST_F(CoreTest, PrestartsWorkersAndServesFromThem) {
  core_.prestart(job_);
  settle();
  out_.expect({"start", "start"});
  ask(1, 1, {{"CPU", kOne}, {"GPU", kOne / 2}});
  out_.expect({"grant 1"});
  ASSERT_EQ(out_.devices.size(), 1u);
  EXPECT_EQ(out_.devices[0].shares[0].device, 0);
  give_back(1, 1);
  EXPECT_EQ(core_.pool().available(), core_.pool().total());
}

TEST_F(CoreTest, PrestartsWorkersOfAnotherKindButOnce) {
  core_.prestart(job_, "+pyarrow\n");
  settle();
  out_.expect({"start", "start"});
  core_.prestart(job_, "+pyarrow\n");
  settle();
  out_.expect({});
}

TEST_F(CoreTest, PrestartsNothingForAJobThatHasEnded) {
  core_.end_job(job_);
  core_.prestart(job_, "+pyarrow\n");
  settle();
  out_.expect({});
}

TEST_F(CoreTest, StartsAWorkerPerWaitingRequestWithinTheBound) {
  for (uint32_t call = 1; call <= 5; ++call) {
    LeaseRequest request;
    request.holder = id_of<WorkerId>(1);
    request.call_id = call;
    request.job = job_;
    core_.request_lease(std::move(request));
  }
  core_.settle();
  out_.expect({"start", "start", "start"});
  settle();
  out_.expect({"grant 1", "start", "grant 2", "start", "grant 3", "grant 4", "grant 5"});
}

TEST_F(CoreTest, ANodeThatIsToGoGrantsNothingNewAndBecomesEmpty) {
  ask(1, 1, cpu_);
  out_.expect({"start", "grant 1"});
  core_.drain();
  settle();
  out_.expect({"reclaim " + std::to_string(out_.last_lease)});
  LeaseRequest request;
  request.job = job_;
  request.resources = cpu_;
  EXPECT_FALSE(core_.could_grant(request) || core_.could_serve(request));
  const std::pair<int, ResourceSet> bundle{0, cpu_};
  EXPECT_FALSE(core_.reserve(id_of<PgId>(1), {&bundle, 1}));
  give_back(1, 1);
  EXPECT_FALSE(core_.is_empty());
  core_.tick();
  out_.expect({"ask to leave"});
  core_.on_worker_gone(out_.stopped, {});
  out_.expect({"gone"});
  EXPECT_TRUE(core_.is_empty());
}

TEST_F(CoreTest, AJobHoldsNoMoreThanItsCap) {
  core_.cap_job(job_, cpu_);
  ask(1, 1, cpu_);
  out_.expect({"start", "grant 1"});
  ask(1, 2, cpu_);
  out_.expect({});
  EXPECT_EQ(free("CPU"), kOne);
  core_.on_blocked(out_.last_worker);  // what waits in get() does not count
  settle();
  out_.expect({"start", "grant 2"});
  give_back(1, 1);
  ask(1, 3, cpu_);
  out_.expect({});
  core_.set_held_elsewhere(job_, cpu_);
  give_back(1, 2);
  out_.expect({});
  core_.set_held_elsewhere(job_, {});
  settle();
  out_.expect({"grant 3"});
  give_back(1, 3);
}

TEST_F(CoreTest, IsFairAmongHoldersAndInOrderWithinOne) {
  ask(1, 1, {{"CPU", 2 * kOne}});
  out_.expect({"start", "grant 1"});
  for (const uint32_t call : {2u, 3u, 4u}) ask(2, call, {{"CPU", 2 * kOne}});
  ask(3, 5, {{"CPU", 2 * kOne}});
  out_.muted = true;
  out_.now += 100;
  std::vector<uint32_t> order;
  int holder = 1;
  for (uint32_t call = 1; order.size() < 4;) {
    const uint64_t before = out_.last_lease;
    give_back(holder, call);
    ASSERT_NE(out_.last_lease, before);
    for (const auto& [each, lease] : out_.leases)
      if (lease == out_.last_lease) call = each;
    holder = call == 5 ? 3 : 2;
    order.push_back(call);
  }
  out_.said.clear();
  EXPECT_EQ(order, (std::vector<uint32_t>{2, 5, 3, 4}));
}

TEST_F(CoreTest, CallsLeasesBackForOthersButNotFromANewHolderAtOnce) {
  ask(1, 1, {{"CPU", 2 * kOne}});
  out_.expect({"start", "grant 1"});
  ask(1, 2, {{"CPU", 2 * kOne}});  // the same class: the lease serves it
  out_.expect({});
  ask(2, 3, cpu_);
  out_.expect({});
  out_.now += 10;
  core_.tick();
  core_.settle();
  out_.expect({"reclaim 1"});
  core_.tick();
  core_.settle();
  out_.expect({});  // once
  give_back(1, 1);
  out_.expect({"grant 2"});
}

TEST_F(CoreTest, CallsItsOwnOtherLeaseBackAtOnce) {
  ask(1, 1, {{"CPU", 2 * kOne}});
  ask(1, 2, cpu_);
  out_.expect({"start", "grant 1", "reclaim 1"});
}

TEST_F(CoreTest, KeepsWhatCanNeverRunAndSaysSoOnce) {
  ask(1, 1, {{"GPU", 3 * kOne}});
  ask(1, 2, {{"GPU", 3 * kOne}});
  out_.expect({"notice infeasible"});
  EXPECT_NE(out_.text.find("{GPU: 3}"), std::string::npos);
  EXPECT_NE(out_.text.find("GPU: 3 asked for, 1 in all"), std::string::npos);
  const std::vector<Demand> demand = core_.demand();
  ASSERT_EQ(demand.size(), 1u);
  EXPECT_TRUE(demand[0].infeasible);
  EXPECT_EQ(demand[0].count, 2u);
  core_.cancel_lease(id_of<WorkerId>(1), 1);
  out_.expect({"deny 1 None"});
  ask(2, 3, {{"slots", kOne}});
  out_.expect({"notice infeasible"});
  core_.resize("slots", kOne);
  settle();
  out_.expect({"start", "grant 3"});
}

TEST_F(CoreTest, LendsTheCpusOfABlockedWorker) {
  ask(1, 1, {{"CPU", 2 * kOne}});
  const WorkerId worker = out_.last_worker;
  core_.on_blocked(worker);
  core_.on_blocked(worker);  // twice is once
  EXPECT_EQ(free("CPU"), 2 * kOne);
  ask(2, 2, cpu_);
  core_.on_unblocked(worker);
  core_.on_unblocked(worker);
  EXPECT_EQ(free("CPU"), -kOne);
  out_.expect({"start", "grant 1", "start", "grant 2"});
  give_back(2, 2);
  core_.on_blocked(worker);
  give_back(1, 1);
  EXPECT_EQ(free("CPU"), 2 * kOne);
}

TEST_F(CoreTest, EndsTheWorkersOfAHolderThatIsGone) {
  ask(1, 1, cpu_);
  const WorkerId worker = out_.last_worker;
  ask(1, 2, {{"CPU", 2 * kOne}});
  out_.expect({"start", "grant 1", "reclaim 1"});
  core_.on_holder_gone(id_of<WorkerId>(1));
  settle();
  out_.expect({"kill"});
  EXPECT_EQ(free("CPU"), 2 * kOne);
  core_.on_worker_gone(worker, controller::fate_of_status(100, 9));
  out_.expect({"gone"});
  EXPECT_NE(core_.fate(worker)->message.find("is gone"), std::string::npos);
}

TEST_F(CoreTest, IgnoresLateAndForeignReturns) {
  ask(1, 1, cpu_);
  out_.expect({"start", "grant 1"});
  core_.return_lease(id_of<WorkerId>(9), out_.last_lease, false, false);
  EXPECT_EQ(free("CPU"), kOne);
  give_back(1, 1);
  give_back(1, 1);
  EXPECT_EQ(free("CPU"), 2 * kOne);
}

TEST_F(CoreTest, GivesUpOnWorkersThatNeverStart) {
  request_in_environment(1);
  for (int i = 0; i < 3; ++i) {
    core_.settle();
    ASSERT_FALSE(out_.started.empty());
    core_.on_start_failed(out_.started.front(), "pip failed");
    out_.started.pop_front();
  }
  core_.settle();
  out_.expect({"start", "start", "start", "deny 1 RuntimeEnv"});
  EXPECT_NE(out_.text.find("pip failed"), std::string::npos);
}

TEST_F(CoreTest, StartsNoWorkerBeforeItsEnvironmentIsThere) {
  request_in_environment(1);
  out_.environment_state.kind = EnvironmentState::Kind::kPreparing;
  core_.settle();
  ask(1, 2, cpu_);  // others do not wait for it
  out_.expect({"start", "grant 2"});
  out_.environment_state.kind = EnvironmentState::Kind::kReady;
  settle();
  out_.expect({"start", "grant 1"});
}

TEST_F(CoreTest, SaysWhyAnEnvironmentCannotBeMade) {
  request_in_environment(1);
  out_.environment_state = {EnvironmentState::Kind::kPreparing, ""};
  core_.settle();
  out_.environment_state = {EnvironmentState::Kind::kFailed, "No matching distribution found for nope"};
  core_.settle();
  out_.expect({"deny 1 RuntimeEnv"});
  EXPECT_EQ(out_.text, "No matching distribution found for nope");
  EXPECT_EQ(free("CPU"), 2 * kOne);
}

TEST_F(CoreTest, EndsIdleWorkersBeyondThoseKept) {
  core_.prestart(job_);
  settle();
  out_.expect({"start", "start"});
  out_.now += 1'000;
  core_.tick();
  out_.expect({});
  out_.owners = true;
  out_.now += 5'000;
  core_.tick();
  out_.expect({});
  out_.owners = false;
  core_.tick();
  out_.expect({"ask to leave"});
  core_.on_worker_gone(out_.stopped, controller::fate_of_status(100, 0));
  out_.expect({"gone"});
}

TEST_F(CoreTest, AWorkerThatWasAskedToLeaveMayStayUntilItsJobEnds) {
  core_.prestart(job_);
  settle();
  out_.now += 5'000;
  core_.tick();
  out_.expect({"start", "start", "ask to leave"});
  const WorkerId slow = out_.stopped;
  out_.now += 600'000;
  core_.tick();
  EXPECT_EQ(core_.find(slow)->state, WorkerState::kLeaving);
  core_.end_job(job_);
  out_.expect({"ask to leave", "ask to leave"});
  out_.now += 6'000;
  core_.tick();
  out_.expect({"kill", "kill"});
}

TEST_F(CoreTest, SaysWhenTheWorkersRunOut) {
  for (uint32_t call = 1; call <= 7; ++call) ask(1, call, {});
  const auto notices = std::count(out_.said.begin(), out_.said.end(), "notice worker_limit");
  EXPECT_EQ(notices, 1);
  EXPECT_EQ(core_.workers().size(), 6u);
  out_.said.clear();
  give_back(1, 1);
  out_.expect({"grant 7"});
}

TEST_F(CoreTest, WhatTheHostLacksForAWhileRefusesNobody) {
  request(1, 1, {});
  core_.settle();
  for (int attempt = 0; attempt < 5; ++attempt) {
    out_.expect({"start"});
    core_.on_start_postponed(out_.started.back(), "no more processes");
    core_.settle();
    out_.expect(attempt == 0 ? std::vector<std::string>{"notice worker_limit"} : std::vector<std::string>{});
    out_.now += 1'000;
    core_.settle();
  }
  while (out_.started.size() > 1) out_.started.pop_front();
  settle();
  out_.expect({"start", "grant 1"});
}

TEST_F(CoreTest, StartsPauseForAsLongAsToldTo) {
  core_.pause_starts("memory is short", 500);
  ask(1, 1, {});
  out_.expect({"notice worker_limit"});
  out_.now += 499;
  settle();
  out_.expect({});
  out_.now += 1;
  settle();
  out_.expect({"start", "grant 1"});
}

// ---- actors ------------------------------------------------------------------------------------------------

TEST_F(CoreTest, AnActorNeedsItsPlacementButHoldsWhatItRunsWith) {
  ask(1, 1, {{"CPU", 2 * kOne}});
  out_.expect({"start", "grant 1"});
  place(1, cpu_, {});
  out_.expect({"reclaim 1"});
  give_back(1, 1);
  out_.expect({"become #0"});
  EXPECT_EQ(free("CPU"), 2 * kOne);
  core_.on_actor_started(out_.last_worker, id_of<ActorId>(1), true, {});
  core_.on_actor_started(out_.last_worker, id_of<ActorId>(1), true, {});  // twice is once
  out_.expect({"actor started"});
  core_.on_worker_gone(out_.last_worker, controller::fate_of_status(100, 9));
  out_.expect({"actor gone", "gone"});
}

TEST_F(CoreTest, ALaterIncarnationTakesTheEarlierOnesPlace) {
  place(1, {{"CPU", 9 * kOne}}, {});
  place(1, {{"CPU", 9 * kOne}}, {});  // twice is once
  out_.expect({"notice infeasible"});
  place(1, cpu_, cpu_, 1);
  place(1, cpu_, cpu_, 1);
  out_.expect({"start", "become #1"});
  const WorkerId first = out_.last_worker;
  place(1, cpu_, cpu_, 2);
  out_.expect({"kill", "start", "become #2"});
  core_.on_worker_gone(first, controller::fate_of_status(100, 9));
  out_.expect({"actor gone", "gone"});
  core_.end_actor(id_of<ActorId>(1), wire::EndKind::AtOnce);  // it is still known where it runs
  out_.expect({"kill"});
}

TEST_F(CoreTest, EndsActorsWaitingStartingAndRunning) {
  place(1, {{"CPU", 9 * kOne}}, {});
  out_.expect({"notice infeasible"});
  core_.end_actor(id_of<ActorId>(1), wire::EndKind::AtOnce);
  out_.expect({"actor gone"});
  place(2, cpu_, cpu_);
  core_.end_actor(id_of<ActorId>(2), wire::EndKind::Graceful);
  out_.expect({"start", "become #0"});
  core_.on_actor_started(out_.last_worker, id_of<ActorId>(2), true, {});
  out_.expect({"actor started", "ask to leave"});
  core_.end_actor(id_of<ActorId>(2), wire::EndKind::AtOnce);
  out_.expect({"kill"});
}

TEST_F(CoreTest, GivesBackOnlyAnActorThatHasNoResourcesYet) {
  place(1, cpu_, cpu_);
  out_.expect({"start", "become #0"});
  core_.end_actor(id_of<ActorId>(1), wire::EndKind::IfWaiting);  // its constructor runs
  out_.expect({});
  place(2, {{"CPU", 9 * kOne}}, {});
  out_.expect({"notice infeasible"});
  core_.end_actor(id_of<ActorId>(2), wire::EndKind::IfWaiting);
  out_.expect({"actor gone"});
}

// ---- placement groups --------------------------------------------------------------------------------------

TEST_F(CoreTest, TasksDrawFromTheirBundles) {
  const PgId group = id_of<PgId>(1);
  const std::vector<std::pair<int, ResourceSet>> bundles = {{0, cpu_}, {1, cpu_}};
  ask(1, 1, cpu_, group, 1);
  out_.expect({});  // it waits for the group
  ASSERT_TRUE(core_.reserve(group, bundles));
  EXPECT_FALSE(core_.reserve(id_of<PgId>(2), bundles));
  settle();
  out_.expect({"start", "grant 1"});
  ask(1, 2, cpu_, group, 1);
  out_.expect({});
  ask(1, 3, cpu_, group);
  out_.expect({"start", "grant 3"});
  EXPECT_EQ(free("CPU"), 0);
  core_.unreserve(group);
  settle();
  EXPECT_EQ(free("CPU"), 2 * kOne);
  std::vector<std::string> said(out_.said.begin(), out_.said.end());
  EXPECT_EQ(said, (std::vector<std::string>{"deny 2 PlacementGroupRemoved", "kill", "kill"}));
  out_.said.clear();
  out_.groups_exist = false;
  ask(1, 4, cpu_, group);
  out_.expect({"deny 4 PlacementGroupRemoved"});
}

TEST_F(CoreTest, BundlesAskedForTwiceAreReservedOnce) {
  const PgId group = id_of<PgId>(1);
  const std::vector<std::pair<int, ResourceSet>> first = {{0, cpu_}}, both = {{0, cpu_}, {1, cpu_}};
  ASSERT_TRUE(core_.reserve(group, first));
  ASSERT_TRUE(core_.reserve(group, first));
  EXPECT_EQ(free("CPU"), kOne);
  ASSERT_TRUE(core_.reserve(group, both));
  EXPECT_EQ(free("CPU"), 0);
  core_.unreserve(group);
  EXPECT_EQ(free("CPU"), 2 * kOne);
}

TEST_F(CoreTest, GivingBackAnotherBundleKeepsThisOne) {
  const PgId group = id_of<PgId>(1);
  const std::vector<std::pair<int, ResourceSet>> bundles = {{0, cpu_}};
  ASSERT_TRUE(core_.reserve(group, bundles));
  core_.unreserve(group, {1});
  EXPECT_EQ(free("CPU"), kOne);
  core_.unreserve(group, {0, 1});
  EXPECT_EQ(free("CPU"), 2 * kOne);
}

TEST_F(CoreTest, ExplainsWhatNoBundleFits) {
  const PgId group = id_of<PgId>(1);
  const std::vector<std::pair<int, ResourceSet>> bundles = {{0, cpu_}};
  ASSERT_TRUE(core_.reserve(group, bundles));
  ask(1, 1, {{"CPU", 2 * kOne}}, group);
  out_.expect({"notice infeasible"});
  EXPECT_NE(out_.text.find("in placement group"), std::string::npos);
}

TEST_F(CoreTest, RefusesWhatMustRunElsewhere) {
  LeaseRequest request;
  request.holder = id_of<WorkerId>(1);
  request.call_id = 1;
  request.job = job_;
  request.strategy.kind = sched::Strategy::Kind::kAffinity;
  request.strategy.node = id_of<NodeId>(9);
  core_.request_lease(request);
  out_.expect({"deny 1 Unschedulable"});
  request.strategy.soft = true;
  core_.request_lease(request);
  settle();
  out_.expect({"start", "grant 1"});
}

// ---- memory ------------------------------------------------------------------------------------------------

TEST_F(CoreTest, LetsGoOfWhatAHolderNoLongerCountsOn) {
  out_.muted = true;
  ask(1, 1, cpu_);
  ask(1, 2, cpu_);
  ask(1, 3, cpu_);
  ask(1, 4, cpu_);
  ASSERT_EQ(out_.leases.size(), 2u);
  const std::vector<uint32_t> unknown = core_.reconcile(id_of<WorkerId>(1), {out_.leases.at(1)}, {3, 9});
  EXPECT_EQ(unknown, std::vector<uint32_t>{9});
  EXPECT_EQ(free("CPU"), kOne);  // of the lease that it does not know
  settle();
  EXPECT_TRUE(out_.leases.contains(3));
  give_back(1, 3);
  EXPECT_FALSE(out_.leases.contains(4));  // it was not asked for any more
  EXPECT_EQ(core_.reconcile(id_of<WorkerId>(1), {}, {}), std::vector<uint32_t>{});
  settle();
  EXPECT_EQ(core_.pool().available(), core_.pool().total());
}

TEST_F(CoreTest, EndsTheLatestRetriableTaskWhenMemoryIsShort) {
  ask(1, 1, cpu_);
  ask(1, 2, cpu_);
  out_.expect({"start", "grant 1", "start", "grant 2"});
  const auto rss = [](int) { return uint64_t{64} << 20; };
  EXPECT_TRUE(core_.relieve_memory("15 of 16 GiB used", rss));
  EXPECT_FALSE(core_.relieve_memory("15 of 16 GiB used", rss));  // one at a time
  out_.expect({"kill"});
  EXPECT_EQ(out_.stopped, out_.last_worker);
  core_.on_worker_gone(out_.stopped, controller::fate_of_status(100, 9));
  out_.expect({"gone"});
  EXPECT_EQ(core_.fate(out_.stopped)->cause, Fate::Cause::kOutOfMemory);
  EXPECT_NE(out_.text.find("15 of 16 GiB used"), std::string::npos);
}

// ---- scale -------------------------------------------------------------------------------------------------

TEST_F(CoreTest, TakesALongBacklogOfOneClassInOneTrialPerPass) {
  ask(1, 1, {{"CPU", 2 * kOne}});
  out_.expect({"start", "grant 1"});
  out_.muted = true;
  LeaseRequest request;
  request.holder = id_of<WorkerId>(2);
  request.job = job_;
  request.resources = cpu_;
  for (uint32_t call = 2; call < 50'000; ++call) {
    request.call_id = call;
    core_.request_lease(request);
  }
  for (int actor = 0; actor < 10'000; ++actor) {
    ActorRequest wanted;
    wanted.actor = id_of<ActorId>(actor);
    wanted.owner = id_of<WorkerId>(3);
    wanted.job = job_;
    wanted.placement = wanted.running = cpu_;
    core_.place_actor(std::move(wanted));
  }
  settle();
  EXPECT_EQ(core_.demand().size(), 1u);
  EXPECT_EQ(core_.demand()[0].count, 59'998u);
  core_.on_holder_gone(id_of<WorkerId>(2));
  EXPECT_EQ(core_.demand()[0].count, 10'000u);
}

// ---- ageing ------------------------------------------------------------------------------------------------

// A stream of small requests, one lease back and one request more at a time, so that both never fit.
class AgeingTest : public CoreTest {
 protected:
  void SetUp() override {
    out_.muted = true;
    for (uint32_t call = 1; call <= 4; ++call) ask(1, call, {{"CPU", kOne}});
  }
  void pass_small(int64_t ms) {
    out_.now += ms;
    core_.tick();
    settle();
    if (!out_.leases.contains(oldest_)) return;
    give_back(1, oldest_++);
    ask(1, ++newest_, {{"CPU", kOne}});
  }
  uint32_t oldest_ = 1, newest_ = 4;
};

TEST_F(AgeingTest, a_large_request_is_served_in_a_stream_of_small_ones) {
  ask(2, 1'000, {{"CPU", 2 * kOne}});
  for (int i = 0; i < 100 && !out_.leases.contains(1'000); ++i) pass_small(100);
  ASSERT_TRUE(out_.leases.contains(1'000));
  give_back(2, 1'000);
  const uint32_t served = oldest_;
  for (int i = 0; i < 20; ++i) pass_small(100);
  EXPECT_GT(oldest_, served + 10);  // nothing is kept for it any more
}

TEST_F(AgeingTest, turns_grow_until_one_is_as_long_as_the_tasks) {
  ask(2, 1'000, {{"CPU", 2 * kOne}});
  for (int i = 0; i < 100 && !out_.leases.contains(1'000); ++i) pass_small(5'000);
  EXPECT_TRUE(out_.leases.contains(1'000));
}

TEST_F(AgeingTest, nothing_is_kept_for_what_an_actor_stands_in_the_way_of) {
  for (uint32_t call = 1; call <= 4; ++call) core_.cancel_lease(id_of<WorkerId>(1), call);
  give_back(1, 1), give_back(1, 2);
  settle();
  place(7, {{"CPU", kOne}}, {{"CPU", kOne}});
  settle();
  ask(2, 1'000, {{"CPU", 2 * kOne}});
  for (uint32_t call = 10; call < 40; ++call) {
    out_.now += 200;
    core_.tick();
    settle();
    ask(1, call, {{"CPU", kOne}});
    ASSERT_TRUE(out_.leases.contains(call)) << call;
    give_back(1, call);
  }
}

}  // namespace
}  // namespace narke::node
