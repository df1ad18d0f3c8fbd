#include "worker/engine.h"

#include <atomic>
#include <thread>

#include <gmock/gmock.h>
#include <poll.h>

#include "worker/testing/engines.h"

namespace narke::worker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ActorEngines;
using testing::EngineTest;
using testing::FakeNode;
using ::testing::HasSubstr;
using testing::soon;
using testing::text_of;
using testing::TwoEngines;
using testing::value_of;

// ---- a program alone ----

TEST_F(EngineTest, a_program_registers) {
  auto engine = connect();
  EXPECT_EQ(engine->self().node, testing::numbered<NodeId>(1));
  EXPECT_EQ(engine->job(), testing::numbered<JobId>(1));
  EXPECT_EQ(node_.count(wire::MessageType::Register), 1u);
}

TEST_F(EngineTest, a_refused_registration_says_why) {
  node_.refuse("another release of narke");
  EngineConfig config;
  config.node_socket = node_.path();
  config.token = FakeNode::token();
  Result<std::unique_ptr<Engine>> engine = Engine::connect(config);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kRefused);
  EXPECT_EQ(engine.error().message, "another release of narke");
}

TEST_F(EngineTest, a_wrong_token_is_an_error_at_once) {
  EngineConfig config;
  config.node_socket = node_.path();
  config.token = "guess";
  Result<std::unique_ptr<Engine>> engine = Engine::connect(config);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kDisconnected);
}

TEST_F(EngineTest, no_node_is_an_error_that_says_what_to_do) {
  EngineConfig config;
  config.node_socket = "@narke-nobody-listens-here";
  Result<std::unique_ptr<Engine>> engine = Engine::connect(config);
  ASSERT_FALSE(engine.ok());
  EXPECT_THAT(engine.error().message, HasSubstr("narke.init()"));
}

TEST_F(EngineTest, a_value_put_is_there) {
  auto engine = connect();
  ObjectPtr object = engine->put_value(value_of("hello"), {});
  EXPECT_EQ(engine->wait_ready(*object, soon()), Waited::kReady);
  EXPECT_EQ(text_of(object->value), "hello");
  engine->drop_use(*object);
}

TEST_F(EngineTest, a_wait_ends_at_its_deadline) {
  auto engine = connect();
  Lock held = engine->lock();
  EXPECT_EQ(engine->wait(held, [] { return false; }, Clock::now() + milliseconds(20)), Waited::kTimeout);
  EXPECT_EQ(engine->wait(held, [] { return true; }, Clock::now() - seconds(1)), Waited::kReady);
}

TEST_F(EngineTest, a_call_lends_its_cpu_for_others_work_and_not_for_a_reply) {
  auto worker = connect(wire::ProgramKind::Worker);
  const auto never = [] { return false; };
  running_here().call = std::make_shared<Inbound>();
  worker->control(FakeNode::silent_method(), "", Clock::now() + milliseconds(50));
  {
    Lock held = worker->lock();
    const AwaitsReply awaits;
    EXPECT_EQ(worker->wait(held, never, Clock::now() + milliseconds(50)), Waited::kTimeout);
  }
  worker->control("echo", "", soon());  // what was sent before it has arrived
  EXPECT_EQ(node_.count(wire::MessageType::Blocked), 0u);
  // A thread that sleeps past its deadline says nothing.
  for (const Deadline end = soon(); node_.count(wire::MessageType::Blocked) == 0 && Clock::now() < end;) {
    Lock held = worker->lock();
    EXPECT_EQ(worker->wait(held, never, Clock::now() + milliseconds(50)), Waited::kTimeout);
    held.unlock();
    worker->control("echo", "", soon());
  }
  running_here().call = nullptr;
  EXPECT_EQ(node_.count(wire::MessageType::Blocked), 1u);
  EXPECT_EQ(node_.count(wire::MessageType::Unblocked), 1u);
}

TEST_F(EngineTest, control_is_answered) {
  auto engine = connect();
  Engine::Answer answer = engine->control("echo", "body", soon());
  EXPECT_EQ(answer.waited, Waited::kReady);
  EXPECT_EQ(answer.body, "body");
  answer = engine->control(FakeNode::silent_method(), "", Clock::now() + milliseconds(20));
  EXPECT_EQ(answer.waited, Waited::kTimeout);
}

TEST_F(EngineTest, what_is_told_is_waited_for_by_nobody) {
  auto engine = connect();
  for (int i = 0; i < 100; ++i) engine->tell(FakeNode::silent_method(), "");
  for (int i = 0; i < 100; ++i) engine->tell("echo", "told");
  EXPECT_EQ(engine->control("echo", "asked", soon()).body, "asked");
}

