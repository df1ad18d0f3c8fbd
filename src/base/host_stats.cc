#include "base/host_stats.h"

#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include <sys/statvfs.h>
#include <unistd.h>

namespace narke {

static constexpr double kShortestLookS = 1;
static constexpr uint64_t kSectorBytes = 512;

static uint64_t memory_line(const std::string& line) {
  std::istringstream words(line.substr(line.find(':') + 1));
  uint64_t kib = 0;
  words >> kib;
  return kib * 1024;
}

static void read_memory(HostStats* out) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemTotal:")) out->memory_total = memory_line(line);
    if (line.starts_with("MemAvailable:")) out->memory_available = memory_line(line);
    if (line.starts_with("Shmem:")) out->shm_used = memory_line(line);
  }
}

static void read_disk(const std::string& path, HostStats* out) {
  struct statvfs space{};
  if (statvfs(path.c_str(), &space) != 0) return;
  out->disk_total = static_cast<uint64_t>(space.f_blocks) * space.f_frsize;
  out->disk_free = static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
}

static bool is_whole_disk(const std::string& name) {
  return access(("/sys/block/" + name).c_str(), F_OK) == 0 && !name.starts_with("loop") && !name.starts_with("ram");
}

HostWatch::Counters HostWatch::count() {
  Counters out;
  std::ifstream stat("/proc/stat");
  std::string word;
  stat >> word;
  uint64_t value = 0;
  for (int i = 0; i < 8 && stat >> value; ++i) {
    out.all += value;
    if (i != 3 && i != 4) out.busy += value;  // idle, iowait
  }
  std::ifstream net("/proc/net/dev");
  for (std::string line; std::getline(net, line);) {
    const size_t colon = line.find(':');
    if (colon == line.npos || line.substr(0, colon).find("lo") != line.npos) continue;
    std::istringstream numbers(line.substr(colon + 1));
    uint64_t fields[9] = {};
    for (uint64_t& field : fields) numbers >> field;
    out.received += fields[0];
    out.sent += fields[8];
  }
  std::ifstream disks("/proc/diskstats");
  for (std::string line; std::getline(disks, line);) {
    std::istringstream numbers(line);
    std::string major, minor, name;
    uint64_t fields[7] = {};
    numbers >> major >> minor >> name;
    for (uint64_t& field : fields) numbers >> field;
    if (!is_whole_disk(name)) continue;
    out.read += fields[2] * kSectorBytes;
    out.written += fields[6] * kSectorBytes;
  }
  return out;
}

static double rate(uint64_t now, uint64_t before, double seconds) {
  return now > before ? static_cast<double>(now - before) / seconds : 0;
}

void HostWatch::update_rates(const Counters& now, double seconds) {
  const uint64_t all = now.all - counters_.all;
  last_.cpu_percent = all > 0 ? 100.0 * static_cast<double>(now.busy - counters_.busy) / static_cast<double>(all) : 0;
  last_.sent_per_s = rate(now.sent, counters_.sent, seconds);
  last_.received_per_s = rate(now.received, counters_.received, seconds);
  last_.disk_read_per_s = rate(now.read, counters_.read, seconds);
  last_.disk_write_per_s = rate(now.written, counters_.written, seconds);
}

const HostStats& HostWatch::look() {
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - at_).count();
  if (seconds < kShortestLookS) return last_;
  const Counters counters = count();
  if (at_.time_since_epoch().count() != 0) update_rates(counters, seconds);
  counters_ = counters;
  at_ = now;
  last_.sent = counters.sent;
  last_.received = counters.received;
  last_.disk_read = counters.read;
  last_.disk_written = counters.written;
  last_.cores = static_cast<int>(std::thread::hardware_concurrency());
  read_memory(&last_);
  read_disk(path_, &last_);
  std::ifstream("/proc/loadavg") >> last_.load_1 >> last_.load_5 >> last_.load_15;
  return last_;
}

ProcessStats process_stats(int pid) {
  ProcessStats out;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line) || line.rfind(')') == line.npos) return out;
  std::istringstream words(line.substr(line.rfind(')') + 2));
  std::string word;
  uint64_t user = 0, system = 0, resident = 0;
  for (int field = 3; field <= 24 && words >> word; ++field) {
    if (field == 14) user = std::strtoull(word.c_str(), nullptr, 10);
    if (field == 15) system = std::strtoull(word.c_str(), nullptr, 10);
    if (field == 24) resident = std::strtoull(word.c_str(), nullptr, 10);
  }
  out.resident = resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  out.cpu_s = static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return out;
}

}  // namespace narke
