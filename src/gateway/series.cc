#include "gateway/series.h"

namespace narke::gateway {

void SeriesStore::add(const std::string& name, int64_t time_s, double value) {
  if (series_.size() >= kMostSeries && !series_.contains(name)) return;
  Series& series = series_[name];
  for (int i = 0; i < kRings; ++i) {
    Ring& ring = series.rings[i];
    const int64_t slot = time_s / kSteps[i];
    if (slot != ring.slot) {
      ring.slot = slot;
      ring.sum = 0;
      ring.count = 0;
      ring.points.push_back({slot * kSteps[i], 0});
      if (ring.points.size() > kLengths[i]) ring.points.pop_front();
    }
    ring.sum += value;
    ++ring.count;
    ring.points.back().value = ring.sum / static_cast<double>(ring.count);
  }
}

std::vector<Point> SeriesStore::points(const std::string& name, int64_t since_s) const {
  const auto at = series_.find(name);
  if (at == series_.end()) return {};
  const Ring* chosen = &at->second.rings[kRings - 1];
  for (int i = 0; i < kRings; ++i) {
    const Ring& ring = at->second.rings[i];
    const bool whole = ring.points.size() < kLengths[i];  // it has all there ever was
    if (whole || ring.points.front().time_s <= since_s) {
      chosen = &ring;
      break;
    }
  }
  std::vector<Point> out;
  for (const Point& point : chosen->points)
    if (point.time_s >= since_s) out.push_back(point);
  return out;
}

std::vector<std::string> SeriesStore::names() const {
  std::vector<std::string> out;
  for (const auto& [name, series] : series_) out.push_back(name);
  return out;
}

}  // namespace narke::gateway
