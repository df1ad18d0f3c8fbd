#include "proxy/stats.h"

#include <cctype>
#include <chrono>
#include <ctime>

#include "proxy/pickle_writer.h"

namespace narke::proxy {
namespace {

constexpr size_t kMostSeries = 1000;
constexpr size_t kMostHeld = 64 << 10;
constexpr size_t kMostPath = 1000;

std::string escaped(std::string_view value) {
  std::string out;
  for (char c : to_utf8(value)) {
    if (c == '\\' || c == '"') out.push_back('\\');
    if (c == '\n')
      out += "\\n";
    else
      out.push_back(c);
  }
  return out;
}

std::string label(std::string_view name, std::string_view value) {
  return std::string(name) + "=\"" + escaped(value) + "\"";
}

template <class Map>
bool has_place(const Map& map, const std::string& key) {
  return map.size() < kMostSeries || map.contains(key);
}

void write_counters(std::string& out, const char* name, const char* help, const std::map<std::string, uint64_t>& all,
                    const std::string& node) {
  out += std::string("# HELP ") + name + ' ' + help + "\n# TYPE " + name + " counter\n";
  for (const auto& [labels, value] : all)
    out += std::string(name) + '{' + labels + ',' + node + "} " + std::to_string(value) + '\n';
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

}  // namespace

void Stats::count(std::string_view route, std::string_view method, std::string_view app, std::string_view deployment,
                  int status, double latency_ms) {
  ++total_;
  std::string shared = label("route", route) + ',' + label("method", method) + ',' + label("application", app);
  std::string coded = shared + ',' + label("status_code", std::to_string(status));
  if (has_place(requests_, coded)) ++requests_[coded];
  if (status >= 400) {
    std::string failed = label("route", route) + ',' + label("error_code", std::to_string(status)) + ',' +
                         label("method", method) + ',' + label("application", app);
    if (has_place(errors_, failed)) ++errors_[failed];
    std::string by_deployment = label("deployment", deployment) + ',' + label("error_code", std::to_string(status)) +
                                ',' + label("method", method) + ',' + label("route", route) + ',' +
                                label("application", app);
    if (!deployment.empty() && has_place(deployment_errors_, by_deployment)) ++deployment_errors_[by_deployment];
  }
  if (!has_place(latencies_, coded)) return;
  Series& series = latencies_[coded];
  ++series.count;
  series.sum_ms += latency_ms;
  size_t bucket = 0;
  while (bucket < kBucketsMs.size() && latency_ms > kBucketsMs[bucket]) ++bucket;
  ++series.buckets[bucket];
}

std::string Stats::prometheus(std::string_view node) const {
  std::string out, place = label("node_id", node);
  write_counters(out, "serve_num_http_requests_total", "HTTP requests that were answered.", requests_, place);
  write_counters(out, "serve_num_http_error_requests_total", "HTTP answers with a status of 400 or more.", errors_,
                 place);
  write_counters(out, "serve_num_deployment_http_error_requests_total",
                 "HTTP answers with a status of 400 or more, by deployment.", deployment_errors_, place);
  out +=
      "# HELP serve_num_ongoing_http_requests HTTP requests being served.\n"
      "# TYPE serve_num_ongoing_http_requests gauge\n";
  out += "serve_num_ongoing_http_requests{" + place + "} " + std::to_string(ongoing_) + '\n';
  out +=
      "# HELP serve_http_request_latency_ms Time from a request's head to the end of its answer.\n"
      "# TYPE serve_http_request_latency_ms histogram\n";
  for (const auto& [labels, series] : latencies_) {
    uint64_t below = 0;
    for (size_t i = 0; i <= kBucketsMs.size(); ++i) {
      below += series.buckets[i];
      std::string limit = i < kBucketsMs.size() ? number(kBucketsMs[i]) : "+Inf";
      out += "serve_http_request_latency_ms_bucket{" + labels + ',' + place + ",le=\"" + limit + "\"} " +
             std::to_string(below) + '\n';
    }
    out += "serve_http_request_latency_ms_sum{" + labels + ',' + place + "} " + number(series.sum_ms) + '\n';
    out += "serve_http_request_latency_ms_count{" + labels + ',' + place + "} " + std::to_string(series.count) + '\n';
  }
  return out;
}

AccessLog::~AccessLog() {
  flush();
  if (file_ != nullptr) std::fclose(file_);
}

bool AccessLog::open(const std::string& path) {
  file_ = std::fopen(path.c_str(), "ae");
  return file_ != nullptr;
}

void AccessLog::add(std::string_view request_id, std::string_view method, std::string_view path, int status,
                    double latency_ms) {
  if (file_ == nullptr) return;
  auto since = std::chrono::system_clock::now().time_since_epoch();
  int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
  if (ms != stamp_ms_) {
    stamp_ms_ = ms;
    time_t seconds = ms / 1000;
    tm parts{};
    gmtime_r(&seconds, &parts);
    char text[40];
    size_t size = std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
    stamp_.assign(text, size);
    std::snprintf(text, sizeof(text), ",%03d", static_cast<int>(ms % 1000));
    stamp_ += text;
  }
  char tail[48];
  std::snprintf(tail, sizeof(tail), " %d %.1fms\n", status, latency_ms);
  held_.append("INFO ").append(stamp_).append(" proxy ").append(request_id).append(" -- ").append(method).append(" ");
  for (char c : path.substr(0, kMostPath)) held_.push_back(std::iscntrl(static_cast<unsigned char>(c)) ? '?' : c);
  held_.append(tail);
  if (held_.size() > kMostHeld) flush();
}

void AccessLog::flush() {
  if (file_ == nullptr || held_.empty()) return;
  std::fwrite(held_.data(), 1, held_.size(), file_);
  std::fflush(file_);
  held_.clear();
}

}  // namespace narke::proxy
