#include "gateway/metric_routes.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include <unistd.h>

#include "base/own_log.h"

namespace narke::gateway {

static constexpr int64_t kSampleS = 5;
static constexpr size_t kShortId = 8;        // digits of a node in a series' name
static constexpr size_t kMostCharted = 32;   // nodes with charts of their own
static constexpr size_t kMostProcesses = 2'000;  // whose metrics are served
static constexpr const char* kTables[] = {"list_hosts",     "cluster_resources",     "available_resources",
                                          "nodes",          "summarize_actors",      "list_workers",
                                          "pending_demand", "list_placement_groups", "list_jobs"};
static constexpr size_t kMemberTables = 1;  // of these, what a node that is not the head asks

// Answers of several control methods, and what users' processes say; done when the last has come.
struct MetricRoutes::Gathering {
  std::map<std::string, json::object> answers;
  std::vector<std::pair<std::string, json::object>> users;  // by worker
  std::string serve;                                        // what Serve says of itself, in Prometheus' format
  size_t open = 0;
  Done done;

  void close(const std::shared_ptr<Gathering>& self) {
    if (--open > 0) return;
    const Done finish = std::move(done);
    finish(self);
  }
};

static const json::object& object_in(const json::object& from, std::string_view key) {
  static const json::object kNone;
  const json::value* value = from.if_contains(key);
  return value && value->is_object() ? value->get_object() : kNone;
}

static const json::array& array_in(const json::object& from, std::string_view key) {
  static const json::array kNone;
  const json::value* value = from.if_contains(key);
  return value && value->is_array() ? value->get_array() : kNone;
}

static std::string bytes_of(const flexbuffers::Reference& value) {
  if (!value.IsBlob()) return value.AsString().str();
  return {reinterpret_cast<const char*>(value.AsBlob().data()), value.AsBlob().size()};
}

// Of workers only numbers are wanted, and there may be thousands.
static json::object worker_counts(const flexbuffers::Map& answer) {
  const flexbuffers::Vector rows = answer["workers"].AsVector();
  int64_t running = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string state = rows[i].AsMap()["state"].AsString().str();
    running += state == "RUNNING" || state == "BLOCKED" ? 1 : 0;
  }
  return {{"count", rows.size()}, {"running", running}};
}

void MetricRoutes::gather(bool with_users, Done done) {
  const auto to = std::make_shared<Gathering>();  // shared by the answers to come
  to->done = std::move(done);
  std::vector<const char*> methods(std::begin(kTables), std::end(kTables));
  if (config_.is_member) methods.resize(kMemberTables);
  with_users = with_users && !config_.is_member;
  if (with_users) methods.insert(methods.end(), {"summarize_tasks", "list_tasks"});
  to->open = methods.size() + (with_users ? 2 : 0);
  for (const char* method : methods)
    cluster_.call(method, map_body([&](flexbuffers::Builder& out) {
                    out.Int("limit", std::string_view(method) == "list_tasks" ? 1'000 : 10'000);
                  }),
                  [to, method](const ControlAnswer& answer) {
                    const bool is_workers = std::string_view(method) == "list_workers";
                    if (answer.ok())
                      to->answers[method] = is_workers ? worker_counts(answer.map()) : json_of(answer.map());
                    to->close(to);
                  });
  if (!with_users) return;
  gather_users(to);
  cluster_.call("kv_get", map_body([](flexbuffers::Builder& out) {
                  out.String("namespace", "serve");
                  out.String("key", "metrics");
                }),
                [to](const ControlAnswer& answer) {
                  const flexbuffers::Reference value = answer.map()["value"];
                  if (answer.ok() && value.IsBlob()) to->serve = bytes_of(value);
                  to->close(to);
                });
}

