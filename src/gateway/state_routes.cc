#include "gateway/state_routes.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <map>
#include <set>

#include "gateway/records.h"

namespace narke::gateway {

static Response refused(int status, const std::string& message) {
  return json_response(status, enveloped(false, message, nullptr));
}

static json::object object_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_object() ? value->get_object() : json::object();
}

void StateRoutes::ask(const std::string& method, Reply reply, std::function<void(const json::object&)> then) {
  cluster_.call(method, map_body([](auto&) {}),
                [reply = std::move(reply), then = std::move(then)](const ControlAnswer& answer) {
                  if (!answer.ok()) return reply(refused(500, answer.error));
                  then(json_of(answer.map()));
                });
}

// ---- rows --------------------------------------------------------------------------------------------------

static json::object node_row(const json::object& node) {
  const json::object resources = object_at(node, "Resources");
  return {{"node_id", text_at(node, "NodeID")},
          {"node_ip", text_at(node, "NodeManagerAddress")},
          {"is_head_node", resources.contains("node:__internal_head__")},
          {"state", flag_at(node, "Alive") ? "ALIVE" : "DEAD"},
          {"state_message", text_at(node, "DeathReasonMessage")},
          {"node_name", text_at(node, "NodeName")},
          {"resources_total", resources},
          {"labels", object_at(node, "Labels")},
          {"start_time_ms", number_at(node, "start_time_ms", 0)},
          {"end_time_ms", number_at(node, "end_time_ms", 0)}};
}

static json::array environment_rows(const json::array& workers) {
  std::map<std::pair<std::string, std::string>, int64_t> uses;
  for (const json::value& worker : workers) {
    const std::string env = text_at(worker.get_object(), "runtime_env");
    if (!env.empty()) ++uses[{env, text_at(worker.get_object(), "node_id")}];
  }
  json::array out;
  for (const auto& [key, count] : uses) {
    auto env = parse_json(key.first);
    json::object shown = env && env->is_object() ? redacted(env->get_object()) : json::object();
    shown.erase("_setup");  // the engine's own mark
    out.push_back({{"runtime_env", std::move(shown)},
                   {"success", true},
                   {"creation_time_ms", nullptr},
                   {"node_id", key.second},
                   {"ref_cnt", count},
                   {"error", nullptr}});
  }
  return out;
}

// Of the tables whose rows are not as the node gives them.
static json::array made_rows(const Table& table, const json::object& answer) {
  json::array rows = array_at(answer, table.key);
  if (table.name == "runtime_envs") return environment_rows(rows);
  for (json::value& row : rows) row = node_row(row.get_object());
  return rows;
}

// The node chooses tasks itself: there may be a million of them.
static bool is_chosen_by_node(const Table& table, const Query& query) {
  const bool plain = std::all_of(query.conditions.begin(), query.conditions.end(),
                                 [](const Condition& each) { return each.predicate != "~"; });
  return table.name == "tasks" && query.search.empty() && query.sort_by.empty() && plain;
}

static std::vector<uint8_t> question(const Table& table, const Query& query, const Request& request) {
  const std::string& drivers = request.argument("exclude_driver");
  const bool chosen = is_chosen_by_node(table, query);
  return map_body([&](flexbuffers::Builder& out) {
    out.Int("limit", static_cast<int64_t>(chosen ? query.limit : kMostRows));
    out.Int("offset", static_cast<int64_t>(chosen ? query.offset : 0));
    out.Bool("detail", query.detail);
    out.Bool("exclude_driver", drivers != "False" && drivers != "false");
    const size_t filters = out.StartVector("filters");
    for (const Condition& each : query.conditions) {
      if (each.predicate == "~") continue;
      const size_t filter = out.StartVector();
      out.String(each.key);
      out.String(each.predicate);
      out.String(each.value);
      out.EndVector(filter, false, false);
    }
    out.EndVector(filters, false, false);
  });
}

// The rows of an answer that the query asks for.
static Selection chosen(const flexbuffers::Map& answer, const Table& table, Query query) {
  if (table.name == "runtime_envs" || table.name == "nodes")
    return select_rows(rows_in(made_rows(table, json_of(answer))), table, query);
  const bool by_node = is_chosen_by_node(table, query) && !answer["num_filtered"].IsNull();
  if (by_node) {
    query.conditions.clear();
    query.offset = 0;
  }
  Selection out = select_rows(rows_in(answer[table.key.c_str()].AsVector()), table, query);
  if (by_node) {
    out.total = answer["total"].AsUInt64();
    out.filtered = answer["num_filtered"].AsUInt64();
  }
  return out;
}

