// narke-sim SEED [STEPS]: one simulated run. The same seed replays the same run.
#include <cstdio>
#include <cstdlib>

#include "sim/world.h"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: narke-sim SEED [STEPS]\n");
    return 2;
  }
  narke::sim::WorldConfig config;
  config.seed = std::strtoull(argv[1], nullptr, 10);
  const uint64_t steps = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 10'000;
  std::printf("seed %llu, %llu steps\n", static_cast<unsigned long long>(config.seed),
              static_cast<unsigned long long>(steps));
  std::fflush(stdout);  // a broken invariant may end the process
  const std::string broken = narke::sim::run(config, steps);
  std::fputs(broken.c_str(), stderr);
  if (broken.empty()) std::puts("all invariants held");
  return broken.empty() ? 0 : 1;
}
