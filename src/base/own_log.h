// The log that a daemon writes of itself: lines of text, or JSON objects for machines that collect them.
//
// A file that has grown beyond the limits gets the name path.1, older ones count up, the oldest goes.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

namespace narke {

// How large a log becomes, and how many older ones are kept.
struct LogLimits {
  int64_t most_bytes = 512 << 20;
  int backups = 5;
};

// Those that RAY_ROTATION_MAX_BYTES and RAY_ROTATION_BACKUP_COUNT name, Ray's variables for the same.
LogLimits log_limits();

// Gives path the name path.1 and so on. False: there is no such file, or it cannot be renamed.
bool rotate_log(const std::string& path, int backups);

// Whether daemons are to write JSON: RAY_BACKEND_LOG_JSON=1, as with Ray.
bool wants_json_logs();

// Without an end of line. Text: "2026-01-31T12:00:00.123Z message". JSON: {"asctime", "levelname", "component", "pid",
// "message"}.
std::string log_line(std::string_view component, std::string_view message, int64_t epoch_ms, bool as_json);

// To the standard error output, for what has no log of its own.
void complain(std::string_view component, std::string_view message);

class OwnLog {
 public:
  // Lines are added to what the file holds.
  void open(std::string path, std::string component, LogLimits limits = log_limits());
  // Written when it returns.
  void write(std::string_view message);

 private:
  std::string path_, component_;
  LogLimits limits_;
  std::ofstream file_;
  bool as_json_ = false;
};

}  // namespace narke
