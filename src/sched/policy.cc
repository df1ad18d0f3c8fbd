#include "sched/policy.h"

#include <algorithm>

namespace narke::sched {

bool LabelCondition::holds(const Labels& labels) const {
  const auto label = labels.find(key);
  const bool present = label != labels.end();
  const bool listed = present && std::find(values.begin(), values.end(), label->second) != values.end();
  switch (kind) {
    case Kind::kIn: return listed;
    case Kind::kNotIn: return !listed;
    case Kind::kExists: return present;
    case Kind::kAbsent: return !present;
  }
  return false;
}

bool all_hold(const std::vector<LabelCondition>& conditions, const Labels& labels) {
  return std::all_of(conditions.begin(), conditions.end(), [&](const auto& c) { return c.holds(labels); });
}

bool Strategy::allows(const Labels& labels) const {
  if (all_hold(hard, labels) && !(hard.empty() && !fallbacks.empty())) return true;
  return std::any_of(fallbacks.begin(), fallbacks.end(), [&](const auto& each) { return all_hold(each, labels); });
}

namespace {

// Share in use of the most used resource, 0..1.
double utilization(const ResourcePool& pool) {
  double most = 0;
  for (const ResourceSet::Entry& entry : pool.total().entries()) {
    const double used = static_cast<double>(entry.amount - pool.available().get(entry.name));
    most = std::max(most, used / static_cast<double>(entry.amount));
  }
  return most;
}

// Remembers the best node that fits now and the first that could ever.
class Search {
 public:
  explicit Search(const ResourceSet& demand) : demand_(demand) {}

  void offer(size_t index, const NodeView& node, double score) {
    if (node.closed) return;
    const ResourcePool& pool = *node.pool;
    if (pool.fits(demand_)) {
      if (choice_.kind == Choice::Kind::kNode && score >= score_) return;
      choice_ = {Choice::Kind::kNode, index};
      score_ = score;
    } else if (choice_.kind == Choice::Kind::kInfeasible && pool.feasible(demand_)) {
      choice_ = {Choice::Kind::kWait, index};
    }
  }
  Choice choice() const { return choice_; }
  // No other can do better.
  bool is_best() const { return choice_.kind == Choice::Kind::kNode && score_ == 0; }

 private:
  const ResourceSet& demand_;
  Choice choice_;
  double score_ = 0;
};

}  // namespace

Choice pick_hybrid(std::span<const NodeView> nodes, const ResourceSet& demand, size_t local, double threshold) {
  Search search(demand);
  for (size_t step = 0; step < nodes.size() && !search.is_best(); ++step) {
    const size_t index = (local + step) % nodes.size();
    const double used = utilization(*nodes[index].pool);
    search.offer(index, nodes[index], used < threshold ? 0 : used);
  }
  return search.choice();
}

Choice pick_spread(std::span<const NodeView> nodes, const ResourceSet& demand, uint64_t* cursor) {
  Search search(demand);
  for (size_t step = 0; step < nodes.size(); ++step) {
    const size_t index = (*cursor + step) % nodes.size();
    search.offer(index, nodes[index], 0);
    if (search.choice().kind == Choice::Kind::kNode) break;
  }
  if (search.choice().kind == Choice::Kind::kNode) *cursor = search.choice().node + 1;
  return search.choice();
}

Choice pick_affinity(std::span<const NodeView> nodes, const ResourceSet& demand, const NodeId& wanted, bool soft,
                     size_t local) {
  Search search(demand);
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].id == wanted) search.offer(i, nodes[i], 0);
  if (search.choice().kind != Choice::Kind::kInfeasible || !soft) return search.choice();
  return pick_hybrid(nodes, demand, local);
}

Choice pick_labels(std::span<const NodeView> nodes, const ResourceSet& demand, const Strategy& strategy) {
  Search search(demand);
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!strategy.allows(*nodes[i].labels)) continue;
    const double malus = all_hold(strategy.preferred, *nodes[i].labels) ? 0 : 2;
    search.offer(i, nodes[i], malus + utilization(*nodes[i].pool));
  }
  return search.choice();
}

