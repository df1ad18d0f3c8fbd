#include "sim/world.h"

#include <gtest/gtest.h>

namespace narke::sim {
namespace {

TEST(World, KeepsItsInvariantsOverManySeeds) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    WorldConfig config;
    config.seed = seed;
    config.cpus = 1 + static_cast<int>(seed % 5);
    const std::string broken = run(config, 400);
    ASSERT_EQ(broken, "");
  }
}

TEST(World, ReplaysTheSameRunFromTheSameSeed) {
  WorldConfig config;
  config.seed = 42;
  World first(config), second(config);
  for (int i = 0; i < 1'000; ++i) {
    first.step();
    second.step();
  }
  EXPECT_EQ(first.history(), second.history());
  EXPECT_GT(first.grants(), 50u);
  EXPECT_GT(first.actor_starts(), 10u);
}

}  // namespace
}  // namespace narke::sim
