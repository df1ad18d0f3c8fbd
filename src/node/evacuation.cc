#include "node/evacuation.h"

#include <algorithm>
#include <utility>

namespace narke::node {

static constexpr size_t kBatch = 64;
static constexpr int64_t kForgiveMs = 1'000;

void Evacuation::look(int64_t now_ms) {
  if (forgive_ms_ != 0 && now_ms >= forgive_ms_) refused_.clear();
  if (refused_.empty()) forgive_ms_ = 0;
  if (!refused_.empty() && forgive_ms_ == 0) forgive_ms_ = now_ms + kForgiveMs;
  std::unordered_set<ObjectId> busy, still_moved;
  for (const auto& [shelter, objects] : asked_)
    for (const Object& object : objects) busy.insert(object.id);
  std::vector<Object> left;
  for (const Object& object : out_.to_move()) {
    if (moved_.contains(object.id))
      still_moved.insert(object.id);
    else if (!busy.contains(object.id))
      left.push_back(object);
  }
  moved_ = std::move(still_moved);
  left_ = left.size();
  for (const NodeId& shelter : out_.shelters()) {
    if (asked_.contains(shelter)) continue;
    std::vector<Object> batch = batch_for(shelter, left);
    if (batch.empty()) continue;
    out_.ask(shelter, batch);
    asked_.emplace(shelter, std::move(batch));
  }
}

std::vector<Evacuation::Object> Evacuation::batch_for(const NodeId& shelter, std::vector<Object>& left) {
  std::vector<Object> batch;
  std::erase_if(left, [&](const Object& object) {
    const auto refused = refused_.find(object.id);
    const bool wanted = batch.size() < kBatch && (refused == refused_.end() || !refused->second.contains(shelter));
    if (wanted) batch.push_back(object);
    return wanted;
  });
  return batch;
}

void Evacuation::on_taken(const NodeId& shelter, const std::vector<ObjectId>& taken) {
  const auto asked = asked_.find(shelter);
  if (asked == asked_.end()) return;
  const std::vector<Object> objects = std::move(asked->second);
  asked_.erase(asked);
  std::vector<Object> moved;
  for (const Object& object : objects) {
    if (std::find(taken.begin(), taken.end(), object.id) == taken.end()) {
      refused_[object.id].insert(shelter);
      continue;
    }
    moved_.insert(object.id);
    refused_.erase(object.id);
    moved.push_back(object);
  }
  if (!moved.empty()) out_.moved(shelter, moved);
}

void Evacuation::on_node_gone(const NodeId& shelter) { on_taken(shelter, {}); }

}  // namespace narke::node
