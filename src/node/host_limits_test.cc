#include "node/host_limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace narke::node {
namespace {

constexpr uint64_t kMany = 1'000'000;

TEST(WorkerBound, IsTheTightestLimitAndNamesIt) {
  const auto memory = worker_bound({3ull << 29, kMany, kMany});
  EXPECT_EQ(memory.count, 1024u);
  EXPECT_NE(memory.reason.find("memory"), std::string::npos);
  const auto processes = worker_bound({1ull << 40, 3'000, kMany});
  EXPECT_EQ(processes.count, 1000u);
  EXPECT_NE(processes.reason.find("pid_max"), std::string::npos);
  const auto files = worker_bound({1ull << 40, kMany, 1'024});
  EXPECT_EQ(files.count, 262u);
  EXPECT_NE(files.reason.find("ulimit -n"), std::string::npos);
}

TEST(WorkerBound, OneWorkerIsAlwaysTried) { EXPECT_EQ(worker_bound({0, 10, 10}).count, 1u); }

TEST(HostLimits, OpenFilesAreRaisedAsFarAsTheyMay) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 100;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_GE(host_limits(1 << 30).descriptors, std::min<uint64_t>(before.rlim_max, 1 << 17));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace narke::node
