#include "controller/controller.h"

namespace narke::controller {

void Controller::finish_job(const JobId& id, const std::string& why) {
  const Job* job = jobs.finish(id, out_.now_ms());
  if (job == nullptr) return;
  actors.on_program_gone(job->driver, wire::DeathCause::JobFinished, "its driver " + why + ".");
  for (const PgId& group : groups.of_job(id)) remove_group(group);
}

void Controller::on_worker_gone(const WorkerId& worker, const std::string& who) {
  actors.on_program_gone(worker, wire::DeathCause::OwnerDied, "its owner died. " + who);
}

bool Controller::remove_group(const PgId& id) {
  const PlacementGroup* group = groups.find(id);
  if (group == nullptr || group->state == GroupState::kRemoved) return false;
  actors.on_group_removed(*group);
  return groups.remove(id);
}

}  // namespace narke::controller