Choice pick_node(std::span<const NodeView> nodes, const ResourceSet& demand, const Strategy& strategy, size_t local,
                 uint64_t* cursor) {
  switch (strategy.kind) {
    case Strategy::Kind::kHybrid: return pick_hybrid(nodes, demand, local);
    case Strategy::Kind::kSpread: return pick_spread(nodes, demand, cursor);
    case Strategy::Kind::kAffinity: return pick_affinity(nodes, demand, strategy.node, strategy.soft, local);
    case Strategy::Kind::kLabels: return pick_labels(nodes, demand, strategy);
  }
  return {};
}

namespace {

bool allowed(const NodeView& node, const BundleLabels& labels, size_t bundle) {
  if (node.closed) return false;
  return bundle >= labels.size() || labels[bundle].empty() || all_hold(labels[bundle], *node.labels);
}

bool all_on(const NodeView& node, std::span<const ResourceSet> bundles, const BundleLabels& labels) {
  for (size_t i = 0; i < bundles.size(); ++i)
    if (!allowed(node, labels, i) || !node.pool->fits(bundles[i])) return false;
  ResourcePool pool = *node.pool;
  return std::all_of(bundles.begin(), bundles.end(), [&](const auto& b) { return pool.allocate(b).has_value(); });
}

// What place_bundles has placed so far.
struct Placing {
  std::span<const NodeView> nodes;
  const BundleLabels& labels;
  std::map<size_t, ResourcePool> pools;  // of nodes that have got something
  std::map<size_t, size_t> counts;

  const ResourcePool& pool(size_t node) const {
    const auto at = pools.find(node);
    return at == pools.end() ? *nodes[node].pool : at->second;
  }
  size_t count(size_t node) const {
    const auto at = counts.find(node);
    return at == counts.end() ? 0 : at->second;
  }
};

// The node that already has the most bundles (pack) or the fewest (spread) and fits one more.
std::optional<size_t> next_node(const Placing& placing, const ResourceSet& demand, size_t bundle, bool pack) {
  std::optional<size_t> best;
  for (size_t i = 0; i < placing.nodes.size(); ++i) {
    const size_t count = placing.count(i);
    if (best && (pack ? count <= placing.count(*best) : count >= placing.count(*best))) continue;
    if (placing.pool(i).fits(demand) && allowed(placing.nodes[i], placing.labels, bundle)) best = i;
    if (best && !pack && placing.count(*best) == 0) break;  // none can have fewer
  }
  return best;
}

}  // namespace

std::optional<std::vector<size_t>> place_bundles(std::span<const NodeView> nodes, BundleStrategy strategy,
                                                 std::span<const ResourceSet> bundles, const BundleLabels& labels) {
  if (strategy == BundleStrategy::kStrictSpread && bundles.size() > nodes.size()) return std::nullopt;
  const bool pack = strategy == BundleStrategy::kPack || strategy == BundleStrategy::kStrictPack;
  if (pack)
    for (size_t i = 0; i < nodes.size(); ++i)
      if (all_on(nodes[i], bundles, labels)) return std::vector<size_t>(bundles.size(), i);
  if (strategy == BundleStrategy::kStrictPack) return std::nullopt;

  Placing placing{nodes, labels, {}, {}};
  std::vector<size_t> placed;
  for (size_t i = 0; i < bundles.size(); ++i) {
    const std::optional<size_t> node = next_node(placing, bundles[i], i, pack);
    if (!node || (strategy == BundleStrategy::kStrictSpread && placing.count(*node) > 0)) return std::nullopt;
    placing.pools.try_emplace(*node, *nodes[*node].pool).first->second.allocate(bundles[i]);
    ++placing.counts[*node];
    placed.push_back(*node);
  }
  return placed;
}

}  // namespace narke::sched
