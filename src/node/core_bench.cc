// The daemon's own time for what programs wait for.
#include <benchmark/benchmark.h>

#include "node/testing/quiet_out.h"

namespace narke::node {
namespace {

using sched::kOne;

class LendingOut : public testing::QuietOut {
 public:
  int64_t now_ms() override { return 1; }
  WorkerId new_worker_id() override {
    WorkerId id;
    ++ids;
    std::memcpy(id.data(), &ids, sizeof(ids));
    started.push_back(id);
    return id;
  }
  void grant(const Grant& grant) override { lease = grant.lease; }
  void deny(const WorkerId&, uint32_t, wire::LeaseStatus, wire::FailureKind, const std::string&) override {}

  uint64_t ids = 0, lease = 0;
  std::vector<WorkerId> started;
};

struct Fixture {
  Fixture() {
    job = cluster.start_job(driver, cluster.self(), 1, "").id;
    cluster.settle();
    for (const WorkerId& worker : out.started) cluster.core().on_registered(worker, 1, "path");
    cluster.settle();
  }
  static NodeConfig config() {
    NodeConfig config;
    config.resources = {{"CPU", 4 * kOne}, {"memory", 1'000'000 * kOne}};
    config.prestart_limit = 4;
    return config;
  }
  LeaseRequest request(uint32_t call) {
    LeaseRequest request;
    request.holder = driver;
    request.call_id = call;
    request.job = job;
    request.resources = {{"CPU", kOne}};
    return request;
  }

  LendingOut out;
  Cluster cluster{config(), {}, true, out};
  WorkerId driver = WorkerId::from_bytes(std::string(WorkerId::kSize, 'd'));
  JobId job;
};

void LeaseServedAtOnce(benchmark::State& state) {
  Fixture fixture;
  uint32_t call = 0;
  for (auto _ : state) {
    fixture.cluster.core().request_lease(fixture.request(++call));
    fixture.cluster.settle();
    fixture.cluster.core().return_lease(fixture.driver, fixture.out.lease, false, false);
    fixture.cluster.settle();
  }
}
BENCHMARK(LeaseServedAtOnce);

void LeaseServedBesideABacklog(benchmark::State& state) {
  Fixture fixture;
  for (uint32_t call = 1; call < 100'000; ++call) fixture.cluster.core().request_lease(fixture.request(call));
  fixture.cluster.settle();
  for (auto _ : state) {
    fixture.cluster.core().return_lease(fixture.driver, fixture.out.lease, false, false);
    fixture.cluster.settle();
    if (fixture.cluster.core().demand().empty()) break;
  }
}
BENCHMARK(LeaseServedBesideABacklog)->Iterations(50'000);

void PlacementGroupMadeAndRemoved(benchmark::State& state) {
  Fixture fixture;
  uint64_t number = 0;
  for (auto _ : state) {
    controller::PlacementGroup group;
    ++number;
    std::memcpy(group.id.data(), &number, sizeof(number));
    group.bundles = {{{"CPU", kOne}}, {{"CPU", kOne}}};
    const PgId id = group.id;
    benchmark::DoNotOptimize(fixture.cluster.controller().groups.create(std::move(group)).ok());
    fixture.cluster.settle();
    fixture.cluster.controller().remove_group(id);
    fixture.cluster.settle();
  }
}
BENCHMARK(PlacementGroupMadeAndRemoved);

}  // namespace
}  // namespace narke::node