void StateRoutes::fetch(const Table& table, const Query& query, const Request& request, Reply reply, Rows then) {
  if (table.name == "jobs")
    return jobs_.list(guard_.may_see_secrets(request), [&table, query, then = std::move(then)](json::array rows) {
      then(select_rows(rows_in(rows), table, query));
    });
  cluster_.call(table.method, question(table, query, request),
                [&table, query, reply = std::move(reply), then = std::move(then)](const ControlAnswer& answer) {
                  if (!answer.ok()) return reply(refused(answer.error_kind == "ValueError" ? 400 : 500, answer.error));
                  then(chosen(answer.map(), table, query));
                });
}

void StateRoutes::list(Call call) {
  const Table* table = table_named(call.parts[0]);
  if (table == nullptr) return call.reply(refused(404, "There is no table '" + call.parts[0] + "'."));
  auto query = parse_query(call.request, *table);
  if (!query.ok()) return call.reply(refused(400, query.error().message));
  fetch(*table, query.value(), call.request, call.reply,
        [reply = call.reply](Selection selection) { reply(json_response(200, listed(std::move(selection)))); });
}

void StateRoutes::summarize(Call call) {
  const Table* table = table_named(call.parts[0]);
  using Summary = json::object (*)(const json::array&);
  static const std::map<std::string, Summary> summaries = {
      {"tasks", summarize_tasks}, {"actors", summarize_actors}, {"objects", summarize_objects}};
  const auto summary = summaries.find(call.parts[0]);
  if (summary == summaries.end()) return call.reply(refused(404, "There is no summary of '" + call.parts[0] + "'."));
  auto query = parse_query(call.request, *table);
  if (!query.ok()) return call.reply(refused(400, query.error().message));
  query.value().limit = kMostRows;
  query.value().detail = true;
  const auto by_rows = [this, table, query = query.value(), count = summary->second, call] {
    fetch(*table, query, call.request, call.reply,
          [count, reply = call.reply](Selection selection) { reply(json_response(200, count(selection.rows))); });
  };
  const bool is_plain = query.value().conditions.empty() && query.value().search.empty();
  const bool is_tasks = table->name == "tasks";
  if (!is_tasks && !(table->name == "actors" && is_plain)) return by_rows();
  cluster_.call("summarize_" + table->name, question(*table, query.value(), call.request),
                [by_rows, is_tasks, reply = call.reply](const ControlAnswer& answer) {
                  if (!answer.ok()) return by_rows();
                  const json::object counted = json_of(answer.map());
                  reply(json_response(200, is_tasks ? task_summary(counted) : actor_summary(counted)));
                });
}

// ---- nodes -------------------------------------------------------------------------------------------------

static double real_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value ? amount_of(*value) : 0;
}

// What is known of the processes of a node, as Ray's dashboard shows workers.
static json::array process_rows(const json::object& host) {
  json::array out;
  for (const json::value& value : array_at(host, "processes")) {
    const json::object& process = value.get_object();
    out.push_back({{"pid", number_at(process, "pid", 0)},
                   {"workerId", text_at(process, "worker_id")},
                   {"type", text_at(process, "type")},
                   {"memoryInfo", {{"rss", number_at(process, "resident", 0)}}},
                   {"cpuTimes", {{"total", real_at(process, "cpu_s")}}}});
  }
  return out;
}

