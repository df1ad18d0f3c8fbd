#include "gateway/job_routes.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include <sys/stat.h>

#include "gateway/text.h"
#include "gateway/url.h"

namespace narke::gateway {

namespace fs = std::filesystem;

static constexpr uint64_t kJobBodyBytes = 4 << 20;
static constexpr uint64_t kPackageBytes = 500ull << 20;  // as large as Ray's clients send
static constexpr uint64_t kLogBytes = 32 << 20;          // of the end of a log, in one answer

static const char kSubmitSchema[] = R"({"type": "object", "required": ["entrypoint"], "properties": {
  "entrypoint": {"type": "string", "minLength": 1, "maxLength": 1000},
  "submission_id": {"type": "string", "nullable": true, "pattern": "^[A-Za-z0-9_-]{1,100}$"},
  "runtime_env": {"type": "object", "nullable": true}, "metadata": {"type": "object", "nullable": true,
    "additionalProperties": {"type": "string"}},
  "entrypoint_num_cpus": {"type": "number", "nullable": true, "minimum": 0},
  "entrypoint_num_gpus": {"type": "number", "nullable": true, "minimum": 0},
  "entrypoint_memory": {"type": "number", "nullable": true, "minimum": 0},
  "entrypoint_resources": {"type": "object", "nullable": true, "additionalProperties": {"type": "number", "minimum": 0}}
}})";

// ---- drivers -----------------------------------------------------------------------------------------------

namespace {

struct Driver {
  std::string job_id, submission_id;
  json::object details;
};

json::object config_of(const flexbuffers::Map& row) {
  const flexbuffers::Reference config = row["config"];
  if (!config.IsBlob()) return {};
  const flexbuffers::Blob bytes = config.AsBlob();
  if (bytes.size() == 0 || !flexbuffers::VerifyBuffer(bytes.data(), bytes.size())) return {};
  json::value value = json_of(flexbuffers::GetRoot(bytes.data(), bytes.size()));
  return value.is_object() ? std::move(value.get_object()) : json::object();
}

json::object object_at(const json::object& from, const char* key) {
  const json::value* value = from.if_contains(key);
  return value && value->is_object() ? value->get_object() : json::object();
}

Driver driver_of(const flexbuffers::Map& row, bool secrets) {
  const json::object config = config_of(row), metadata = object_at(config, "metadata");
  const flexbuffers::Map info = row["driver_info"].AsMap();
  Driver out;
  out.job_id = row["job_id"].AsString().str();
  out.submission_id = text_at(metadata, "job_submission_id");
  const json::object runtime_env = object_at(config, "runtime_env");
  const int64_t end = row["end_time"].AsInt64();
  out.details = {{"type", "DRIVER"},
                 {"job_id", out.job_id},
                 {"submission_id", nullptr},
                 {"driver_info",
                  {{"id", out.job_id},
                   {"node_ip_address", info["node_ip_address"].AsString().str()},
                   {"pid", std::to_string(info["pid"].AsInt64())}}},
                 {"status", row["status"].AsString().str()},
                 {"entrypoint", row["entrypoint"].AsString().str()},
                 {"message", nullptr},
                 {"error_type", nullptr},
                 {"start_time", row["start_time"].AsInt64()},
                 {"end_time", end == 0 ? json::value(nullptr) : json::value(end)},
                 {"metadata", metadata},
                 {"runtime_env", secrets ? runtime_env : redacted(runtime_env)},
                 {"driver_agent_http_address", nullptr},
                 {"driver_node_id", nullptr},
                 {"driver_exit_code", nullptr}};
  return out;
}

std::vector<Driver> drivers_of(const ControlAnswer& answer, bool secrets) {
  std::vector<Driver> out;
  const flexbuffers::Vector rows = answer.map()["jobs"].AsVector();
  for (size_t i = 0; i < rows.size(); ++i) out.push_back(driver_of(rows[i].AsMap(), secrets));
  return out;
}

}  // namespace

