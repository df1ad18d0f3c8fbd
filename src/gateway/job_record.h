// What is known of a submitted job, and the request that makes one. Pure.
//
// The record lies in <session>/jobs/<submission id>/job.json. Until its supervisor starts the gateway writes it,
// afterwards the supervisor alone.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "gateway/json.h"

namespace narke::gateway {

// What the entry point's process holds of the cluster's resources while the job is there.
using Amounts = std::map<std::string, double>;

struct JobRequest {
  std::string submission_id;  // "" for one of our choosing
  std::string entrypoint;
  json::object runtime_env;
  json::object metadata;  // of strings
  Amounts resources;
};
// The body of POST /api/jobs/; the error names the field and what it must be.
Result<JobRequest> parse_job_request(const json::value& body);

struct JobRecord {
  std::string submission_id, entrypoint;
  std::string status = "PENDING";  // PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED
  std::string message, error_type;
  int64_t start_ms = 0, end_ms = 0;  // since 1970; 0: not yet
  json::object metadata, runtime_env;
  Amounts resources;
  std::optional<int> exit_code;
  int supervisor_pid = 0;
  int driver_pid = 0;  // of the entry point's process
  std::string node_id, node_ip;

  bool is_over() const { return status == "STOPPED" || status == "SUCCEEDED" || status == "FAILED"; }
  void end(const char* how, std::string text, std::string error, int64_t now_ms);
};
json::object to_json(const JobRecord& record);
std::optional<JobRecord> job_record_of(std::string_view text);

// The details as Ray's clients read them. job_id: of the driver that the entry point started, "" for none.
// secrets: show the values of env_vars.
json::object job_details(const JobRecord& record, const std::string& job_id, bool secrets);
// runtime_env with every value of env_vars replaced.
json::object redacted(json::object runtime_env);

// "raysubmit_" and 16 characters that nobody can guess.
std::string new_submission_id();
// Whole file, in one step; 0600.
Status write_private_file(const std::string& path, const std::string& text);
// Nothing when it cannot be read.
std::optional<std::string> read_file(const std::string& path);
int64_t epoch_now_ms();

}  // namespace narke::gateway