TEST_F(EngineTest, many_threads_ask_at_once_and_each_gets_its_answer) {
  auto engine = connect();
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        std::string body = std::to_string(t) + ":" + std::to_string(i);
        right += engine->control("echo", body, soon()).body == body;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 400);
}

// Threads wait with deadlines of all lengths while others are served: leaders come and go.
TEST_F(EngineTest, leaders_with_different_deadlines_hand_over) {
  auto engine = connect();
  std::vector<std::thread> threads;
  std::atomic<int> timeouts{0}, answered{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        if (t % 2 == 0) {
          Lock held = engine->lock();
          auto deadline = Clock::now() + milliseconds((t * 7 + i * 3) % 15);
          timeouts += engine->wait(held, [] { return false; }, deadline) == Waited::kTimeout;
        } else {
          answered += engine->control("echo", "x", soon()).waited == Waited::kReady;
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(timeouts, 80);
  EXPECT_EQ(answered, 80);
}

TEST_F(EngineTest, one_thread_may_wake_another) {
  auto engine = connect();
  bool flag = false;
  std::thread waiter([&] {
    Lock held = engine->lock();
    EXPECT_EQ(engine->wait(held, [&] { return flag; }, soon()), Waited::kReady);
  });
  {
    Lock held = engine->lock();
    flag = true;
    engine->became_ready();
  }
  waiter.join();
}

TEST_F(EngineTest, an_interrupt_ends_a_drivers_wait) {
  auto engine = connect();
  engine->set_interrupt_check([] { return true; });
  Lock held = engine->lock();
  EXPECT_EQ(engine->wait(held, [] { return false; }, soon()), Waited::kInterrupted);
}

TEST_F(EngineTest, lines_and_notices_are_kept_for_the_terminal) {
  auto engine = connect();
  flatbuffers::FlatBufferBuilder b;
  auto line = wire::CreateLogLine(b, 7, nullptr, b.CreateString("f"), true, b.CreateString("oops"));
  b.Finish(wire::CreateLogLines(b, b.CreateVector({line})));
  node_.send(wire::MessageType::LogLines, b);
  std::vector<LogLine> lines;
  for (auto until = soon(); lines.empty() && Clock::now() < until;) lines = engine->take_logs(milliseconds(100));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].text, "oops");
  EXPECT_EQ(lines[0].pid, 7);
  EXPECT_TRUE(lines[0].is_error);
}

TEST_F(EngineTest, a_polled_engine_works_without_threads_of_its_own) {
  auto engine = connect();
  engine->set_polled(true);
  ObjectPtr object = engine->objects().make_owned(testing::numbered<ObjectId>(1));
  Objects::add_use(*object);
  engine->on_ready_token(*object, 42);
  {
    Lock held = engine->lock();
    engine->objects().set_value(*object, value_of("x"));
  }
  engine->poll();
  EXPECT_EQ(engine->take_tokens(), std::vector<uint64_t>{42});
  EXPECT_TRUE(engine->take_tokens().empty());
  engine->drop_use(*object);
  engine->set_polled(false);
}

TEST_F(EngineTest, tokens_are_signalled_unless_who_polls_takes_them) {
  auto engine = connect();
  engine->set_polled(true);
  auto is_signalled = [&] {
    pollfd tokens{engine->token_fd(), POLLIN, 0};
    return ::poll(&tokens, 1, 0) == 1;
  };
  ObjectPtr object = engine->objects().make_owned(testing::numbered<ObjectId>(1));
  Objects::add_use(*object);
  engine->on_ready_token(*object, 1);
  {
    Lock held = engine->lock();
    engine->objects().set_value(*object, value_of("x"));
  }
  EXPECT_TRUE(is_signalled());
  EXPECT_EQ(engine->take_tokens(), std::vector<uint64_t>{1});
  EXPECT_FALSE(is_signalled());
  engine->drop_use(*object);
  engine->set_polled(false);
}

// ---- the end ----

TEST_F(EngineTest, a_driver_says_goodbye) {
  auto engine = connect();
  engine->disconnect(seconds(30));
  EXPECT_EQ(node_.count(wire::MessageType::Goodbye), 1u);
  EXPECT_TRUE(engine->is_stopped());
}

TEST_F(EngineTest, waiting_threads_end_when_the_program_disconnects) {
  auto engine = connect();
  std::vector<std::thread> threads;
  std::atomic<int> begun{0}, stopped{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      Lock held = engine->lock();
      ++begun;
      stopped += engine->wait(held, [] { return false; }, soon()) == Waited::kStopped;
    });
  while (begun < 4) std::this_thread::yield();
  engine->disconnect(seconds(30));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stopped, 4);
}