void MetricRoutes::gather_users(std::shared_ptr<Gathering> to) {
  const auto in_metrics = [](flexbuffers::Builder& out) { out.Blob("namespace", "metrics", 7); };
  cluster_.call("kv_keys", map_body([&](flexbuffers::Builder& out) {
                  in_metrics(out);
                  out.Blob("prefix", "", 0);
                }),
                [this, to, in_metrics](const ControlAnswer& answer) {
                  const flexbuffers::Vector keys = answer.map()["keys"].AsVector();
                  const size_t count = std::min<size_t>(answer.ok() ? keys.size() : 0, kMostProcesses);
                  to->open += count;
                  for (size_t i = 0; i < count; ++i) {
                    const std::string key = bytes_of(keys[i]);
                    cluster_.call("kv_get", map_body([&](flexbuffers::Builder& out) {
                                    in_metrics(out);
                                    out.Blob("key", key.data(), key.size());
                                  }),
                                  [to, key](const ControlAnswer& got) {
                                    const auto value =
                                        got.ok() ? parse_json(bytes_of(got.map()["value"])) : std::nullopt;
                                    if (value && value->is_object()) to->users.emplace_back(key, value->get_object());
                                    to->close(to);
                                  });
                  }
                  to->close(to);
                });
}

// ---- what is served ----------------------------------------------------------------------------------------

Labels MetricRoutes::common() const {
  return {{"SessionName", std::filesystem::path(config_.session_dir).filename()}, {"Version", NARKE_VERSION}};
}

static double real_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value ? amount_of(*value) : 0;
}

void MetricRoutes::fill_host(const json::object& host, MetricText& out) {
  const std::string ip = text_at(host, "ip");
  const bool is_head = flag_at(host, "is_head");
  const Labels node = {{"ip", ip},
                       {"NodeId", text_at(host, "node_id")},
                       {"IsHeadNode", is_head ? "true" : "false"},
                       {"RayNodeType", is_head ? "head" : "worker"}};
  const auto gauge = [&](const char* name, const char* help, double value) {
    out.add(name, "gauge", help, value, node);
  };
  const auto at = [&](const char* key) { return real_at(host, key); };
  gauge("ray_node_cpu_utilization", "Total CPU usage on a node, percent", at("cpu_percent"));
  gauge("ray_node_cpu_count", "CPUs of a node", at("cores"));
  gauge("ray_node_mem_used", "Memory in use on a node", at("memory_total") - at("memory_available"));
  gauge("ray_node_mem_available", "Memory available on a node", at("memory_available"));
  gauge("ray_node_mem_total", "Memory of a node", at("memory_total"));
  gauge("ray_node_mem_shared_bytes", "Shared memory in use on a node", at("shm_used"));
  gauge("ray_node_disk_usage", "Disk in use on a node", at("disk_total") - at("disk_free"));
  gauge("ray_node_disk_free", "Disk free on a node", at("disk_free"));
  gauge("ray_node_disk_utilization_percentage", "Share of the disk in use",
        at("disk_total") > 0 ? 100 - 100 * at("disk_free") / at("disk_total") : 0);
  gauge("ray_node_disk_io_read", "Bytes read from disks", at("disk_read"));
  gauge("ray_node_disk_io_write", "Bytes written to disks", at("disk_written"));
  gauge("ray_node_disk_io_read_speed", "Bytes read from disks a second", at("disk_read_per_s"));
  gauge("ray_node_disk_io_write_speed", "Bytes written to disks a second", at("disk_write_per_s"));
  gauge("ray_node_network_sent", "Bytes sent", at("sent"));
  gauge("ray_node_network_received", "Bytes received", at("received"));
  gauge("ray_node_network_send_speed", "Bytes sent a second", at("sent_per_s"));
  gauge("ray_node_network_receive_speed", "Bytes received a second", at("received_per_s"));
  const auto component = [&](const char* name, int64_t pid, double resident) {
    const Labels labels = {{"ip", ip}, {"Component", name}, {"pid", std::to_string(pid)}};
    out.add("ray_component_rss_bytes", "gauge", "Resident memory of a component", resident, labels);
    out.add("ray_component_rss_mb", "gauge", "Resident memory of a component, MB", resident / 1e6, labels);
  };
  for (const json::value& value : array_in(host, "processes")) {
    const json::object& process = value.get_object();
    const bool is_node = text_at(process, "type") == "NODE";
    component(is_node ? "raylet" : "workers", number_at(process, "pid", 0), real_at(process, "resident"));
  }
  if (is_head) component("dashboard", getpid(), static_cast<double>(process_stats(getpid()).resident));
}