static json::object node_summary(const json::object& row, const json::object& host) {
  const double total = real_at(host, "memory_total"), free = real_at(host, "memory_available");
  const json::object store = object_at(host, "store");
  json::object raylet = {
      {"nodeId", text_at(row, "NodeID")},
      {"state", flag_at(row, "Alive") ? "ALIVE" : "DEAD"},
      {"stateMessage", text_at(row, "DeathReasonMessage")},
      {"nodeManagerAddress", text_at(row, "NodeManagerAddress")},
      {"nodeManagerHostname", text_at(row, "NodeManagerHostname")},
      {"nodeName", text_at(row, "NodeName")},
      {"isHeadNode", object_at(row, "Resources").contains("node:__internal_head__")},
      {"resourcesTotal", object_at(row, "Resources")},
      {"labels", object_at(row, "Labels")},
      {"objectStoreUsedMemory", number_at(store, "used_bytes", 0)},
      {"objectStoreAvailableMemory", number_at(store, "capacity_bytes", 0) - number_at(store, "used_bytes", 0)},
      {"coreWorkersStats", json::array()}};
  return {{"now", static_cast<double>(epoch_now_ms()) / 1000},
          {"hostname", text_at(row, "NodeManagerHostname")},
          {"ip", text_at(row, "NodeManagerAddress")},
          {"cpu", real_at(host, "cpu_percent")},
          {"cpus", {number_at(host, "cores", 0), number_at(host, "cores", 0)}},
          {"mem", {total, free, total > 0 ? 100 - 100 * free / total : 0, total - free}},
          {"shm", real_at(host, "shm_used")},
          {"disk", {{"/", {{"total", real_at(host, "disk_total")}, {"free", real_at(host, "disk_free")}}}}},
          {"networkSpeed", {real_at(host, "sent_per_s"), real_at(host, "received_per_s")}},
          {"loadAvg", {{real_at(host, "load_1"), real_at(host, "load_5"), real_at(host, "load_15")}, {0, 0, 0}}},
          {"workers", process_rows(host)},
          {"raylet", std::move(raylet)}};
}

void StateRoutes::node_summaries(Reply reply, std::function<void(json::array)> then) {
  ask("list_hosts", reply, [this, reply, then = std::move(then)](const json::object& answer) {
    std::map<std::string, json::object> hosts;
    for (const json::value& host : array_at(answer, "hosts"))
      hosts[text_at(host.get_object(), "node_id")] = host.get_object();
    ask("nodes", reply, [then, hosts = std::move(hosts)](const json::object& nodes) {
      json::array out;
      for (const json::value& value : array_at(nodes, "nodes")) {
        const json::object& row = value.get_object();
        const auto host = hosts.find(text_at(row, "NodeID"));
        out.push_back(node_summary(row, host == hosts.end() ? json::object() : host->second));
      }
      then(std::move(out));
    });
  });
}

void StateRoutes::nodes(Call call) {
  const std::string view = call.request.argument("view");
  if (view != "summary" && view != "hostnamelist" && view != "hostNameList")
    return call.reply(refused(400, "Unknown view '" + view + "': choose summary or hostNameList."));
  node_summaries(call.reply, [view, reply = call.reply](json::array summaries) {
    if (view == "summary")
      return reply(json_response(200, enveloped(true, "Node summary fetched.", {{"summary", std::move(summaries)}})));
    json::array names;
    for (const json::value& each : summaries) names.push_back(each.at("hostname"));
    reply(json_response(200, enveloped(true, "Node hostname list fetched.", {{"hostNameList", std::move(names)}})));
  });
}

void StateRoutes::node(Call call) {
  node_summaries(call.reply, [wanted = call.parts[0], reply = call.reply](json::array summaries) {
    for (json::value& each : summaries)
      if (each.at("raylet").at("nodeId").as_string() == wanted)
        return reply(json_response(200, enveloped(true, "Node details fetched.", {{"detail", std::move(each)}})));
    reply(refused(404, "There is no node " + wanted + "."));
  });
}

// ---- actors ------------------------------------------------------------------------------------------------

static json::object actor_details(const json::object& row) {
  const json::object cause = object_at(row, "death_cause");
  return {
      {"actorId", text_at(row, "actor_id")},
      {"jobId", text_at(row, "job_id")},
      {"address",
       {{"nodeId", text_at(row, "node_id")}, {"ipAddress", ""}, {"port", 0}, {"workerId", text_at(row, "worker_id")}}},
      {"name", text_at(row, "name")},
      {"className", text_at(row, "class_name")},
      {"actorClass", text_at(row, "class_name")},
      {"state", text_at(row, "state")},
      {"numRestarts", std::to_string(number_at(row, "num_restarts", 0))},
      {"pid", number_at(row, "pid", 0)},
      {"startTime", number_at(row, "start_time_ms", 0)},
      {"endTime", number_at(row, "end_time_ms", 0)},
      {"reprName", text_at(row, "repr_name")},
      {"placementGroupId", text_at(row, "placement_group_id")},
      {"rayNamespace", text_at(row, "ray_namespace")},
      {"isDetached", flag_at(row, "is_detached")},
      {"exitDetail", cause.empty() ? "-" : text_at(cause, "error_message")},
      {"requiredResources", object_at(row, "required_resources")}};
}