TEST_F(EngineTest, everything_pending_ends_when_the_node_is_lost) {
  auto engine = connect();
  std::atomic<int> asked{0}, stopped{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      ++asked;
      Engine::Answer answer = engine->control(FakeNode::silent_method(), "", soon());
      stopped += answer.error_kind == "LocalRayletDiedError";
    });
  CallSpecPtr spec = new CallSpec;
  spec->name = "f";
  spec->lease_class = engine->submitter().lease_class({});
  TaskPtr task = engine->new_task(spec, 1);
  ObjectPtr result = task->first_return;
  Objects::add_use(*result);
  engine->submit(task);
  while (asked < 3 || node_.count(wire::MessageType::Control) < 3) std::this_thread::yield();
  node_.stop();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stopped, 3);
  EXPECT_NE(engine->wait_ready(*result, soon()), Waited::kTimeout);
  {
    Lock held = engine->lock();
    EXPECT_EQ(result->state.load(), ObjectState::kError);
    EXPECT_THAT(text_of(result->value), HasSubstr("LocalRayletDiedError"));
    EXPECT_THAT(engine->stop_reason(), HasSubstr("is gone"));
  }
  TaskPtr later = engine->new_task(spec, 1);
  ObjectPtr nothing = later->first_return;
  Objects::add_use(*nothing);
  engine->submit(later);
  EXPECT_EQ(nothing->state.load(), ObjectState::kError);
  engine->drop_use(*result), engine->drop_use(*nothing);
}

// ---- two programs ----

TEST_F(TwoEngines, a_task_is_answered) { EXPECT_EQ(get(submit("hello")), "hello"); }

TEST_F(TwoEngines, the_node_is_told_what_became_of_a_task) {
  EXPECT_EQ(get(submit("hello")), "hello");
  for (auto until = soon(); node_.count(wire::MessageType::TaskEvents) == 0 && Clock::now() < until;)
    std::this_thread::sleep_for(milliseconds(1));
  EXPECT_GE(node_.count(wire::MessageType::TaskEvents), 1u);
}

TEST_F(TwoEngines, many_tasks_are_answered) {
  std::vector<ObjectPtr> results;
  for (int i = 0; i < 500; ++i) results.push_back(submit(std::to_string(i)));
  for (int i = 0; i < 500; ++i) ASSERT_EQ(get(results[static_cast<size_t>(i)]), std::to_string(i));
}

TEST_F(TwoEngines, a_result_may_be_another_tasks_argument) {
  ObjectPtr first = submit("x");
  ObjectPtr second = submit_on(first);
  ObjectPtr third = submit_on(second);
  EXPECT_EQ(get(third), "x");
  driver_->drop_use(*first), driver_->drop_use(*second);
}

TEST_F(TwoEngines, an_error_passes_through_dependents) {
  ObjectPtr first = submit("!broken");
  ObjectPtr second = submit_on(first);
  EXPECT_EQ(get(second), "!broken");
  EXPECT_EQ(second->state.load(), ObjectState::kError);
  driver_->drop_use(*first);
}

TEST_F(TwoEngines, several_threads_submit_and_wait) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        std::string text = std::to_string(t) + ":" + std::to_string(i);
        ObjectPtr first = submit(text);
        ObjectPtr second = submit_on(first);
        right += get(second) == text;
        driver_->drop_use(*first);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 360);
}

TEST_F(TwoEngines, waiting_for_some_returns_them_first) {
  ObjectPtr never = driver_->objects().make_owned(testing::numbered<ObjectId>(1));
  Objects::add_use(*never);
  ObjectPtr first = submit("1"), second = submit("2");
  std::vector<Object*> objects = {never.get(), first.get(), second.get()};
  EXPECT_EQ(driver_->wait_some(objects, 2, soon()), Waited::kReady);
  EXPECT_EQ(objects[0], never.get());
  EXPECT_EQ(driver_->wait_some(objects, 3, Clock::now() + milliseconds(20)), Waited::kTimeout);
  for (Object* object : {never.get(), first.get(), second.get()}) driver_->drop_use(*object);
}

