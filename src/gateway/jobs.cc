#include "gateway/jobs.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own_log.h"
#include "gateway/process_tree.h"

extern char** environ;

namespace narke::gateway {

namespace fs = std::filesystem;

static constexpr int64_t kStartLimitMs = 900'000;  // for its resources to become free
static constexpr int64_t kGroupWaitMs = 15'000;    // each time that is asked
static constexpr size_t kGroupIdBytes = 18;
static constexpr int64_t kSetupLimitS = 600;        // unless the environment says otherwise
static constexpr int64_t kAnyLimitS = 7 * 86'400;   // "as long as it takes"
static constexpr char kWaitingText[] =
    "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become "
    "available. It may be waiting for the runtime environment to be set up.";

Jobs::Jobs(JobsConfig config, Cluster& cluster) : config_(std::move(config)), cluster_(cluster) {}

// ---- records -----------------------------------------------------------------------------------------------

void Jobs::load() {
  std::error_code error;
  fs::create_directories(config_.session_dir + "/jobs", error);
  ::chmod((config_.session_dir + "/jobs").c_str(), 0700);
  for (fs::directory_iterator at(config_.session_dir + "/jobs", error), end; !error && at != end; at.increment(error)) {
    const auto text = read_file(at->path() / "job.json");
    auto record = text ? job_record_of(*text) : std::nullopt;
    if (!record || record->submission_id != at->path().filename()) continue;
    Job job;
    job.record = std::move(*record);
    job.group = read_file(at->path() / "group").value_or("");
    const std::string id = job.record.submission_id;
    Job& kept = jobs_[id] = std::move(job);
    if (!kept.record.is_over() && kept.record.supervisor_pid == 0)
      give_up(kept, "The gateway ended before it could start the job; submit it again.", "JOB_SUPERVISOR_ACTOR_DIED");
  }
}

void Jobs::save(const JobRecord& record) {
  const Status written = write_private_file(dir(record.submission_id) + "/job.json", json::serialize(to_json(record)));
  if (!written.ok()) complain("dashboard", written.error().message);
}

void Jobs::refresh(Job& job) {
  if (job.record.is_over() || job.record.supervisor_pid == 0) return;
  const auto text = read_file(dir(job.record.submission_id) + "/job.json");
  auto record = text ? job_record_of(*text) : std::nullopt;
  if (!record) return;
  record->supervisor_pid = job.record.supervisor_pid;
  job.record = std::move(*record);
}

const JobRecord* Jobs::find(const std::string& id) {
  const auto at = jobs_.find(id);
  if (at == jobs_.end()) return nullptr;
  refresh(at->second);
  return &at->second.record;
}

std::vector<const JobRecord*> Jobs::all() {
  std::vector<const JobRecord*> out;
  for (auto& [id, job] : jobs_) {
    refresh(job);
    out.push_back(&job.record);
  }
  return out;
}

Status Jobs::erase(const std::string& id) {
  std::error_code error;
  fs::remove_all(dir(id), error);
  if (error) return Error{ErrorCode::kFailed, "The job's folder cannot be removed: " + error.message()};
  jobs_.erase(id);
  return ok_status();
}

void Jobs::give_up(Job& job, const std::string& message, const char* kind) {
  job.record.end("FAILED", message, kind, epoch_now_ms());
  save(job.record);
  release(job);
}

// ---- submission --------------------------------------------------------------------------------------------

Result<std::string> Jobs::submit(JobRequest request) {
  const std::string id = request.submission_id.empty() ? new_submission_id() : request.submission_id;
  if (jobs_.contains(id))
    return Error{ErrorCode::kRefused,
                 "Job with submission_id " + id + " already exists. Please use a different submission_id."};
  if (::mkdir(dir(id).c_str(), 0700) != 0)
    return Error{ErrorCode::kFailed, "The folder of the job cannot be made: " + std::string(std::strerror(errno))};
  Job job;
  job.record.submission_id = id;
  job.record.entrypoint = std::move(request.entrypoint);
  job.record.runtime_env = std::move(request.runtime_env);
  job.record.metadata = std::move(request.metadata);
  job.record.resources = std::move(request.resources);
  job.record.message = kWaitingText;
  job.record.start_ms = epoch_now_ms();
  job.record.node_id = node_id_;
  job.record.node_ip = config_.node_ip;
  job.asked_ms = job.record.start_ms;
  const bool reserves = !job.record.resources.empty();
  Job& kept = jobs_[id] = std::move(job);
  save(kept.record);
  if (reserves)
    reserve(id);
  else
    launch(kept);
  return id;
}

// The entry point's resources are a placement group of one bundle: reserved anywhere in the cluster, counted as used.
void Jobs::reserve(const std::string& id) {
  Job& job = jobs_.at(id);
  job.group.resize(kGroupIdBytes);
  NARKE_CHECK(getrandom(job.group.data(), kGroupIdBytes, 0) == static_cast<ssize_t>(kGroupIdBytes));
  const Status written = write_private_file(dir(id) + "/group", job.group);
  if (!written.ok()) return give_up(job, written.error().message, "JOB_SUPERVISOR_ACTOR_START_FAILURE");
  auto body = map_body([&](flexbuffers::Builder& out) {
    out.Blob("pg_id", job.group.data(), job.group.size());
    out.String("name", "job " + id);
    out.String("strategy", "PACK");
    out.String("lifetime", "detached");
    out.String("namespace", "_narke_jobs");
    const size_t bundles = out.StartVector("bundles");
    const size_t bundle = out.StartMap();
    for (const auto& [name, amount] : job.record.resources) out.Double(name.c_str(), amount);
    out.EndMap(bundle);
    out.EndVector(bundles, false, false);
  });
  cluster_.call("create_placement_group", std::move(body), [this, id](const ControlAnswer& answer) {
    const auto at = jobs_.find(id);
    if (at == jobs_.end() || at->second.record.is_over()) return;
    if (answer.ok())
      await_group(id);
    else
      give_up(at->second, "The job's resources cannot be reserved: " + answer.error,
              "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE");
  });
}

void Jobs::await_group(const std::string& id) {
  auto body = map_body([&](flexbuffers::Builder& out) {
    const std::string& group = jobs_.at(id).group;
    out.Blob("pg_id", group.data(), group.size());
    out.Int("timeout_ms", kGroupWaitMs);
  });
  cluster_.call("wait_placement_group", std::move(body),
                [this, id](const ControlAnswer& answer) { on_group(id, answer); });
}

void Jobs::on_group(const std::string& id, const ControlAnswer& answer) {
  const auto at = jobs_.find(id);
  if (at == jobs_.end()) return;
  Job& job = at->second;
  if (job.record.is_over()) return;
  const std::string state = answer.ok() ? answer.map()["state"].AsString().str() : "";
  if (state == "CREATED") return launch(job);
  if (!answer.ok() || state == "REMOVED")
    return give_up(job, "The job's resources cannot be reserved: " + (answer.ok() ? "the group is gone" : answer.error),
                   "JOB_SUPERVISOR_ACTOR_START_FAILURE");
  if (epoch_now_ms() - job.asked_ms > kStartLimitMs)
    return give_up(job,
                   "Job supervisor failed to start within 900 s: the cluster has not had the resources that its entry "
                   "point asks for.",
                   "JOB_SUPERVISOR_ACTOR_START_TIMEOUT");
  await_group(id);
}

void Jobs::release(Job& job) {
  if (job.group.empty()) return;
  auto body = map_body([&](flexbuffers::Builder& out) { out.Blob("pg_id", job.group.data(), job.group.size()); });
  job.group.clear();
  ::unlink((dir(job.record.submission_id) + "/group").c_str());
  cluster_.call("remove_placement_group", std::move(body), [](const ControlAnswer& answer) {
    if (!answer.ok()) complain("dashboard", "a job's resources: " + answer.error);
  });
}

// ---- the supervisor ----------------------------------------------------------------------------------------

// As programs join the cluster.
std::string Jobs::cluster_address() const {
  const auto info = read_file(config_.session_dir + "/info.json");
  const auto value = info ? parse_json(*info) : std::nullopt;
  const std::string address = value && value->is_object() ? text_at(value->get_object(), "address") : "";
  return address.empty() ? config_.session_dir : address;
}

json::object Jobs::environment_of(const JobRecord& record) const {
  json::object metadata = record.metadata;
  metadata["job_submission_id"] = record.submission_id;
  if (!metadata.contains("job_name")) metadata["job_name"] = record.submission_id;
  const json::object config = {{"runtime_env", record.runtime_env}, {"metadata", std::move(metadata)}};
  json::object out = {{"NARKE_ADDRESS", config_.session_dir},
                      {"RAY_ADDRESS", cluster_address()},
                      {"RAY_JOB_CONFIG_JSON_ENV_VAR", json::serialize(config)},
                      {"RAY_JOB_SUBMISSION_ID", record.submission_id},
                      {"NARKE_AS_RAY", "1"},
                      {"PYTHONUNBUFFERED", "1"}};
  if (const json::value* variables = record.runtime_env.if_contains("env_vars"); variables && variables->is_object())
    for (const auto& [name, value] : variables->get_object()) out[name] = value;
  // `import ray` gives Narke in what is submitted to Narke; the cluster's interpreter is found as `python` at last.
  const std::string package = config_.python_path;
  const json::value* own = out.if_contains("PYTHONPATH");
  std::string path = package + "/narke/_shim:" + package;
  if (own)
    path += ":" + std::string(own->get_string());
  else if (const char* inherited = std::getenv("PYTHONPATH"))
    path += ":" + std::string(inherited);
  out["PYTHONPATH"] = path;
  if (const char* programs = std::getenv("PATH"); programs && !out.contains("PATH"))
    out["PATH"] = programs + (":" + fs::path(config_.python).parent_path().string());
  return out;
}

// Fields that nothing has to be made for; all others, those of plugins among them, are set up.
static bool needs_setup(const json::object& runtime_env) {
  static const std::set<std::string_view> kPlain = {"env_vars", "config", "excludes", "worker_process_setup_hook"};
  for (const auto& [field, value] : runtime_env)
    if (!value.is_null() && !kPlain.contains(field)) return true;
  return false;
}

static int64_t setup_limit_s(const json::object& runtime_env) {
  const json::value* config = runtime_env.if_contains("config");
  if (config == nullptr || !config->is_object()) return kSetupLimitS;
  const int64_t given = number_at(config->get_object(), "setup_timeout_seconds", 0);
  if (given < 0) return kAnyLimitS;
  return given > 0 ? given : kSetupLimitS;
}

json::object Jobs::launch_order(const JobRecord& record) const {
  json::array setup;
  if (needs_setup(record.runtime_env))
    setup = {config_.python, "-c",
             "import sys; sys.path.insert(0, sys.argv[1]); from narke._private import job_setup; job_setup.main()",
             config_.python_path};
  return {{"log", log_path(record.submission_id)},
          {"cwd", ""},
          {"env", environment_of(record)},
          {"setup", std::move(setup)},
          {"setup_input",
           {{"runtime_env", record.runtime_env},
            {"session_dir", config_.session_dir},
            {"metadata", record.metadata},
            {"submission_id", record.submission_id}}},
          {"setup_limit_s", setup_limit_s(record.runtime_env)},
          {"stop_grace_s", 3}};
}

// In a group of its own. What it is told before it listens (to stop) waits for it. Returns 0 or errno.
static int spawn_supervisor(char** command, int* pid) {
  sigset_t told;
  sigemptyset(&told);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&told, signal);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigmask(&attributes, &told);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  const int error = posix_spawn(pid, command[0], nullptr, &attributes, command, environ);
  posix_spawnattr_destroy(&attributes);
  return error;
}