void JobRoutes::list(bool secrets, std::function<void(json::array)> done) {
  cluster_.call("list_jobs", map_body([](auto&) {}),
                [this, secrets, done = std::move(done)](const ControlAnswer& answer) {
                  std::map<std::string, std::string> job_ids;  // by submission id
                  std::vector<json::object> rows;
                  for (Driver& driver : drivers_of(answer, secrets)) {
                    if (!driver.submission_id.empty() && jobs_.find(driver.submission_id) != nullptr)
                      job_ids[driver.submission_id] = driver.job_id;
                    else
                      rows.push_back(std::move(driver.details));
                  }
                  for (const JobRecord* record : jobs_.all())
                    rows.push_back(job_details(*record, job_ids[record->submission_id], secrets));
                  std::sort(rows.begin(), rows.end(), [](const json::object& a, const json::object& b) {
                    return number_at(a, "start_time", 0) > number_at(b, "start_time", 0);
                  });
                  done(json::array(rows.begin(), rows.end()));
                });
}

// ---- routes ------------------------------------------------------------------------------------------------

static Route route(const std::string& method, const std::string& pattern, const char* summary, Route::Handler handler) {
  Route out;
  out.method = method;
  out.pattern = pattern;
  out.summary = summary;
  out.handler = std::move(handler);
  return out;
}

void JobRoutes::add_to(Router& router) {
  add_jobs_at(router, "/api/jobs");
  add_jobs_at(router, "/api/job_agent/jobs");
  add_packages(router);
}

void JobRoutes::add_jobs_at(Router& router, const std::string& prefix) {
  Route posted = route("POST", prefix + "/", "Submit a job.", [this](Call call) { submit(std::move(call)); });
  posted.body_limit_bytes = kJobBodyBytes;
  posted.body_schema = kSubmitSchema;
  router.add(std::move(posted));
  router.add(route("GET", prefix + "/", "All jobs, newest first.", [this](Call call) { list_all(std::move(call)); }));
  const std::string one = prefix + "/{job_or_submission_id}";
  router.add(route("GET", one, "One job.", [this](Call call) { info(std::move(call)); }));
  router.add(route("DELETE", one, "Forget a job that is over.", [this](Call call) { erase(std::move(call)); }));
  router.add(route("POST", one + "/stop", "Stop a job.", [this](Call call) { stop(std::move(call)); }));
  router.add(route("GET", one + "/logs", "What the job has printed.", [this](Call call) { logs(std::move(call)); }));
  Route tailed = route("GET", one + "/logs/tail", "What the job prints, as it does (WebSocket, or a chunked answer).",
                       [this](Call call) { tail(std::move(call)); });
  tailed.is_stream = true;
  router.add(std::move(tailed));
}

void JobRoutes::submit(Call call) {
  const auto body = parse_json(call.request.body);
  if (!body) return call.reply(text_response(400, "The body is not JSON."));
  auto request = parse_job_request(*body);
  if (!request.ok()) return call.reply(text_response(400, request.error().message));
  auto submitted = jobs_.submit(std::move(request).value());
  if (!submitted.ok())
    return call.reply(
        text_response(submitted.error().code == ErrorCode::kRefused ? 400 : 500, submitted.error().message));
  call.reply(json_response(200, {{"job_id", submitted.value()}, {"submission_id", submitted.value()}}));
}

void JobRoutes::list_all(Call call) {
  list(guard_.may_see_secrets(call.request),
       [reply = std::move(call.reply)](json::array rows) { reply(json_response(200, std::move(rows))); });
}

static Response no_job(const std::string& id) { return text_response(404, "Job " + id + " does not exist"); }

void JobRoutes::info(Call call) {
  const std::string wanted = call.parts[0];
  list(guard_.may_see_secrets(call.request), [wanted, reply = std::move(call.reply)](json::array rows) {
    for (json::value& row : rows) {
      const json::object& job = row.get_object();
      if (text_at(job, "submission_id") == wanted || text_at(job, "job_id") == wanted)
        return reply(json_response(200, row));
    }
    reply(no_job(wanted));
  });
}

void JobRoutes::with_job(Call call, const char* verb, std::function<void(Call, const std::string& id)> then) {
  const std::string wanted = call.parts[0];
  if (jobs_.find(wanted) != nullptr) return then(std::move(call), wanted);
  list(false, [wanted, verb, call = std::move(call), then = std::move(then)](json::array rows) mutable {
    for (const json::value& row : rows) {
      if (text_at(row.get_object(), "job_id") != wanted) continue;
      const std::string id = text_at(row.get_object(), "submission_id");
      if (!id.empty()) return then(std::move(call), id);
      return call.reply(text_response(400, std::string("Can only ") + verb + " submission type jobs"));
    }
    call.reply(no_job(wanted));
  });
}