void MetricRoutes::fill_store(const json::object& host, MetricText& out) {
  const json::object& store = object_in(host, "store");
  const auto value = [&](const char* key) { return static_cast<double>(number_at(store, key, 0)); };
  const Labels node = {{"NodeAddress", text_at(host, "ip")}, {"Component", "raylet"}};
  out.add("ray_object_store_available_memory", "gauge", "Free memory of the object store",
          value("capacity_bytes") - value("used_bytes"), node);
  out.add("ray_object_store_used_memory", "gauge", "Memory of the object store in use", value("used_bytes"), node);
  out.add("ray_object_store_num_local_objects", "gauge", "Objects in the store", value("objects"), node);
  for (const auto& [location, key] : {std::pair{"MMAP_SHM", "used_bytes"}, {"SPILLED", "spilled_bytes"}}) {
    Labels labels = node;
    labels.emplace_back("Location", location);
    out.add("ray_object_store_memory", "gauge", "Object memory by location", value(key), labels);
  }
  for (const auto& [state, key] : {std::pair{"Pinned", "pinned_objects"}, {"Spilled", "spilled_objects"}}) {
    Labels labels = node;
    labels.emplace_back("State", state);
    out.add("ray_spill_manager_objects", "gauge", "Objects by what the spiller does with them", value(key), labels);
  }
}

void MetricRoutes::fill_resources(const json::object& total, const json::object& free, MetricText& out) {
  for (const auto& [name, amount] : total) {
    const json::value* left = free.if_contains(name);
    const double available = left ? amount_of(*left) : 0;
    for (const auto& [state, value] : {std::pair{"AVAILABLE", available}, {"USED", amount_of(amount) - available}})
      out.add(
          "ray_resources", "gauge", "Logical resources", value,
          {{"NodeAddress", config_.address}, {"Component", "raylet"}, {"Name", std::string(name)}, {"State", state}});
  }
}

using Counts = std::map<std::vector<std::string>, double>;

// A row that was counted already says for how many it stands.
static Counts count(const json::array& rows, const std::vector<const char*>& keys) {
  Counts out;
  for (const json::value& row : rows) {
    std::vector<std::string> group;
    for (const char* key : keys) group.push_back(text_at(row.get_object(), key));
    out[group] += static_cast<double>(number_at(row.get_object(), "count", 1));
  }
  return out;
}

static Counts count_tasks(std::map<std::string, json::object>& answers) {
  const json::array& counted = array_in(answers["summarize_tasks"], "summary");
  if (counted.empty()) return count(array_in(answers["list_tasks"], "tasks"), {"name", "state"});
  Counts out;
  for (const json::value& row : counted)
    for (const auto& [state, tasks] : object_in(row.get_object(), "state_counts"))
      out[{text_at(row.get_object(), "func_or_class_name"), std::string(state)}] += amount_of(tasks);
  return out;
}

// A host whose own gateway can be asked is left to that one, so that no figure is scraped twice.
void MetricRoutes::fill(Gathering& from, MetricText& out, bool with_all) {
  for (const json::value& value : array_in(from.answers["list_hosts"], "hosts")) {
    const json::object& host = value.get_object();
    if (!with_all && !config_.is_member && !flag_at(host, "is_head") && !text_at(host, "metrics_target").empty())
      continue;
    fill_host(host, out);
    fill_store(host, out);
  }
  if (!config_.is_member) fill_cluster(from, out);
}

