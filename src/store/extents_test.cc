#include "store/extents.h"

#include <random>

#include <gtest/gtest.h>

namespace narke::store {
namespace {

// One flag per unit of space, set while allocated.
struct Model {
  std::vector<bool> used = std::vector<bool>(kUnits);
  static constexpr uint64_t kUnits = 1000, kUnit = 64;

  bool set(Extent extent, bool value) {
    for (uint64_t u = extent.offset / kUnit; u < extent.end() / kUnit; ++u) {
      if (used[u] == value) return false;
      used[u] = value;
    }
    return true;
  }
  uint64_t free_bytes() const { return static_cast<uint64_t>(std::count(used.begin(), used.end(), false)) * kUnit; }
  uint64_t fragments() const {
    uint64_t n = 0;
    for (size_t u = 0; u < used.size(); ++u) n += !used[u] && (u == 0 || used[u - 1]);
    return n;
  }
};

TEST(Extents, RandomUseAgreesWithModel) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    Model model;
    ExtentAllocator space;
    space.free({0, Model::kUnits * Model::kUnit});
    std::vector<Extent> live;
    for (int step = 0; step < 3000; ++step) {
      if (live.empty() || random() % 2) {
        uint64_t size = (1 + random() % 40) * Model::kUnit;
        uint64_t largest = space.largest();
        auto offset = space.allocate(size);
        ASSERT_EQ(offset.has_value(), size <= largest) << "seed " << seed;
        if (!offset) continue;
        ASSERT_TRUE(model.set({*offset, size}, true)) << "overlap, seed " << seed;
        live.push_back({*offset, size});
      } else {
        std::swap(live[random() % live.size()], live.back());
        ASSERT_FALSE(space.overlaps_free(live.back()));
        space.free(live.back());
        ASSERT_TRUE(space.overlaps_free(live.back()));
        ASSERT_TRUE(model.set(live.back(), false));
        live.pop_back();
      }
      ASSERT_EQ(space.free_bytes(), model.free_bytes());
      ASSERT_EQ(space.fragments(), model.fragments()) << "neighbours not joined, seed " << seed;
    }
  }
}

TEST(Extents, GivesBackWhatWasJustFreed) {
  ExtentAllocator space;
  space.free({0, 1 << 20});
  auto first = space.allocate(4096), second = space.allocate(8192), third = space.allocate(4096);
  space.free({*second, 8192});
  EXPECT_EQ(space.allocate(8192), second);
  space.free({*first, 4096});
  space.free({*third, 4096});
  EXPECT_EQ(space.allocate(4096), first) << "the lowest of two that fit as well";
}

TEST(Extents, TakeKeepsTheLowerPart) {
  ExtentAllocator space;
  space.free({0, 1000});
  space.free({2000, 500});
  auto taken = space.take(600);
  EXPECT_EQ(space.free_bytes(), 600u);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0], (Extent{100, 900}));
  EXPECT_EQ(space.take(0).size(), 2u);
  EXPECT_EQ(space.free_bytes(), 0u);
}

}  // namespace
}  // namespace narke::store
