#include "node/host_limits.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <utility>

#include <sys/resource.h>

namespace narke::node {

static constexpr uint64_t kBytesPerWorker = 3 << 19;
static constexpr uint64_t kThreadsPerWorker = 2, kDescriptorsPerWorker = 2;
static constexpr uint64_t kSpareProcesses = 1'000;   // for what workers start, and for other programs
static constexpr uint64_t kSpareDescriptors = 500;   // drivers, files
static constexpr rlim_t kMaxDescriptors = 1 << 17;   // more than 32,000 workers need; some programs try every number
static constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

static uint64_t less(uint64_t limit, uint64_t spare) { return limit > spare ? limit - spare : 0; }

WorkerBound worker_bound(const HostLimits& limits) {
  const WorkerBound bounds[] = {
      {limits.memory_bytes / kBytesPerWorker, "its memory holds no more"},
      {less(limits.processes, kSpareProcesses) / kThreadsPerWorker,
       "the system's limits on processes and threads, see pid_max, ulimit -u and pids.max, allow no more"},
      {less(limits.descriptors, kSpareDescriptors) / kDescriptorsPerWorker,
       "its limit on open files, see ulimit -n, allows no more"},
  };
  WorkerBound least = *std::min_element(std::begin(bounds), std::end(bounds),
                                        [](const auto& a, const auto& b) { return a.count < b.count; });
  least.count = std::max<size_t>(least.count, 1);
  return least;
}

// A number in a file; what is not there or says "max" is no limit.
static uint64_t number_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnlimited;
}

static uint64_t threads_now() {
  std::ifstream file("/proc/loadavg");  // "0.20 0.18 0.12 1/80 11206": running/all
  std::string word;
  for (int i = 0; i < 4; ++i) file >> word;
  const size_t slash = word.find('/');
  return slash == std::string::npos ? 0 : std::strtoull(word.c_str() + slash + 1, nullptr, 10);
}

static uint64_t process_limit() {
  rlimit own{};
  const bool is_known = getrlimit(RLIMIT_NPROC, &own) == 0 && own.rlim_cur != RLIM_INFINITY;
  const uint64_t host = std::min({number_in("/proc/sys/kernel/pid_max"), number_in("/proc/sys/kernel/threads-max"),
                                  is_known ? static_cast<uint64_t>(own.rlim_cur) : kUnlimited});
  const uint64_t group = number_in("/sys/fs/cgroup/pids.max");
  const uint64_t group_now = group == kUnlimited ? 0 : number_in("/sys/fs/cgroup/pids.current");
  return std::min(less(host, threads_now()), less(group, group_now));
}

static uint64_t raise_descriptors() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return 1024;
  const rlim_t wanted = std::min(files.rlim_max, kMaxDescriptors);
  if (files.rlim_cur < wanted) {
    const rlim_t before = std::exchange(files.rlim_cur, wanted);
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) return before;
  }
  return files.rlim_cur;
}

HostLimits host_limits(uint64_t memory_bytes) { return {memory_bytes, process_limit(), raise_descriptors()}; }

}  // namespace narke::node