void StateRoutes::logical_actors(Call call) {
  ask("list_actors", call.reply, [ids = call.request.argument("ids"), reply = call.reply](const json::object& answer) {
    json::object out;
    for (const json::value& row : array_at(answer, "actors")) {
      const std::string id = text_at(row.get_object(), "actor_id");
      if (ids.empty() || ("," + ids + ",").find("," + id + ",") != std::string::npos)
        out[id] = actor_details(row.get_object());
    }
    reply(json_response(200, enveloped(true, "All actors fetched.", {{"actors", std::move(out)}})));
  });
}

void StateRoutes::logical_actor(Call call) {
  ask("list_actors", call.reply, [wanted = call.parts[0], reply = call.reply](const json::object& answer) {
    for (const json::value& row : array_at(answer, "actors"))
      if (text_at(row.get_object(), "actor_id") == wanted)
        return reply(json_response(
            200, enveloped(true, "Actor details fetched.", {{"detail", actor_details(row.get_object())}})));
    reply(refused(404, "There is no actor " + wanted + "."));
  });
}

// ---- status ------------------------------------------------------------------------------------------------

static std::string amount_text(const std::string& name, double amount) {
  char text[64];
  if (name.find("memory") != std::string::npos) {
    static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (amount >= 1024 && unit < 4) {
      amount /= 1024;
      ++unit;
    }
    std::snprintf(text, sizeof(text), unit == 0 ? "%.0f%s" : "%.2f%s", amount, kUnits[unit]);
  } else {
    std::snprintf(text, sizeof(text), "%.1f", amount);
  }
  return text;
}

static std::string demand_text(const json::array& demand) {
  std::string out;
  for (const json::value& row : demand) {
    std::string shape;
    for (const auto& [name, amount] : object_at(row.get_object(), "resources")) {
      char number[40];
      std::snprintf(number, sizeof(number), "%.1f", amount_of(amount));
      shape += (shape.empty() ? "'" : ", '") + std::string(name) + "': " + number;
    }
    out += " {" + shape + "}: " + std::to_string(number_at(row.get_object(), "count", 1)) + "+ pending tasks/actors\n";
  }
  return out.empty() ? " (no resource demands)\n" : out;
}

std::string status_text(const json::object& total, const json::object& free, const json::array& nodes,
                        const json::array& demand, const std::string& now) {
  const std::string title = "======== Autoscaler status: " + now + " ========";
  const std::string rule(title.size(), '-');
  size_t active = 0;
  for (const json::value& node : nodes) active += flag_at(node.get_object(), "Alive") ? 1 : 0;
  std::string usage;
  for (const auto& [key, amount] : total) {
    const std::string name(key);
    if (name.starts_with("node:")) continue;
    const json::value* left = free.if_contains(key);
    const double used = amount_of(amount) - (left ? amount_of(*left) : 0);
    usage += " " + amount_text(name, used) + "/" + amount_text(name, amount_of(amount)) + " " + name + "\n";
  }
  return title + "\nNode status\n" + rule + "\nActive:\n " + std::to_string(active) +
         " node\nIdle:\n (no idle nodes)\nPending:\n (no pending nodes)\nRecent failures:\n (no "
         "failures)\n\nResources\n" +
         rule + "\nTotal Usage:\n" + usage + "From request_resources:\n (none)\nPending Demands:\n" +
         demand_text(demand);
}

static std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[64];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S.000000", &local);
  return text;
}

