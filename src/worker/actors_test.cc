#include "worker/actors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/testing/fake_tasks.h"

namespace narke::worker {
namespace {

using testing::address_of;
using ::testing::ElementsAre;
using testing::FakeLinks;
using testing::FakeObjectsOut;
using testing::FakePeers;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Mail;
using testing::Network;
using testing::number_of;
using testing::numbered;
using testing::numbers_of;
using testing::task_of;
using testing::value_of;
using State = wire::ActorState;
using Cause = wire::DeathCause;

struct FakeOut : Actors::Out {
  FakeOut(Network& network, FakeLinks& links) : peers(network, links) {}
  Peer* peer(const Address& address) override { return peers.peer(address); }
  void fail(Task& task, ValuePtr error) override {
    peers.fail(task, std::move(error));
    if (on_fail) on_fail(task);
  }
  FakePeers peers;
  std::function<void(Task&)> on_fail;
};

constexpr uint32_t kWorker = 50, kNextWorker = 51;

class ActorsTest : public ::testing::Test {
 protected:
  TaskPtr call(uint32_t number, int max_retries = 0) {
    CallSpecPtr spec = new CallSpec;
    spec->method = "m";
    spec->max_retries = max_retries;
    TaskPtr task = task_of(number, spec);
    task->actor = &actor_;
    return task;
  }
  TaskPtr submit(uint32_t number, int max_retries = 0) {
    TaskPtr task = call(number, max_retries);
    actors_.submit(actor_, task);
    return task;
  }
  TaskPtr submit_unresolved(uint32_t number) {
    TaskPtr task = call(number);
    task->unresolved = 1;
    actors_.submit(actor_, task);
    return task;
  }
  void resolve(const TaskPtr& task) {
    task->unresolved = 0;
    actors_.pump(actor_);
  }
  void update(State state, int incarnation = 0, uint32_t worker = kWorker, Cause cause = Cause::None,
              const char* message = "", const std::string& raw = "") {
    flatbuffers::FlatBufferBuilder b;
    auto address = address_of(worker).to_wire(b);
    auto text = b.CreateString(message);
    auto name = b.CreateString("Counter");
    auto id = id_.to_wire<wire::ActorId>();
    b.Finish(wire::CreateActorUpdate(b, &id, state, incarnation, address, cause, text, 0, name, 17));
    actors_.on_update(Mail::make(wire::MessageType::ActorUpdate, 0, b, raw).frame());
  }
  std::vector<uint32_t> pushed(uint32_t worker = kWorker) {
    return numbers_of(out_.peers.pushed_to(numbered<WorkerId>(worker)));
  }
  // The link to the actor's process breaks.
  void lose(uint32_t worker = kWorker) { actors_.on_link_lost(actor_, out_.peers.lose(numbered<WorkerId>(worker))); }
  std::vector<uint32_t> failed() {
    std::vector<uint32_t> numbers;
    for (auto& [task, error] : out_.peers.failed) numbers.push_back(number_of(*task));
    return numbers;
  }
  std::string last_error() { return out_.peers.failed.empty() ? "(none)" : out_.peers.failed.back().second; }

  Network network_;
  FakeLinks links_{network_, 1};
  FakeObjectsOut objects_out_;
  Objects objects_{links_, objects_out_};
  FakeOut out_{network_, links_};
  Actors actors_{links_, objects_, out_};
  ActorId id_ = numbered<ActorId>(9);
  Actor& actor_ = actors_.get(id_);
};

TEST_F(ActorsTest, an_actor_met_first_is_watched_once) {
  actors_.get(id_);
  std::vector<Mail> sent = links_.sent_to_node();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].type, wire::MessageType::WatchActor);
  EXPECT_EQ(ActorId::from_wire(sent[0].as<wire::WatchActor>()->actor()), id_);
}

TEST_F(ActorsTest, its_creator_need_not_ask) {
  links_.sent_to_node();
  actors_.get(numbered<ActorId>(10), true);
  EXPECT_THAT(links_.sent_to_node(), IsEmpty());
}

