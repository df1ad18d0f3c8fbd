#include "base/own_log.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <unistd.h>

#include "base/json_text.h"

namespace narke {

static int64_t positive_variable(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  const int64_t value = text ? std::atoll(text) : 0;
  return value > 0 ? value : otherwise;
}

LogLimits log_limits() {
  const LogLimits usual;
  return {positive_variable("RAY_ROTATION_MAX_BYTES", usual.most_bytes),
          static_cast<int>(positive_variable("RAY_ROTATION_BACKUP_COUNT", usual.backups))};
}

bool rotate_log(const std::string& path, int backups) {
  const auto numbered = [&path](int number) { return path + "." + std::to_string(number); };
  for (int number = backups; number > 1; --number) rename(numbered(number - 1).c_str(), numbered(number).c_str());
  return rename(path.c_str(), numbered(1).c_str()) == 0;
}

bool wants_json_logs() {
  const char* value = std::getenv("RAY_BACKEND_LOG_JSON");
  return value != nullptr && std::string_view(value) == "1";
}

static std::string stamp_of(int64_t epoch_ms) {
  const std::time_t seconds = epoch_ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char out[40];
  const size_t size = std::strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(out + size, sizeof(out) - size, ".%03dZ", static_cast<int>(epoch_ms % 1000));
  return out;
}

std::string log_line(std::string_view component, std::string_view message, int64_t epoch_ms, bool as_json) {
  if (!as_json) return stamp_of(epoch_ms) + " " + std::string(message);
  return "{\"asctime\": " + json_text(stamp_of(epoch_ms)) + R"(, "levelname": "I", "component": )" +
         json_text(component) + ", \"pid\": " + std::to_string(getpid()) + ", \"message\": " + json_text(message) + "}";
}

static int64_t epoch_now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

void complain(std::string_view component, std::string_view message) {
  std::fprintf(stderr, "%s\n", log_line(component, message, epoch_now_ms(), wants_json_logs()).c_str());
}

void OwnLog::open(std::string path, std::string component, LogLimits limits) {
  path_ = std::move(path);
  component_ = std::move(component);
  limits_ = limits;
  as_json_ = wants_json_logs();
  file_.open(path_, std::ios::app | std::ios::ate);
}

void OwnLog::write(std::string_view message) {
  if (!file_.is_open()) return;
  if (file_.tellp() >= limits_.most_bytes && rotate_log(path_, limits_.backups)) {
    file_.close();
    file_.open(path_, std::ios::app);
  }
  file_ << log_line(component_, message, epoch_now_ms(), as_json_) << std::endl;
}

}  // namespace narke