void Jobs::launch(Job& job) {
  const std::string id = job.record.submission_id;
  const Status written = write_private_file(dir(id) + "/launch.json", json::serialize(launch_order(job.record)));
  if (!written.ok()) return give_up(job, written.error().message, "JOB_SUPERVISOR_ACTOR_START_FAILURE");
  std::vector<std::string> words = {config_.supervisor, "--dir=" + dir(id),
                                    "--node-pid=" + std::to_string(config_.node_pid)};
  std::vector<char*> command;
  for (std::string& word : words) command.push_back(word.data());
  command.push_back(nullptr);
  int pid = 0;
  if (const int error = spawn_supervisor(command.data(), &pid); error != 0)
    return give_up(job, config_.supervisor + " cannot be started: " + std::strerror(error),
                   "JOB_SUPERVISOR_ACTOR_START_FAILURE");
  supervisors_.insert(pid);
  job.record.supervisor_pid = pid;
}

// One started a moment ago may still bear this process' name; one that an earlier gateway started is known by its own.
bool Jobs::is_supervisor(int pid) const { return supervisors_.contains(pid) || program_of(pid) == "narke-job"; }

bool Jobs::stop(const std::string& id) {
  Job& job = jobs_.at(id);
  refresh(job);
  if (job.record.is_over()) return false;
  if (job.record.supervisor_pid == 0) {
    job.record.end("STOPPED", "Job was intentionally stopped.", "", epoch_now_ms());
    save(job.record);
    release(job);
    return true;
  }
  ::kill(job.record.supervisor_pid, SIGTERM);
  return true;
}

void Jobs::tick() {
  for (int pid = 0; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) supervisors_.erase(pid);
  for (auto& [id, job] : jobs_) {
    if (job.record.supervisor_pid == 0 || (job.record.is_over() && job.group.empty())) continue;
    if (is_supervisor(job.record.supervisor_pid)) continue;
    on_supervisor_gone(job);
  }
}

// What a supervisor that was killed leaves behind becomes this process' children.
void Jobs::kill_strays() const {
  for (const int child : children_of(getpid())) {
    if (is_supervisor(child)) continue;
    for (const int below : descendants_of(child)) ::kill(below, SIGKILL);
    ::kill(child, SIGKILL);
  }
}

void Jobs::on_supervisor_gone(Job& job) {
  refresh(job);
  if (!job.record.is_over()) {
    kill_strays();
    return give_up(job, "The job's supervisor ended unexpectedly; the job's processes went with it.",
                   "JOB_SUPERVISOR_ACTOR_DIED");
  }
  release(job);
}

}  // namespace narke::gateway
