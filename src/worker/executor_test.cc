#include "worker/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/testing/fake_objects.h"

namespace narke::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Mail;
using testing::Network;
using testing::numbered;
using testing::ObjectsProgram;
using Status = wire::TaskStatus;

class ExecutorTest : public ::testing::Test {
 protected:
  struct Push {
    const char* method = nullptr;
    const char* group = nullptr;
  };
  void push(uint32_t number, Push what) { push_from(*from_, number, what); }
  void push(uint32_t number) { push_from(*from_, number, {}); }
  void push_from(rpc::Connection& link, uint32_t number, Push what) {
    flatbuffers::FlatBufferBuilder b;
    flatbuffers::Offset<flatbuffers::String> method, group;
    if (what.method != nullptr) method = b.CreateString(what.method);
    if (what.group != nullptr) group = b.CreateString(what.group);
    auto id = numbered<TaskId>(number).to_wire<wire::TaskId>();
    wire::PushTaskBuilder push(b);
    push.add_task(&id);
    if (what.method != nullptr) push.add_method(method);
    if (what.group != nullptr) push.add_concurrency_group(group);
    b.Finish(push.Finish());
    executor_.on_push(link, Mail::make(wire::MessageType::PushTask, number, b, "args").frame());
  }
  void reply(const InboundPtr& call, const std::string& bytes) {
    Outcome outcome;
    outcome.bytes = bytes;
    executor_.reply(*call, Status::Done, {outcome});
  }
  std::vector<std::pair<uint32_t, Status>> replies() {
    std::vector<std::pair<uint32_t, Status>> out;
    for (const Mail& mail : network_.take(here_.id(), submitter_))
      if (mail.type == wire::MessageType::TaskReply)
        out.emplace_back(mail.call_id, mail.as<wire::TaskReply>()->status());
    return out;
  }
  static auto is(uint32_t number, Status status) { return std::pair(number, status); }

  Network network_;
  ObjectsProgram here_{network_, 1}, owner_{network_, 3};
  WorkerId submitter_ = numbered<WorkerId>(2);
  rpc::ConnectionPtr from_ = network_.link(here_.id(), submitter_, true);
  bool nobody_flushes_ = false;
  Executor executor_{here_.objects, [this] { return nobody_flushes_; }};
};

TEST_F(ExecutorTest, calls_are_taken_in_the_order_they_came) {
  push(1), push(2);
  InboundPtr first = executor_.take("");
  ASSERT_TRUE(first);
  EXPECT_EQ(first->call_id, 1u);
  EXPECT_EQ(first->task, numbered<TaskId>(1));
  EXPECT_EQ(std::string(first->raw.begin(), first->raw.end()), "args");
  EXPECT_EQ(executor_.take("")->call_id, 2u);
  EXPECT_FALSE(executor_.take(""));
  EXPECT_EQ(executor_.running(), 2u);
  EXPECT_FALSE(executor_.has_queued());
}

TEST_F(ExecutorTest, an_answer_carries_the_results) {
  push(1);
  InboundPtr call = executor_.take("");
  reply(call, "result");
  std::vector<Mail> mail = network_.take(here_.id(), submitter_);
  ASSERT_EQ(mail.size(), 1u);
  EXPECT_EQ(mail[0].call_id, 1u);
  const auto* reply = mail[0].as<wire::TaskReply>();
  ASSERT_EQ(reply->results()->size(), 1u);
  EXPECT_EQ(reply->results()->Get(0)->size(), 6u);
  EXPECT_EQ(std::string(mail[0].raw.begin(), mail[0].raw.end()), "result");
  EXPECT_EQ(executor_.running(), 0u);
}

TEST_F(ExecutorTest, methods_have_queues_by_group) {
  executor_.set_group_of({{"slow", "io"}});
  push(1, {"slow"}), push(2, {"fast"}), push(3, {"fast", "io"}), push(4, {"slow", "compute"});
  EXPECT_EQ(executor_.take("compute")->call_id, 4u);
  EXPECT_EQ(executor_.take("io")->call_id, 1u);
  EXPECT_EQ(executor_.take("io")->call_id, 3u);
  EXPECT_FALSE(executor_.take("io"));
  EXPECT_EQ(executor_.take_any()->call_id, 2u);
  EXPECT_FALSE(executor_.take_any());
}

TEST_F(ExecutorTest, plain_tasks_go_back_and_methods_stay) {
  push(1), push(2, {"m"}), push(3);
  executor_.give_back_queued();
  EXPECT_THAT(replies(), ElementsAre(is(1, Status::NotStarted), is(3, Status::NotStarted)));
  EXPECT_EQ(executor_.take("")->call_id, 2u);
  EXPECT_FALSE(executor_.has_queued());
}

TEST_F(ExecutorTest, a_blocked_worker_takes_no_tasks) {
  executor_.set_blocked(true);
  push(1), push(2, {"m"});
  EXPECT_THAT(replies(), ElementsAre(is(1, Status::NotStarted)));
  executor_.set_blocked(false);
  push(3);
  EXPECT_THAT(replies(), IsEmpty());
}

