// What the head tells whom of what has changed at which node, so that n nodes that all want to know of n others cost
// it about n, and not n times n.
//
// All nodes are in parts, by their ids, and all viewers in cohorts. In each round a cohort is told of the changes in
// the next few parts, all its members the same. While little changes, or few want to know, those few are all parts, so
// that everybody is told of everything at once. In a large and busy cluster they are fewer, and rounds come more
// slowly: each viewer knows some nodes as they are now and the others as they were some rounds ago, each cohort others.
// Only what is free at a node is told so; that one has come, leaves or is gone concerns all, at once.
//
// Pure: no clock, nothing is sent here.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <set>
#include <vector>

#include "base/id.h"

namespace narke::node {

class Spread {
 public:
  struct News {
    std::vector<NodeId> nodes;
    std::vector<NodeId> viewers;
  };

  Spread();
  // One that has been told of all nodes as they are.
  void add_viewer(const NodeId& viewer);
  void remove_viewer(const NodeId& viewer);
  bool is_viewer(const NodeId& node) const { return cohorts_[cohort_of(node)].viewers.contains(node); }
  std::vector<NodeId> viewers() const;

  // What is free at a node has changed.
  void changed(const NodeId& node) { changes_[part_of(node)][node] = round_ + 1; }
  void forget(const NodeId& node) { changes_[part_of(node)].erase(node); }

  // What is to be told now. Each call is a round.
  std::vector<News> take();
  // How long to wait for the next round, after the last one's work.
  std::chrono::milliseconds pause() const;

 private:
  static constexpr size_t kParts = 32, kCohorts = 32;
  using Heard = std::array<uint64_t, kParts>;  // by part: the round it was last told in
  struct Cohort {
    std::set<NodeId> viewers;
    Heard heard{};
    size_t next = 0;  // part
  };

  static size_t part_of(const NodeId& node);
  static size_t cohort_of(const NodeId& viewer);
  size_t parts_per_round() const;
  std::vector<NodeId> hear(Cohort& cohort, size_t parts);
  void drop_heard();

  std::array<std::map<NodeId, uint64_t>, kParts> changes_;  // the round of each node's last change
  std::array<Cohort, kCohorts> cohorts_;
  uint64_t round_ = 0;
  size_t viewers_ = 0;
  size_t frames_ = 0, entries_ = 0;  // of the last round
};

}  // namespace narke::node
