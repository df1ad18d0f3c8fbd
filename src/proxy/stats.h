// What the proxy counts, in Ray Serve's names, and the access log. Pure but for AccessLog.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>

namespace narke::proxy {

class Stats {
 public:
  // A request was answered. latency_ms from its head to the last byte of the answer.
  void count(std::string_view route, std::string_view method, std::string_view app, std::string_view deployment,
             int status, double latency_ms);
  void add_ongoing(int delta) { ongoing_ += delta; }
  int ongoing() const { return ongoing_; }
  uint64_t total() const { return total_; }
  // Prometheus' text format; `node` becomes a label of every sample.
  std::string prometheus(std::string_view node) const;

 private:
  static constexpr std::array<double, 19> kBucketsMs = {1,   2,    5,    10,   20,    50,    100,    200,    300,   400,
                                                        500, 1000, 2000, 5000, 10000, 60000, 120000, 300000, 600000};
  struct Series {
    uint64_t count = 0;
    double sum_ms = 0;
    std::array<uint64_t, kBucketsMs.size() + 1> buckets{};
  };
  std::map<std::string, uint64_t> requests_, errors_, deployment_errors_;  // by label text
  std::map<std::string, Series> latencies_;
  uint64_t total_ = 0;
  int ongoing_ = 0;
};

// One line for each request; written out by flush() and when much has gathered.
class AccessLog {
 public:
  ~AccessLog();
  // False with errno set: the file cannot be opened.
  bool open(const std::string& path);
  void add(std::string_view request_id, std::string_view method, std::string_view path, int status, double latency_ms);
  void flush();

 private:
  std::FILE* file_ = nullptr;
  std::string held_, stamp_;
  int64_t stamp_ms_ = -1;
};

}  // namespace narke::proxy