void StateRoutes::cluster_status(Call call) {
  const Reply reply = call.reply;
  const bool formatted = call.request.argument("format") == "1";
  ask("cluster_resources", reply, [this, reply, formatted](const json::object& total) {
    ask("available_resources", reply, [this, reply, formatted, total](const json::object& free) {
      ask("nodes", reply, [this, reply, formatted, total, free](const json::object& nodes) {
        ask("pending_demand", reply, [reply, formatted, total, free, nodes](const json::object& demand) {
          const json::object all = object_at(total, "resources"), left = object_at(free, "resources");
          const std::string text =
              status_text(all, left, array_at(nodes, "nodes"), array_at(demand, "demand"), date_now());
          if (formatted)
            return reply(
                json_response(200, enveloped(true, "Got formatted cluster status.", {{"clusterStatus", text}})));
          json::object usage;
          for (const auto& [name, amount] : all) {
            const json::value* free_now = left.if_contains(name);
            usage[name] = {amount_of(amount) - (free_now ? amount_of(*free_now) : 0), amount_of(amount)};
          }
          json::object report = {{"usage", std::move(usage)},
                                 {"resourceDemand", array_at(demand, "demand")},
                                 {"pgDemand", array_at(demand, "placement_groups")},
                                 {"requestDemand", json::array()}};
          reply(json_response(200, enveloped(true, "Got cluster status.",
                                             {{"autoscalingStatus", text},
                                              {"autoscalingError", nullptr},
                                              {"clusterStatus",
                                               {{"loadMetricsReport", std::move(report)},
                                                {"time", static_cast<double>(epoch_now_ms()) / 1000}}}})));
        });
      });
    });
  });
}

// ---- timeline ----------------------------------------------------------------------------------------------

json::array trace_events(const json::array& records, const std::string& job_id) {
  json::array out;
  std::set<std::string> named;
  for (const json::value& value : records) {
    const json::object& record = value.get_object();
    if (!job_id.empty() && record.contains("job_id") && text_at(record, "job_id") != job_id) continue;
    const std::string process = "Node " + text_at(record, "node_ip");
    const std::string thread = "worker:" + std::to_string(number_at(record, "pid", 0));
    if (named.insert(process + thread).second)
      for (const char* what : {"process_name", "thread_name"})
        out.push_back({{"ph", "M"},
                       {"name", what},
                       {"pid", process},
                       {"tid", thread},
                       {"args", {{"name", std::string(what) == "process_name" ? process : thread}}}});
    const std::string name = text_at(record, "name"), kind = text_at(record, "kind");
    const int64_t start = number_at(record, "start_us", 0), end = number_at(record, "end_us", 0);
    json::object event = {{"cat", kind == "task" || kind.empty() ? "task::" + name : kind},
                          {"name", name},
                          {"pid", process},
                          {"tid", thread},
                          {"ts", start},
                          {"dur", std::max<int64_t>(0, end - start)},
                          {"ph", "X"},
                          {"cname", "generic_work"}};
    event["args"] = {{"task_id", text_at(record, "task_id")},
                     {"worker_id", text_at(record, "worker_id")},
                     {"job_id", text_at(record, "job_id")},
                     {"name", name},
                     {"func_or_class_name", name}};
    out.push_back(std::move(event));
  }
  return out;
}

void StateRoutes::timeline(Call call) {
  const bool download = call.request.argument("download") == "1";
  ask("task_events", call.reply,
      [job = call.request.argument("job_id"), download, reply = call.reply](const json::object& answer) {
        Response out = json_response(200, trace_events(array_at(answer, "events"), job));
        if (download) out.headers.emplace_back("Content-Disposition", "attachment; filename=\"timeline.json\"");
        reply(std::move(out));
      });
}

// ---- what the pages ask ------------------------------------------------------------------------------------

// In one answer what the first page shows, so that it is drawn at once.
void StateRoutes::overview(Call call) {
  const Reply reply = call.reply;
  ask("cluster_resources", reply, [this, reply](const json::object& total) {
    ask("available_resources", reply, [this, reply, total](const json::object& free) {
      ask("store_stats", reply, [this, reply, total, free](const json::object& store) {
        node_summaries(reply, [reply, total, free, store](json::array summaries) {
          reply(json_response(200, {{"total", object_at(total, "resources")},
                                    {"free", object_at(free, "resources")},
                                    {"store", store},
                                    {"nodes", std::move(summaries)}}));
        });
      });
    });
  });
}

// Values of keys that begin with a prefix in one of the namespaces where libraries tell of their progress, and programs
// of the breakpoints at which they wait.
void StateRoutes::kv(Call call) {
  static const std::set<std::string> kOpen = {"serve",       "data",       "train",   "tune",        "_serve",
                                              "_data",       "_train",     "_tune",   "narke_serve", "narke_data",
                                              "narke_train", "narke_tune", "debugger"};
  const std::string space = call.parts[0];
  if (!kOpen.contains(space)) return call.reply(refused(404, "There is no namespace '" + space + "' to look into."));
  read_records(cluster_, space, call.request.argument("prefix"),
               [reply = call.reply](const std::string& error, Records records) {
                 if (!error.empty()) return reply(refused(500, error));
                 json::object shown;
                 for (auto& [key, record] : records) {
                   record.erase("code");  // what lets a person into a breakpoint
                   shown[key] = std::move(record);
                 }
                 reply(json_response(200, std::move(shown)));
               });
}