TEST_F(TwoEngines, the_other_program_fetches_a_value) {
  ObjectPtr object = driver_->put_value(value_of("across"), {});
  ObjectPtr borrowed;
  {
    Lock held = driver_->lock();
    driver_->objects().add_to_table(*object);
  }
  {
    Lock held = worker_->lock();
    borrowed = worker_->objects().receive(object->id, driver_->self(), false);
    Objects::add_use(*borrowed);
  }
  EXPECT_EQ(worker_->wait_ready(*borrowed, soon()), Waited::kReady);
  EXPECT_EQ(text_of(borrowed->value), "across");
  worker_->drop_use(*borrowed);
  worker_->drain();
  Lock held = driver_->lock();
  EXPECT_EQ(driver_->wait(held, [&] { return !driver_->objects().has_borrowers(); }, soon()), Waited::kReady);
  held.unlock();
  driver_->drop_use(*object);
}

TEST_F(TwoEngines, a_queued_task_is_cancelled) {
  ObjectPtr never = driver_->objects().make_owned(testing::numbered<ObjectId>(1));
  Objects::add_use(*never);
  ObjectPtr result = submit_on(never);
  driver_->cancel(*result, false, false);
  EXPECT_THAT(get(result), HasSubstr("TaskCancelledError"));
  {
    Lock held = driver_->lock();
    driver_->objects().set_value(*never, value_of("too late"));
  }
  driver_->drop_use(*never);
}

// Its node may be gone before it tells how the worker ended.
TEST_F(TwoEngines, a_task_whose_workers_end_nobody_tells_of_fails_all_the_same) {
  node_.never_answer("worker_fate");
  spec_->max_retries = 0;
  is_kept_ = true;
  ObjectPtr result = submit("last words");
  const Deadline limit = soon();
  while (begun_ == 0 && Clock::now() < limit)
    driver_->wait_ready(*result, Clock::now() + std::chrono::milliseconds(10));
  flatbuffers::FlatBufferBuilder gone;
  const auto node = worker_->self().node.to_wire<wire::NodeId>();
  gone.Finish(wire::CreateNodeGone(gone, &node));
  node_.send(wire::MessageType::NodeGone, gone);
  EXPECT_THAT(get(result), HasSubstr("its end was not seen by the node"));
  is_kept_ = false;
}

