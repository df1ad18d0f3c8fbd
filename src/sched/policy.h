// Where to run something: pure functions over a list of nodes, for one node or for ten thousand.
//
// Each takes what a caller knows of the nodes and answers with an index into that list, or why there is none.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/id.h"
#include "sched/resources.h"

namespace narke::sched {

using Labels = std::map<std::string, std::string, std::less<>>;

struct NodeView {
  NodeId id;
  const ResourcePool* pool;
  const Labels* labels;
  bool closed = false;  // takes nothing new
};

// A condition on one label.
struct LabelCondition {
  enum class Kind : uint8_t { kIn, kNotIn, kExists, kAbsent };
  std::string key;
  Kind kind = Kind::kExists;
  std::vector<std::string> values;

  bool holds(const Labels& labels) const;
  bool operator==(const LabelCondition&) const = default;
};
bool all_hold(const std::vector<LabelCondition>& conditions, const Labels& labels);

// How a request wants its node chosen.
struct Strategy {
  enum class Kind : uint8_t { kHybrid, kSpread, kAffinity, kLabels };
  Kind kind = Kind::kHybrid;
  NodeId node;        // kAffinity
  bool soft = false;  // kAffinity
  std::vector<LabelCondition> hard, preferred;         // kLabels
  std::vector<std::vector<LabelCondition>> fallbacks;  // kLabels: each may stand in for `hard`

  // To one node and no other.
  bool is_bound() const { return kind == Kind::kAffinity && !soft; }
  // Whether a node with these labels may be chosen.
  bool allows(const Labels& labels) const;
  bool operator==(const Strategy&) const = default;
};

struct Choice {
  enum class Kind : uint8_t {
    kNode,        // `node` can take it now
    kWait,        // `node` could take it once resources are free
    kInfeasible,  // no node of the list can ever take it
  };
  Kind kind = Kind::kInfeasible;
  size_t node = 0;
};

// Fills a node up to `threshold` of its most used resource before the next one is begun; `local` first.
Choice pick_hybrid(std::span<const NodeView> nodes, const ResourceSet& demand, size_t local, double threshold = 0.5);
// The next node in turn after *cursor that can take it; moves the cursor.
Choice pick_spread(std::span<const NodeView> nodes, const ResourceSet& demand, uint64_t* cursor);
// One node. Not soft: that one or none.
Choice pick_affinity(std::span<const NodeView> nodes, const ResourceSet& demand, const NodeId& wanted, bool soft,
                     size_t local);
// Only nodes that the strategy allows; those with the preferred labels too go first.
Choice pick_labels(std::span<const NodeView> nodes, const ResourceSet& demand, const Strategy& strategy);

// By the strategy's kind.
Choice pick_node(std::span<const NodeView> nodes, const ResourceSet& demand, const Strategy& strategy, size_t local,
                 uint64_t* cursor);

enum class BundleStrategy : uint8_t { kPack, kSpread, kStrictPack, kStrictSpread };

// Conditions on the labels of each bundle's node, by bundle; a shorter list leaves the other bundles free.
using BundleLabels = std::vector<std::vector<LabelCondition>>;

// A node for each bundle, or nothing when they do not all fit now. Works on copies of the pools.
std::optional<std::vector<size_t>> place_bundles(std::span<const NodeView> nodes, BundleStrategy strategy,
                                                 std::span<const ResourceSet> bundles, const BundleLabels& labels = {});

}  // namespace narke::sched
