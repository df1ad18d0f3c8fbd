// narke-sim SEED [--minutes N] [--shrink] [--trace] [--hosts ...]: simulated runs. The same seed replays the same run.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sim/fleet.h"
#include "sim/world.h"

namespace {

using namespace narke::sim;

struct Arguments {
  uint64_t seed = 0;
  bool has_seed = false;
  double minutes = 0;
  int seeds = 0;
  bool shrinks = false, prints = false, is_large = false;
  FleetConfig large;
};

constexpr char kUsage[] =
    "usage: narke-sim SEED [--shrink] [--trace]   one run of a cluster and of a host; the same seed, the same run\n"
    "       narke-sim [SEED] --minutes N          runs of seeds that follow SEED (default: the time) for so long\n"
    "       narke-sim SEED --seeds N              runs of so many seeds from SEED on, whichever break\n"
    "       narke-sim SEED --hosts N [--drivers N] [--tasks N] [--actors N] [--groups N] [--faults N]\n"
    "                                             one run of this size; tasks, actors, groups: of each driver\n";

bool read_number(const char* name, int argc, char** argv, int* at, int* out) {
  if (std::strcmp(argv[*at], name) != 0 || *at + 1 >= argc) return false;
  *out = std::atoi(argv[++*at]);
  return true;
}

bool read(int argc, char** argv, Arguments* out) {
  for (int i = 1; i < argc; ++i) {
    FleetConfig& large = out->large;
    if (std::strcmp(argv[i], "--minutes") == 0 && i + 1 < argc)
      out->minutes = std::atof(argv[++i]);
    else if (std::strcmp(argv[i], "--shrink") == 0)
      out->shrinks = true;
    else if (std::strcmp(argv[i], "--trace") == 0)
      out->prints = true;
    else if (read_number("--hosts", argc, argv, &i, &large.hosts))
      out->is_large = true;
    else if (read_number("--seeds", argc, argv, &i, &out->seeds) ||
             read_number("--drivers", argc, argv, &i, &large.drivers) ||
             read_number("--tasks", argc, argv, &i, &large.errand.tasks) ||
             read_number("--actors", argc, argv, &i, &large.errand.actors) ||
             read_number("--groups", argc, argv, &i, &large.errand.groups) ||
             read_number("--faults", argc, argv, &i, &large.faults))
      continue;
    else if (argv[i][0] >= '0' && argv[i][0] <= '9')
      out->seed = std::strtoull(argv[i], nullptr, 10), out->has_seed = true;
    else
      return false;
  }
  return out->has_seed || out->minutes > 0;
}

// Prints what broke and returns whether nothing did.
bool run_one(const FleetConfig& config, bool shrinks, bool tells = true) {
  // Said at once: a broken check of the engine ends the process.
  std::printf(tells ? "seed %llu: " : "seed %llu\r", static_cast<unsigned long long>(config.seed));
  std::fflush(stdout);
  const auto begun = std::chrono::steady_clock::now();
  std::vector<Fault> plan = draw_plan(config);
  FleetResult result = run_fleet(config, plan);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  if (tells || !result.broken.empty())
    std::printf("%s; %.1f s of the cluster in %.2f s, %llu events, print %016llx\n", result.summary.c_str(),
                static_cast<double>(result.simulated_us) / 1e6, took.count(),
                static_cast<unsigned long long>(result.events), static_cast<unsigned long long>(result.print));
  if (result.broken.empty()) return true;
  if (shrinks) {
    plan = shrink(config, plan);
    result = run_fleet(config, plan);
  }
  for (const std::string& line : result.history) std::fprintf(stderr, "  %s\n", line.c_str());
  std::fprintf(stderr, "plan:\n");
  for (const Fault& fault : plan) std::fprintf(stderr, "  %s\n", text_of(fault).c_str());
  std::fprintf(stderr, "BROKEN, seed %llu: %s\n", static_cast<unsigned long long>(config.seed), result.broken.c_str());
  return false;
}

bool run_host(uint64_t seed) {
  WorldConfig config;
  config.seed = seed;
  config.cpus = 1 + static_cast<int>(seed % 5);
  const std::string broken = run(config, 2'000);
  std::fputs(broken.c_str(), stderr);
  return broken.empty();
}

bool run_for(uint64_t seed, double minutes) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double, std::ratio<60>>(minutes);
  uint64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++seed, ++runs)
    if (!run_one(small_config(seed), false, false) || !run_host(seed)) return false;
  std::printf("%llu runs of clusters and hosts, up to seed %llu\n", static_cast<unsigned long long>(runs),
              static_cast<unsigned long long>(seed - 1));
  return true;
}

bool run_range(uint64_t first, int count) {
  std::string broken;
  for (uint64_t seed = first; seed < first + static_cast<uint64_t>(count); ++seed)
    if (!run_one(small_config(seed), false, false) || !run_host(seed)) broken += " " + std::to_string(seed);
  std::printf("%d runs of clusters and hosts from seed %llu on; broken:%s\n", count,
              static_cast<unsigned long long>(first), broken.empty() ? " none" : broken.c_str());
  return broken.empty();
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!read(argc, argv, &arguments)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const uint64_t seed = arguments.has_seed
                            ? arguments.seed
                            : static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  bool held = true;
  if (arguments.minutes > 0) {
    held = run_for(seed, arguments.minutes);
  } else if (arguments.seeds > 0) {
    held = run_range(seed, arguments.seeds);
  } else if (arguments.is_large) {
    arguments.large.seed = seed;
    arguments.large.check_every = 101;
    arguments.large.most_events = ~uint64_t{0};
    held = run_one(arguments.large, arguments.shrinks);
  } else {
    FleetConfig small = small_config(seed);
    small.prints = arguments.prints;
    held = run_one(small, arguments.shrinks) && run_host(seed);
  }
  if (held) std::puts("all invariants held");
  return held ? 0 : 1;
}
