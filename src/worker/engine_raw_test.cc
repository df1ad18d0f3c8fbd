#include <gmock/gmock.h>

#include "worker/testing/engines.h"

namespace narke::worker {
namespace {

using testing::ActorEngines;
using ::testing::HasSubstr;
using testing::soon;

struct Heard : RawSink {
  void on_item(rpc::Bytes value) override { items.emplace_back(value.begin(), value.end()); }
  void on_end(bool error, rpc::Bytes value) override {
    is_error = error;
    result.assign(value.begin(), value.end());
    ended = true;
  }
  std::vector<std::string> items;
  std::string result;
  bool is_error = false, ended = false;
};

class RawCalls : public ActorEngines {
 protected:
  TaskPtr call_raw(const std::string& argument, Heard& heard) {
    rpc::Bytes bytes(reinterpret_cast<const uint8_t*>(argument.data()), argument.size());
    TaskPtr task = driver_->submit_raw(id_, method_, {&bytes, 1}, heard);
    driver_->flush();
    return task;
  }
  void await(Heard& heard) {
    Lock held = driver_->lock();
    EXPECT_EQ(driver_->wait(held, [&] { return heard.ended; }, soon()), Waited::kReady);
  }
};

TEST_F(RawCalls, are_answered_with_bytes) {
  Heard before, after;
  call_raw("early", before);
  update(wire::ActorState::Alive);
  await(before);
  call_raw("late", after);
  await(after);
  EXPECT_EQ(before.result, "early");
  EXPECT_EQ(after.result, "late");
  EXPECT_FALSE(after.is_error);
  driver_->drop_use(*handle_);
}

TEST_F(RawCalls, what_a_turn_sends_leaves_at_its_end) {
  update(wire::ActorState::Alive);
  Heard first, second;
  call_raw("a", first);
  await(first);
  driver_->set_polled(true);
  driver_->begin_turn();
  rpc::Bytes bytes(reinterpret_cast<const uint8_t*>("b"), 1);
  TaskPtr task = driver_->submit_raw(id_, method_, {&bytes, 1}, second);
  driver_->end_turn();
  EXPECT_TRUE(until_answered(2));
  driver_->set_polled(false);
  await(second);
  driver_->drop_use(*handle_);
}

TEST_F(RawCalls, an_exception_is_an_error) {
  Heard heard;
  update(wire::ActorState::Alive);
  call_raw("!no", heard);
  await(heard);
  EXPECT_TRUE(heard.is_error);
  EXPECT_EQ(heard.result, "!no");
  driver_->drop_use(*handle_);
}

TEST_F(RawCalls, end_when_the_actor_is_dead) {
  Heard waiting, later;
  call_raw("1", waiting);
  update(wire::ActorState::Dead);
  await(waiting);
  EXPECT_TRUE(waiting.is_error);
  EXPECT_THAT(waiting.result, HasSubstr("ActorDiedError"));
  call_raw("2", later);
  EXPECT_TRUE(later.ended && later.is_error);
  driver_->drop_use(*handle_);
}

TEST_F(RawCalls, a_dead_actor_that_nobody_holds_is_forgotten) {
  Heard waiting, later;
  driver_->drop_use(*handle_);  // the calls below know the actor by its id alone
  call_raw("1", waiting);
  update(wire::ActorState::Dead);
  await(waiting);
  {
    Lock held = driver_->lock();
    EXPECT_EQ(driver_->actors().find(id_), nullptr);
  }
  call_raw("2", later);  // the node is asked again, and answers again
  update(wire::ActorState::Dead);
  await(later);
  EXPECT_THAT(later.result, HasSubstr("ActorDiedError"));
  Lock held = driver_->lock();
  EXPECT_EQ(driver_->actors().find(id_), nullptr);
}

TEST_F(RawCalls, one_that_waits_can_be_cancelled) {
  Heard heard;
  TaskPtr task = call_raw("1", heard);
  driver_->cancel_raw(*task);
  EXPECT_TRUE(heard.ended && heard.is_error);
  EXPECT_THAT(heard.result, HasSubstr("TaskCancelledError"));
  driver_->drop_use(*handle_);
}

}  // namespace
}  // namespace narke::worker
