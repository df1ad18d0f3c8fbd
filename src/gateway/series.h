// The last hours of a few numbers, for charts; bounded. Pure.
//
// Three rings of growing steps: 5 s for 15 min, 30 s for 2 h, 5 min for a day. A coarser point is the mean of the finer
// ones in it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace narke::gateway {

struct Point {
  int64_t time_s = 0;  // since 1970
  double value = 0;
};

class SeriesStore {
 public:
  void add(const std::string& name, int64_t time_s, double value);
  // Points not older than `since_s`, from the finest ring that reaches back so far.
  std::vector<Point> points(const std::string& name, int64_t since_s) const;
  std::vector<std::string> names() const;

 private:
  static constexpr int kRings = 3;
  static constexpr int64_t kSteps[kRings] = {5, 30, 300};
  static constexpr size_t kLengths[kRings] = {180, 240, 288};
  static constexpr size_t kMostSeries = 200;
  struct Ring {
    std::deque<Point> points;
    double sum = 0;
    int64_t count = 0, slot = -1;
  };
  struct Series {
    Ring rings[kRings];
  };
  std::map<std::string, Series> series_;
};

}  // namespace narke::gateway
