// The Jobs API: Ray's routes, fields, texts and status codes over Jobs. Also the packages that jobs bring.
#pragma once

#include "gateway/app.h"
#include "gateway/file_source.h"
#include "gateway/jobs.h"

namespace narke::gateway {

class JobRoutes {
 public:
  JobRoutes(Jobs& jobs, Cluster& cluster, const Guard& guard, After after, std::string packages_dir)
      : jobs_(jobs),
        cluster_(cluster),
        guard_(guard),
        after_(std::move(after)),
        packages_dir_(std::move(packages_dir)) {}

  void add_to(Router& router);

  // Every job, submitted ones and drivers that came by themselves, as Ray's JobDetails; newest first.
  void list(bool secrets, std::function<void(json::array)> done);

 private:
  void add_jobs_at(Router& router, const std::string& prefix);
  void add_packages(Router& router);
  void submit(Call call);
  void list_all(Call call);
  void info(Call call);
  void stop(Call call);
  void erase(Call call);
  void logs(Call call);
  void tail(Call call);
  void get_package(Call call);
  void put_package(Call call);
  // With the submitted job of that id (also by its driver's job id), or with an answer for the client.
  void with_job(Call call, const char* verb, std::function<void(Call, const std::string& id)> then);

  Jobs& jobs_;
  Cluster& cluster_;
  const Guard& guard_;
  After after_;
  std::string packages_dir_;
};

}  // namespace narke::gateway
