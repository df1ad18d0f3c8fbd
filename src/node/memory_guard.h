// How much of the host's (or the container's) memory is in use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace narke::node {

struct MemoryUse {
  uint64_t used_bytes = 0;
  uint64_t total_bytes = 0;
  double share() const { return total_bytes == 0 ? 0 : static_cast<double>(used_bytes) / total_bytes; }
  std::string text() const;  // "15.2 of 16.0 GiB used (95%)"
};

// The tighter of /proc/meminfo (what is not available counts as used) and the cgroup's limit (without its page
// cache). Nothing when neither can be read.
std::optional<MemoryUse> memory_use();

// Of one process; 0 when it is gone.
uint64_t resident_bytes(int pid);

// From the texts of /proc/meminfo, and of the cgroup's memory.current, memory.max and memory.stat.
std::optional<MemoryUse> parse_meminfo(const std::string& meminfo);
std::optional<MemoryUse> parse_cgroup(const std::string& current, const std::string& max, const std::string& stat);

}  // namespace narke::node
