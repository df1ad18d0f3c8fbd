// What workers run in besides their program: asked for, found, let go (environments.h).
#include <filesystem>
#include <set>

#include "node/service.h"

namespace narke::node {

void Service::make_environments() {
  Environments::Hooks hooks;
  hooks.changed = [this] { settle(); };
  hooks.spare = [this](int pid, bool on) { processes_->spare(pid, on); };
  hooks.unused = [this](const Interpreter& interpreter) { processes_->end_zygote(interpreter); };
  hooks.log = [this](const std::string& message) {
    log_(message);
    history_.add(now_ms(), "ERROR", "NODE", message);
  };
  EnvironmentsConfig config;
  config.command = config_.setup_command;
  config.log_path = config_.session_dir + "/logs/runtime_env_setup.log";
  const std::filesystem::path session = config_.session_dir;
  config.answer_dirs = {{"session", session / "runtime_resources" / "answers"},
                        {"host", session.parent_path() / "runtime_env_cache" / "answers"}};
  environments_ = std::make_unique<Environments>(reactor_, std::move(config), std::move(hooks));
}

// A task's or actor's own environment says all; without one it is the job's.
std::string Service::environment_text(const JobId& job, const std::string& runtime_env) const {
  if (const std::string_view own = kind_of(runtime_env).environment; !own.empty()) return std::string(own);
  const controller::Job* record = cluster_.controller().jobs.find(job);
  if (record == nullptr) return "";
  const flexbuffers::Map config =
      map_of(reinterpret_cast<const uint8_t*>(record->config.data()), record->config.size());
  return config["environment"].IsString() ? config["environment"].AsString().str() : "";
}

EnvironmentState Service::environment(const JobId& job, const std::string& runtime_env) {
  const std::string text = environment_text(job, runtime_env);
  return text.starts_with(kSetupMark) ? environments_->state(text) : EnvironmentState{};
}

void Service::end_unused_environments() {
  if (environments_->is_empty()) return;
  std::set<std::pair<JobId, std::string>> families;
  for (const auto& [id, worker] : cluster_.core().workers()) families.emplace(worker.job, worker.runtime_env);
  std::set<std::string> used;
  for (const auto& [job, runtime_env] : families) used.insert(environment_text(job, runtime_env));
  environments_->tick([&used](const std::string& text) { return used.contains(text); });
}

}  // namespace narke::node