TEST_F(ActorsTest, calls_wait_for_the_actor_and_leave_in_order) {
  submit(1), submit(2);
  EXPECT_EQ(actors_.pending(actor_), 2u);
  update(State::Alive);
  EXPECT_THAT(pushed(), ElementsAre(1, 2));
  EXPECT_EQ(actors_.pending(actor_), 2u);
  submit(3);
  EXPECT_THAT(pushed(), ElementsAre(3));
  EXPECT_EQ(actor_.pid, 17);
  EXPECT_EQ(actor_.class_name, "Counter");
}

TEST_F(ActorsTest, a_call_whose_references_are_not_ready_holds_the_later_ones_up) {
  update(State::Alive);
  submit(1);
  TaskPtr second = submit_unresolved(2);
  submit(3);
  EXPECT_THAT(pushed(), ElementsAre(1));
  resolve(second);
  EXPECT_THAT(pushed(), ElementsAre(2, 3));
}

TEST_F(ActorsTest, without_order_ready_calls_overtake) {
  actor_.out_of_order = true;
  update(State::Alive);
  TaskPtr first = submit_unresolved(1);
  submit(2);
  EXPECT_THAT(pushed(), ElementsAre(2));
  resolve(first);
  EXPECT_THAT(pushed(), ElementsAre(1));
}

TEST_F(ActorsTest, a_handle_from_elsewhere_learns_that_calls_may_overtake) {
  flatbuffers::FlatBufferBuilder b;
  auto address = address_of(kWorker).to_wire(b);
  auto id = id_.to_wire<wire::ActorId>();
  b.Finish(wire::CreateActorUpdate(b, &id, State::Alive, 0, address, Cause::None, 0, 0, 0, 17, true));
  actors_.on_update(Mail::make(wire::MessageType::ActorUpdate, 0, b).frame());
  TaskPtr first = submit_unresolved(1);
  submit(2);
  EXPECT_THAT(pushed(), ElementsAre(2));
  resolve(first);
  EXPECT_THAT(pushed(), ElementsAre(1));
}

TEST_F(ActorsTest, a_failed_argument_fails_the_call_alone) {
  update(State::Alive);
  TaskPtr task = call(1);
  ObjectPtr broken = objects_.make_owned(numbered<ObjectId>(1));
  objects_.set_value(*broken, value_of("its error"), ObjectState::kError);
  task->args.push_back({0, broken, ""});
  actors_.submit(actor_, task);
  submit(2);
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_EQ(last_error(), "its error");
  EXPECT_THAT(pushed(), ElementsAre(2));
}

TEST_F(ActorsTest, a_removed_call_is_not_sent) {
  TaskPtr task = submit(1);
  EXPECT_TRUE(actors_.remove(actor_, *task));
  EXPECT_FALSE(actors_.remove(actor_, *task));
  update(State::Alive);
  EXPECT_THAT(pushed(), IsEmpty());
}

// ---- restarts ----

TEST_F(ActorsTest, calls_with_retries_are_sent_again_in_order_after_a_restart) {
  update(State::Alive);
  submit(1, 2), submit(2, -1);
  lose();
  submit(3, 1);
  EXPECT_THAT(failed(), IsEmpty());
  update(State::Restarting);
  update(State::Alive, 1, kNextWorker);
  EXPECT_THAT(pushed(kNextWorker), ElementsAre(1, 2, 3));
}

TEST_F(ActorsTest, each_restart_costs_a_retry) {
  update(State::Alive);
  TaskPtr task = submit(1, 1);
  lose();
  update(State::Alive, 1, kNextWorker);
  EXPECT_EQ(task->retries_left, 0);
  EXPECT_EQ(task->attempt, 1);
  lose(kNextWorker);
  update(State::Restarting, 1);
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_THAT(last_error(), HasSubstr("ActorUnavailableError"));
}

TEST_F(ActorsTest, calls_without_retries_are_unavailable_when_it_restarts) {
  update(State::Alive);
  submit(1), submit(2, 1);
  lose();
  update(State::Restarting);
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_THAT(last_error(), HasSubstr("max_task_retries"));
}

TEST_F(ActorsTest, a_cancelled_call_is_not_sent_again) {
  update(State::Alive);
  submit(1, 5)->cancelled = true;
  lose();
  update(State::Alive, 1, kNextWorker);
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_THAT(pushed(kNextWorker), IsEmpty());
}

