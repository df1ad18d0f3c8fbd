// What this host is doing, read from /proc and /sys. Amounts in bytes, times in seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace narke {

struct HostStats {
  double cpu_percent = 0;  // of all cores, since the last look
  int cores = 0;
  uint64_t memory_total = 0, memory_available = 0;
  uint64_t disk_total = 0, disk_free = 0;  // of the file system of the session
  uint64_t shm_used = 0;
  double sent_per_s = 0, received_per_s = 0;
  uint64_t sent = 0, received = 0;
  double disk_read_per_s = 0, disk_write_per_s = 0;
  uint64_t disk_read = 0, disk_written = 0;
  double load_1 = 0, load_5 = 0, load_15 = 0;
};

class HostWatch {
 public:
  explicit HostWatch(std::string path) : path_(std::move(path)) {}
  // Rates are over the time since the last call that was at least a second ago.
  const HostStats& look();

 private:
  struct Counters {
    uint64_t busy = 0, all = 0, sent = 0, received = 0, read = 0, written = 0;
  };
  static Counters count();
  void update_rates(const Counters& now, double seconds);

  std::string path_;
  HostStats last_;
  Counters counters_;
  std::chrono::steady_clock::time_point at_{};
};

struct ProcessStats {
  uint64_t resident = 0;  // bytes
  double cpu_s = 0;       // user and system time since its start
};
// Of one process; zeros when it is gone.
ProcessStats process_stats(int pid);

}  // namespace narke