void MetricRoutes::fill_cluster(Gathering& from, MetricText& out) {
  auto& answers = from.answers;
  fill_resources(object_in(answers["cluster_resources"], "resources"),
                 object_in(answers["available_resources"], "resources"), out);
  const auto add = [&](const char* name, const char* help, const Counts& counts,
                       const std::vector<const char*>& labels) {
    for (const auto& [group, value] : counts) {
      Labels all;
      for (size_t i = 0; i < group.size(); ++i) all.emplace_back(labels[i], group[i]);
      out.add(name, "gauge", help, value, all);
    }
  };
  add("ray_tasks", "Tasks by name and state", count_tasks(answers), {"Name", "State"});
  add("ray_actors", "Actors by class and state",
      count(array_in(answers["summarize_actors"], "summary"), {"class_name", "state", "job_id"}),
      {"Name", "State", "JobId"});
  add("ray_placement_groups", "Placement groups by state",
      count(array_in(answers["list_placement_groups"], "groups"), {"state"}), {"State"});
  add("ray_running_jobs", "Jobs that run",
      {{{}, static_cast<double>([&] {
          const json::array& jobs = array_in(answers["list_jobs"], "jobs");
          return std::count_if(jobs.begin(), jobs.end(),
                               [](const json::value& job) { return text_at(job.get_object(), "status") == "RUNNING"; });
        }())}},
      {});
  out.add("ray_cluster_active_nodes", "gauge", "Nodes that are alive",
          static_cast<double>(array_in(answers["list_hosts"], "hosts").size()), {{"node_type", "node"}});
  for (const auto& [worker, series] : from.users)
    out.add_user(series, {{"NodeAddress", config_.address}, {"Component", "core_worker"}, {"WorkerId", worker}});
}

// ---- charts ------------------------------------------------------------------------------------------------

static double amount_in(const json::object& resources, const char* name) {
  const json::value* value = resources.if_contains(name);
  return value ? amount_of(*value) : 0;
}

void MetricRoutes::keep(Gathering& from) {
  const int64_t now = epoch_now_ms() / 1000;
  auto& answers = from.answers;
  const json::object &total = object_in(answers["cluster_resources"], "resources"),
                     &free = object_in(answers["available_resources"], "resources");
  const auto add = [&](const std::string& name, double value) { series_.add(name, now, value); };
  std::map<std::string, double> sums;
  const json::array& hosts = array_in(answers["list_hosts"], "hosts");
  for (const json::value& value : hosts) {
    const json::object& host = value.get_object();
    const std::string of = hosts.size() > 1 ? "@" + text_at(host, "node_id").substr(0, kShortId) : "";
    const auto each = [&](const std::string& name, double amount) {
      if (!of.empty() && hosts.size() <= kMostCharted) add(name + of, amount);
      sums[name] += amount;
    };
    each("cpu_percent", real_at(host, "cpu_percent"));
    each("memory_used", real_at(host, "memory_total") - real_at(host, "memory_available"));
    each("network_sent", real_at(host, "sent_per_s"));
    each("network_received", real_at(host, "received_per_s"));
    each("disk_read", real_at(host, "disk_read_per_s"));
    each("disk_write", real_at(host, "disk_write_per_s"));
    each("store_used", real_at(object_in(host, "store"), "used_bytes"));
    each("store_spilled", real_at(object_in(host, "store"), "spilled_bytes"));
  }
  if (!hosts.empty()) sums["cpu_percent"] /= static_cast<double>(hosts.size());
  for (const auto& [name, value] : sums) add(name, value);
  for (const char* name : {"CPU", "GPU"})
    if (total.contains(name)) add(std::string("used_") + name, amount_in(total, name) - amount_in(free, name));
  const json::object& workers = answers["list_workers"];
  add("workers", static_cast<double>(number_at(workers, "count", 0)));
  for (const char* state : {"ALIVE", "PENDING_CREATION", "RESTARTING"}) {
    double actors = 0;
    for (const json::value& row : array_in(answers["summarize_actors"], "summary"))
      if (text_at(row.get_object(), "state") == state)
        actors += static_cast<double>(number_at(row.get_object(), "count", 0));
    add(std::string("actors_") + state, actors);
  }
  double waiting = 0;
  for (const json::value& row : array_in(answers["pending_demand"], "demand"))
    waiting += static_cast<double>(number_at(row.get_object(), "count", 0));
  add("tasks_running", static_cast<double>(number_at(workers, "running", 0)));
  add("tasks_waiting", waiting);
}