TEST_F(ActorsTest, news_of_the_restart_may_overtake_the_broken_link) {
  update(State::Alive);
  submit(1, 1);
  update(State::Alive, 1, kNextWorker);
  EXPECT_THAT(pushed(kNextWorker), ElementsAre(1));
}

TEST_F(ActorsTest, old_news_changes_nothing) {
  update(State::Alive, 1, kNextWorker);
  update(State::Alive, 0, kWorker);
  submit(1);
  EXPECT_THAT(pushed(kNextWorker), ElementsAre(1));
}

TEST_F(ActorsTest, calls_that_came_back_unstarted_keep_their_place_behind_the_running_one) {
  update(State::Alive);
  submit(1, 1), submit(2, 1), submit(3, 1);
  for (TaskPtr& task : actor_.peer->calls.take_all()) {  // 2 and 3 come back, 1 is running when the link breaks
    if (number_of(*task) == 1)
      actor_.peer->calls.add(task);
    else
      actor_.in_doubt.push_back(task);
  }
  pushed();
  lose();
  update(State::Restarting);
  update(State::Alive, 1, kNextWorker);
  EXPECT_THAT(pushed(kNextWorker), ElementsAre(1, 2, 3));
}

TEST_F(ActorsTest, a_process_nobody_reaches_means_another_restart) {
  submit(1);
  out_.peers.unreachable = true;
  update(State::Alive);
  EXPECT_EQ(actor_.state, State::Restarting);
  out_.peers.unreachable = false;
  update(State::Alive, 1, kNextWorker);
  EXPECT_THAT(pushed(kNextWorker), ElementsAre(1));
}

TEST_F(ActorsTest, two_actors_never_share_a_link) {
  update(State::Alive);
  Actor& other = actors_.get(numbered<ActorId>(11));
  id_ = numbered<ActorId>(11);
  update(State::Alive);
  EXPECT_EQ(other.peer, nullptr);
  EXPECT_EQ(actor_.peer->actor, &actor_);
}

// ---- death ----

TEST_F(ActorsTest, death_fails_what_is_queued_sent_and_to_come) {
  update(State::Alive);
  submit(1, 5);
  submit_unresolved(2);
  update(State::Dead, 0, kWorker, Cause::Killed, "killed by kill()");
  EXPECT_THAT(failed(), ElementsAre(2));
  submit(3);
  EXPECT_THAT(failed(), ElementsAre(2, 3));
  lose();
  EXPECT_THAT(failed(), ElementsAre(2, 3, 1));
  EXPECT_THAT(last_error(), HasSubstr("ActorDiedError"));
  EXPECT_THAT(last_error(), HasSubstr("killed by kill()"));
  EXPECT_EQ(actors_.pending(actor_), 0u);
}

TEST_F(ActorsTest, the_link_may_break_before_the_death_is_told) {
  update(State::Alive);
  submit(1);
  lose();
  EXPECT_THAT(failed(), IsEmpty());
  update(State::Dead, 0, kWorker, Cause::WorkerDied, "signal 9");
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_THAT(last_error(), HasSubstr("signal 9"));
}

// The node sees the process end before this program has read what the process had sent.
TEST_F(ActorsTest, answers_sent_before_the_death_are_heard) {
  update(State::Alive);
  TaskPtr answered = submit(1);
  submit(2);
  update(State::Dead, 0, kWorker, Cause::WorkerDied, "signal 9");
  EXPECT_THAT(failed(), IsEmpty());
  EXPECT_TRUE(Actors::awaits_last_answers(actor_));
  actor_.peer->calls.take(answered->call_id);
  submit(3);
  EXPECT_THAT(failed(), ElementsAre(3));
  lose();
  EXPECT_THAT(failed(), ElementsAre(3, 2));
  EXPECT_THAT(last_error(), HasSubstr("signal 9"));
}

TEST_F(ActorsTest, last_answers_are_given_up_when_the_link_lives_on) {
  update(State::Alive);
  submit(1);
  actors_.give_up_answers(actor_);  // it lives
  EXPECT_THAT(failed(), IsEmpty());
  update(State::Dead);
  actors_.give_up_answers(actor_);
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_EQ(actor_.peer, nullptr);
}

TEST_F(ActorsTest, a_dead_actor_without_calls_awaits_nothing) {
  update(State::Alive);
  update(State::Dead);
  EXPECT_FALSE(Actors::awaits_last_answers(actor_));
}