// ---- routes ------------------------------------------------------------------------------------------------

void StateRoutes::add_to(Router& router) {
  const auto add = [&](const char* pattern, const char* summary, void (StateRoutes::*method)(Call),
                       std::vector<Parameter> query = {}) {
    Route route;
    route.method = "GET";
    route.pattern = pattern;
    route.summary = summary;
    route.handler = [this, method](Call call) { (this->*method)(std::move(call)); };
    route.query = std::move(query);
    router.add(std::move(route));
  };
  const std::vector<Parameter> choice = {{"limit", "integer", "most rows, at most 10000"},
                                         {"offset", "integer", "rows to pass over"},
                                         {"detail", "boolean", "all columns"},
                                         {"sort_by", "string", "a column"},
                                         {"descending", "boolean", "largest first"},
                                         {"search", "string", "rows that contain it"},
                                         {"filter_keys", "string", "a column; may be repeated"},
                                         {"filter_predicates", "string", "= or !=; one for each key"},
                                         {"filter_values", "string", "one for each key"}};
  add("/api/v0/tasks/timeline", "Finished tasks as Chrome's trace events.", &StateRoutes::timeline,
      {{"job_id", "string", "of one job"}, {"download", "string", "1: as a file"}});
  add_facts(router);
  add("/api/v0/{resource}",
      "Rows of a table: actors, tasks, objects, nodes, jobs, placement_groups, workers, "
      "runtime_envs or cluster_events.",
      &StateRoutes::list, choice);
  add("/api/v0/{resource}/summarize", "Counts of tasks, actors or objects.", &StateRoutes::summarize, choice);
  add("/nodes", "The nodes.", &StateRoutes::nodes, {{"view", "string", "summary or hostNameList"}});
  add("/nodes/{node_id}", "One node.", &StateRoutes::node);
  add("/logical/actors", "All actors.", &StateRoutes::logical_actors, {{"ids", "string", "separated by commas"}});
  add("/logical/actors/{actor_id}", "One actor.", &StateRoutes::logical_actor);
  add("/api/cluster_status", "Resources in use and asked for.", &StateRoutes::cluster_status,
      {{"format", "string", "1: as text"}});
  add("/timeline", "Finished tasks as Chrome's trace events.", &StateRoutes::timeline);
  add("/events", "What a person should know of.", &StateRoutes::events, {{"job_id", "string", "of one job"}});
  add("/api/component_activities", "Whether drivers use the cluster.", &StateRoutes::activities);
  add("/cluster_id", "Which cluster this is.", &StateRoutes::cluster_id);
  add("/api/narke/overview", "What the first page shows.", &StateRoutes::overview);
  add("/api/narke/progress/{namespace}", "What a library tells of its progress.", &StateRoutes::kv,
      {{"prefix", "string", "of the keys"}});
}

void StateRoutes::add_facts(Router& router) {
  const auto add = [&](const char* pattern, const char* summary, std::function<json::value()> value) {
    Route route;
    route.method = "GET";
    route.pattern = pattern;
    route.summary = summary;
    route.handler = [value = std::move(value)](Call call) { call.reply(json_response(200, value())); };
    router.add(std::move(route));
  };
  add("/api/v0/cluster_metadata", "Versions.",
      [] { return enveloped(true, "", {{"rayVersion", "2.60.0"}, {"pythonVersion", ""}, {"rayInitCluster", false}}); });
  add("/usage_stats_enabled", "Nothing is sent anywhere.",
      [] { return enveloped(true, "", {{"usageStatsEnabled", false}, {"usageStatsPromptEnabled", false}}); });
  add("/timezone", "This host's.", [] {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    char offset[16];
    std::strftime(offset, sizeof(offset), "%z", &local);
    std::string text = offset;
    if (text.size() == 5) text.insert(3, ":");
    return json::object{{"offset", text}, {"value", local.tm_zone ? local.tm_zone : "UTC"}};
  });
  add("/api/v0/runtime_env_redaction", "Browsers do not see values of env_vars.",
      [] { return enveloped(true, "", {{"redactionEnabled", true}}); });
}

}  // namespace narke::gateway
