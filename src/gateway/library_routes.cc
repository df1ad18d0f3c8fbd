#include "gateway/library_routes.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "gateway/records.h"

namespace narke::gateway {

static constexpr std::chrono::seconds kMonitorLimit{20};
static constexpr double kNanoseconds = 1e9;

static double real_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value ? amount_of(*value) : 0;
}

static json::value value_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value ? *value : json::value(nullptr);
}

// ---- data --------------------------------------------------------------------------------------------------

// What Ray's page takes from a Prometheus. Here the records tell it, so no peaks are known but those of now; what
// nobody measures is 0, as it is there without a Prometheus.
static void put_measures(json::object& out, double rows, double size_bytes, double cores) {
  const auto now = [](double value) { return json::object{{"value", value}, {"max", value}}; };
  out["ray_data_output_rows"] = json::object{{"max", rows}};
  out["ray_data_spilled_bytes"] = json::object{{"max", 0}};
  out["ray_data_current_bytes"] = now(size_bytes);
  out["ray_data_cpu_usage_cores"] = now(cores);
  out["ray_data_gpu_usage_cores"] = now(0);
  out["ray_data_memory_usage_bytes"] = now(0);
}

static json::object operator_row(const json::object& record, const std::string& state, size_t number) {
  const int64_t tasks = number_at(record, "tasks", 0), running = number_at(record, "running", 0);
  const std::string name = text_at(record, "name");
  json::object out = {{"operator", name + std::to_string(number)},
                      {"name", name},
                      {"state", state},
                      {"progress", tasks - running},
                      {"total", tasks},
                      {"total_rows", number_at(record, "rows", 0)},
                      {"queued_blocks", number_at(record, "queued_blocks", 0)}};
  put_measures(out, real_at(record, "rows"), real_at(record, "queued_bytes"), static_cast<double>(running));
  return out;
}

json::object dataset_row(const std::string& key, const json::object& record) {
  const std::string state = text_at(record, "state");
  const bool runs = state == "RUNNING";
  json::array operators;
  int64_t done = 0, total = 0, rows = 0;
  double queued = 0, cores = 0;
  for (const json::value& each : array_at(record, "operators")) {
    const json::object& raw = each.get_object();
    operators.push_back(operator_row(raw, state, operators.size()));
    total += number_at(raw, "tasks", 0);
    done += number_at(raw, "tasks", 0) - number_at(raw, "running", 0);
    rows = number_at(raw, "rows", 0);  // what comes out of the last one
    queued += real_at(raw, "queued_bytes");
    cores += real_at(raw, "running");
  }
  const size_t slash = key.find('/');
  json::object out = {{"dataset", text_at(record, "name") + "_" + (slash == key.npos ? key : key.substr(slash + 1))},
                      {"job_id", key.substr(0, slash)},
                      {"state", state},
                      {"progress", done},
                      {"total", total},
                      {"total_rows", rows},
                      {"start_time", real_at(record, "started_s")},
                      {"end_time", runs ? json::value(nullptr) : value_at(record, "updated_s")},
                      {"operators", std::move(operators)}};
  put_measures(out, static_cast<double>(rows), queued, cores);
  return out;
}

void LibraryRoutes::datasets(Call call) {
  read_records(cluster_, "narke_data", call.parts[0] + "/",
               [reply = call.reply](const std::string& error, const Records& records) {
                 if (!error.empty()) return reply(text_response(500, error));
                 json::array rows;
                 for (const auto& [key, record] : records) rows.push_back(dataset_row(key, record));
                 reply(json_response(200, json::object{{"datasets", std::move(rows)}}));
               });
}

// ---- train -------------------------------------------------------------------------------------------------

static bool is_over(const std::string& status) {
  return status == "FINISHED" || status == "FAILED" || status == "STOPPED";
}

// Ray's word for a run's state. first: of its first generation, which has fewer.
static std::string train_status(const std::string& status, bool first) {
  if (status == "STARTING") return first ? "STARTED" : "SCHEDULING";
  if (status == "FAILED") return "ERRORED";
  if (status == "STOPPED") return "ABORTED";
  if (status == "RESTARTING" && first) return "RUNNING";
  return status;
}

static json::value end_of(const json::object& record, double unit) {
  if (!is_over(text_at(record, "status"))) return nullptr;
  return static_cast<int64_t>(real_at(record, "updated_s") * unit);
}