// Nobody lends a worker, and the arguments of some wait for the results of others.
TEST_F(EngineTest, what_is_pending_at_the_end_is_freed) {
  CallSpecPtr task_spec(new CallSpec), call_spec(new CallSpec), stream_spec(new CallSpec);
  task_spec->function = new Function(testing::numbered<FunctionId>(1), "pickled", "f");
  stream_spec->function = task_spec->function;
  stream_spec->num_returns = kStreaming;
  call_spec->method = "m";
  for (int round = 0; round < 3; ++round) {
    auto engine = connect();
    {
      Lock held = engine->lock();
      LeaseShape shape;
      shape.resources = {{"CPU", 10'000}};
      task_spec->lease_class = stream_spec->lease_class = engine->submitter().lease_class(shape);
    }
    TaskPtr first = engine->new_task(task_spec, 1);
    TaskPtr second = engine->new_task(task_spec, 1);
    second->args.push_back({0, first->first_return, ""});
    TaskPtr call = engine->new_task(call_spec, 1);
    call->args.push_back({0, second->first_return, ""});
    TaskPtr stream = engine->new_task(stream_spec, 1);
    for (TaskPtr* task : {&first, &second, &stream}) engine->submit(std::move(*task));
    engine->submit_call(testing::numbered<ActorId>(1), std::move(call), -1);
    engine->disconnect(seconds(30));
    engine.reset();
    EXPECT_EQ(task_spec->refs(), 1) << "round " << round;
    EXPECT_EQ(call_spec->refs(), 1) << "round " << round;
    EXPECT_EQ(stream_spec->refs(), 1) << "round " << round;
  }
}

// The borrower got the reference from a third program and never talks to the owner.
TEST_F(TwoEngines, an_owner_learns_of_a_borrowers_death_that_it_never_met) {
  ObjectPtr object = driver_->put_value(value_of("kept"), {});
  auto third = connect(wire::ProgramKind::Worker);
  {
    Lock held = driver_->lock();
    driver_->objects().add_to_table(*object);
  }
  ObjectPtr at_worker;
  {
    Lock held = worker_->lock();
    at_worker = worker_->objects().receive(object->id, driver_->self(), false);
    Objects::add_use(*at_worker);
    worker_->objects().lend(*at_worker, third->self());
  }
  worker_->drop_use(*at_worker);
  worker_->drain();
  const WorkerId borrower = third->self().worker;
  Lock held = driver_->lock();
  ASSERT_EQ(driver_->wait(held, [&] { return object->extra().borrowers.size() == 1; }, soon()), Waited::kReady);
  EXPECT_TRUE(object->extra().borrowers.contains(borrower));
  const auto is_met = [&] {
    rpc::ConnectionPtr link = driver_->open_program(borrower);
    return link && link->is_open();
  };
  ASSERT_EQ(driver_->wait(held, is_met, soon()), Waited::kReady);
  held.unlock();
  third.reset();
  held.lock();
  EXPECT_EQ(driver_->wait(held, [&] { return !driver_->objects().has_borrowers(); }, soon()), Waited::kReady);
  held.unlock();
  driver_->drop_use(*object);
}

// ---- actors ----

TEST_F(ActorEngines, calls_wait_for_the_actor_and_are_answered_in_order) {
  std::vector<ObjectPtr> results;
  for (int i = 0; i < 20; ++i) results.push_back(call(std::to_string(i)));
  update(wire::ActorState::Alive);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get(results[static_cast<size_t>(i)]), std::to_string(i));
  driver_->drop_use(*handle_);
}

// The call holds the last handle of its actor: its reply ends the actor.
TEST_F(ActorEngines, an_actor_may_end_with_the_reply_to_its_last_call) {
  update(wire::ActorState::Alive);
  ObjectPtr result = call("last", {handle_});
  driver_->drop_use(*handle_);
  EXPECT_EQ(get(result), "last");
  Lock held = driver_->lock();
  EXPECT_EQ(driver_->actors().find(id_), nullptr);
}

TEST_F(ActorEngines, an_actor_may_end_with_its_last_failing_call) {
  ObjectPtr result = call("never", {handle_});
  driver_->drop_use(*handle_);
  update(wire::ActorState::Dead);
  EXPECT_THAT(get(result), HasSubstr("ActorDiedError"));
}

// A reference becomes ready after its call has failed and the actor is forgotten.
TEST_F(ActorEngines, a_late_reference_of_a_failed_call_changes_nothing) {
  ObjectPtr late = driver_->objects().make_owned(testing::numbered<ObjectId>(1));
  Objects::add_use(*late);
  TaskPtr task = driver_->new_task(method_, 1);
  task->args.push_back({0, late, ""});
  ObjectPtr result = task->first_return;
  Objects::add_use(*result);
  driver_->submit_call(id_, task, -1);
  update(wire::ActorState::Dead);
  EXPECT_THAT(get(result), HasSubstr("ActorDiedError"));
  driver_->drop_use(*handle_);
  {
    Lock held = driver_->lock();
    EXPECT_EQ(driver_->actors().find(id_), nullptr);
    driver_->objects().set_value(*late, value_of("x"));
  }
  driver_->drop_use(*late);
}

TEST_F(ActorEngines, pending_calls_are_bounded) {
  ObjectPtr first = call("1");
  TaskPtr task = driver_->new_task(method_, 1);
  Engine::SubmitResult refused = driver_->submit_call(id_, task, 1);
  EXPECT_FALSE(refused.ok);
  EXPECT_THAT(refused.error, HasSubstr("max_pending_calls"));
  update(wire::ActorState::Alive);
  EXPECT_EQ(get(first), "1");
  driver_->drop_use(*handle_);
}

TEST_F(ActorEngines, a_long_turn_does_not_hold_back_what_it_gathered) {
  update(wire::ActorState::Alive);
  EXPECT_EQ(get(call("a")), "a");
  driver_->set_polled(true);
  driver_->begin_turn();
  std::vector<ObjectPtr> results;
  for (int i = 0; i < 20; ++i) results.push_back(call("b"));  // the first leaves at once, others are gathered
  EXPECT_TRUE(until_answered(21));
  driver_->end_turn();
  driver_->set_polled(false);
  for (ObjectPtr& result : results) EXPECT_EQ(get(result), "b");
  driver_->drop_use(*handle_);
}

TEST_F(ActorEngines, a_call_that_has_not_begun_keeps_the_worker_looking) {
  update(wire::ActorState::Alive);
  std::atomic<int> looks = 0;
  {
    Lock held = worker_->lock();
    worker_->set_title_hook([&looks](const std::string&) { ++looks; });
  }
  is_held_ = true;
  ObjectPtr first = call("a"), second = call("b");  // who waits for calls already takes the first
  for (const Deadline limit = soon(); looks < 4 && Clock::now() < limit;) std::this_thread::yield();
  EXPECT_GE(looks, 4);  // else nobody would tell the node of its end
  is_held_ = false;
  EXPECT_EQ(get(first), "a");
  EXPECT_EQ(get(second), "b");
  Lock held = worker_->lock();
  worker_->set_title_hook(nullptr);
}

}  // namespace
}  // namespace narke::worker
