// Real engines beside a node that is played: one alone, a driver with a worker, a driver with an actor.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "worker/engine.h"
#include "worker/testing/fake_node.h"
#include "worker/testing/fake_objects.h"

namespace narke::worker::testing {

// Far more than anything here takes: a failure ends, a slow machine does not fail.
inline Deadline soon() { return Clock::now() + std::chrono::seconds(30); }

class EngineTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> connect(wire::ProgramKind kind = wire::ProgramKind::Driver) {
    EngineConfig config;
    config.kind = kind;
    config.node_socket = node_.path();
    config.token = FakeNode::token();
    Result<std::unique_ptr<Engine>> engine = Engine::connect(config);
    EXPECT_TRUE(engine.ok()) << engine.error().message;
    return std::move(engine).value();
  }

  FakeNode node_;
};

class TwoEngines : public EngineTest {
 protected:
  void SetUp() override {
    driver_ = connect();
    worker_ = connect(wire::ProgramKind::Worker);
    node_.lend(worker_->self());
    runner_ = std::thread([this] { run_calls(); });
    spec_ = new CallSpec;
    spec_->name = "echo";
    spec_->function = new Function(numbered<FunctionId>(1), "pickled", "echo");
    spec_->max_retries = 3;
    LeaseShape shape;
    shape.resources = {{"CPU", 10'000}};
    Lock held = driver_->lock();
    spec_->lease_class = driver_->submitter().lease_class(shape);
  }
  void TearDown() override {
    worker_->leave();
    runner_.join();
    driver_->disconnect(std::chrono::seconds(30));
    worker_->disconnect(std::chrono::seconds(30));
    spec_ = {};
    driver_.reset(), worker_.reset();
  }

  // The worker answers every call with its argument, or with an error when that begins with '!'.
  void run_calls() {
    while (true) {
      while (is_held_) std::this_thread::yield();
      Waited waited;
      InboundPtr call = worker_->next_call("", kNoDeadline, &waited);
      if (!call) return;
      ++begun_;
      while (is_kept_) std::this_thread::yield();
      Outcome outcome;
      outcome.bytes.assign(call->raw.begin(), call->raw.end());
      ++answered_;
      if (!outcome.bytes.empty() && outcome.bytes[0] == '!') outcome.kind = wire::ResultKind::Error;
      Lock held = worker_->lock();
      worker_->executor().reply(
          *call, outcome.kind == wire::ResultKind::Error ? wire::TaskStatus::Failed : wire::TaskStatus::Done,
          {outcome});
    }
  }

  // Returns the result with one use.
  ObjectPtr submit(const std::string& argument) {
    TaskPtr task = driver_->new_task(spec_, 1);
    task->values.append(argument.data(), argument.size());
    task->args.push_back({static_cast<uint32_t>(argument.size()), {}, ""});
    return submit(task);
  }
  ObjectPtr submit_on(const ObjectPtr& reference) {
    TaskPtr task = driver_->new_task(spec_, 1);
    task->args.push_back({0, reference, ""});
    return submit(task);
  }
  ObjectPtr submit(TaskPtr task) {
    ObjectPtr result = task->first_return;
    Objects::add_use(*result);
    driver_->submit(std::move(task));
    return result;
  }
  std::string get(const ObjectPtr& object) {
    if (driver_->wait_ready(*object, soon()) != Waited::kReady) return "(not ready)";
    std::string text = text_of(object->value);
    driver_->drop_use(*object);
    return text;
  }

  bool until_answered(int calls) {
    const Deadline limit = soon();
    while (answered_ < calls && Clock::now() < limit) std::this_thread::yield();
    return answered_ >= calls;
  }

  std::unique_ptr<Engine> driver_, worker_;
  std::atomic<int> answered_ = 0;
  std::atomic<int> begun_ = 0;
  std::atomic<bool> is_held_ = false;  // no further call is begun
  std::atomic<bool> is_kept_ = false;  // the call that has begun is not answered
  std::thread runner_;
  CallSpecPtr spec_;
};

class ActorEngines : public TwoEngines {
 protected:
  void SetUp() override {
    TwoEngines::SetUp();
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateCreateActor(b));
    id_ = driver_->new_actor_id();
    driver_->create_actor(id_, b, {}, false, false, {}, false);
    Lock held = driver_->lock();
    handle_ = driver_->actors().find(id_)->handle;
    method_ = new CallSpec;
    method_->method = "m";
  }
  void update(wire::ActorState state) {
    flatbuffers::FlatBufferBuilder b;
    auto address = worker_->self().to_wire(b);
    auto wire_id = id_.to_wire<wire::ActorId>();
    b.Finish(wire::CreateActorUpdate(b, &wire_id, state, 0, address));
    node_.send(wire::MessageType::ActorUpdate, b);
  }
  ObjectPtr call(const std::string& argument, std::vector<ObjectPtr> nested = {}) {
    TaskPtr task = driver_->new_task(method_, 1);
    task->values.append(argument.data(), argument.size());
    task->args.push_back({static_cast<uint32_t>(argument.size()), {}, ""});
    task->nested = std::move(nested);
    ObjectPtr result = task->first_return;
    Objects::add_use(*result);
    EXPECT_TRUE(driver_->submit_call(id_, task, -1).ok);
    return result;
  }

  ActorId id_;
  ObjectPtr handle_;
  CallSpecPtr method_;
};

}  // namespace narke::worker::testing
