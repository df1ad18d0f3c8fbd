// What workers write: lines to the drivers that want them, files that are rotated and go in the end.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <unordered_map>
#include <vector>

#include "base/log_files.h"
#include "node/service.h"

namespace narke::node {

static constexpr int64_t kReopenMs = 10'000;
static constexpr int64_t kPruneLeastMs = 1'000, kPruneMostMs = 600'000;  // between two looks
static constexpr double kDayMs = 24.0 * 3600 * 1000;

// NARKE_LOG_KEEP_DAYS and NARKE_LOG_TOTAL_BYTES, where they are positive numbers.
static LogRetention log_retention() {
  LogRetention out;
  const auto number = [](const char* name) {
    const char* text = std::getenv(name);
    return text ? std::atof(text) : 0.0;
  };
  if (const double days = number("NARKE_LOG_KEEP_DAYS"); days > 0) out.keep_ms = static_cast<int64_t>(days * kDayMs);
  if (const double bytes = number("NARKE_LOG_TOTAL_BYTES"); bytes >= 1) out.total_bytes = static_cast<uint64_t>(bytes);
  return out;
}

void Service::on_lines(const std::vector<LogText>& lines) {
  std::unordered_map<Program*, std::vector<const LogText*>> by_driver;
  for (const LogText& line : lines) {
    const Worker* worker = cluster_.core().find(line.worker);
    Program* driver = worker ? driver_of(worker->job) : nullptr;
    if (driver && driver->log_to_driver) by_driver[driver].push_back(&line);
  }
  for (const auto& [driver, texts] : by_driver) {
    Builder& builder = fresh();
    std::vector<flatbuffers::Offset<wire::LogLine>> packed;
    for (const LogText* line : texts) {
      const Worker& worker = *cluster_.core().find(line->worker);
      const bool is_named = !line->speaker.empty() || !worker.lease;
      const auto name = builder.CreateString(is_named ? line->speaker : worker.lease->task_name);
      const auto text = builder.CreateString(line->text);
      const auto id = line->worker.to_wire<wire::WorkerId>();
      packed.push_back(wire::CreateLogLine(builder, worker.pid, &id, name, line->is_error, text));
    }
    builder.Finish(wire::CreateLogLines(builder, builder.CreateVector(packed)));
    send_to(*driver, MessageType::LogLines, 0, builder);
  }
}

void Service::on_rotated(const WorkerId& worker) {
  MapBuilder body;
  body.Map([&] {
    body.String("stdout", LogFollower::path(config_.session_dir + "/logs", worker, false));
    body.String("stderr", LogFollower::path(config_.session_dir + "/logs", worker, true));
  });
  body.Finish();
  ask_program(worker, "reopen_logs", body.GetBuffer(), kReopenMs, [this, worker](const Answer& answer) {
    if (!answer.error_kind.empty()) log_("worker " + worker.hex() + " goes on in its old log: " + answer.error);
  });
}

void Service::prune_old_logs() {
  static const LogRetention retention = log_retention();
  const int64_t period_ms = std::clamp(retention.keep_ms / 10, kPruneLeastMs, kPruneMostMs);
  if (now_ms() - pruned_ms_ < period_ms || config_.session_dir.empty()) return;
  pruned_ms_ = now_ms();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const int64_t epoch = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  errands_.run(
      [folder = config_.session_dir + "/logs", names = logs_.names(), epoch] {
        prune_logs(folder, names, retention, epoch);
        return Answer{};
      },
      [](const Answer&) {});
}

}  // namespace narke::node
