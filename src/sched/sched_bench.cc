// Choosing a node and accounting for what runs there: the cost of one lease, by the number of nodes.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "sched/policy.h"

namespace narke::sched {
namespace {

constexpr size_t kCoresPerNode = 16;

NodeId node_id(size_t n) {
  NodeId id;
  for (size_t i = 0; i < sizeof(n); ++i) id.data()[i] = static_cast<uint8_t>(n >> (8 * i));
  return id;
}

// A cluster in which the first half of the nodes is full.
class Cluster {
 public:
  explicit Cluster(size_t count) : pools_(count), labels_(count) {
    const ResourceSet everything{{"CPU", static_cast<Amount>(kCoresPerNode) * kOne}};
    for (size_t i = 0; i < count; ++i) {
      pools_[i] = ResourcePool({{"CPU", static_cast<Amount>(kCoresPerNode) * kOne}, {"memory", 64'000 * kOne}});
      labels_[i] = {{"zone", std::string(1, static_cast<char>('a' + i % 4))}};
      if (i < count / 2) pools_[i].allocate(everything);
      nodes.push_back({node_id(i), &pools_[i], &labels_[i]});
    }
  }
  std::vector<NodeView> nodes;

 private:
  std::vector<ResourcePool> pools_;
  std::vector<Labels> labels_;
};

const ResourceSet kOneCpu{{"CPU", kOne}};

void BM_PickHybrid(benchmark::State& state) {
  Cluster cluster(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(pick_hybrid(cluster.nodes, kOneCpu, 0));
}
BENCHMARK(BM_PickHybrid)->Arg(1)->Arg(100)->Arg(10'000);

void BM_PickSpread(benchmark::State& state) {
  Cluster cluster(static_cast<size_t>(state.range(0)));
  uint64_t cursor = 0;
  for (auto _ : state) benchmark::DoNotOptimize(pick_spread(cluster.nodes, kOneCpu, &cursor));
}
BENCHMARK(BM_PickSpread)->Arg(1)->Arg(100)->Arg(10'000);

void BM_PickLabels(benchmark::State& state) {
  Cluster cluster(static_cast<size_t>(state.range(0)));
  Strategy strategy;
  strategy.kind = Strategy::Kind::kLabels;
  strategy.hard = {{"zone", LabelCondition::Kind::kIn, {"b", "c"}}};
  for (auto _ : state) benchmark::DoNotOptimize(pick_labels(cluster.nodes, kOneCpu, strategy));
}
BENCHMARK(BM_PickLabels)->Arg(1)->Arg(100)->Arg(10'000);

void BM_PlaceBundles(benchmark::State& state) {
  Cluster cluster(static_cast<size_t>(state.range(0)));
  std::vector<ResourceSet> bundles(8, kOneCpu);
  for (auto _ : state) benchmark::DoNotOptimize(place_bundles(cluster.nodes, BundleStrategy::kPack, bundles));
}
BENCHMARK(BM_PlaceBundles)->Arg(1 << 1)->Arg(100)->Arg(1000);

void BM_AllocateAndRelease(benchmark::State& state) {
  ResourcePool pool({{"CPU", 16 * kOne}, {"GPU", 8 * kOne}, {"memory", 64'000 * kOne}});
  const ResourceSet demand = state.range(0) == 0 ? kOneCpu : ResourceSet{{"CPU", kOne}, {"GPU", kOne / 2}};
  for (auto _ : state) {
    auto allocation = pool.allocate(demand);
    benchmark::DoNotOptimize(allocation);
    pool.release(*allocation);
  }
}
BENCHMARK(BM_AllocateAndRelease)->ArgName("gpu")->Arg(0)->Arg(1);

void BM_Contains(benchmark::State& state) {
  const ResourceSet available{{"CPU", 16 * kOne}, {"GPU", 8 * kOne}, {"custom", kOne}, {"memory", 64'000 * kOne}};
  const ResourceSet demand{{"CPU", kOne}, {"memory", 100 * kOne}};
  for (auto _ : state) benchmark::DoNotOptimize(available.contains(demand));
}
BENCHMARK(BM_Contains);

}  // namespace
}  // namespace narke::sched
