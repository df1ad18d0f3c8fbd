#include "node/wire.h"

namespace narke::node {

ResourceSet resources_of(const WireResources* resources) {
  ResourceSet out;
  if (resources == nullptr) return out;
  for (const wire::Resource* resource : *resources)
    if (resource->name() != nullptr && (resource->amount() > 0 || sched::is_implicit(resource->name()->string_view())))
      out.add(resource->name()->string_view(), resource->amount());
  return out;
}

// ---- FlexBuffers -------------------------------------------------------------------------------------------

flexbuffers::Map map_of(const uint8_t* data, size_t size) {
  if (data == nullptr || size == 0 || !flexbuffers::VerifyBuffer(data, size, nullptr))
    return flexbuffers::Map::EmptyMap();
  const flexbuffers::Reference root = flexbuffers::GetRoot(data, size);
  return root.IsMap() ? root.AsMap() : flexbuffers::Map::EmptyMap();
}

static bool says(const controller::Job& job, const char* what) {
  const flexbuffers::Map config = map_of(reinterpret_cast<const uint8_t*>(job.config.data()), job.config.size());
  return config[what].IsBool() && config[what].AsBool();
}

bool is_observer(const controller::Job& job) { return says(job, "observer"); }

bool wants_prestart(const controller::Job& job) { return !is_observer(job) && !says(job, "lazy_environment"); }
ResourceSet cap_of(const controller::Job& job) {
  const flexbuffers::Map config = map_of(reinterpret_cast<const uint8_t*>(job.config.data()), job.config.size());
  const flexbuffers::Map most = config["cap"].AsMap();
  const flexbuffers::TypedVector names = most.Keys();
  ResourceSet out;
  for (size_t i = 0; i < names.size(); ++i)
    out.set(names[i].AsKey(), static_cast<sched::Amount>(most[names[i].AsKey()].AsDouble() * sched::kOne + 0.5));
  return out;
}

std::string id_text(const flexbuffers::Reference& value) {
  if (value.IsBlob()) {
    const flexbuffers::Blob blob = value.AsBlob();
    return {reinterpret_cast<const char*>(blob.data()), blob.size()};
  }
  return value.IsString() ? value.AsString().str() : std::string();
}

// ---- strategies --------------------------------------------------------------------------------------------

using Condition = sched::LabelCondition;

// [key, operator, [values]]
static Condition condition_of(const flexbuffers::Vector& parts) {
  Condition condition{parts[0].AsString().str(), Condition::Kind::kIn, {}};
  const std::string op = parts[1].AsString().str();
  if (op == "not_in") condition.kind = Condition::Kind::kNotIn;
  if (op == "exists") condition.kind = Condition::Kind::kExists;
  if (op == "not_exists") condition.kind = Condition::Kind::kAbsent;
  const flexbuffers::Vector values = parts[2].AsVector();
  for (size_t i = 0; i < values.size(); ++i) condition.values.push_back(values[i].AsString().str());
  return condition;
}

static std::vector<Condition> conditions_of(const flexbuffers::Vector& list) {
  std::vector<Condition> out;
  for (size_t i = 0; i < list.size(); ++i) out.push_back(condition_of(list[i].AsVector()));
  return out;
}

static bool is_condition(const flexbuffers::Reference& value) {
  if (!value.IsAnyVector()) return false;
  const flexbuffers::Vector parts = value.AsVector();
  if (parts.size() != 3 || !parts[0].IsString() || !parts[1].IsString() || !parts[2].IsAnyVector()) return false;
  const std::string op = parts[1].AsString().str();
  const flexbuffers::Vector values = parts[2].AsVector();
  for (size_t i = 0; i < values.size(); ++i)
    if (!values[i].IsString()) return false;
  return op == "in" || op == "not_in" || op == "exists" || op == "not_exists";
}

std::optional<std::vector<Condition>> checked_conditions_of(const flexbuffers::Reference& list) {
  if (!list.IsAnyVector()) return std::nullopt;
  const flexbuffers::Vector conditions = list.AsVector();
  for (size_t i = 0; i < conditions.size(); ++i)
    if (!is_condition(conditions[i])) return std::nullopt;
  return conditions_of(conditions);
}

sched::Strategy strategy_of(const wire::Strategy* strategy) {
  sched::Strategy out;
  if (strategy == nullptr) return out;
  switch (strategy->kind()) {
    case wire::StrategyKind::Default: break;
    case wire::StrategyKind::Spread: out.kind = sched::Strategy::Kind::kSpread; break;
    case wire::StrategyKind::NodeAffinity:
      out.kind = sched::Strategy::Kind::kAffinity;
      out.node = NodeId::from_wire(strategy->node());
      out.soft = strategy->soft();
      break;
    case wire::StrategyKind::NodeLabel: out.kind = sched::Strategy::Kind::kLabels; break;
  }
  if (strategy->labels() != nullptr) {
    const flexbuffers::Map labels = map_of(strategy->labels()->data(), strategy->labels()->size());
    out.hard = conditions_of(labels["hard"].AsVector());
    out.preferred = conditions_of(labels["soft"].AsVector());
    const flexbuffers::Vector fallbacks = labels["fallback"].AsVector();
    for (size_t i = 0; i < fallbacks.size(); ++i) out.fallbacks.push_back(conditions_of(fallbacks[i].AsVector()));
  }
  return out;
}

// ---- requests ----------------------------------------------------------------------------------------------

controller::Address address_of(const wire::Address* address) {
  if (address == nullptr) return {};
  return {WorkerId::from_wire(address->worker()), NodeId::from_wire(address->node()), text_of(address->endpoint())};
}

LeaseRequest lease_request_of(const wire::RequestLease& request) {
  LeaseRequest out;
  out.resources = resources_of(request.resources());
  out.runtime_env = text_of(request.runtime_env());
  out.pg = PgId::from_wire(request.pg());
  out.bundle = request.bundle();
  out.strategy = strategy_of(request.strategy());
  out.retriable = request.retriable();
  out.task_name = text_of(request.task_name());
  out.near = NodeId::from_wire(request.near());
  return out;
}

flatbuffers::Offset<WireResources> pack_resources(Builder& b, const ResourceSet& resources) {
  std::vector<flatbuffers::Offset<wire::Resource>> out;
  for (const ResourceSet::Entry& entry : resources.entries())
    out.push_back(wire::CreateResource(b, b.CreateString(entry.name), entry.amount));
  return b.CreateVector(out);
}

static void put_conditions(flexbuffers::Builder& out, const std::vector<sched::LabelCondition>& conditions) {
  static constexpr const char* kNames[] = {"in", "not_in", "exists", "not_exists"};
  out.Vector([&] {
    for (const sched::LabelCondition& condition : conditions)
      out.Vector([&] {
        out.String(condition.key);
        out.String(kNames[static_cast<size_t>(condition.kind)]);
        out.Vector([&] {
          for (const std::string& value : condition.values) out.String(value);
        });
      });
  });
}

static flatbuffers::Offset<wire::Strategy> pack_strategy(Builder& b, const sched::Strategy& strategy) {
  flexbuffers::Builder labels;
  labels.Map([&] {
    labels.Key("hard");
    put_conditions(labels, strategy.hard);
    labels.Key("soft");
    put_conditions(labels, strategy.preferred);
    labels.Vector("fallback", [&] {
      for (const auto& each : strategy.fallbacks) put_conditions(labels, each);
    });
  });
  labels.Finish();
  const auto packed = b.CreateVector(labels.GetBuffer());
  const auto node = wired<wire::NodeId>(strategy.node);
  return wire::CreateStrategy(b, static_cast<wire::StrategyKind>(strategy.kind), &node, strategy.soft, packed);
}

void pack_lease_request(Builder& b, const LeaseRequest& request) {
  std::vector<flatbuffers::Offset<wire::Resource>> resources;
  for (const ResourceSet::Entry& entry : request.resources.entries())
    resources.push_back(wire::CreateResource(b, b.CreateString(entry.name), entry.amount));
  const auto list = b.CreateVector(resources);
  const auto env = b.CreateString(request.runtime_env);
  const auto strategy = pack_strategy(b, request.strategy);
  const auto name = b.CreateString(request.task_name);
  const auto group = wired<wire::PgId>(request.pg);
  b.Finish(wire::CreateRequestLease(b, list, env, request.pg.is_nil() ? nullptr : &group, request.bundle, false,
                                    strategy, 0, 0, request.retriable, name));
}

controller::ActorSpec actor_spec_of(const wire::ActorSpec& spec) {
  controller::ActorSpec out;
  out.id = ActorId::from_wire(spec.actor());
  out.job = JobId::from_wire(spec.job());
  out.owner = address_of(spec.owner());
  out.name = text_of(spec.name());
  out.name_space = text_of(spec.namespace_());
  out.class_name = text_of(spec.class_name());
  out.runtime_env = text_of(spec.runtime_env());
  out.methods = bytes_of(spec.methods());
  out.detached = spec.detached();
  out.get_if_exists = spec.get_if_exists();
  out.capture = spec.capture();
  out.out_of_order = spec.out_of_order();
  out.max_restarts = spec.max_restarts();
  out.max_task_retries = spec.max_task_retries();
  out.placement = resources_of(spec.placement_resources());
  out.running = resources_of(spec.running_resources());
  // What it holds must be there when it is placed.
  for (const ResourceSet::Entry& entry : out.running.entries())
    if (out.placement.get(entry.name) < entry.amount) out.placement.set(entry.name, entry.amount);
  out.pg = PgId::from_wire(spec.pg());
  out.bundle = spec.bundle();
  out.strategy = strategy_of(spec.strategy());
  return out;
}

// ---- packing -----------------------------------------------------------------------------------------------

flatbuffers::Offset<wire::Address> pack_address(Builder& builder, const WorkerId& worker, const NodeId& node,
                                                const std::string& endpoint) {
  const auto path = builder.CreateString(endpoint);
  const auto worker_id = worker.to_wire<wire::WorkerId>();
  const auto node_id = node.to_wire<wire::NodeId>();
  return wire::CreateAddress(builder, &worker_id, &node_id, path);
}

flatbuffers::Offset<Vector<flatbuffers::Offset<wire::Instances>>> pack_devices(Builder& builder,
                                                                               const Allocation& allocation) {
  std::vector<flatbuffers::Offset<wire::Instances>> out;
  for (const sched::DeviceShares& devices : allocation.devices) {
    std::vector<int32_t> ids;
    for (const sched::Share& share : devices.shares) ids.push_back(share.device);
    const auto vector = builder.CreateVector(ids);
    out.push_back(wire::CreateInstances(builder, builder.CreateString(devices.name), vector));
  }
  return builder.CreateVector(out);
}

void pack_actor_update(Builder& builder, const controller::Actor& actor) {
  const auto address = pack_address(builder, actor.address.worker, actor.address.node, actor.address.endpoint);
  const auto message = builder.CreateString(actor.message);
  const auto class_name = builder.CreateString(actor.spec.class_name);
  const auto id = actor.spec.id.to_wire<wire::ActorId>();
  wire::ActorUpdateBuilder update(builder);
  update.add_actor(&id);
  update.add_state(actor.state);
  update.add_incarnation(actor.incarnation);
  if (actor.state == wire::ActorState::Alive) update.add_worker(address);
  update.add_cause(actor.state == wire::ActorState::Dead ? actor.cause : wire::DeathCause::None);
  update.add_message(message);
  update.add_max_task_retries(actor.spec.max_task_retries);
  update.add_class_name(class_name);
  update.add_pid(actor.pid);
  update.add_out_of_order(actor.spec.out_of_order);
  builder.Finish(update.Finish());
}

// Offsets inside a finished buffer are relative, so its bytes stay valid wherever they are copied as a whole with
// their alignment; a table inside is then named by its distance from the end of the new buffer.
void pack_start_actor(Builder& builder, const controller::ActorFrame& frame, int incarnation,
                      const Allocation& allocation) {
  const auto* create = flatbuffers::GetRoot<wire::CreateActor>(frame.table.data());
  const size_t at = reinterpret_cast<const uint8_t*>(create->spec()) - frame.table.data();
  builder.Align(8);
  builder.PushBytes(frame.table.data(), frame.table.size());
  const flatbuffers::Offset<wire::ActorSpec> spec(builder.GetSize() - static_cast<flatbuffers::uoffset_t>(at));
  const auto devices = pack_devices(builder, allocation);
  builder.Finish(wire::CreateStartActor(builder, spec, incarnation, devices));
}

flatbuffers::Offset<Vector<uint8_t>> pack_labels(Builder& b, const sched::Labels& labels) {
  flexbuffers::Builder map;
  map.Map([&] {
    for (const auto& [key, value] : labels) map.String(key.c_str(), value);
  });
  map.Finish();
  return b.CreateVector(map.GetBuffer());
}

sched::Labels labels_of(const Vector<uint8_t>* bytes) {
  sched::Labels out;
  if (bytes == nullptr) return out;
  const flexbuffers::Map map = map_of(bytes->data(), bytes->size());
  const flexbuffers::TypedVector keys = map.Keys();
  for (size_t i = 0; i < keys.size(); ++i) out[keys[i].AsKey()] = map[keys[i].AsKey()].AsString().str();
  return out;
}

}  // namespace narke::node
