// Data's and Train's runs by Ray's paths and in its fields, and whether the monitors beside the cluster are well.
#pragma once

#include <string>
#include <vector>

#include "gateway/app.h"
#include "gateway/commands.h"
#include "gateway/job_routes.h"
#include "gateway/serve_routes.h"

namespace narke::gateway {

class LibraryRoutes {
 public:
  LibraryRoutes(Cluster& cluster, JobRoutes& jobs, const Guard& guard, Commands& commands, ServeConfig config)
      : cluster_(cluster), jobs_(jobs), guard_(guard), commands_(commands), config_(std::move(config)) {}
  void add_to(Router& router);

 private:
  void datasets(Call call);
  // shape: makes a run of a record and the details of its job, null when they are not known.
  using Shape = json::object (*)(const json::object& record, const json::value& job);
  void train_runs(Call call, Shape shape);
  void monitor(Call call, const char* which);

  Cluster& cluster_;
  JobRoutes& jobs_;
  const Guard& guard_;
  Commands& commands_;
  const ServeConfig config_;
};

// An execution as narke/data/execute/progress.py writes it, under "<job id>/<n>": an element of Ray's "datasets".
json::object dataset_row(const std::string& key, const json::object& record);
// A run as narke/train/_progress.py writes it, in the fields of Ray's Train V2 and V1.
json::object train_run(const json::object& record, const json::value& job);
json::object first_train_run(const json::object& record, const json::value& job);

}  // namespace narke::gateway