TEST_F(ExecutorTest, a_leaving_worker_takes_nothing) {
  executor_.set_leaving();
  push(1), push(2, {"m"});
  EXPECT_THAT(replies(), ElementsAre(is(1, Status::NotStarted), is(2, Status::NotStarted)));
}

TEST_F(ExecutorTest, a_blocked_actor_keeps_its_calls) {
  executor_.set_actor(true);
  executor_.set_blocked(true);
  push(1, {"m"});
  executor_.give_back_queued();
  EXPECT_THAT(replies(), IsEmpty());
  EXPECT_TRUE(executor_.take(""));
}

TEST_F(ExecutorTest, queued_calls_are_found_for_cancelling_until_they_run) {
  push(1), push(2);
  InboundPtr second = executor_.remove_queued(numbered<TaskId>(2));
  ASSERT_TRUE(second);
  EXPECT_FALSE(executor_.remove_queued(numbered<TaskId>(2)));
  EXPECT_FALSE(executor_.find_running(numbered<TaskId>(1)));
  executor_.take("");
  EXPECT_FALSE(executor_.remove_queued(numbered<TaskId>(1)));
  EXPECT_TRUE(executor_.find_running(numbered<TaskId>(1)));
  EXPECT_EQ(executor_.all_running().size(), 1u);
}

TEST_F(ExecutorTest, answers_leave_together_while_more_is_queued) {
  for (uint32_t i = 1; i <= 4; ++i) push(i);
  std::vector<InboundPtr> calls;
  for (int i = 0; i < 4; ++i) calls.push_back(executor_.take_any());
  push(5);  // something is queued: answers may wait a little
  reply(calls[0], "");
  size_t sent_at_once = from_->unsent_bytes();
  reply(calls[1], "");
  EXPECT_GE(from_->unsent_bytes(), sent_at_once);
  executor_.take_any();
  reply(calls[2], "");  // nothing is queued any more: all leave
  EXPECT_EQ(from_->unsent_bytes(), 0u);
  EXPECT_EQ(replies().size(), 3u);
}

TEST_F(ExecutorTest, answers_leave_at_once_when_nobody_else_would_send_them) {
  for (uint32_t i = 1; i <= 20; ++i) push(i);
  nobody_flushes_ = true;
  for (int i = 0; i < 19; ++i) {
    reply(executor_.take_any(), "");
    EXPECT_EQ(from_->unsent_bytes(), 0u);
  }
}

TEST_F(ExecutorTest, a_worker_that_leaves_at_once_gives_everything_back) {
  push(1), push(2, {"m"});
  executor_.set_actor(true);
  executor_.give_back_all();
  EXPECT_THAT(replies(), ElementsAre(is(1, Status::NotStarted), is(2, Status::NotStarted)));
  EXPECT_FALSE(executor_.has_queued());
}

TEST_F(ExecutorTest, acks_make_room_in_a_stream) {
  push(1);
  InboundPtr call = executor_.take("");
  auto ack = [&](uint64_t consumed, bool stop) {
    flatbuffers::FlatBufferBuilder b;
    auto id = call->task.to_wire<wire::TaskId>();
    b.Finish(wire::CreateStreamAck(b, &id, consumed, stop));
    executor_.on_stream_ack(Mail::make(wire::MessageType::StreamAck, 0, b).frame());
  };
  ack(3, false);
  ack(2, false);  // an older one changes nothing
  EXPECT_EQ(call->consumed, 3u);
  EXPECT_FALSE(call->stopped);
  ack(3, true);
  ack(4, false);
  EXPECT_TRUE(call->stopped);
}

TEST_F(ExecutorTest, stream_items_are_numbered) {
  push(1);
  InboundPtr call = executor_.take("");
  for (const char* text : {"a", "b"}) {
    Outcome item;
    item.bytes = text;
    executor_.send_item(*call, item);
  }
  executor_.reply(*call, Status::Done, {});
  std::vector<Mail> mail = network_.take(here_.id(), submitter_);
  ASSERT_EQ(mail.size(), 3u);
  EXPECT_EQ(mail[0].as<wire::StreamItem>()->index(), 0u);
  EXPECT_EQ(mail[1].as<wire::StreamItem>()->index(), 1u);
  EXPECT_EQ(mail[2].as<wire::TaskReply>()->streamed(), 2u);
}

TEST_F(ExecutorTest, an_answer_waits_for_the_owners_of_what_is_kept) {
  ObjectPtr object = owner_.put(1, "x");
  ObjectPtr kept = here_.objects.receive(object->id, owner_.self(), true);
  Objects::add_use(*kept);
  push(1);
  reply(executor_.take(""), "");
  EXPECT_THAT(replies(), IsEmpty());
  network_.deliver_all();
  EXPECT_THAT(replies(), ElementsAre(is(1, Status::Done)));
  EXPECT_EQ(object->extra().borrowers.at(here_.id()), 1);
}

