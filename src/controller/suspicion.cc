#include "controller/suspicion.h"

#include <algorithm>
#include <cmath>

namespace narke::controller {

static constexpr double kHalfLifeMs = 60'000;
static constexpr int64_t kSlackMs = 1'000;
static constexpr int64_t kLateMs = 500;  // looked so much later than meant: this process did not run

void Suspicion::heard(const NodeId& node, int64_t now_ms) {
  const auto [at, is_new] = nodes_.try_emplace(node);
  Record& record = at->second;
  if (!is_new) {
    const double gap = static_cast<double>(now_ms - record.heard_ms);
    record.longest_ms = std::max(gap, record.longest_ms * std::exp2(-gap / kHalfLifeMs));
  }
  record.heard_ms = now_ms;
}

int64_t Suspicion::bound_of(const Record& record) {
  return std::clamp(2 * static_cast<int64_t>(record.longest_ms) + kSlackMs, kLeastMs, kMostMs);
}

int64_t Suspicion::bound_ms(const NodeId& node) const {
  const auto at = nodes_.find(node);
  return at == nodes_.end() ? kLeastMs : bound_of(at->second);
}

std::vector<NodeId> Suspicion::silent(int64_t now_ms) {
  const int64_t late = looked_ms_ == 0 ? 0 : now_ms - looked_ms_ - kLookEveryMs;
  looked_ms_ = now_ms;
  std::vector<NodeId> out;
  for (auto& [node, record] : nodes_) {
    if (late > kLateMs) record.heard_ms = std::min(record.heard_ms + late, now_ms);
    if (now_ms - record.heard_ms > bound_of(record)) out.push_back(node);
  }
  return out;
}

}  // namespace narke::controller
