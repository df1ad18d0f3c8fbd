#include "controller/records.h"

#include <flatbuffers/flexbuffers.h>

namespace narke::controller {
namespace {

using flexbuffers::Builder;
using flexbuffers::Map;

template <class Write>
std::string packed(Write write) {
  Builder out;
  out.Map([&] { write(out); });
  out.Finish();
  return {reinterpret_cast<const char*>(out.GetBuffer().data()), out.GetBuffer().size()};
}

bool open(const std::string& bytes, Map* out) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  if (bytes.empty() || !flexbuffers::VerifyBuffer(data, bytes.size(), nullptr)) return false;
  const flexbuffers::Reference root = flexbuffers::GetRoot(data, bytes.size());
  if (!root.IsMap()) return false;
  *out = root.AsMap();
  return true;
}

void put(Builder& out, const char* key, std::string_view bytes) {
  out.Key(key);
  out.Blob(bytes.data(), bytes.size());
}

std::string bytes_of(const flexbuffers::Reference& value) {
  if (!value.IsBlob()) return {};
  const flexbuffers::Blob blob = value.AsBlob();
  return {reinterpret_cast<const char*>(blob.data()), blob.size()};
}

template <class IdType>
IdType id_of(const flexbuffers::Reference& value) {
  const std::string bytes = bytes_of(value);
  return bytes.size() == IdType::kSize ? IdType::from_bytes(bytes) : IdType();
}

void put(Builder& out, const char* key, const Address& address) {
  out.Map(key, [&] {
    put(out, "worker", address.worker.view());
    put(out, "node", address.node.view());
    out.String("endpoint", address.endpoint);
  });
}

Address address_of(const Map& map) {
  return {id_of<WorkerId>(map["worker"]), id_of<NodeId>(map["node"]), map["endpoint"].AsString().str()};
}

void put(Builder& out, const sched::ResourceSet& resources) {
  out.Map([&] {
    for (const sched::ResourceSet::Entry& entry : resources.entries()) out.Int(entry.name.c_str(), entry.amount);
  });
}

sched::ResourceSet resources_of(const Map& map) {
  sched::ResourceSet out;
  const flexbuffers::TypedVector keys = map.Keys();
  for (size_t i = 0; i < keys.size(); ++i) out.set(keys[i].AsKey(), map[keys[i].AsKey()].AsInt64());
  return out;
}

void put(Builder& out, const std::vector<sched::LabelCondition>& conditions) {
  out.Vector([&] {
    for (const sched::LabelCondition& condition : conditions)
      out.Map([&] {
        out.String("key", condition.key);
        out.Int("kind", static_cast<int>(condition.kind));
        out.Vector("values", [&] {
          for (const std::string& value : condition.values) out.String(value);
        });
      });
  });
}

std::vector<sched::LabelCondition> conditions_of(const flexbuffers::Vector& list) {
  std::vector<sched::LabelCondition> out;
  for (size_t i = 0; i < list.size(); ++i) {
    const Map map = list[i].AsMap();
    sched::LabelCondition condition;
    condition.key = map["key"].AsString().str();
    condition.kind = static_cast<sched::LabelCondition::Kind>(map["kind"].AsInt32());
    const flexbuffers::Vector values = map["values"].AsVector();
    for (size_t k = 0; k < values.size(); ++k) condition.values.push_back(values[k].AsString().str());
    out.push_back(std::move(condition));
  }
  return out;
}

std::vector<uint8_t> as_vector(const std::string& bytes) { return {bytes.begin(), bytes.end()}; }
std::string_view as_view(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// ---- jobs --------------------------------------------------------------------------------------------------

std::string save(const Job& job) {
  return packed([&](Builder& out) {
    put(out, "id", job.id.view());
    put(out, "driver", job.driver.view());
    put(out, "node", job.node.view());
    put(out, "config", job.config);
    out.Int("pid", job.driver_pid);
    out.Int("start_ms", job.start_ms);
    out.Int("end_ms", job.end_ms);
    out.Bool("running", job.running);
  });
}

bool load(const std::string& bytes, Job* out) {
  Map map = Map::EmptyMap();
  if (!open(bytes, &map)) return false;
  out->id = id_of<JobId>(map["id"]);
  out->driver = id_of<WorkerId>(map["driver"]);
  out->node = id_of<NodeId>(map["node"]);
  out->config = bytes_of(map["config"]);
  out->driver_pid = map["pid"].AsInt32();
  out->start_ms = map["start_ms"].AsInt64();
  out->end_ms = map["end_ms"].AsInt64();
  out->running = map["running"].AsBool();
  return !out->id.is_nil();
}

// ---- actors ------------------------------------------------------------------------------------------------

// What stands in the CreateActor frame is not repeated, but for what people ask of the dead, who have none.
std::string save(const Actor& actor) {
  return packed([&](Builder& out) {
    put(out, "id", actor.spec.id.view());
    put(out, "job", actor.spec.job.view());
    put(out, "owner", actor.spec.owner);
    out.String("name", actor.spec.name);
    out.String("namespace", actor.spec.name_space);
    out.String("class_name", actor.spec.class_name);
    out.Bool("detached", actor.spec.detached);
    if (actor.frame) {
      put(out, "table", as_view(actor.frame->table));
      put(out, "raw", as_view(actor.frame->raw));
    }
    out.Int("state", static_cast<int>(actor.state));
    out.Int("incarnation", actor.incarnation);
    out.Int("restarts", actor.restarts);
    out.Int("moves", actor.moves);
    out.UInt("last_kill", actor.last_kill);
    put(out, "node", actor.node.view());
    put(out, "address", actor.address);
    out.Int("pid", actor.pid);
    out.Bool("ending", actor.ending);
    out.Int("cause", static_cast<int>(actor.cause));
    out.String("message", actor.message);
    put(out, "error", as_view(actor.error));
    out.Int("created_ms", actor.created_ms);
    out.Int("died_ms", actor.died_ms);
  });
}

bool load(const std::string& bytes, Actor* out) {
  Map map = Map::EmptyMap();
  if (!open(bytes, &map)) return false;
  out->spec.id = id_of<ActorId>(map["id"]);
  out->spec.job = id_of<JobId>(map["job"]);
  out->spec.owner = address_of(map["owner"].AsMap());
  out->spec.name = map["name"].AsString().str();
  out->spec.name_space = map["namespace"].AsString().str();
  out->spec.class_name = map["class_name"].AsString().str();
  out->spec.detached = map["detached"].AsBool();
  if (map["table"].IsBlob())
    out->frame = std::make_shared<const ActorFrame>(
        ActorFrame{as_vector(bytes_of(map["table"])), as_vector(bytes_of(map["raw"]))});
  out->state = static_cast<wire::ActorState>(map["state"].AsInt32());
  out->incarnation = map["incarnation"].AsInt32();
  out->restarts = map["restarts"].AsInt32();
  out->moves = map["moves"].AsInt32();
  out->last_kill = map["last_kill"].AsUInt64();
  out->node = id_of<NodeId>(map["node"]);
  out->address = address_of(map["address"].AsMap());
  out->pid = map["pid"].AsInt32();
  out->ending = map["ending"].AsBool();
  out->cause = static_cast<wire::DeathCause>(map["cause"].AsInt32());
  out->message = map["message"].AsString().str();
  out->error = as_vector(bytes_of(map["error"]));
  out->created_ms = map["created_ms"].AsInt64();
  out->died_ms = map["died_ms"].AsInt64();
  return !out->spec.id.is_nil() && (out->frame || out->state == wire::ActorState::Dead);
}

// ---- placement groups --------------------------------------------------------------------------------------

std::string save(const PlacementGroup& group) {
  return packed([&](Builder& out) {
    put(out, "id", group.id.view());
    out.String("name", group.name);
    out.String("namespace", group.name_space);
    out.Int("strategy", static_cast<int>(group.strategy));
    out.Vector("bundles", [&] {
      for (const sched::ResourceSet& bundle : group.bundles) put(out, bundle);
    });
    out.Vector("labels", [&] {
      for (const auto& conditions : group.labels) put(out, conditions);
    });
    out.Vector("nodes", [&] {
      for (const NodeId& node : group.nodes) out.Blob(node.data(), NodeId::kSize);
    });
    out.Int("state", static_cast<int>(group.state));
    out.Bool("detached", group.detached);
    put(out, "job", group.job.view());
    put(out, "creator", group.creator.view());
    out.Int("asked_ms", group.asked_ms);
    out.Int("created_ms", group.created_ms);
  });
}

bool load(const std::string& bytes, PlacementGroup* out) {
  Map map = Map::EmptyMap();
  if (!open(bytes, &map)) return false;
  out->id = id_of<PgId>(map["id"]);
  out->name = map["name"].AsString().str();
  out->name_space = map["namespace"].AsString().str();
  out->strategy = static_cast<sched::BundleStrategy>(map["strategy"].AsInt32());
  const flexbuffers::Vector bundles = map["bundles"].AsVector(), labels = map["labels"].AsVector(),
                            nodes = map["nodes"].AsVector();
  for (size_t i = 0; i < bundles.size(); ++i) out->bundles.push_back(resources_of(bundles[i].AsMap()));
  for (size_t i = 0; i < labels.size(); ++i) out->labels.push_back(conditions_of(labels[i].AsVector()));
  for (size_t i = 0; i < nodes.size(); ++i) out->nodes.push_back(id_of<NodeId>(nodes[i]));
  out->state = static_cast<GroupState>(map["state"].AsInt32());
  out->detached = map["detached"].AsBool();
  out->job = id_of<JobId>(map["job"]);
  out->creator = id_of<WorkerId>(map["creator"]);
  out->asked_ms = map["asked_ms"].AsInt64();
  out->created_ms = map["created_ms"].AsInt64();
  return !out->id.is_nil() && !out->bundles.empty();
}

// ---- nodes -------------------------------------------------------------------------------------------------

std::string save(const Node& node) {
  return packed([&](Builder& out) {
    put(out, "id", node.id.view());
    out.String("endpoint", node.endpoint);
    out.String("hostname", node.hostname);
    out.Bool("head", node.head);
    out.Int("drain", static_cast<int>(node.drain.reason));
    out.String("drain_message", node.drain.message);
    out.Int("drain_deadline_ms", node.drain.deadline_ms);
  });
}

bool load(const std::string& bytes, Node* out) {
  Map map = Map::EmptyMap();
  if (!open(bytes, &map)) return false;
  out->id = id_of<NodeId>(map["id"]);
  out->endpoint = map["endpoint"].AsString().str();
  out->hostname = map["hostname"].AsString().str();
  out->head = map["head"].AsBool();
  out->drain.reason = static_cast<wire::DrainReason>(map["drain"].AsInt32());
  out->drain.message = map["drain_message"].AsString().str();
  out->drain.deadline_ms = map["drain_deadline_ms"].AsInt64();
  return !out->id.is_nil();
}

}  // namespace narke::controller
