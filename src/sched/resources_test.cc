#include "sched/resources.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace narke::sched {
namespace {

TEST(Amount, IsShownExactlyAndShort) {
  EXPECT_EQ(amount_text(kOne), "1");
  EXPECT_EQ(amount_text(kOne / 2), "0.5");
  EXPECT_EQ(amount_text(1), "0.0001");
  EXPECT_EQ(amount_text(0), "0");
  EXPECT_EQ(amount_text(-3 * kOne / 2), "-1.5");
  EXPECT_EQ(amount_text(100 * kOne), "100");
}

TEST(ResourceSet, KeepsNamesSortedAndDropsZeros) {
  ResourceSet set = {{"GPU", kOne}, {"CPU", 2 * kOne}, {"none", 0}};
  EXPECT_EQ(set.text(), "{CPU: 2, GPU: 1}");
  set.subtract({{"GPU", kOne}});
  EXPECT_EQ(set.text(), "{CPU: 2}");
  EXPECT_EQ(set.lacking({{"CPU", 3 * kOne}}), "CPU");
  EXPECT_TRUE(set.contains({}));
  EXPECT_TRUE(set.intersects({{"CPU", 1}}));
  EXPECT_FALSE(set.intersects({{"GPU", 1}}));
}

TEST(ResourcePool, GivesWholeDevicesAndPilesUpShares) {
  ResourcePool pool(ResourceSet{{"GPU", 3 * kOne}});
  const auto half = pool.allocate({{"GPU", kOne / 2}});
  ASSERT_TRUE(half);
  EXPECT_EQ(half->devices[0].shares, (std::vector<Share>{{0, kOne / 2}}));
  const auto quarter = pool.allocate({{"GPU", kOne / 4}});
  EXPECT_EQ(quarter->devices[0].shares[0].device, 0);
  const auto two = pool.allocate({{"GPU", 2 * kOne}});
  EXPECT_EQ(two->devices[0].shares, (std::vector<Share>{{1, kOne}, {2, kOne}}));
  EXPECT_FALSE(pool.allocate({{"GPU", kOne / 2}}));
  pool.release(*half);
  EXPECT_TRUE(pool.fits({{"GPU", kOne / 2}}));
  EXPECT_FALSE(pool.fits({{"GPU", kOne}}));
}

TEST(ResourcePool, RefusesAShareThatNoSingleDeviceHas) {
  ResourcePool pool(ResourceSet{{"GPU", 2 * kOne}});
  ASSERT_TRUE(pool.allocate({{"GPU", 6 * kOne / 10}}));
  ASSERT_TRUE(pool.allocate({{"GPU", 6 * kOne / 10}}));
  EXPECT_GE(pool.available().get("GPU"), 7 * kOne / 10);
  EXPECT_FALSE(pool.fits({{"GPU", 7 * kOne / 10}}));
  EXPECT_TRUE(pool.feasible({{"GPU", 2 * kOne}}));
  EXPECT_FALSE(pool.feasible({{"GPU", 3 * kOne}}));
}

TEST(ResourcePool, ABundleHasTheDevicesThatWereReserved) {
  ResourcePool node(ResourceSet{{"CPU", 4 * kOne}, {"GPU", 4 * kOne}});
  ASSERT_TRUE(node.allocate({{"GPU", kOne}}));
  const auto reserved = node.allocate({{"CPU", kOne}, {"GPU", 2 * kOne}});
  ASSERT_TRUE(reserved);
  ResourcePool bundle(*reserved);
  const auto task = bundle.allocate({{"GPU", 2 * kOne}});
  ASSERT_TRUE(task);
  EXPECT_EQ(task->devices[0].shares, (std::vector<Share>{{1, kOne}, {2, kOne}}));
  EXPECT_FALSE(bundle.feasible({{"CPU", 2 * kOne}}));
}

TEST(ResourcePool, MayBeOverdrawnOnlyByTakingBack) {
  ResourcePool pool(ResourceSet{{"CPU", kOne}});
  const auto first = pool.allocate({{"CPU", kOne}});
  pool.lend({{"CPU", kOne}});
  const auto second = pool.allocate({{"CPU", kOne}});
  ASSERT_TRUE(second);
  pool.take_back({{"CPU", kOne}});
  EXPECT_EQ(pool.available().get("CPU"), -kOne);
  EXPECT_FALSE(pool.fits({{"CPU", 1}}));
  pool.release(*first);
  pool.release(*second);
  EXPECT_EQ(pool.available(), pool.total());
}

TEST(ResourcePool, ResizingKeepsWhatIsInUse) {
  ResourcePool pool(ResourceSet{{"slots", 3 * kOne}});
  const auto held = pool.allocate({{"slots", 2 * kOne}});
  pool.resize("slots", kOne);
  EXPECT_EQ(pool.available().get("slots"), -kOne);
  pool.release(*held);
  EXPECT_EQ(pool.available(), pool.total());
}

TEST(ResourcePool, HasOneOfWhatIsImplicit) {
  const std::string name = "node:__internal_implicit_resource_app:model";
  const ResourceSet third = {{name, kOne / 3}};
  ResourcePool pool(ResourceSet{{"CPU", kOne}});
  EXPECT_FALSE(pool.feasible({{name, 2 * kOne}}));
  std::vector<Allocation> held;
  while (auto got = pool.allocate(third)) held.push_back(*got);
  EXPECT_EQ(held.size(), 3u);
  EXPECT_TRUE(pool.feasible(third));
  EXPECT_TRUE(pool.fits({{"node:__internal_implicit_resource_app:other", kOne}}));
  EXPECT_FALSE(ResourcePool::mirror(pool.total(), pool.available()).fits(third));
  for (const Allocation& each : held) pool.release(each);
  EXPECT_EQ(pool.available(), pool.total());
}

// Property: whatever is taken and given back, in any order, nothing is lost, made or given twice.
TEST(ResourcePool, BalancesUnderRandomUse) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const ResourceSet total = {{"CPU", 8 * kOne}, {"GPU", 4 * kOne}, {"x", 5 * kOne / 2}};
    ResourcePool pool(total);
    std::vector<Allocation> held;
    for (int step = 0; step < 200; ++step) {
      if (!held.empty() && random() % 2) {
        std::swap(held[random() % held.size()], held.back());
        pool.release(held.back());
        held.pop_back();
      } else {
        ResourceSet demand;
        if (random() % 2) demand.set("CPU", 1 + random() % (3 * kOne));
        if (random() % 2) demand.set("GPU", random() % 2 ? (1 + random() % 3) * kOne : 1 + random() % kOne);
        if (random() % 3 == 0) demand.set("x", 1 + random() % kOne);
        const bool fits = pool.fits(demand);
        const auto got = pool.allocate(demand);
        ASSERT_EQ(got.has_value(), fits);
        if (got) held.push_back(*got);
        if (got) ASSERT_TRUE(pool.feasible(demand));
      }
      ResourceSet sum = pool.available();
      std::map<int32_t, Amount> devices;
      for (const Allocation& each : held) {
        sum.add(each.amounts);
        for (const DeviceShares& shares : each.devices)
          for (const Share& share : shares.shares) devices[share.device] += share.amount;
      }
      ASSERT_EQ(sum, total);
      for (const auto& [device, amount] : devices) ASSERT_LE(amount, kOne) << "device " << device;
    }
  }
}

}  // namespace
}  // namespace narke::sched