void JobRoutes::stop(Call call) {
  with_job(std::move(call), "stop", [this](Call asked, const std::string& id) {
    asked.reply(json_response(200, {{"stopped", jobs_.stop(id)}}));
  });
}

void JobRoutes::erase(Call call) {
  with_job(std::move(call), "delete", [this](Call asked, const std::string& id) {
    const JobRecord* record = jobs_.find(id);
    if (!record->is_over())
      return asked.reply(text_response(
          400, "Attempted to delete job '" + id + "', but it is in a non-terminal state " + record->status + "."));
    const Status erased = jobs_.erase(id);
    if (!erased.ok()) return asked.reply(text_response(500, erased.error().message));
    asked.reply(json_response(200, {{"deleted", true}}));
  });
}

static std::string end_of_file(const std::string& path) {
  std::string text = read_file(path).value_or("");
  if (text.size() <= kLogBytes) return text;
  const size_t begin = text.find('\n', text.size() - kLogBytes);
  return "... earlier lines are in " + path + "\n" +
         text.substr(begin == text.npos ? text.size() - kLogBytes : begin + 1);
}

void JobRoutes::logs(Call call) {
  with_job(std::move(call), "get logs of", [this](Call asked, const std::string& id) {
    asked.reply(json_response(200, {{"logs", valid_utf8(end_of_file(jobs_.log_path(id)))}}));
  });
}

void JobRoutes::tail(Call call) {
  with_job(std::move(call), "get logs of", [this](Call asked, const std::string& id) {
    FileSourceOptions options;
    options.path = jobs_.log_path(id);
    options.is_over = [this, id] {
      const JobRecord* record = jobs_.find(id);
      return record == nullptr || record->is_over();
    };
    options.pause = std::chrono::milliseconds(50);
    Response response;
    response.source = follow_file(std::move(options), after_);
    asked.reply(std::move(response));
  });
}

// ---- packages ----------------------------------------------------------------------------------------------

void JobRoutes::add_packages(Router& router) {
  router.add(route("GET", "/api/packages/{protocol}/{package_name}", "Whether a package is here.",
                   [this](Call call) { get_package(std::move(call)); }));
  Route put = route("PUT", "/api/packages/{protocol}/{package_name}", "Bring a package.",
                    [this](Call call) { put_package(std::move(call)); });
  put.body_limit_bytes = kPackageBytes;
  put.is_upload = true;
  router.add(std::move(put));
}

// Where a package lies, or "" for a name that no client of ours makes.
static std::string package_path(const std::string& dir, const std::vector<std::string>& parts) {
  const std::string& name = parts[1];
  if (parts[0] != "gcs" || !is_plain_name(name) || name.front() == '.' || name.size() > 200) return {};
  for (const char* ending : {".zip", ".tar.gz", ".tgz", ".tar.xz", ".whl", ".jar"})
    if (name.ends_with(ending)) return dir + "/" + name;
  return {};
}

void JobRoutes::get_package(Call call) {
  const std::string path = package_path(packages_dir_, call.parts);
  std::error_code error;
  if (path.empty() || !fs::is_regular_file(path, error))
    return call.reply(text_response(404, "There is no package " + call.parts[0] + "://" + call.parts[1] + "."));
  call.reply(text_response(200, ""));
}

void JobRoutes::put_package(Call call) {
  const std::string path = package_path(packages_dir_, call.parts);
  if (path.empty())
    return call.reply(text_response(400, "A package's name is gcs/NAME.zip (or .tar.gz, .tgz, .tar.xz, .whl, .jar)."));
  std::error_code error;
  ::chmod(call.request.body_file.c_str(), 0600);
  fs::rename(call.request.body_file, path, error);
  if (error) return call.reply(text_response(500, "The package cannot be stored: " + error.message()));
  call.reply(text_response(200, ""));
}

}  // namespace narke::gateway