TEST_F(ActorsTest, causes_have_their_own_errors) {
  const std::pair<Cause, const char*> kinds[] = {{Cause::Unschedulable, "ActorUnschedulableError"},
                                                 {Cause::PlacementGroupRemoved, "ActorPlacementGroupRemoved"},
                                                 {Cause::OutOfMemory, "OutOfMemoryError"},
                                                 {Cause::RuntimeEnv, "RuntimeEnvSetupError"},
                                                 {Cause::OwnerDied, "ActorDiedError"}};
  uint32_t number = 20;
  for (auto [cause, kind] : kinds) {
    id_ = numbered<ActorId>(++number);
    Actor& actor = actors_.get(id_);
    update(State::Dead, 0, kWorker, cause, "why");
    actors_.submit(actor, call(number));
    EXPECT_THAT(last_error(), HasSubstr(kind));
  }
}

TEST_F(ActorsTest, a_failed_constructor_is_raised_as_it_was) {
  submit(1);
  update(State::Dead, 0, kWorker, Cause::InitFailed, "", "the pickled exception");
  EXPECT_EQ(last_error(), "the pickled exception");
}

TEST_F(ActorsTest, an_unknown_actor_is_an_error) {
  submit(1);
  update(State::Unknown);
  EXPECT_THAT(last_error(), HasSubstr("no such actor"));
}

TEST_F(ActorsTest, death_releases_what_the_constructor_was_given) {
  ObjectPtr pinned = objects_.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*pinned);
  actor_.pinned.push_back(pinned);
  update(State::Dead);
  EXPECT_EQ(pinned->uses.load(), 0);
}

// A call's argument may be the last handle: the actor is forgotten while its calls fail.
TEST_F(ActorsTest, an_actor_may_be_forgotten_while_its_calls_fail) {
  out_.on_fail = [this](Task&) { actors_.forget(id_); };
  submit(1), submit(2);
  update(State::Dead);
  EXPECT_THAT(failed(), ElementsAre(1, 2));
  EXPECT_EQ(actors_.find(id_), nullptr);
}

TEST_F(ActorsTest, an_actor_may_be_forgotten_when_the_node_is_lost) {
  out_.on_fail = [this](Task& task) { actors_.forget(task.actor->id); };
  for (uint32_t i = 0; i < 20; ++i) {
    Actor& actor = actors_.get(numbered<ActorId>(100 + i));
    TaskPtr task = call(i);
    task->actor = &actor;
    actors_.submit(actor, task);
  }
  actors_.on_node_lost("gone");
  EXPECT_EQ(failed().size(), 20u);
}

// ---- doubts ----

TEST_F(ActorsTest, doubts_expire) {
  update(State::Alive);
  submit(1, 3);
  lose();
  actors_.expire_doubts(std::chrono::hours(1));
  EXPECT_THAT(failed(), IsEmpty());
  actors_.expire_doubts(std::chrono::milliseconds(-1));
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_THAT(last_error(), HasSubstr("ActorUnavailableError"));
  EXPECT_EQ(actors_.pending(actor_), 0u);
}

TEST_F(ActorsTest, calls_behind_an_expired_doubt_are_sent) {
  update(State::Alive);
  submit(1);
  actor_.in_doubt.push_back(actor_.peer->calls.take_all()[0]);  // it came back unstarted, yet the actor lives on
  submit(2);
  pushed();
  actors_.expire_doubts(std::chrono::milliseconds(-1));
  EXPECT_THAT(failed(), ElementsAre(1));
  EXPECT_THAT(pushed(), ElementsAre(2));
}

TEST_F(ActorsTest, an_actor_with_calls_is_not_forgotten) {
  submit(1);
  actors_.forget(id_);
  EXPECT_EQ(actors_.find(id_), &actor_);
}

TEST_F(ActorsTest, damaged_updates_are_ignored) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateActorUpdate(b));
  actors_.on_update(Mail::make(wire::MessageType::ActorUpdate, 0, b).frame());
  Mail noise;
  noise.table = {1, 2, 3};
  actors_.on_update(noise.frame());
  EXPECT_EQ(actor_.state, State::Pending);
}

}  // namespace
}  // namespace narke::worker
