// The programs that were started as drivers, in the order they came.
#pragma once

#include <map>
#include <string>

#include "controller/types.h"

namespace narke::controller {

class Jobs {
 public:
  // Ids count from 1.
  const Job& start(const WorkerId& driver, const NodeId& node, int pid, std::string config, int64_t now_ms);
  // A job that the head has started: a copy for this node.
  const Job& copy(Job job);
  const Job* running_of(const WorkerId& driver) const;  // null: none
  // Null when it is not running.
  const Job* finish(const JobId& id, int64_t now_ms);
  const Job* find(const JobId& id) const;
  const std::map<uint32_t, Job>& all() const { return jobs_; }

  static JobId id_of(uint32_t number);
  static uint32_t number_of(const JobId& id);

 private:
  std::map<uint32_t, Job> jobs_;
  uint32_t last_ = 0;
};

}  // namespace narke::controller
