// Logs over HTTP: names, files, streams, search. The nodes read them; paths stay in their
// session's log folder (CVE-2023-6020, 2023-6021).
#pragma once

#include <functional>
#include <string>

#include "gateway/app.h"
#include "gateway/file_source.h"
#include "gateway/jobs.h"

namespace narke::gateway {

class LogRoutes {
 public:
  LogRoutes(Cluster& cluster, Jobs& jobs, After after) : cluster_(cluster), jobs_(jobs), after_(std::move(after)) {}
  void add_to(Router& router);

 private:
  using Found = std::function<void(const std::string& name, const std::string& node_id)>;
  void list(const Call& call, std::function<void(const json::array&)> then);
  void files(Call call);
  void names(Call call);
  void text(Call call);
  void search(Call call);
  void find_file(const Call& call, Found found);
  void find_by_worker(const char* method, const char* rows, std::string key, std::string wanted, std::string suffix,
                      Reply reply, Found found);
  void serve(const Call& call, const std::string& name, const std::string& node_id, bool follow);

  Cluster& cluster_;
  Jobs& jobs_;
  After after_;
};

// Ray's group of a log file.
std::string log_group(const std::string& name);

}  // namespace narke::gateway
