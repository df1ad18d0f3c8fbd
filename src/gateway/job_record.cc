#include "gateway/job_record.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

namespace narke::gateway {

static constexpr size_t kMaxIdBytes = 200;
static constexpr size_t kMaxEntrypointBytes = 100'000;

// ---- the request -------------------------------------------------------------------------------------------

static Error wrong(const std::string& what) { return {ErrorCode::kFailed, what}; }

static bool is_number(const json::value& value) { return value.is_double() || value.is_int64() || value.is_uint64(); }

static bool all_strings(const json::object& object) {
  for (const auto& [key, value] : object)
    if (!value.is_string()) return false;
  return true;
}

// Names of files are made of it, so it is held to what is safe there.
static bool is_id(const std::string& id) {
  if (id.empty() || id.size() > kMaxIdBytes || id.front() == '.') return false;
  for (const char c : id)
    if (static_cast<unsigned char>(c) < 0x20 || c == '/' || c == '\\' || c == 0x7f) return false;
  return true;
}

static Status take_text(const json::object& body, const char* key, std::string* out) {
  const json::value* value = body.if_contains(key);
  if (value == nullptr || value->is_null()) return ok_status();
  if (!value->is_string()) return wrong(std::string(key) + " must be a string");
  *out = std::string(value->get_string());
  return ok_status();
}

static Status take_object(const json::object& body, const char* key, json::object* out) {
  const json::value* value = body.if_contains(key);
  if (value == nullptr || value->is_null()) return ok_status();
  if (!value->is_object()) return wrong(std::string(key) + " must be a dict");
  *out = value->get_object();
  return ok_status();
}

static Status take_amount(const json::object& body, const char* key, const char* resource, Amounts* out) {
  const json::value* value = body.if_contains(key);
  if (value == nullptr || value->is_null()) return ok_status();
  if (!is_number(*value) || !(amount_of(*value) >= 0) || amount_of(*value) > 9e14)
    return wrong(std::string(key) + " must be a number of 0 or more");
  if (amount_of(*value) > 0) (*out)[resource] = amount_of(*value);
  return ok_status();
}

static Status take_resources(const json::object& body, Amounts* out) {
  static constexpr std::array<std::array<const char*, 2>, 3> kFields = {
      {{"entrypoint_num_cpus", "CPU"}, {"entrypoint_num_gpus", "GPU"}, {"entrypoint_memory", "memory"}}};
  for (const auto& [field, resource] : kFields)
    if (Status taken = take_amount(body, field, resource, out); !taken.ok()) return taken;
  json::object more;
  if (Status taken = take_object(body, "entrypoint_resources", &more); !taken.ok()) return taken;
  for (const auto& [name, amount] : more) {
    if (!is_number(amount) || !(amount_of(amount) >= 0) || amount_of(amount) > 9e14)
      return wrong("entrypoint_resources values must be numbers of 0 or more; '" + std::string(name) + "' is not");
    if (amount_of(amount) > 0) (*out)[std::string(name)] = amount_of(amount);
  }
  return ok_status();
}

static Status check_environment(const json::object& runtime_env) {
  const json::value* variables = runtime_env.if_contains("env_vars");
  if (variables == nullptr || variables->is_null()) return ok_status();
  if (!variables->is_object() || !all_strings(variables->get_object()))
    return wrong("runtime_env['env_vars'] must be a dict of strings to strings");
  for (const auto& [name, value] : variables->get_object())
    if (name.empty() || name.find('=') != name.npos || name.find('\0') != name.npos ||
        value.get_string().find('\0') != json::string::npos)
      return wrong("runtime_env['env_vars'] holds a name or value that no environment can have");
  return ok_status();
}

Result<JobRequest> parse_job_request(const json::value& value) {
  if (!value.is_object()) return wrong("the body must be a JSON object");
  const json::object& body = value.get_object();
  JobRequest out;
  std::string older_id;
  for (const auto& [key, to] :
       {std::pair{"entrypoint", &out.entrypoint}, {"submission_id", &out.submission_id}, {"job_id", &older_id}})
    if (Status taken = take_text(body, key, to); !taken.ok()) return taken.error();
  if (out.submission_id.empty()) out.submission_id = older_id;
  if (out.entrypoint.empty()) return wrong("entrypoint must be a string that is not empty");
  if (out.entrypoint.size() > kMaxEntrypointBytes || out.entrypoint.find('\0') != std::string::npos)
    return wrong("entrypoint must be at most 100,000 bytes, none of them zero");
  if (!out.submission_id.empty() && !is_id(out.submission_id))
    return wrong("submission_id must have at most 200 characters, no slash, and no dot at its beginning");
  if (Status taken = take_object(body, "runtime_env", &out.runtime_env); !taken.ok()) return taken.error();
  if (Status sound = check_environment(out.runtime_env); !sound.ok()) return sound.error();
  if (Status taken = take_object(body, "metadata", &out.metadata); !taken.ok()) return taken.error();
  if (!all_strings(out.metadata)) return wrong("metadata values must be strings");
  if (Status taken = take_resources(body, &out.resources); !taken.ok()) return taken.error();
  return out;
}

// ---- the record --------------------------------------------------------------------------------------------

void JobRecord::end(const char* how, std::string text, std::string error, int64_t now_ms) {
  status = how;
  message = std::move(text);
  error_type = std::move(error);
  end_ms = now_ms;
}

json::object to_json(const JobRecord& record) {
  json::object resources;
  for (const auto& [name, amount] : record.resources) resources[name] = amount;
  json::object out = {{"submission_id", record.submission_id},
                      {"entrypoint", record.entrypoint},
                      {"status", record.status},
                      {"message", record.message},
                      {"error_type", record.error_type},
                      {"start_ms", record.start_ms},
                      {"end_ms", record.end_ms},
                      {"metadata", record.metadata},
                      {"runtime_env", record.runtime_env},
                      {"resources", std::move(resources)},
                      {"supervisor_pid", record.supervisor_pid},
                      {"driver_pid", record.driver_pid},
                      {"node_id", record.node_id},
                      {"node_ip", record.node_ip}};
  if (record.exit_code) out["exit_code"] = *record.exit_code;
  return out;
}

std::optional<JobRecord> job_record_of(std::string_view text) {
  const auto value = parse_json(text);
  if (!value || !value->is_object()) return {};
  const json::object& from = value->get_object();
  JobRecord out;
  out.submission_id = text_at(from, "submission_id");
  out.entrypoint = text_at(from, "entrypoint");
  out.status = text_at(from, "status");
  out.message = text_at(from, "message");
  out.error_type = text_at(from, "error_type");
  out.start_ms = number_at(from, "start_ms", 0);
  out.end_ms = number_at(from, "end_ms", 0);
  for (const auto& [key, to] : {std::pair{"metadata", &out.metadata}, {"runtime_env", &out.runtime_env}})
    if (const json::value* object = from.if_contains(key); object && object->is_object()) *to = object->get_object();
  if (const json::value* amounts = from.if_contains("resources"); amounts && amounts->is_object())
    for (const auto& [name, amount] : amounts->get_object()) out.resources[std::string(name)] = amount_of(amount);
  out.supervisor_pid = static_cast<int>(number_at(from, "supervisor_pid", 0));
  out.driver_pid = static_cast<int>(number_at(from, "driver_pid", 0));
  out.node_id = text_at(from, "node_id");
  out.node_ip = text_at(from, "node_ip");
  if (from.contains("exit_code")) out.exit_code = static_cast<int>(number_at(from, "exit_code", 0));
  if (out.submission_id.empty() || out.status.empty()) return {};
  return out;
}

json::object redacted(json::object runtime_env) {
  if (json::value* variables = runtime_env.if_contains("env_vars"); variables && variables->is_object())
    for (auto& [name, value] : variables->get_object()) value = "<redacted>";
  return runtime_env;
}

static json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::object job_details(const JobRecord& record, const std::string& job_id, bool secrets) {
  json::value driver = nullptr;
  if (!job_id.empty())
    driver = {{"id", job_id}, {"node_ip_address", record.node_ip}, {"pid", std::to_string(record.driver_pid)}};
  return {{"type", "SUBMISSION"},
          {"job_id", text_or_null(job_id)},
          {"submission_id", record.submission_id},
          {"driver_info", std::move(driver)},
          {"status", record.status},
          {"entrypoint", record.entrypoint},
          {"message", text_or_null(record.message)},
          {"error_type", text_or_null(record.error_type)},
          {"start_time", record.start_ms},
          {"end_time", record.end_ms == 0 ? json::value(nullptr) : json::value(record.end_ms)},
          {"metadata", record.metadata},
          {"runtime_env", secrets ? record.runtime_env : redacted(record.runtime_env)},
          {"driver_agent_http_address", nullptr},
          {"driver_node_id", text_or_null(record.node_id)},
          {"driver_exit_code", record.exit_code ? json::value(*record.exit_code) : json::value(nullptr)}};
}

// ---- small things ------------------------------------------------------------------------------------------

std::string new_submission_id() {
  static constexpr char kLetters[] = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz123456789";
  unsigned char raw[16];
  NARKE_CHECK(getrandom(raw, sizeof(raw), 0) == sizeof(raw));
  std::string out = "raysubmit_";
  for (const unsigned char byte : raw) out += kLetters[byte % (sizeof(kLetters) - 1)];
  return out;
}

Status write_private_file(const std::string& path, const std::string& text) {
  const std::string draft = path + "." + std::to_string(getpid());
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool written = fd >= 0;
  for (size_t at = 0; written && at < text.size();) {
    const ssize_t size = write(fd, text.data() + at, text.size() - at);
    if (size < 0 && errno == EINTR) continue;
    written = size > 0;
    at += written ? static_cast<size_t>(size) : 0;
  }
  if (fd >= 0) close(fd);
  if (written && rename(draft.c_str(), path.c_str()) == 0) return ok_status();
  const Error error{ErrorCode::kFailed, path + " cannot be written: " + std::strerror(errno)};
  unlink(draft.c_str());
  return error;
}

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return {};
  return std::string(std::istreambuf_iterator<char>(file), {});
}

int64_t epoch_now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace narke::gateway