TEST_F(ExecutorTest, the_receiver_of_a_reference_is_a_borrower_first) {
  ObjectPtr object = here_.put(1, "x");
  push(1);
  Outcome outcome;
  outcome.contained.push_back(object);
  executor_.reply(*executor_.take(""), Status::Done, {outcome});
  EXPECT_EQ(object->extra().borrowers.at(submitter_), 1);
  std::vector<Mail> mail = network_.take(here_.id(), submitter_);
  ASSERT_EQ(mail.size(), 1u);
  EXPECT_EQ(mail[0].as<wire::TaskReply>()->results()->Get(0)->contained()->size(), 1u);
}

TEST_F(ExecutorTest, a_lost_submitter_takes_its_calls_along) {
  rpc::ConnectionPtr other = network_.link(here_.id(), numbered<WorkerId>(4), true);
  push(1), push(2);
  push_from(*other, 3, {});
  InboundPtr running = executor_.take("");
  executor_.on_link_closed(*from_);
  EXPECT_TRUE(running->stopped);
  EXPECT_EQ(executor_.take("")->call_id, 3u);
  EXPECT_FALSE(executor_.has_queued());
  from_->close({ErrorCode::kDisconnected, "gone"});
  reply(running, "nobody reads it");
  EXPECT_EQ(executor_.running(), 1u);
}

TEST_F(ExecutorTest, functions_are_kept_as_first_defined) {
  FunctionId id = numbered<FunctionId>(1);
  for (const char* pickled : {"first", "second"}) {
    flatbuffers::FlatBufferBuilder b;
    auto name = b.CreateString("f");
    auto wire_id = id.to_wire<wire::FunctionId>();
    b.Finish(wire::CreateDefineFunction(b, &wire_id, name));
    executor_.on_define_function(Mail::make(wire::MessageType::DefineFunction, 0, b, pickled).frame());
  }
  std::string name;
  const std::string* pickled = executor_.function(id, &name);
  ASSERT_NE(pickled, nullptr);
  EXPECT_EQ(*pickled, "first");
  EXPECT_EQ(name, "f");
  EXPECT_EQ(executor_.function(numbered<FunctionId>(2), &name), nullptr);
}

TEST_F(ExecutorTest, a_lease_says_what_is_lent) {
  flatbuffers::FlatBufferBuilder b;
  auto resources = b.CreateVector({wire::CreateResource(b, b.CreateString("GPU"), 20'000), wire::CreateResource(b)});
  auto instances = b.CreateVector(
      {wire::CreateInstances(b, b.CreateString("GPU"), b.CreateVector<int>({0, 3})), wire::CreateInstances(b)});
  b.Finish(wire::CreateBeginLease(b, 5, nullptr, resources, instances));
  executor_.on_begin_lease(Mail::make(wire::MessageType::BeginLease, 0, b).frame());
  EXPECT_EQ(executor_.lent().lease, 5u);
  EXPECT_THAT(executor_.lent().resources, ElementsAre(::testing::Pair("GPU", 20'000)));
  EXPECT_THAT(executor_.lent().instances, ElementsAre(::testing::Pair("GPU", ElementsAre(0, 3))));
}

TEST_F(ExecutorTest, an_actor_begins_with_its_constructor) {
  rpc::ConnectionPtr node = here_.links.node();
  flatbuffers::FlatBufferBuilder b;
  auto id = numbered<ActorId>(1).to_wire<wire::ActorId>();
  wire::ActorSpecBuilder spec(b);
  spec.add_actor(&id);
  b.Finish(wire::CreateStartActor(b, spec.Finish(), 2));
  executor_.on_start_actor(*node, Mail::make(wire::MessageType::StartActor, 0, b).frame());
  InboundPtr start = executor_.take("");
  ASSERT_TRUE(start && start->start != nullptr);
  EXPECT_EQ(executor_.running(), 0u);
  Outcome error;
  error.bytes = "it raised";
  executor_.reply_started(*start, *node, &error);
  std::vector<Mail> mail = here_.links.sent_to_node();
  ASSERT_EQ(mail.size(), 1u);
  EXPECT_FALSE(mail[0].as<wire::ActorStarted>()->ok());
  EXPECT_EQ(std::string(mail[0].raw.begin(), mail[0].raw.end()), "it raised");
}

TEST_F(ExecutorTest, a_damaged_call_closes_the_link) {
  Mail noise;
  noise.table = {~uint64_t{0}, 7};
  executor_.on_push(*from_, noise.frame());
  EXPECT_TRUE(from_->is_closed());
  rpc::ConnectionPtr other = network_.link(here_.id(), numbered<WorkerId>(4), true);
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreatePushTask(b));  // no task id
  executor_.on_push(*other, Mail::make(wire::MessageType::PushTask, 1, b).frame());
  EXPECT_TRUE(other->is_closed());
  EXPECT_FALSE(executor_.has_queued());
}

}  // namespace
}  // namespace narke::worker
