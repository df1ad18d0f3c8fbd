#include "controller/jobs.h"

#include <algorithm>
#include <cstring>

namespace narke::controller {

JobId Jobs::id_of(uint32_t number) {
  JobId id;
  std::memcpy(id.data(), &number, JobId::kSize);
  return id;
}

uint32_t Jobs::number_of(const JobId& id) {
  uint32_t number;
  std::memcpy(&number, id.data(), JobId::kSize);
  return number;
}

const Job& Jobs::start(const WorkerId& driver, const NodeId& node, int pid, std::string config, int64_t now_ms) {
  Job& job = jobs_[++last_];
  job.id = id_of(last_);
  job.driver = driver;
  job.node = node;
  job.driver_pid = pid;
  job.config = std::move(config);
  job.start_ms = now_ms;
  return job;
}

const Job& Jobs::copy(Job job) {
  const uint32_t number = number_of(job.id);
  last_ = std::max(last_, number);
  return jobs_[number] = std::move(job);
}

const Job* Jobs::finish(const JobId& id, int64_t now_ms) {
  const auto at = jobs_.find(number_of(id));
  if (at == jobs_.end() || !at->second.running) return nullptr;
  at->second.running = false;
  at->second.end_ms = now_ms;
  return &at->second;
}

const Job* Jobs::running_of(const WorkerId& driver) const {
  for (auto at = jobs_.rbegin(); at != jobs_.rend(); ++at)
    if (at->second.running && at->second.driver == driver) return &at->second;
  return nullptr;
}

const Job* Jobs::find(const JobId& id) const {
  const auto at = jobs_.find(number_of(id));
  return at == jobs_.end() ? nullptr : &at->second;
}

}  // namespace narke::controller
