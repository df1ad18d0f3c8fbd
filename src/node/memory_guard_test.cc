#include "node/memory_guard.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace narke::node {
namespace {

TEST(MemoryUse, OfTheHostCountsWhatIsNotAvailable) {
  const auto use = parse_meminfo("MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  250 kB\n");
  ASSERT_TRUE(use);
  EXPECT_EQ(use->used_bytes, 750u << 10);
  EXPECT_DOUBLE_EQ(use->share(), 0.75);
  EXPECT_FALSE(parse_meminfo("MemTotal: 1000 kB\n"));
}

TEST(MemoryUse, OfAContainerLeavesItsPageCacheOut) {
  const auto use = parse_cgroup("900\n", "1000\n", "anon 500\nactive_file 100\ninactive_file 200\n");
  ASSERT_TRUE(use);
  EXPECT_EQ(use->used_bytes, 600u);
  EXPECT_FALSE(parse_cgroup("900\n", "max\n", ""));
}

TEST(MemoryUse, CanBeReadHere) {
  const auto use = memory_use();
  ASSERT_TRUE(use);
  EXPECT_GT(use->total_bytes, 0u);
  EXPECT_GT(resident_bytes(getpid()), 1u << 20);
  EXPECT_EQ(resident_bytes(0), 0u);
}

}  // namespace
}  // namespace narke::node