json::array MetricRoutes::targets() const {
  json::array addresses;
  const auto info = read_file(config_.session_dir + "/info.json");
  const auto value = info ? parse_json(*info) : std::nullopt;
  if (value && value->is_object()) {
    const std::string url = text_at(value->get_object(), "dashboard_url");
    const int64_t port = number_at(value->get_object(), "metrics_port", 0);
    if (port > 0) addresses.push_back(json::string(url.substr(0, url.rfind(':')) + ":" + std::to_string(port)));
  }
  for (const std::string& target : member_targets_) addresses.push_back(json::string(target));
  return {json::object{{"labels", {{"job", "ray"}}}, {"targets", std::move(addresses)}}};
}

void MetricRoutes::write_targets() const {
  const Status written =
      write_private_file(config_.session_dir + "/prom_metrics_service_discovery.json", json::serialize(targets()));
  if (!written.ok()) complain("dashboard", written.error().message);
}

static std::vector<std::string> targets_of_members(const json::object& answer) {
  std::vector<std::string> out;
  for (const json::value& host : array_in(answer, "hosts")) {
    const std::string target = text_at(host.get_object(), "metrics_target");
    if (!flag_at(host.get_object(), "is_head") && !target.empty()) out.push_back(target);
  }
  return out;
}

void MetricRoutes::tick() {
  if (config_.is_member) return;  // the head keeps the cluster's series
  const int64_t now = epoch_now_ms() / 1000;
  if (last_sample_s_ == 0) last_sample_s_ = now;
  if (sampling_ || now - last_sample_s_ < kSampleS) return;
  last_sample_s_ = now;
  sampling_ = true;
  gather(false, [this](const std::shared_ptr<Gathering>& from) {
    sampling_ = false;
    member_targets_ = targets_of_members(from->answers["list_hosts"]);
    write_targets();
    keep(*from);
  });
}

// ---- routes ------------------------------------------------------------------------------------------------

void MetricRoutes::scrape(Call call) {
  const bool with_all = call.request.argument("all") == "1";
  gather(true, [this, with_all, reply = call.reply](const std::shared_ptr<Gathering>& from) {
    MetricText text(common());
    fill(*from, text, with_all);
    Response out = text_response(200, text.text() + from->serve);
    out.content_type = "text/plain; version=0.0.4; charset=utf-8";
    reply(std::move(out));
  });
}

void MetricRoutes::charts(Call call) {
  int64_t minutes = 15;
  const std::string& asked = call.request.argument("minutes");
  if (!asked.empty()) {
    const auto [end, error] = std::from_chars(asked.data(), asked.data() + asked.size(), minutes);
    if (error != std::errc() || end != asked.data() + asked.size() || minutes < 1 || minutes > 1440)
      return call.reply(text_response(400, "minutes must be a whole number from 1 to 1440."));
  }
  const int64_t since = epoch_now_ms() / 1000 - minutes * 60;
  json::object out;
  for (const std::string& name : series_.names()) {
    json::array points;
    for (const Point& point : series_.points(name, since)) points.push_back({point.time_s, point.value});
    out[name] = std::move(points);
  }
  call.reply(json_response(200, out));
}

void MetricRoutes::add_to(Router& router) {
  const auto add = [&](const char* pattern, const char* summary, Route::Handler handler, bool open) {
    Route route;
    route.method = "GET";
    route.pattern = pattern;
    route.summary = summary;
    route.handler = std::move(handler);
    route.is_on_open_port = open;
    if (std::string(pattern) == "/api/narke/charts") route.query = {{"minutes", "integer", "1 to 1440; 15 by default"}};
    if (std::string(pattern) == "/metrics")
      route.query = {{"all", "string", "1: of all nodes, those that serve their own, too"}};
    router.add(std::move(route));
  };
  add("/metrics", "Prometheus' text format.", [this](Call call) { scrape(std::move(call)); }, true);
  add(
      "/api/prometheus/sd", "Where Prometheus finds the metrics.",
      [this](Call call) { call.reply(json_response(200, targets())); }, false);
  add(
      "/api/narke/charts", "The last hours of the cluster's figures.", [this](Call call) { charts(std::move(call)); },
      false);
}

}  // namespace narke::gateway
