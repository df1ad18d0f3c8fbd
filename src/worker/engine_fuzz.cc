// Strategy: an engine with objects, tasks and calls under way gets frames of every type, from a peer and from the
// node, in any order: two in three with tables built from a few ids (so that they meet what exists), then maybe with
// a byte changed, the others with random bytes. Its own threads read, submit and drop between them.
// Invariant: whatever comes, the engine neither crashes nor hangs at its end.
#include <array>

#include "worker/engine.h"
#include "worker/testing/fake_node.h"
#include "worker/testing/fake_objects.h"

namespace narke::worker {
namespace {

using testing::FakeNode;
using testing::numbered;
using testing::value_of;
using wire::MessageType;
using Builder = flatbuffers::FlatBufferBuilder;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool empty() const { return at_ == end_; }
  uint8_t byte() { return empty() ? 0 : *at_++; }
  uint32_t below(uint32_t bound) { return byte() % bound; }
  std::string bytes(size_t size) {
    std::string out(size, '\0');
    for (char& each : out) each = static_cast<char>(byte());
    return out;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

// A program at the other end of the engine's links: its socket answers, its frames are dropped.
struct Stranger : rpc::Handler {
  explicit Stranger(uint32_t number) : reactor({FakeNode::token(), "cluster", numbered<WorkerId>(number)}) {
    address.worker = reactor.identity().self;
    address.endpoint = "@narke-fuzz-" + std::to_string(getpid()) + "-" + std::to_string(number);
    NARKE_CHECK(reactor.listen(address.endpoint, [this](rpc::Connection&) -> rpc::Handler* { return this; }).ok());
  }
  void on_frame(rpc::Connection&, const rpc::Frame&) override {}
  void on_closed(rpc::Connection&, const Error&) override {}
  void turn() {
    reactor.wait(0);
    reactor.dispatch();
  }
  rpc::Reactor reactor;
  Address address;
};

constexpr std::array kFromPeer = {MessageType::BeginLease,   MessageType::DefineFunction, MessageType::PushTask,
                                  MessageType::TaskReply,    MessageType::CancelTask,     MessageType::GetObject,
                                  MessageType::ObjectReply,  MessageType::AddBorrow,      MessageType::BorrowAck,
                                  MessageType::RemoveBorrow, MessageType::StreamItem,     MessageType::StreamAck,
                                  MessageType::Introduce};
constexpr std::array kFromNode = {MessageType::Registered,       MessageType::LeaseReply,  MessageType::ReclaimLease,
                                  MessageType::CreateActorReply, MessageType::ActorUpdate, MessageType::StartActor,
                                  MessageType::ControlReply,     MessageType::LogLines,    MessageType::Notice,
                                  MessageType::Goodbye,          MessageType::ExitWorker,  MessageType::StoreFirst,
                                  MessageType::LeaseReply,       MessageType::ActorUpdate, MessageType::Forked};

class Target {
 public:
  Target(FakeNode& node, std::array<Stranger, 2>& strangers) : strangers_(strangers) {
    EngineConfig config;
    config.kind = wire::ProgramKind::Worker;
    config.node_socket = node.path();
    config.token = FakeNode::token();
    Result<std::unique_ptr<Engine>> engine = Engine::connect(config);
    NARKE_CHECK(engine.ok());
    engine_ = std::move(engine).value();
    engine_->set_polled(true);  // the input alone decides what comes when
  }
  ~Target() {
    for (TaskPtr& task : streams_) engine_->abandon_stream(*task);
    for (ObjectPtr& object : held_) engine_->drop_use(*object);
    engine_->disconnect(std::chrono::milliseconds(0));
  }

  void step(Input& input) {
    if (engine_->is_stopped()) return;
    switch (input.below(16)) {
      case 0: hold(engine_->put_value(value_of("v"), {}), input); break;
      case 1: submit(input); break;
      case 2: submit_call(input); break;
      case 3: receive(input); break;
      case 4: drop(input); break;
      case 5: take_call(input); break;
      case 6:
        engine_->poll();
        for (Stranger& stranger : strangers_) stranger.turn();
        break;
      case 7:
      case 8:
      case 9: frame_from_node(input); break;
      default: frame_from_peer(input); break;
    }
  }

 private:
  const Address& some_address(Input& input) {
    uint32_t which = input.below(3);
    return which == 2 ? engine_->self() : strangers_[which].address;
  }
  // Ids of what exists, so that frames meet it.
  TaskId some_task(Input& input) {
    if (tasks_.empty() || input.below(4) == 0) return numbered<TaskId>(input.below(4));
    return tasks_[input.below(static_cast<uint32_t>(tasks_.size()))];
  }
  ObjectId some_object(Input& input) {
    if (!held_.empty() && input.below(2) == 0) return held_[input.below(static_cast<uint32_t>(held_.size()))]->id;
    return object_of(some_task(input), 1 + input.below(3));
  }
  ActorId some_actor(Input& input) { return numbered<ActorId>(input.below(3)); }

  // ---- what the engine's own threads do ----

  void hold(ObjectPtr object, Input& input) {
    if (input.below(2)) {
      Lock held = engine_->lock();
      engine_->objects().add_to_table(*object);
    }
    held_.push_back(std::move(object));
  }
  TaskPtr new_task(Input& input, CallSpecPtr spec) {
    spec->name = "f";
    spec->max_retries = static_cast<int>(input.below(4)) - 1;
    bool is_stream = input.below(4) == 0;
    if (is_stream) spec->num_returns = kStreaming, spec->backpressure = 1;
    TaskPtr task = engine_->new_task(spec, is_stream ? 0 : 1 + input.below(2));
    if (!held_.empty() && input.below(2))
      task->args.push_back({0, held_[input.below(static_cast<uint32_t>(held_.size()))], ""});
    for (size_t i = 0; i < task->return_count(); ++i) {
      Objects::add_use(*task->returned(i));
      held_.push_back(task->returned(i));
    }
    if (is_stream) streams_.push_back(task);
    tasks_.push_back(task->id);
    return task;
  }
  void submit(Input& input) {
    CallSpecPtr spec = new CallSpec;
    spec->function = new Function(numbered<FunctionId>(input.below(2)), "pickled", "f");
    {
      Lock held = engine_->lock();
      spec->lease_class = engine_->submitter().lease_class({});
    }
    engine_->submit(new_task(input, spec));
  }
  void submit_call(Input& input) {
    CallSpecPtr spec = new CallSpec;
    spec->method = "m";
    engine_->submit_call(some_actor(input), new_task(input, spec), input.below(2) ? -1 : 2);
  }
  void receive(Input& input) {
    ObjectId id = some_object(input);
    const Address& owner = some_address(input);
    Lock held = engine_->lock();
    ObjectPtr object = engine_->objects().receive(id, owner, input.below(2));
    Objects::add_use(*object);
    if (!object->owned && input.below(2)) engine_->objects().fetch(*object);
    held_.push_back(object);
  }
  void drop(Input& input) {
    if (held_.empty()) return;
    size_t at = input.below(static_cast<uint32_t>(held_.size()));
    if (input.below(4) == 0) engine_->cancel(*held_[at], input.below(2), input.below(2));
    engine_->drop_use(*held_[at]);
    held_.erase(held_.begin() + static_cast<long>(at));
  }
  void take_call(Input& input) {
    InboundPtr call;
    Lock held = engine_->lock();
    call = engine_->executor().take_any();
    if (!call) return;
    if (call->start != nullptr) {
      if (rpc::ConnectionPtr node = engine_->node()) engine_->executor().reply_started(*call, *node, nullptr);
      return;
    }
    Outcome outcome;
    outcome.bytes = "result";
    if (!held_.empty() && input.below(2)) outcome.contained.push_back(held_[0]);
    if (input.below(4) == 0) engine_->executor().send_item(*call, outcome);
    if (input.below(8) != 0) engine_->executor().reply(*call, wire::TaskStatus::Done, {outcome});
  }

  // ---- frames ----

  void deliver(rpc::Connection& link, MessageType type, Input& input) {
    std::vector<uint64_t> table;
    if (input.below(3) == 0) {
      std::string noise = input.bytes(8 * input.below(16));
      table.resize(noise.size() / 8);
      if (!noise.empty()) std::memcpy(table.data(), noise.data(), noise.size());
    } else {
      Builder b;
      build(b, type, input);
      table.resize((b.GetSize() + 7) / 8);
      std::memcpy(table.data(), b.GetBufferPointer(), b.GetSize());
      if (input.below(4) == 0)
        reinterpret_cast<uint8_t*>(table.data())[input.byte() % (table.size() * 8)] = input.byte();
    }
    std::string raw = input.bytes(input.below(16));
    rpc::Bytes table_bytes(reinterpret_cast<const uint8_t*>(table.data()), table.size() * 8);
    rpc::Bytes raw_bytes(reinterpret_cast<const uint8_t*>(raw.data()), raw.size());
    engine_->on_frame(link, {type, input.below(12), table_bytes, raw_bytes});
  }
  void frame_from_node(Input& input) {
    Lock held = engine_->lock();
    rpc::ConnectionPtr node = engine_->node();
    if (node) deliver(*node, kFromNode[input.below(kFromNode.size())], input);
  }
  void frame_from_peer(Input& input) {
    Lock held = engine_->lock();
    Stranger& stranger = strangers_[input.below(2)];
    rpc::ConnectionPtr link = engine_->program(stranger.address);
    if (link && !link->is_closed()) deliver(*link, kFromPeer[input.below(kFromPeer.size())], input);
  }

  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Ref>>> refs(Builder& b, Input& input) {
    std::vector<flatbuffers::Offset<wire::Ref>> list;
    for (uint32_t i = input.below(3); i > 0; --i) {
      auto owner = some_address(input).to_wire(b);
      auto id = some_object(input).to_wire<wire::ObjectId>();
      list.push_back(wire::CreateRef(b, input.below(8) ? &id : nullptr, input.below(8) ? owner : 0));
    }
    return b.CreateVector(list);
  }
  flatbuffers::Offset<wire::Result> result(Builder& b, Input& input) {
    auto contained = refs(b, input);
    return wire::CreateResult(b, static_cast<wire::ResultKind>(input.below(4)), input.byte(), contained);
  }
  void build(Builder& b, MessageType type, Input& input) {
    if (static_cast<uint16_t>(type) < static_cast<uint16_t>(MessageType::Register))
      build_from_peer(b, type, input);
    else
      build_from_node(b, type, input);
  }
  void build_from_peer(Builder& b, MessageType type, Input& input) {
    auto task = some_task(input).to_wire<wire::TaskId>();
    auto object = some_object(input).to_wire<wire::ObjectId>();
    auto function = numbered<FunctionId>(input.below(2)).to_wire<wire::FunctionId>();
    switch (type) {
      case MessageType::BeginLease: {
        auto resources = b.CreateVector({wire::CreateResource(b, b.CreateString("CPU"), 1), wire::CreateResource(b)});
        return b.Finish(wire::CreateBeginLease(b, input.below(4), nullptr, resources));
      }
      case MessageType::DefineFunction: return b.Finish(wire::CreateDefineFunction(b, &function, b.CreateString("f")));
      case MessageType::PushTask: {
        auto method = b.CreateString("m");
        auto nested = refs(b, input);
        wire::PushTaskBuilder push(b);
        push.add_task(&task);
        if (input.below(2)) push.add_method(method);
        push.add_function(&function);
        push.add_nested(nested);
        return b.Finish(push.Finish());
      }
      case MessageType::TaskReply: {
        auto results = b.CreateVector({result(b, input), result(b, input)});
        return b.Finish(wire::CreateTaskReply(b, static_cast<wire::TaskStatus>(input.below(7)), results, input.byte(),
                                              0, input.below(3), input.below(2)));
      }
      case MessageType::CancelTask: return b.Finish(wire::CreateCancelTask(b, &task, input.below(2), input.below(2)));
      case MessageType::GetObject: return b.Finish(wire::CreateGetObject(b, &object, true, input.below(2)));
      case MessageType::ObjectReply: {
        auto contained = refs(b, input);
        return b.Finish(
            wire::CreateObjectReply(b, &object, static_cast<wire::ObjectStatus>(input.below(6)), contained));
      }
      case MessageType::AddBorrow: {
        auto ids = b.CreateVectorOfStructs(&object, 1);
        return b.Finish(wire::CreateAddBorrow(b, ids, input.below(4) ? some_address(input).to_wire(b) : 0));
      }
      case MessageType::RemoveBorrow: {
        auto ids = b.CreateVectorOfStructs(&object, 1);
        auto borrower = some_address(input).worker.to_wire<wire::WorkerId>();
        return b.Finish(wire::CreateRemoveBorrow(b, ids, &borrower));
      }
      case MessageType::StreamItem: return b.Finish(wire::CreateStreamItem(b, &task, input.below(4), result(b, input)));
      case MessageType::StreamAck: return b.Finish(wire::CreateStreamAck(b, &task, input.below(4), input.below(2)));
      default: return b.Finish(wire::CreateBorrowAck(b));
    }
  }
  void build_from_node(Builder& b, MessageType type, Input& input) {
    auto actor = some_actor(input).to_wire<wire::ActorId>();
    switch (type) {
      case MessageType::LeaseReply: {
        auto worker = some_address(input).to_wire(b);
        auto instances = b.CreateVector({wire::CreateInstances(b)});
        return b.Finish(wire::CreateLeaseReply(b, static_cast<wire::LeaseStatus>(input.below(4)), input.below(4),
                                               worker, instances, static_cast<wire::FailureKind>(input.below(6))));
      }
      case MessageType::ReclaimLease: return b.Finish(wire::CreateReclaimLease(b, input.below(4)));
      case MessageType::ActorUpdate: {
        auto worker = some_address(input).to_wire(b);
        return b.Finish(wire::CreateActorUpdate(b, &actor, static_cast<wire::ActorState>(input.below(6)),
                                                static_cast<int>(input.below(4)), worker,
                                                static_cast<wire::DeathCause>(input.below(13))));
      }
      case MessageType::StartActor: {
        wire::ActorSpecBuilder spec(b);
        spec.add_actor(&actor);
        return b.Finish(wire::CreateStartActor(b, spec.Finish(), 0));
      }
      case MessageType::ControlReply: {
        std::string body = input.bytes(input.below(8));
        auto bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(body.data()), body.size());
        return b.Finish(wire::CreateControlReply(b, 0, 0, bytes));
      }
      case MessageType::LogLines: return b.Finish(wire::CreateLogLines(b, b.CreateVector({wire::CreateLogLine(b)})));
      case MessageType::Notice: return b.Finish(wire::CreateNotice(b, 0, b.CreateString("text")));
      default: return b.Finish(wire::CreateGoodbye(b));
    }
  }

  std::array<Stranger, 2>& strangers_;
  std::unique_ptr<Engine> engine_;
  std::vector<ObjectPtr> held_;  // each with a use
  std::vector<TaskPtr> streams_;
  std::vector<TaskId> tasks_;
};

}  // namespace
}  // namespace narke::worker

// A program ends with its engine: what is pending then is not given back.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace narke::worker;
  static testing::FakeNode node;
  static std::array<Stranger, 2> strangers = {Stranger(1), Stranger(2)};
  Target target(node, strangers);
  Input input(data, size);
  for (int step = 0; step < 200 && !input.empty(); ++step) target.step(input);
  return 0;
}
