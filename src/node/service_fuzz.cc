// Strategy: two drivers and the workers that the node starts send frames of every type, in any order: half with
// tables built from a few ids (so that they meet each other's leases, actors and groups), half with random bytes.
// Processes begin and end between them. Invariant: whatever comes, the service neither crashes nor loses count of
// its resources.
#include <array>
#include <cstdlib>
#include <filesystem>

#include <flatbuffers/flexbuffers.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/service.h"

namespace narke::node {
namespace {

using wire::MessageType;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool empty() const { return at_ == end_; }
  uint8_t byte() { return empty() ? 0 : *at_++; }
  uint32_t below(uint32_t bound) { return byte() % bound; }
  std::vector<uint8_t> bytes(size_t size) {
    std::vector<uint8_t> out(size);
    for (uint8_t& each : out) each = byte();
    return out;
  }
  template <class IdType>
  IdType id() {
    IdType id;
    id.data()[0] = static_cast<uint8_t>(below(4));
    return id;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

class Target {
 public:
  explicit Target(const std::string& folder)
      : reactor_({"token", "cluster", WorkerId()}),
        service_(reactor_, config(folder), [](const std::string&) {}),
        processes_(reactor_, {{"/bin/false"}, "", folder, "zygote", ""}, service_) {
    store::ServerConfig store;
    store.capacity_bytes = 1 << 20;
    store.warm = false;
    auto made = store::Server::make(store, service_);
    NARKE_CHECK(made.ok());
    store_ = std::move(made).value();
    service_.attach(processes_, *store_);
    for (rpc::ConnectionPtr& link : links_) link = connect();
    for (size_t i = 0; i < 2; ++i) register_as(links_[i], random_worker_id(), wire::ProgramKind::Driver);
  }
  ~Target() {
    for (int end : far_ends_) close(end);
  }

  void step(Input& input) {
    rpc::ConnectionPtr& link = links_[input.below(links_.size())];
    switch (input.below(16)) {
      case 0: service_.tick(); break;
      case 1:
        some_worker(input, [&](const WorkerId& id) { register_as(links_[2], id, wire::ProgramKind::Worker); });
        break;
      case 2:
        some_worker(input, [&](const WorkerId& id) { service_.on_process_gone(id, controller::fate_of_status(7, 9)); });
        break;
      case 3:
        some_worker(input, [&](const WorkerId& id) { service_.on_process_failed(id, "no", input.byte() % 2 == 0); });
        break;
      case 4: reconnect(link); break;
      default: frame(link, input); break;
    }
    reactor_.wait(0);
    reactor_.dispatch();
    service_.cluster().core().check_invariants();
    if (link->context == nullptr && link->is_closed()) reconnect(link);
  }

 private:
  static ServiceConfig config(const std::string& folder) {
    ServiceConfig config;
    config.node.node = random_node_id();
    config.node.resources = {{"CPU", 2 * sched::kOne}, {"GPU", sched::kOne}};
    config.node.max_workers = 6;
    config.session_dir = folder;
    return config;
  }

  rpc::ConnectionPtr connect() {
    int ends[2];
    NARKE_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    far_ends_.push_back(ends[1]);
    return reactor_.adopt(ends[0], true, &service_, true);
  }
  void reconnect(rpc::ConnectionPtr& link) {
    link->close({ErrorCode::kDisconnected, "fuzz"});
    reactor_.dispatch();
    link = connect();
  }

  void deliver(rpc::ConnectionPtr& link, MessageType type, uint32_t call, rpc::Bytes table, rpc::Bytes raw = {}) {
    if (!link->is_closed()) service_.on_frame(*link, {type, call, table, raw});
  }
  void deliver(rpc::ConnectionPtr& link, MessageType type, uint32_t call, Builder& builder) {
    deliver(link, type, call, {builder.GetBufferPointer(), builder.GetSize()});
  }

  void register_as(rpc::ConnectionPtr& link, const WorkerId& worker, wire::ProgramKind kind) {
    Builder builder;
    const auto endpoint = builder.CreateString("end");
    const auto id = worker.to_wire<wire::WorkerId>();
    builder.Finish(wire::CreateRegister(builder, kind, &id, 1, endpoint));
    deliver(link, MessageType::Register, 1, builder);
  }

  template <class Use>
  void some_worker(Input& input, Use use) {
    const auto& workers = service_.cluster().core().workers();
    if (workers.empty()) return;
    auto at = workers.begin();
    std::advance(at, input.below(static_cast<uint32_t>(workers.size())));
    use(WorkerId(at->first));
  }

  void frame(rpc::ConnectionPtr& link, Input& input) {
    static constexpr std::array kTypes = {
        MessageType::Register,     MessageType::RequestLease, MessageType::CancelLease,  MessageType::ReturnLease,
        MessageType::Blocked,      MessageType::Unblocked,    MessageType::CreateActor,  MessageType::WatchActor,
        MessageType::KillActor,    MessageType::ActorStarted, MessageType::Control,      MessageType::Goodbye,
        MessageType::ActorExiting, MessageType::StoreFirst,   MessageType::RequestLease, MessageType::Control,
        MessageType::TaskEvents};
    const MessageType type = kTypes[input.below(kTypes.size())];
    if (input.below(4) == 0) {
      const std::vector<uint8_t> table = input.bytes(8 * input.below(12));
      deliver(link, type, input.byte(), table, input.bytes(input.below(8)));
      return;
    }
    Builder builder;
    if (build(type, builder, input)) deliver(link, type, input.byte() % 4 + 1, builder);
  }

  bool build(MessageType type, Builder& builder, Input& input) {
    const auto actor = input.id<ActorId>().to_wire<wire::ActorId>();
    switch (type) {
      case MessageType::RequestLease: request_lease(builder, input); return true;
      case MessageType::CancelLease: builder.Finish(wire::CreateCancelLease(builder, input.below(4))); return true;
      case MessageType::ReturnLease:
        builder.Finish(wire::CreateReturnLease(builder, input.below(8), input.below(2), input.below(2)));
        return true;
      case MessageType::CreateActor: create_actor(builder, input); return true;
      case MessageType::WatchActor: builder.Finish(wire::CreateWatchActor(builder, &actor)); return true;
      case MessageType::KillActor:
        builder.Finish(wire::CreateKillActor(builder, &actor, input.below(2), input.below(2)));
        return true;
      case MessageType::ActorStarted:
        builder.Finish(wire::CreateActorStarted(builder, &actor, input.below(2)));
        return true;
      case MessageType::ActorExiting: builder.Finish(wire::CreateActorExiting(builder, &actor)); return true;
      case MessageType::Control: control(builder, input); return true;
      case MessageType::Blocked: builder.Finish(wire::CreateBlocked(builder)); return true;
      case MessageType::Unblocked: builder.Finish(wire::CreateUnblocked(builder)); return true;
      case MessageType::Goodbye: builder.Finish(wire::CreateGoodbye(builder)); return true;
      default: return false;
    }
  }

  static flatbuffers::Offset<WireResources> resources(Builder& builder, Input& input) {
    static constexpr std::array kNames = {"CPU", "GPU", "memory", "none"};
    std::vector<flatbuffers::Offset<wire::Resource>> out;
    for (uint32_t i = input.below(3); i > 0; --i)
      out.push_back(wire::CreateResourceDirect(builder, kNames[input.below(kNames.size())],
                                               static_cast<int64_t>(input.byte()) * 200));
    return builder.CreateVector(out);
  }

  static void request_lease(Builder& builder, Input& input) {
    const auto amounts = resources(builder, input);
    const auto labels = builder.CreateVector(input.bytes(input.below(12)));
    const auto node = input.id<NodeId>().to_wire<wire::NodeId>();
    const auto strategy =
        wire::CreateStrategy(builder, static_cast<wire::StrategyKind>(input.below(5)), &node, input.below(2), labels);
    const auto pg = input.id<PgId>().to_wire<wire::PgId>();
    wire::RequestLeaseBuilder request(builder);
    request.add_resources(amounts);
    if (input.below(2)) request.add_strategy(strategy);
    if (input.below(2)) request.add_pg(&pg);
    request.add_bundle(static_cast<int>(input.below(4)) - 2);
    builder.Finish(request.Finish());
  }

  static void create_actor(Builder& builder, Input& input) {
    const auto amounts = resources(builder, input);
    const auto name = builder.CreateString(input.below(2) ? "name" : "");
    const auto id = input.id<ActorId>().to_wire<wire::ActorId>();
    const auto pg = input.id<PgId>().to_wire<wire::PgId>();
    wire::ActorSpecBuilder spec(builder);
    spec.add_actor(&id);
    spec.add_name(name);
    spec.add_detached(input.below(2));
    spec.add_get_if_exists(input.below(2));
    spec.add_max_restarts(static_cast<int>(input.below(4)) - 1);
    spec.add_running_resources(amounts);
    if (input.below(3) == 0) spec.add_pg(&pg);
    builder.Finish(wire::CreateCreateActor(builder, spec.Finish()));
  }

  static void control(Builder& builder, Input& input) {
    static constexpr std::array kMethods = {"cluster_resources",
                                            "available_resources",
                                            "nodes",
                                            "session_info",
                                            "set_resource",
                                            "store_stats",
                                            "get_actor",
                                            "named_actors",
                                            "worker_fate",
                                            "job_info",
                                            "list_actors",
                                            "list_workers",
                                            "list_jobs",
                                            "list_objects",
                                            "list_placement_groups",
                                            "pending_demand",
                                            "kv_put",
                                            "kv_get",
                                            "kv_del",
                                            "kv_keys",
                                            "kv_exists",
                                            "create_placement_group",
                                            "remove_placement_group",
                                            "wait_placement_group",
                                            "placement_group_table",
                                            "get_placement_group",
                                            "no_such_method"};
    const char* method = kMethods[input.below(kMethods.size())];
    const std::vector<uint8_t> body = input.below(4) ? sensible_body(input) : input.bytes(input.below(24));
    builder.Finish(wire::CreateControlDirect(builder, method, &body));
  }

  static std::vector<uint8_t> sensible_body(Input& input) {
    flexbuffers::Builder map;
    const PgId pg = input.id<PgId>();
    const auto worker = input.id<WorkerId>();
    map.Map([&] {
      map.Key("pg_id");
      map.Blob(pg.data(), PgId::kSize);
      map.Key("worker_id");
      map.Blob(worker.data(), WorkerId::kSize);
      map.String("strategy", input.below(2) ? "PACK" : "STRICT_SPREAD");
      map.String("name", input.below(2) ? "name" : "slots");
      map.String("key", "k");
      map.String("value", "v");
      map.Double("amount", input.byte());
      map.Int("timeout_ms", input.below(3));
      map.Vector("bundles", [&] {
        for (uint32_t i = input.below(3); i > 0; --i) map.Map([&] { map.Double("CPU", input.below(3)); });
      });
    });
    map.Finish();
    return map.GetBuffer();
  }

  rpc::Reactor reactor_;
  Service service_;
  Processes processes_;
  std::unique_ptr<store::Server> store_;
  std::array<rpc::ConnectionPtr, 3> links_;
  std::vector<int> far_ends_;
};

std::string scratch_folder() {
  const std::string folder = "/tmp/narke-fuzz-" + std::to_string(getpid());
  std::filesystem::create_directories(folder + "/logs");
  std::atexit([] { std::filesystem::remove_all("/tmp/narke-fuzz-" + std::to_string(getpid())); });
  return folder;
}

}  // namespace
}  // namespace narke::node

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string folder = narke::node::scratch_folder();
  narke::node::Target target(folder);
  narke::node::Input input(data, size);
  for (int step = 0; step < 200 && !input.empty(); ++step) target.step(input);
  return 0;
}
