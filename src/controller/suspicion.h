// When a node that says nothing counts as gone.
//
// Each node is given twice its longest silence of the last minutes and a second, within bounds: a node that always
// speaks up in time is found dead soon, one that is slow and alive is not taken for dead. A moment in which this
// process itself did not run counts for nobody.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/id.h"

namespace narke::controller {

class Suspicion {
 public:
  static constexpr int64_t kLeastMs = 2'500;
  static constexpr int64_t kMostMs = 15'000;
  static constexpr int64_t kLookEveryMs = 250;  // how often silent() is to be called

  // It has said something.
  void heard(const NodeId& node, int64_t now_ms);
  void forget(const NodeId& node) { nodes_.erase(node); }
  // Those that have been silent for longer than they may.
  std::vector<NodeId> silent(int64_t now_ms);
  // How long it may be silent; kLeastMs for one that is not known.
  int64_t bound_ms(const NodeId& node) const;

 private:
  struct Record {
    int64_t heard_ms = 0;
    double longest_ms = 0;  // silence, halved in each kHalfLifeMs
  };
  static int64_t bound_of(const Record& record);

  std::unordered_map<NodeId, Record> nodes_;
  int64_t looked_ms_ = 0;  // 0: never
};

}  // namespace narke::controller
