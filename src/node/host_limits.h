// How many workers a host can hold, from the limits that the system sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace narke::node {

struct HostLimits {
  uint64_t memory_bytes = 0;
  uint64_t processes = 0;    // processes and threads that may still be started
  uint64_t descriptors = 0;  // files this daemon may have open
};

struct WorkerBound {
  size_t count;
  std::string reason;  // which limit sets it, for people
};

// The tightest of the limits, at least 1. A worker takes 1.5 MiB (measured with 3,000 actors that hold nothing), two
// threads, and two descriptors here.
WorkerBound worker_bound(const HostLimits& limits);

// Raises this process's soft limit of open files as far as it may, then reads the limits.
HostLimits host_limits(uint64_t memory_bytes);

}  // namespace narke::node
