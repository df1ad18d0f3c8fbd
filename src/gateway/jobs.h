// Submitted jobs: their records, their supervisors, the resources reserved for their entry points.
//
// Lifecycle: load() reads what an earlier gateway left; tick() a few times a second sees supervisors end. One thread.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "gateway/job_record.h"
#include "gateway/node_link.h"

namespace narke::gateway {

struct JobsConfig {
  std::string session_dir;
  std::string supervisor;           // path of narke-job
  std::string python, python_path;  // of the cluster
  int node_pid = 0;
  std::string node_ip;
};

class Jobs {
 public:
  Jobs(JobsConfig config, Cluster& cluster);

  void load();
  void tick();
  // Which node this is, once it is known.
  void set_node(const std::string& id) { node_id_ = id; }

  // The id of the new job. kRefused: there is one of this id.
  Result<std::string> submit(JobRequest request);
  // With its present state; null when there is none. Valid until the next call of anything here.
  const JobRecord* find(const std::string& id);
  std::vector<const JobRecord*> all();
  // Whether it was asked to stop now; false when it is over.
  bool stop(const std::string& id);
  // REQUIRES: the job is over.
  Status erase(const std::string& id);

  std::string log_path(const std::string& id) const { return config_.session_dir + "/logs/job-driver-" + id + ".log"; }

 private:
  struct Job {
    JobRecord record;
    std::string group;  // bytes of the placement group that holds its resources; "" for none
    int64_t asked_ms = 0;
  };
  std::string dir(const std::string& id) const { return config_.session_dir + "/jobs/" + id; }
  void save(const JobRecord& record);
  void refresh(Job& job);
  void reserve(const std::string& id);
  void await_group(const std::string& id);
  void on_group(const std::string& id, const ControlAnswer& answer);
  void release(Job& job);
  void launch(Job& job);
  json::object launch_order(const JobRecord& record) const;
  std::string cluster_address() const;
  json::object environment_of(const JobRecord& record) const;
  bool is_supervisor(int pid) const;
  void kill_strays() const;
  void on_supervisor_gone(Job& job);
  void give_up(Job& job, const std::string& message, const char* kind);

  JobsConfig config_;
  Cluster& cluster_;
  std::string node_id_;
  std::map<std::string, Job> jobs_;
  std::set<int> supervisors_;  // started by this process and not reaped
};

}  // namespace narke::gateway