json::object train_run(const json::object& record, const json::value& job) {
  return {{"id", text_at(record, "run_id")},
          {"name", text_at(record, "name")},
          {"job_id", text_at(record, "job_id")},
          {"controller_actor_id", ""},  // the driver itself conducts a run
          {"status", train_status(text_at(record, "status"), false)},
          {"status_detail", value_at(record, "error")},
          {"start_time_ns", static_cast<int64_t>(real_at(record, "started_s") * kNanoseconds)},
          {"end_time_ns", end_of(record, kNanoseconds)},
          {"controller_log_file_path", nullptr},
          {"framework_versions", value_at(record, "framework_versions")},
          {"run_settings", value_at(record, "settings")},
          {"attempts", array_at(record, "history")},
          {"job_details", job}};
}

json::object first_train_run(const json::object& record, const json::value& job) {
  const json::array history = array_at(record, "history");
  json::array workers, resources, datasets;
  const json::value settings = value_at(record, "settings");
  if (settings.is_object())
    for (const json::value& name : array_at(settings.get_object(), "datasets"))
      datasets.push_back({{"name", name}, {"dataset_uuid", ""}, {"dataset_name", name}});
  if (!history.empty()) {
    workers = array_at(history.back().get_object(), "workers");
    for (const json::value& each : array_at(history.back().get_object(), "resources"))
      resources.push_back(value_at(each.get_object(), "resources"));
  }
  return {{"id", text_at(record, "run_id")},
          {"name", text_at(record, "name")},
          {"job_id", text_at(record, "job_id")},
          {"controller_actor_id", ""},
          {"workers", std::move(workers)},
          {"datasets", std::move(datasets)},
          {"run_status", train_status(text_at(record, "status"), true)},
          {"status_detail", text_at(record, "error")},
          {"start_time_ms", static_cast<int64_t>(real_at(record, "started_s") * 1000)},
          {"end_time_ms", end_of(record, 1000)},
          {"resources", std::move(resources)},
          {"job_details", job}};
}

void LibraryRoutes::train_runs(Call call, Shape shape) {
  const bool secrets = guard_.may_see_secrets(call.request);
  read_records(cluster_, "train",
               "run:", [this, shape, secrets, reply = call.reply](const std::string& error, Records records) {
                 if (!error.empty()) return reply(text_response(500, error));
                 jobs_.list(secrets, [shape, reply, records = std::move(records)](const json::array& jobs) {
                   std::map<std::string, const json::value*> by_id;
                   for (const json::value& job : jobs) by_id[text_at(job.get_object(), "job_id")] = &job;
                   std::vector<const json::object*> runs;
                   for (const auto& [key, record] : records) runs.push_back(&record);
                   std::sort(runs.begin(), runs.end(), [](const json::object* a, const json::object* b) {
                     return real_at(*a, "started_s") > real_at(*b, "started_s");
                   });
                   json::array out;
                   for (const json::object* run : runs) {
                     const auto job = by_id.find(text_at(*run, "job_id"));
                     out.push_back(shape(*run, job == by_id.end() ? json::value(nullptr) : *job->second));
                   }
                   reply(json_response(200, json::object{{"train_runs", std::move(out)}}));
                 });
               });
}

// ---- monitors ----------------------------------------------------------------------------------------------

void LibraryRoutes::monitor(Call call, const char* which) {
  std::vector<std::string> words = {
      config_.python,
      "-c",
      "import sys; sys.path.insert(0, sys.argv.pop(1)); from narke._private import monitors; "
      "sys.exit(monitors.main(sys.argv[1:]))",
      config_.python_path,
      which,
      std::filesystem::path(config_.session_dir).filename()};
  commands_.run(std::move(words), "", kMonitorLimit,
                [reply = call.reply](CommandOutcome outcome) { reply(program_response(outcome, "The monitor")); });
}

void LibraryRoutes::add_to(Router& router) {
  const auto add = [&](const char* pattern, const char* summary, Route::Handler handler) {
    Route route;
    route.method = "GET";
    route.pattern = pattern;
    route.summary = summary;
    route.handler = std::move(handler);
    router.add(std::move(route));
  };
  add("/api/data/datasets/{job_id}", "Datasets that a job has executed.",
      [this](Call call) { datasets(std::move(call)); });
  add("/api/train/v2/runs/v1", "Runs of Train.", [this](Call call) { train_runs(std::move(call), train_run); });
  add("/api/train/v2/runs", "Runs of Train, as its first generation shows them.",
      [this](Call call) { train_runs(std::move(call), first_train_run); });
  add("/api/prometheus_health", "Whether the Prometheus at RAY_PROMETHEUS_HOST answers.",
      [this](Call call) { monitor(std::move(call), "prometheus"); });
  add("/api/grafana_health", "Whether the Grafana at RAY_GRAFANA_HOST is well.",
      [this](Call call) { monitor(std::move(call), "grafana"); });
}

}  // namespace narke::gateway
