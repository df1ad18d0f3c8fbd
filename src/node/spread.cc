#include "node/spread.h"

#include <algorithm>
#include <functional>

namespace narke::node {

using std::chrono::milliseconds;

// To be told of so many nodes a round costs a viewer's head about as much as the frame itself.
static constexpr size_t kEntriesAtLeast = 128;
static constexpr size_t kEntriesARound = 64'000;  // to all viewers together, while they are few
static constexpr milliseconds kSpreadEvery{40};
// Measured (benchmarks/crowd.py), and what share of its time the head gives for it: a tenth.
static constexpr double kFrameUs = 4, kEntryUs = 0.06, kShare = 0.1;

size_t Spread::part_of(const NodeId& node) { return std::hash<NodeId>()(node) % kParts; }
size_t Spread::cohort_of(const NodeId& viewer) { return std::hash<NodeId>()(viewer) / kParts % kCohorts; }

Spread::Spread() {
  for (size_t i = 0; i < kCohorts; ++i) cohorts_[i].next = i * kParts / kCohorts;
}

void Spread::add_viewer(const NodeId& viewer) {
  Cohort& cohort = cohorts_[cohort_of(viewer)];
  if (cohort.viewers.empty()) cohort.heard.fill(round_);
  viewers_ += cohort.viewers.insert(viewer).second;
}

void Spread::remove_viewer(const NodeId& viewer) { viewers_ -= cohorts_[cohort_of(viewer)].viewers.erase(viewer); }

std::vector<NodeId> Spread::viewers() const {
  std::vector<NodeId> out;
  for (const Cohort& cohort : cohorts_) out.insert(out.end(), cohort.viewers.begin(), cohort.viewers.end());
  return out;
}

size_t Spread::parts_per_round() const {
  size_t changed = 0;
  for (const auto& part : changes_) changed += part.size();
  if (changed == 0 || viewers_ == 0) return kParts;
  const size_t most = std::max(kEntriesAtLeast, kEntriesARound / viewers_);
  return std::clamp<size_t>(kParts * most / changed, 1, kParts);
}

std::vector<NodeId> Spread::hear(Cohort& cohort, size_t parts) {
  std::vector<NodeId> out;
  const size_t first = parts == kParts ? 0 : cohort.next;
  for (size_t i = 0; i < parts; ++i) {
    const size_t part = (first + i) % kParts;
    for (const auto& [node, round] : changes_[part])
      if (round > cohort.heard[part]) out.push_back(node);
    cohort.heard[part] = round_;
  }
  if (parts < kParts) cohort.next = (first + parts) % kParts;
  return out;
}

std::vector<Spread::News> Spread::take() {
  ++round_;
  frames_ = entries_ = 0;
  const size_t parts = parts_per_round();
  std::vector<News> out;
  for (Cohort& cohort : cohorts_) {
    if (cohort.viewers.empty()) continue;
    std::vector<NodeId> nodes = hear(cohort, parts);
    if (nodes.empty()) continue;
    frames_ += cohort.viewers.size();
    entries_ += cohort.viewers.size() * nodes.size();
    if (out.empty() || out.back().nodes != nodes) out.push_back({std::move(nodes), {}});
    std::vector<NodeId>& viewers = out.back().viewers;
    viewers.insert(viewers.end(), cohort.viewers.begin(), cohort.viewers.end());
  }
  drop_heard();
  return out;
}

// What all have heard of.
void Spread::drop_heard() {
  Heard least;
  least.fill(round_);
  for (const Cohort& cohort : cohorts_)
    for (size_t part = 0; part < kParts && !cohort.viewers.empty(); ++part)
      least[part] = std::min(least[part], cohort.heard[part]);
  for (size_t part = 0; part < kParts; ++part)
    std::erase_if(changes_[part], [&](const auto& change) { return change.second <= least[part]; });
}

milliseconds Spread::pause() const {
  const double work_us = static_cast<double>(frames_) * kFrameUs + static_cast<double>(entries_) * kEntryUs;
  return std::max(kSpreadEvery, milliseconds(static_cast<int64_t>(work_us / kShare / 1000)));
}

}  // namespace narke::node
