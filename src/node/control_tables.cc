// Control methods that describe: resources, nodes, actors, workers, jobs, objects, demand.
#include <algorithm>
#include <map>
#include <tuple>

#include <unistd.h>

#include "node/control.h"
#include "node/environments.h"
#include "node/rows.h"
#include "node/wire.h"

namespace narke::node {

static void put_bytes(MapBuilder& out, const char* key, std::string_view bytes) {
  out.Key(key);
  out.Blob(bytes.data(), bytes.size());
}

static double amount_of(sched::Amount amount) { return static_cast<double>(amount) / sched::kOne; }

void Control::put_resources(MapBuilder& out, const ResourceSet& resources) {
  out.Map([&] {
    for (const ResourceSet::Entry& entry : resources.entries()) out.Double(entry.name.c_str(), amount_of(entry.amount));
  });
}

// ---- rows --------------------------------------------------------------------------------------------------

// In an order that does not change from one page to the next.
template <class Table>
static auto sorted_keys(const Table& table) {
  std::vector<typename Table::key_type> keys;
  keys.reserve(table.size());
  for (const auto& [key, value] : table) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

Control::Failure Control::list_rows(Call& call, const char* key, const std::function<void(const AddRow&)>& each) {
  Result<Rows> rows = Rows::parse(call.body);
  if (!rows) return {"ValueError", rows.error().message};
  const size_t start = call.out.StartVector(key);
  each([&](const Rows::Put& put) { rows.value().add(call.out, put); });
  call.out.EndVector(start, false, false);
  const Status finished = rows.value().finish(call.out);
  return finished ? Failure{} : Failure{"ValueError", finished.error().message};
}

// ---- the cluster -------------------------------------------------------------------------------------------

// What names an address ("node:10.0.0.1") is there once, however many nodes have that address.
static void add_to_sum(ResourceSet& sum, const ResourceSet& of) {
  for (const ResourceSet::Entry& entry : of.entries()) {
    if (std::string_view(entry.name).starts_with("node:"))
      sum.set(entry.name, std::max(sum.get(entry.name), entry.amount));
    else
      sum.add(entry.name, entry.amount);
  }
}

Control::Failure Control::cluster_resources(Call& call) {
  ResourceSet total;
  for (const controller::Node& node : cluster_.controller().nodes.all()) add_to_sum(total, node.pool->total());
  call.out.Key("resources");
  put_resources(call.out, total);
  return {};
}

// Names that are used up stay away, and so do overdrawn ones.
static ResourceSet free_of(const controller::Node& node) {
  ResourceSet free;
  for (const ResourceSet::Entry& entry : node.pool->available().entries())
    if (entry.amount > 0) free.set(entry.name, entry.amount);
  return free;
}

Control::Failure Control::available_resources(Call& call) {
  const auto& nodes = cluster_.controller().nodes.all();
  ResourceSet available;
  for (const controller::Node& node : nodes) add_to_sum(available, free_of(node));
  call.out.Key("resources");
  put_resources(call.out, available);
  call.out.Map("nodes", [&] {
    for (const controller::Node& node : nodes) {
      call.out.Key(node.id.hex());
      put_resources(call.out, free_of(node));
    }
  });
  return {};
}

// By the names of `ray drain-node`, but for a node that was told to stop.
static const char* drain_name(wire::DrainReason reason) {
  switch (reason) {
    case wire::DrainReason::Idle: return "DRAIN_NODE_REASON_IDLE_TERMINATION";
    case wire::DrainReason::Preemption: return "DRAIN_NODE_REASON_PREEMPTION";
    case wire::DrainReason::Stop: return "STOP";
    case wire::DrainReason::None: break;
  }
  return "";
}

// As Ray numbers them: 1 expected, 2 unexpected, 3 preempted, 4 idle.
static int death_reason(const controller::Node& node) {
  if (node.alive) return 0;
  switch (node.drain.reason) {
    case wire::DrainReason::Stop: return 1;
    case wire::DrainReason::Preemption: return 3;
    case wire::DrainReason::Idle: return 4;
    case wire::DrainReason::None: break;
  }
  return 2;
}

void Control::put_node(MapBuilder& out, const controller::Node& node) {
  const bool here = node.id == cluster_.self();
  const size_t colon = node.endpoint.rfind(':');
  const int port = colon == std::string::npos ? 0 : std::atoi(node.endpoint.c_str() + colon + 1);
  out.String("NodeID", node.id.hex());
  out.Bool("Alive", node.alive);
  out.Bool("alive", node.alive);
  out.String("NodeManagerAddress", node.address);
  out.String("NodeManagerHostname", node.hostname);
  out.Int("NodeManagerPort", port);
  out.Int("ObjectManagerPort", port);
  out.Int("MetricsExportPort", 0);
  out.Int("RuntimeEnvAgentPort", 0);
  out.String("ObjectStoreSocketName", here ? config_.socket_path : "");
  out.String("RayletSocketName", here ? config_.socket_path : "");
  out.String("NodeName", node.address);
  out.Bool("is_head", node.head);
  out.Int("DeathReason", death_reason(node));
  out.String("DeathReasonMessage", node.why);
  if (node.is_draining()) {
    out.String("DrainReason", drain_name(node.drain.reason));
    out.String("DrainMessage", node.drain.message);
    out.Int("DrainDeadlineMs", node.drain.deadline_ms == 0 ? 0 : epoch_ms(node.drain.deadline_ms));
  }
  out.Key("Resources");
  put_resources(out, node.alive ? node.pool->total() : ResourceSet());
  out.Map("Labels", [&] {
    for (const auto& [key, value] : node.labels) out.String(key.c_str(), value);
  });
}

Control::Failure Control::nodes(Call& call) {
  MapBuilder& out = call.out;
  const size_t start = out.StartVector("nodes");
  const controller::NodeTable& nodes = cluster_.controller().nodes;
  // Nodes of drivers outside of the cluster's network are no part of what it offers.
  for (const controller::Node& node : nodes.all())
    if (!node.outside) out.Map([&] { put_node(out, node); });
  for (const controller::Node& node : nodes.ended())
    if (!node.outside) out.Map([&] { put_node(out, node); });
  out.EndVector(start, false, false);
  return {};
}

Control::Failure Control::session_info(Call& call) {
  call.out.String("session_dir", config_.session_dir);
  call.out.String("node_socket", config_.socket_path);
  call.out.String("node_ip_address", config_.address);
  call.out.String("hostname", config_.hostname);
  call.out.Int("node_pid", getpid());
  call.out.String("version", NARKE_VERSION);
  put_bytes(call.out, "node_id", cluster_.core().config().node.view());
  return {};
}

Control::Failure Control::drain_node(Call& call) {
  const std::string id = call.bytes("node_id");
  if (id.size() != NodeId::kSize) return {"ValueError", "drain_node needs node_id, 28 bytes"};
  controller::Drain drain{wire::DrainReason::None, call.text("message"), 0};
  for (const wire::DrainReason reason : {wire::DrainReason::Idle, wire::DrainReason::Preemption})
    if (call.text("reason") == drain_name(reason)) drain.reason = reason;
  if (drain.reason == wire::DrainReason::None)
    return {"ValueError", "Unknown reason '" + call.text("reason") + "' to drain a node; choose " +
                              drain_name(wire::DrainReason::Idle) + " or " + drain_name(wire::DrainReason::Preemption) +
                              "."};
  if (const int64_t left_ms = call.number("left_ms", -1); left_ms >= 0) drain.deadline_ms = now_ms() + left_ms;
  const std::string refused = config_.drain_node(NodeId::from_bytes(id), std::move(drain));
  call.out.Bool("accepted", refused.empty());
  call.out.String("refused", refused);
  return {};
}

Control::Failure Control::set_resource(Call& call) {
  const std::string name = call.text("name");
  const double amount = call.body["amount"].AsDouble();
  if (name.empty() || !(amount >= 0) || amount > 9e14)
    return {"ValueError", "set_resource needs a name and an amount of 0 or more."};
  if (sched::has_devices(name) || name == "CPU")
    return {"ValueError", "The amount of " + name + " is fixed when the node starts; set custom resources only."};
  cluster_.core().resize(name, static_cast<sched::Amount>(amount * sched::kOne + 0.5));
  return {};
}

Control::Failure Control::store_stats(Call& call) {
  put_store(call.out);
  return {};
}

void Control::put_store(MapBuilder& out) {
  const store::Stats stats = store_()->stats();
  out.UInt("capacity_bytes", stats.capacity_bytes);
  out.UInt("used_bytes", stats.used_bytes);
  out.UInt("cached_bytes", stats.cached_bytes);
  out.UInt("free_bytes", stats.free_bytes);
  out.UInt("objects", stats.objects);
  out.UInt("pinned_bytes", stats.pinned_bytes);
  out.UInt("pinned_objects", stats.pinned_objects);
  out.UInt("secondary_bytes", stats.secondary_bytes);
  out.UInt("secondary_objects", stats.secondary_objects);
  out.UInt("spilled_bytes", stats.spilled_bytes);
  out.UInt("spilled_objects", stats.spilled_objects);
  out.UInt("disk_bytes", stats.disk_bytes);
  out.UInt("written_bytes", stats.written_bytes);
  out.UInt("restored_bytes", stats.restored_bytes);
  out.UInt("clients", stats.clients);
  out.UInt("waiting", stats.waiting);
}

// ---- actors ------------------------------------------------------------------------------------------------

Control::Failure Control::get_actor(Call& call) {
  const std::string name = call.text("name");
  const std::string name_space = call.name_space();
  const controller::Actor* actor = cluster_.controller().actors.find_named(name_space, name);
  if (actor == nullptr)
    return {"ValueError", "Failed to look up actor with name '" + name + "' (namespace '" + name_space +
                              "'). It was never created with this name, has died, or lives in another namespace; "
                              "ray.util.list_named_actors(all_namespaces=True) lists those there are."};
  MapBuilder& out = call.out;
  put_bytes(out, "actor_id", actor->spec.id.view());
  put_bytes(out, "methods", actor->spec.methods);
  out.String("class_name", actor->spec.class_name);
  out.Int("max_task_retries", actor->spec.max_task_retries);
  return {};
}

Control::Failure Control::named_actors(Call& call) {
  const bool all = call.flag("all_namespaces");
  const std::string name_space = call.name_space();
  const size_t start = call.out.StartVector("actors");
  for (const auto& [id, actor] : cluster_.controller().actors.all()) {
    if (actor.spec.name.empty() || actor.ending || (!all && actor.spec.name_space != name_space)) continue;
    call.out.Map([&] {
      call.out.String("name", actor.spec.name);
      call.out.String("namespace", actor.spec.name_space);
    });
  }
  call.out.EndVector(start, false, false);
  return {};
}

static const char* state_name(wire::ActorState state) {
  switch (state) {
    case wire::ActorState::Pending: return "PENDING_CREATION";
    case wire::ActorState::Alive: return "ALIVE";
    case wire::ActorState::Restarting: return "RESTARTING";
    case wire::ActorState::Dead: return "DEAD";
    case wire::ActorState::Unknown: return "UNKNOWN";
  }
  return "UNKNOWN";
}

void Control::put_actor(MapBuilder& out, const controller::Actor& actor) {
  out.String("actor_id", actor.spec.id.hex());
  out.String("class_name", actor.spec.class_name);
  out.String("name", actor.spec.name);
  out.String("repr_name", "");
  out.String("ray_namespace", actor.spec.name_space);
  out.String("state", state_name(actor.state));
  out.String("job_id", actor.spec.job.hex());
  out.String("node_id", actor.node.is_nil() ? "" : actor.node.hex());
  out.String("worker_id", actor.address.worker.is_nil() ? "" : actor.address.worker.hex());
  out.String("placement_group_id", actor.spec.pg.is_nil() ? "" : actor.spec.pg.hex());
  out.Int("pid", actor.pid);
  out.Int("num_restarts", actor.restarts);
  out.Bool("is_detached", actor.spec.detached);
  if (actor.state == wire::ActorState::Dead) {
    out.Map("death_cause", [&] {
      out.String("cause", wire::EnumNameDeathCause(actor.cause));
      out.String("error_message", actor.message);
    });
  } else {
    out.Null("death_cause");
  }
  out.String("message", actor.message);
  out.Key("required_resources");
  put_resources(out, actor.spec.running);
}

Control::Failure Control::list_actors(Call& call) {
  return list_rows(call, "actors", [this](const AddRow& add) {
    const auto& actors = cluster_.controller().actors.all();
    for (const ActorId& id : sorted_keys(actors)) add([&](MapBuilder& out) { put_actor(out, actors.at(id)); });
  });
}

// Counts by class, state and job: there may be ten thousand actors of three kinds.
Control::Failure Control::summarize_actors(Call& call) {
  std::map<std::tuple<std::string_view, wire::ActorState, std::string_view>, int64_t> counts;
  for (const auto& [id, actor] : cluster_.controller().actors.all())
    ++counts[{actor.spec.class_name, actor.state, actor.spec.job.view()}];
  const size_t start = call.out.StartVector("summary");
  for (const auto& [group, count] : counts)
    call.out.Map([&, &group = group, count = count] {
      call.out.String("class_name", std::string(std::get<0>(group)));
      call.out.String("state", state_name(std::get<1>(group)));
      call.out.String("job_id", JobId::from_bytes(std::get<2>(group)).hex());
      call.out.Int("count", count);
    });
  call.out.EndVector(start, false, false);
  return {};
}

// ---- workers -----------------------------------------------------------------------------------------------

void Control::put_fate(MapBuilder& out, const Fate& fate) {
  out.String("cause", controller::cause_name(fate.cause));
  out.String("message", fate.message);
  out.Int("exit_code", fate.exit_code);
  out.Int("signal", fate.signal);
  out.Int("pid", fate.pid);
}

static const char* state_name(const Worker& worker) {
  switch (worker.state) {
    case WorkerState::kStarting: return "STARTING";
    case WorkerState::kIdle: return "IDLE";
    case WorkerState::kLeased: return worker.blocked ? "BLOCKED" : "RUNNING";
    case WorkerState::kActor: return "ACTOR";
    case WorkerState::kLeaving: return "LEAVING";
  }
  return "";
}

void Control::put_worker(MapBuilder& out, const Worker& worker, const char* type) {
  out.String("worker_id", worker.id.hex());
  out.String("job_id", worker.job.hex());
  out.String("state", state_name(worker));
  out.Int("pid", worker.pid);
  out.String("actor_id", worker.actor.is_nil() ? "" : worker.actor.hex());
  out.String("task_name", worker.lease ? worker.lease->task_name : "");
  out.String("holder", worker.lease && !worker.lease->holder.is_nil() ? worker.lease->holder.hex() : "");
  out.String("runtime_env", std::string(kind_of(worker.runtime_env).environment));
  out.String("worker_type", type);
  out.String("ip", config_.address);
  out.Null("exit_type");
  out.Null("exit_detail");
  out.String("node_id", cluster_.core().config().node.hex());
  out.Bool("is_alive", true);
  out.Key("resources");
  put_resources(out, worker.lease ? worker.lease->allocation.amounts : ResourceSet());
}

// ---- jobs --------------------------------------------------------------------------------------------------

void Control::put_job(MapBuilder& out, const controller::Job& job) {
  const flexbuffers::Map config = map_of(reinterpret_cast<const uint8_t*>(job.config.data()), job.config.size());
  put_bytes(out, "id", job.id.view());
  out.String("type", "DRIVER");
  out.Null("submission_id");
  out.Map("driver_info", [&] {
    out.String("id", job.id.hex());
    out.String("node_ip_address", config_.address);
    out.Int("pid", job.driver_pid);
  });
  out.String("job_id", job.id.hex());
  out.String("status", job.running ? "RUNNING" : "SUCCEEDED");
  out.Bool("is_dead", !job.running);
  out.Int("driver_pid", job.driver_pid);
  out.Int("start_time", epoch_ms(job.start_ms));
  out.Int("end_time", job.running ? 0 : epoch_ms(job.end_ms));
  out.String("entrypoint", config["entrypoint"].IsString() ? config["entrypoint"].AsString().str() : "");
  out.String("namespace", config["namespace"].IsString() ? config["namespace"].AsString().str() : "");
  put_bytes(out, "config", job.config);
}

Control::Failure Control::list_jobs(Call& call) {
  return list_rows(call, "jobs", [this](const AddRow& add) {
    for (const auto& [number, job] : cluster_.controller().jobs.all())
      if (!is_observer(job)) add([&](MapBuilder& out) { put_job(out, job); });
  });
}

Control::Failure Control::job_info(Call& call) {
  const std::string id = call.bytes("job_id");
  const JobId wanted = id.size() == JobId::kSize ? JobId::from_bytes(id) : call.caller.job;
  const controller::Job* job = cluster_.controller().jobs.find(wanted);
  if (job == nullptr) return {"ValueError", "There is no job " + wanted.hex() + " in this cluster."};
  put_job(call.out, *job);
  return {};
}

// ---- groups, objects, demand -------------------------------------------------------------------------------

void Control::put_group(MapBuilder& out, const controller::PlacementGroup& group) {
  put_bytes(out, "pg_id", group.id.view());
  out.String("placement_group_id", group.id.hex());
  out.String("name", group.name);
  out.String("namespace", group.name_space);
  out.String("strategy", controller::strategy_name(group.strategy));
  out.String("state", controller::state_name(group.state));
  out.Bool("is_detached", group.detached);
  out.String("creator_job_id", group.job.hex());
  const size_t bundles = out.StartVector("bundles");
  for (const ResourceSet& bundle : group.bundles) put_resources(out, bundle);
  out.EndVector(bundles, false, false);
  const size_t nodes = out.StartVector("bundles_to_node_id");
  for (const NodeId& node : group.nodes) out.String(node.hex());
  out.EndVector(nodes, false, false);
  const bool placed = group.state == controller::GroupState::kCreated;
  out.Map("stats", [&] {
    out.Double("end_to_end_creation_latency_ms", placed ? static_cast<double>(group.created_ms - group.asked_ms) : 0);
    out.Double("scheduling_latency_ms", placed ? static_cast<double>(group.created_ms - group.asked_ms) : 0);
    out.Int("scheduling_attempt", 1);
    out.UInt("highest_retry_delay_ms", 0);
    out.String("scheduling_state", placed                                            ? "FINISHED"
                                   : group.state == controller::GroupState::kPending ? "QUEUED"
                                                                                     : "REMOVED");
  });
}

// ---- tasks and events ---------------------------------------------------------------------------------------

Control::Failure Control::ask_tasks(Call& call, Answerer answer) {
  const auto is_blocked = [this](const WorkerId& id) {
    const Worker* worker = cluster_.core().find(id);
    return worker != nullptr && worker->blocked;
  };
  const Result<history::Query> query = history::Query::parse(call.body, is_blocked);
  if (!query) return {"ValueError", query.error().message};
  answer(tasks_, query.value(), call.out);
  return {};
}

Control::Failure Control::list_tasks(Call& call) { return ask_tasks(call, history::list_tasks); }
Control::Failure Control::summarize_tasks(Call& call) { return ask_tasks(call, history::summarize_tasks); }
Control::Failure Control::task_events(Call& call) { return ask_tasks(call, history::task_events); }

Control::Failure Control::list_events(Call& call) {
  MapBuilder& out = call.out;
  const size_t start = out.StartVector("events");
  for (const Event& event : history_.events())
    out.Map([&] {
      out.String("event_id", std::to_string(event.number));
      out.String("time", std::to_string(epoch_ms(event.time_ms)));
      out.String("severity", event.severity);
      out.String("source_type", event.source);
      out.String("message", event.message);
    });
  out.EndVector(start, false, false);
  return {};
}

Control::Failure Control::pending_demand(Call& call) {
  MapBuilder& out = call.out;
  const size_t start = out.StartVector("demand");
  for (const Demand& row : cluster_.core().demand())
    out.Map([&] {
      out.String("shape", class_text(*row.cls));
      out.Key("resources");
      put_resources(out, row.cls->fit);
      out.UInt("count", row.count);
      out.Bool("infeasible", row.infeasible);
      out.String("lacking", row.lacking);
      out.String("job_id", row.cls->job.hex());
      out.String("placement_group_id", row.cls->pg.is_nil() ? "" : row.cls->pg.hex());
      out.String("example", row.cls->example);
    });
  out.EndVector(start, false, false);
  const size_t groups = out.StartVector("placement_groups");
  for (const PgId& id : cluster_.controller().groups.pending())
    out.Map([&] { put_group(out, *cluster_.controller().groups.find(id)); });
  out.EndVector(groups, false, false);
  return {};
}

}  // namespace narke::node
