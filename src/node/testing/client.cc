#include "node/testing/client.h"

#include <unistd.h>

#include "node/service.h"

namespace narke::node::testing {

using wire::MessageType;
using Clock = std::chrono::steady_clock;

Client::Client(const std::string& socket, const std::string& token)
    : id_(random_worker_id()), reactor_({token, "", id_}), socket_(socket) {}

bool Client::start(const std::string& name_space) {
  auto link = reactor_.connect(socket_, this);
  if (!link.ok()) return false;
  link_ = link.value();
  flexbuffers::Builder config;
  config.Map([&] { config.String("namespace", name_space); });
  config.Finish();
  Builder builder;
  const auto bytes = builder.CreateVector(config.GetBuffer());
  const auto endpoint = builder.CreateString("client");
  const auto id = id_.to_wire<wire::WorkerId>();
  builder.Finish(wire::CreateRegister(builder, wire::ProgramKind::Driver, &id, getpid(), endpoint, bytes));
  send(MessageType::Register, ++last_call_, builder);
  const auto reply = await(MessageType::Registered);
  if (!reply || reply->as<wire::Registered>().error() != nullptr) return false;
  job = JobId::from_wire(reply->as<wire::Registered>().job());
  return true;
}

void Client::send(MessageType type, uint32_t call_id, const Builder& table, rpc::Bytes raw) {
  link_->send(type, call_id, table, raw);
  reactor_.flush_all();
}

void Client::turn(int ms) {
  reactor_.wait(ms);
  reactor_.dispatch();
}

std::optional<Received> Client::await(MessageType type, std::function<bool(const Received&)> wanted) {
  const auto deadline = Clock::now() + std::chrono::seconds(10);
  while (Clock::now() < deadline) {
    for (auto frame = frames_.begin(); frame != frames_.end(); ++frame) {
      if (frame->type != type || (wanted && !wanted(*frame))) continue;
      Received found = std::move(*frame);
      frames_.erase(frame);
      return found;
    }
    if (closed_) return std::nullopt;
    turn(50);
  }
  return std::nullopt;
}

bool Client::sees(MessageType type, int within_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(within_ms);
  while (Clock::now() < deadline) {
    for (const Received& frame : frames_)
      if (frame.type == type) return true;
    turn(5);
  }
  return false;
}

void Client::close() {
  link_->close({ErrorCode::kDisconnected, "done"});
  turn(0);
}

void Client::on_frame(rpc::Connection& link, const rpc::Frame& frame) {
  frames_.push_back(
      {frame.type, frame.call_id, {frame.table.begin(), frame.table.end()}, {frame.raw.begin(), frame.raw.end()}});
  if (const int fd = link.take_fd(); fd >= 0) ::close(fd);
}

static flatbuffers::Offset<WireResources> pack(Builder& builder,
                                               const std::vector<std::pair<std::string, sched::Amount>>& amounts) {
  std::vector<flatbuffers::Offset<wire::Resource>> out;
  for (const auto& [name, amount] : amounts) out.push_back(wire::CreateResourceDirect(builder, name.c_str(), amount));
  return builder.CreateVector(out);
}

uint32_t Client::ask(std::vector<std::pair<std::string, sched::Amount>> resources, const std::string& env, PgId group) {
  Builder builder;
  const auto amounts = pack(builder, resources);
  const auto runtime_env = builder.CreateString(env);
  const auto name = builder.CreateString("task");
  const auto pg = group.to_wire<wire::PgId>();
  wire::RequestLeaseBuilder request(builder);
  request.add_resources(amounts);
  request.add_runtime_env(runtime_env);
  request.add_task_name(name);
  request.add_retriable(true);
  if (!group.is_nil()) request.add_pg(&pg);
  builder.Finish(request.Finish());
  send(MessageType::RequestLease, ++last_call_, builder);
  return last_call_;
}

Received Client::lease(std::vector<std::pair<std::string, sched::Amount>> resources) {
  const uint32_t call = ask(std::move(resources));
  auto reply = await(MessageType::LeaseReply, [call](const Received& r) { return r.call_id == call; });
  NARKE_CHECK(reply.has_value());
  return std::move(*reply);
}

void Client::give_back(uint64_t lease) {
  Builder builder;
  builder.Finish(wire::CreateReturnLease(builder, lease));
  send(MessageType::ReturnLease, 0, builder);
}

ActorId Client::create_actor(const std::string& class_name, int max_restarts, const std::string& name,
                             sched::Amount cpus) {
  const WorkerId random = random_worker_id();
  const ActorId actor = ActorId::from_bytes(random.view().substr(0, ActorId::kSize));
  Builder builder;
  const auto owner = pack_address(builder, id_, NodeId(), "client");
  const auto text = builder.CreateString(class_name);
  const auto actor_name = builder.CreateString(name);
  const auto placement = pack(builder, {{"CPU", cpus}});
  const auto id = actor.to_wire<wire::ActorId>();
  wire::ActorSpecBuilder spec(builder);
  spec.add_actor(&id);
  spec.add_class_name(text);
  spec.add_owner(owner);
  spec.add_name(actor_name);
  spec.add_placement_resources(placement);
  spec.add_max_restarts(max_restarts);
  builder.Finish(wire::CreateCreateActor(builder, spec.Finish()));
  const std::string raw = "class bytes";
  send(MessageType::CreateActor, ++last_call_, builder, {reinterpret_cast<const uint8_t*>(raw.data()), raw.size()});
  return actor;
}

Received Client::control(const std::string& method, const std::function<void(flexbuffers::Builder&)>& body) {
  flexbuffers::Builder map;
  map.Map([&] {
    if (body) body(map);
  });
  map.Finish();
  Builder builder;
  builder.Finish(wire::CreateControlDirect(builder, method.c_str(), &map.GetBuffer()));
  const uint32_t call = ++last_call_;
  send(MessageType::Control, call, builder);
  auto reply = await(MessageType::ControlReply, [call](const Received& r) { return r.call_id == call; });
  NARKE_CHECK(reply.has_value());
  return std::move(*reply);
}

flexbuffers::Map answer_of(const Received& reply) {
  const auto* body = reply.as<wire::ControlReply>().body();
  return body ? map_of(body->data(), body->size()) : flexbuffers::Map::EmptyMap();
}

}  // namespace narke::node::testing
