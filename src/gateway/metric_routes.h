// Metrics: Prometheus' endpoint and its service discovery, and the embedded time series behind the charts.
//
// tick() samples the cluster every few seconds; a scrape shows the last sample together with users' metrics.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/host_stats.h"
#include "gateway/app.h"
#include "gateway/job_record.h"
#include "gateway/node_link.h"
#include "gateway/prometheus.h"
#include "gateway/series.h"

namespace narke::gateway {

struct MetricConfig {
  std::string session_dir, address;
  int node_pid = 0;
  bool is_member = false;  // of a node that is not the head: served are the figures of its host alone
};

class MetricRoutes {
 public:
  MetricRoutes(Cluster& cluster, MetricConfig config) : cluster_(cluster), config_(std::move(config)) {}
  void add_to(Router& router);
  // Samples when it is time to.
  void tick();

 private:
  struct Gathering;
  using Done = std::function<void(std::shared_ptr<Gathering>)>;
  void gather(bool with_users, Done done);
  void gather_users(std::shared_ptr<Gathering> to);
  void fill(Gathering& from, MetricText& out, bool with_all);
  void fill_cluster(Gathering& from, MetricText& out);
  void fill_host(const json::object& host, MetricText& out);
  void fill_store(const json::object& host, MetricText& out);
  void fill_resources(const json::object& total, const json::object& free, MetricText& out);
  void keep(Gathering& from);
  void scrape(Call call);
  void charts(Call call);
  json::array targets() const;
  void write_targets() const;
  Labels common() const;

  Cluster& cluster_;
  MetricConfig config_;
  SeriesStore series_;
  std::vector<std::string> member_targets_;  // where other nodes serve their own
  int64_t last_sample_s_ = 0;
  bool sampling_ = false;
};

}  // namespace narke::gateway
