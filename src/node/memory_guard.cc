#include "node/memory_guard.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <unistd.h>

namespace narke::node {

static std::string content(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

// The number after `name` at the beginning of a line.
static std::optional<uint64_t> field(const std::string& text, const std::string& name) {
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    if (text.compare(at, name.size(), name) == 0) {
      const size_t begin = text.find_first_of("0123456789", at + name.size());
      uint64_t value = 0;
      if (begin < end && std::from_chars(text.data() + begin, text.data() + end, value).ec == std::errc()) return value;
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::string MemoryUse::text() const {
  char out[96];
  constexpr double kGiB = 1ull << 30;
  std::snprintf(out, sizeof(out), "%.2f of %.2f GiB used (%.0f%%)", static_cast<double>(used_bytes) / kGiB,
                static_cast<double>(total_bytes) / kGiB, share() * 100);
  return out;
}

std::optional<MemoryUse> parse_meminfo(const std::string& meminfo) {
  const auto total = field(meminfo, "MemTotal:"), available = field(meminfo, "MemAvailable:");
  if (!total || !available || *total == 0) return std::nullopt;
  return MemoryUse{(*total - std::min(*total, *available)) << 10, *total << 10};
}

std::optional<MemoryUse> parse_cgroup(const std::string& current, const std::string& max, const std::string& stat) {
  const auto used = field(current, ""), limit = field(max, "");
  if (!used || !limit || *limit == 0) return std::nullopt;  // "max": no limit
  const uint64_t cache = field(stat, "inactive_file ").value_or(0) + field(stat, "active_file ").value_or(0);
  return MemoryUse{*used - std::min(*used, cache), *limit};
}

std::optional<MemoryUse> memory_use() {
  std::optional<MemoryUse> host = parse_meminfo(content("/proc/meminfo"));
  const std::string group = "/sys/fs/cgroup/memory.";
  std::optional<MemoryUse> limit =
      parse_cgroup(content(group + "current"), content(group + "max"), content(group + "stat"));
  if (host && limit) return limit->share() > host->share() ? limit : host;
  return host ? host : limit;
}

uint64_t resident_bytes(int pid) {
  if (pid <= 0) return 0;
  std::istringstream statm(content("/proc/" + std::to_string(pid) + "/statm"));
  uint64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace narke::node
