// Prometheus' text format (exposition format 0.0.4), and values of users' metrics in it. Pure.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gateway/json.h"

namespace narke::gateway {

using Labels = std::vector<std::pair<std::string, std::string>>;

class MetricText {
 public:
  // Labels that every sample carries.
  explicit MetricText(Labels common) : common_(std::move(common)) {}

  // type: gauge, counter or histogram. Samples of one name follow each other in the text, whatever the order here.
  void add(const std::string& name, const char* type, const std::string& help, double value, const Labels& labels = {});
  // What a process of the user says of its metrics (python/narke/util/metrics.py), as ray_<name>.
  void add_user(const json::object& series, const Labels& labels);
  std::string text() const;
  // Name to value of every sample without labels of its own; for the charts.
  const std::map<std::string, double>& plain() const { return plain_; }

 private:
  struct Family {
    const char* type = "gauge";
    std::string help;
    std::vector<std::string> lines;
  };
  void add_line(Family& family, const std::string& name, double value, const Labels& labels);
  void add_histogram(Family& family, const std::string& name, const json::object& series, const json::object& cell,
                     const Labels& labels);

  Labels common_;
  std::map<std::string, Family> families_;
  std::map<std::string, double> plain_;
};

// A name that Prometheus takes: other characters become '_'.
std::string metric_name(std::string name);

}  // namespace narke::gateway
