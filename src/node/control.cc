#include "node/control.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "node/wire.h"

namespace narke::node {

static constexpr int64_t kFateWaitMs = 1'000;  // the link of a dying worker breaks before its process is seen to end
static constexpr size_t kMaxEnvironmentBytes = 1 << 20;

Control::Control(Cluster& cluster, ControlConfig config, const History& history, const history::TaskTable& tasks,
                 PackageFiles& packages, StoreOf store, ControlOut& out, Reply reply)
    : cluster_(cluster),
      config_(std::move(config)),
      history_(history),
      tasks_(tasks),
      packages_(packages),
      store_(std::move(store)),
      out_(out),
      reply_(std::move(reply)) {}

int64_t Control::now_ms() const { return cluster_.now_ms(); }

int64_t Control::epoch_ms(int64_t own_ms) const {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count() - (now_ms() - own_ms);
}

// ---- calls -------------------------------------------------------------------------------------------------

std::string Control::Call::text(const char* key) const {
  const flexbuffers::Reference value = body[key];
  return value.IsString() ? value.AsString().str() : std::string();
}

std::string Control::Call::bytes(const char* key) const { return id_text(body[key]); }

bool Control::Call::flag(const char* key, bool otherwise) const {
  const flexbuffers::Reference value = body[key];
  return value.IsBool() || value.IsInt() ? value.AsBool() : otherwise;
}

int64_t Control::Call::number(const char* key, int64_t otherwise) const {
  const flexbuffers::Reference value = body[key];
  return value.IsNumeric() ? value.AsInt64() : otherwise;
}

std::string Control::Call::name_space() const {
  const std::string given = text("namespace");
  return given.empty() ? caller.name_space : given;
}

const std::unordered_map<std::string, Control::Method>& Control::methods() {
  static const std::unordered_map<std::string, Method> table = {
      {"cluster_resources", &Control::cluster_resources},
      {"available_resources", &Control::available_resources},
      {"nodes", &Control::nodes},
      {"list_nodes", &Control::nodes},
      {"session_info", &Control::session_info},
      {"set_resource", &Control::set_resource},
      {"store_stats", &Control::store_stats},
      {"drain_node", &Control::drain_node},
      {"get_actor", &Control::get_actor},
      {"named_actors", &Control::named_actors},
      {"worker_fate", &Control::worker_fate},
      {"prestart", &Control::prestart},
      {"job_info", &Control::job_info},
      {"list_actors", &Control::list_actors},
      {"summarize_actors", &Control::summarize_actors},
      {"list_workers", &Control::list_workers},
      {"list_jobs", &Control::list_jobs},
      {"list_placement_groups", &Control::list_groups},
      {"list_objects", &Control::list_objects},
      {"probe", &Control::probe},
      {"describe_nodes", &Control::describe_nodes},
      {"list_hosts", &Control::list_hosts},
      {"list_logs", &Control::list_logs},
      {"read_log", &Control::read_log},
      {"search_logs", &Control::search_logs},
      {"list_tasks", &Control::list_tasks},
      {"summarize_tasks", &Control::summarize_tasks},
      {"task_events", &Control::task_events},
      {"list_cluster_events", &Control::list_events},
      {"events", &Control::list_events},
      {"pending_demand", &Control::pending_demand},
      {"create_placement_group", &Control::create_group},
      {"remove_placement_group", &Control::remove_group},
      {"wait_placement_group", &Control::wait_group},
      {"placement_group_table", &Control::group_table},
      {"get_placement_group", &Control::get_group},
      {"kv_put", &Control::kv_put},
      {"kv_get", &Control::kv_get},
      {"kv_del", &Control::kv_del},
      {"kv_keys", &Control::kv_keys},
      {"kv_exists", &Control::kv_exists},
      {"package_size", &Control::package_size},
      {"package_put", &Control::package_put},
      {"package_get", &Control::package_get},
  };
  return table;
}

void Control::handle(const Program& caller, uint32_t call_id, const std::string& name, const flexbuffers::Map& body) {
  const auto method = methods().find(name);
  if (method == methods().end()) {
    reply_(caller.id, call_id, {"NotImplementedError", "The node has no control method '" + name + "'.", {}});
    return;
  }
  MapBuilder out;
  Call call{caller, call_id, body, out};
  const size_t start = out.StartMap();
  Failure failure = (this->*method->second)(call);
  out.EndMap(start);
  if (call.later) return;
  out.Finish();
  Answer answer{std::move(failure.kind), std::move(failure.message), {}};
  if (answer.error_kind.empty()) answer.body = out.GetBuffer();
  reply_(caller.id, call_id, std::move(answer));
}

// ---- waits -------------------------------------------------------------------------------------------------

void Control::answer_group(const Waiter& waiter, const char* state) {
  MapBuilder out;
  out.Map([&] { out.String("state", state); });
  out.Finish();
  reply_(waiter.program, waiter.call_id, {"", "", out.GetBuffer()});
}

void Control::on_group_changed(const controller::PlacementGroup& group) {
  const auto [begin, end] = group_waiters_.equal_range(group.id);
  for (auto at = begin; at != end; ++at) answer_group(at->second, controller::state_name(group.state));
  group_waiters_.erase(begin, end);
}

void Control::answer_fate(const Waiter& waiter, const Fate& fate) {
  MapBuilder out;
  out.Map([&] { put_fate(out, fate); });
  out.Finish();
  reply_(waiter.program, waiter.call_id, {"", "", out.GetBuffer()});
}

void Control::on_worker_gone(const WorkerId& worker) {
  const Fate* fate = cluster_.core().fate(worker);
  if (fate == nullptr) return;
  const auto [begin, end] = fate_waiters_.equal_range(worker);
  for (auto at = begin; at != end; ++at) answer_fate(at->second, *fate);
  fate_waiters_.erase(begin, end);
}

void Control::tick() {
  const int64_t now = now_ms();
  for (auto at = group_waiters_.begin(); at != group_waiters_.end();) {
    if (at->second.deadline_ms > now) {
      ++at;
      continue;
    }
    answer_group(at->second, "PENDING");
    at = group_waiters_.erase(at);
  }
  for (auto at = fate_waiters_.begin(); at != fate_waiters_.end();) {
    if (at->second.deadline_ms > now) {
      ++at;
      continue;
    }
    Fate fate;
    fate.message = "The worker process is still there; only the connection to it broke.";
    answer_fate(at->second, fate);
    at = fate_waiters_.erase(at);
  }
}

Control::Failure Control::prestart(Call& call) {
  const std::string runtime_env = call.text("runtime_env");
  if (runtime_env.size() > kMaxEnvironmentBytes)
    return {"ValueError", "prestart takes a runtime_env of " + std::to_string(kMaxEnvironmentBytes) + " bytes at most"};
  cluster_.core().prestart(call.caller.job, runtime_env);
  return {};
}

Control::Failure Control::worker_fate(Call& call) {
  const std::string id = call.bytes("worker_id");
  if (id.size() != WorkerId::kSize) return {"ValueError", "worker_fate needs worker_id, 28 bytes"};
  const WorkerId worker = WorkerId::from_bytes(id);
  if (const Fate* fate = cluster_.core().fate(worker)) {
    put_fate(call.out, *fate);
  } else if (cluster_.core().find(worker) != nullptr) {
    call.later = true;
    fate_waiters_.insert({worker, {call.caller.id, call.id, now_ms() + kFateWaitMs}});
  } else {
    Fate unknown;
    unknown.message = "No worker " + worker.hex() + " is known to this node.";
    put_fate(call.out, unknown);
  }
  return {};
}

Control::Failure Control::wait_group(Call& call) {
  const std::string id = call.bytes("pg_id");
  if (id.size() != PgId::kSize) return {"ValueError", "wait_placement_group needs pg_id, 18 bytes"};
  const controller::PlacementGroup* group = cluster_.controller().groups.find(PgId::from_bytes(id));
  const bool pending = group && group->state == controller::GroupState::kPending;
  const int64_t timeout_ms = call.number("timeout_ms", 30'000);
  if (pending && timeout_ms > 0) {
    call.later = true;
    group_waiters_.insert({group->id, {call.caller.id, call.id, now_ms() + timeout_ms}});
  } else {
    call.out.String("state", group ? controller::state_name(group->state) : "REMOVED");
  }
  return {};
}

// ---- placement groups --------------------------------------------------------------------------------------

static bool strategy_named(const std::string& name, sched::BundleStrategy* out) {
  using Strategy = sched::BundleStrategy;
  for (const Strategy each : {Strategy::kPack, Strategy::kSpread, Strategy::kStrictPack, Strategy::kStrictSpread})
    if (name == controller::strategy_name(each)) {
      *out = each;
      return true;
    }
  return false;
}

static ResourceSet bundle_of(const flexbuffers::Map& map) {
  ResourceSet out;
  const flexbuffers::TypedVector keys = map.Keys();
  for (size_t i = 0; i < keys.size(); ++i) {
    const double amount = map[keys[i].AsKey()].AsDouble();
    if (amount > 0 && amount < 9e14) out.set(keys[i].AsKey(), static_cast<sched::Amount>(amount * sched::kOne + 0.5));
  }
  return out;
}

// False: malformed. None at all leaves every bundle free.
static bool labels_of(const flexbuffers::Reference& list, size_t bundles, sched::BundleLabels* out) {
  if (list.IsNull()) return true;
  if (!list.IsAnyVector()) return false;
  const flexbuffers::Vector selectors = list.AsVector();
  if (selectors.size() != bundles) return false;
  for (size_t i = 0; i < bundles; ++i) {
    auto conditions = checked_conditions_of(selectors[i]);
    if (!conditions) return false;
    out->push_back(std::move(*conditions));
  }
  return true;
}

Control::Failure Control::create_group(Call& call) {
  controller::PlacementGroup group;
  const std::string id = call.bytes("pg_id");
  if (id.size() != PgId::kSize) return {"ValueError", "create_placement_group needs pg_id, 18 bytes"};
  group.id = PgId::from_bytes(id);
  if (!strategy_named(call.text("strategy"), &group.strategy))
    return {"ValueError", "Unknown placement strategy '" + call.text("strategy") +
                              "'; choose PACK, SPREAD, STRICT_PACK or STRICT_SPREAD."};
  const flexbuffers::Vector bundles = call.body["bundles"].AsVector();
  for (size_t i = 0; i < bundles.size(); ++i) group.bundles.push_back(bundle_of(bundles[i].AsMap()));
  if (group.bundles.empty()) return {"ValueError", "A placement group needs at least one bundle."};
  if (!labels_of(call.body["target_labels"], group.bundles.size(), &group.labels))
    return {"ValueError", "target_labels must hold, for each of the " + std::to_string(group.bundles.size()) +
                              " bundles, a list of conditions [key, in | not_in | exists | not_exists, [values]]."};
  group.name = call.text("name");
  group.name_space = call.name_space();
  group.detached = call.text("lifetime") == "detached";
  group.job = call.caller.job;
  group.creator = call.caller.id;
  const Status created = cluster_.controller().groups.create(std::move(group));
  if (!created.ok()) return {"ValueError", created.error().message};
  return {};
}

Control::Failure Control::remove_group(Call& call) {
  const std::string id = call.bytes("pg_id");
  if (id.size() != PgId::kSize) return {"ValueError", "remove_placement_group needs pg_id, 18 bytes"};
  call.out.Bool("removed", cluster_.controller().remove_group(PgId::from_bytes(id)));
  return {};
}

Control::Failure Control::group_table(Call& call) {
  const std::string id = call.bytes("pg_id");
  const bool all = id.size() != PgId::kSize;
  const size_t start = call.out.StartVector("groups");
  if (all) {
    for (const auto& [group_id, group] : cluster_.controller().groups.all())
      call.out.Map([&] { put_group(call.out, group); });
  } else if (const auto* group = cluster_.controller().groups.find(PgId::from_bytes(id))) {
    call.out.Map([&] { put_group(call.out, *group); });
  }
  call.out.EndVector(start, false, false);
  return {};
}

Control::Failure Control::list_groups(Call& call) {
  return list_rows(call, "groups", [this](const AddRow& add) {
    const auto& groups = cluster_.controller().groups.all();
    std::vector<PgId> ids;
    for (const auto& [id, group] : groups) ids.push_back(id);
    std::sort(ids.begin(), ids.end());
    for (const PgId& id : ids) add([&](MapBuilder& out) { put_group(out, groups.at(id)); });
  });
}

Control::Failure Control::get_group(Call& call) {
  const auto* group = cluster_.controller().groups.find_named(call.name_space(), call.text("name"));
  if (group == nullptr)
    return {"ValueError", "There is no placement group named '" + call.text("name") + "' in namespace '" +
                              call.name_space() + "'. It was never created, was removed, or lives elsewhere."};
  put_group(call.out, *group);
  return {};
}

// ---- keys --------------------------------------------------------------------------------------------------

Control::Failure Control::kv_put(Call& call) {
  const bool added = cluster_.controller().kv.put(call.bytes("namespace"), call.bytes("key"), call.bytes("value"),
                                                  call.flag("overwrite", true));
  call.out.Bool("added", added);
  return {};
}

Control::Failure Control::kv_get(Call& call) {
  const std::string* value = cluster_.controller().kv.get(call.bytes("namespace"), call.bytes("key"));
  call.out.Bool("found", value != nullptr);
  if (value == nullptr) {
    call.out.Null("value");
  } else {
    call.out.Key("value");
    call.out.Blob(value->data(), value->size());
  }
  return {};
}

Control::Failure Control::kv_del(Call& call) {
  const size_t removed =
      cluster_.controller().kv.remove(call.bytes("namespace"), call.bytes("key"), call.flag("by_prefix"));
  call.out.UInt("removed", removed);
  return {};
}

Control::Failure Control::kv_keys(Call& call) {
  const size_t start = call.out.StartVector("keys");
  for (const std::string& key : cluster_.controller().kv.keys(call.bytes("namespace"), call.bytes("prefix")))
    call.out.Blob(key.data(), key.size());
  call.out.EndVector(start, false, false);
  return {};
}

Control::Failure Control::kv_exists(Call& call) {
  call.out.Bool("exists", cluster_.controller().kv.get(call.bytes("namespace"), call.bytes("key")) != nullptr);
  return {};
}

// ---- packages ----------------------------------------------------------------------------------------------

Control::Failure Control::package_size(Call& call) {
  const auto size = packages_.size(call.text("name"));
  call.out.Int("size", size.ok() ? static_cast<int64_t>(size.value()) : -1);
  return {};
}

Control::Failure Control::package_put(Call& call) {
  const int64_t offset = call.number("offset", -1);
  if (offset < 0) return {"ValueError", "package_put needs offset, 0 or more"};
  const Status put = packages_.put(call.caller.id, call.text("name"), static_cast<uint64_t>(offset), call.bytes("data"),
                                   call.flag("last"));
  return put.ok() ? Failure{} : Failure{"ValueError", put.error().message};
}

Control::Failure Control::package_get(Call& call) {
  const int64_t offset = call.number("offset", -1), size = call.number("size", -1);
  if (offset < 0 || size < 0) return {"ValueError", "package_get needs offset and size, 0 or more"};
  const auto piece = packages_.get(call.text("name"), static_cast<uint64_t>(offset), static_cast<uint64_t>(size));
  if (!piece.ok()) return {"ValueError", piece.error().message};
  call.out.Key("data");
  call.out.Blob(piece.value().data(), piece.value().size());
  return {};
}

}  // namespace narke::node
