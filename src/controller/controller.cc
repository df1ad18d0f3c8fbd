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

void Controller::add_node(Node node) {
  nodes.add(std::move(node));
  retry();
}

void Controller::on_node_gone(const NodeId& id, const std::string& why) {
  if (!nodes.remove(id, why)) return;
  groups.on_node_gone(id);  // first: an actor of a group that lost its place waits for the group
  actors.on_node_gone(id, why);
}

void Controller::on_reserved(const PgId& id, const NodeId& node, uint32_t attempt, bool ok) {
  const PlacementGroup* created = groups.on_reserved(id, node, attempt, ok);
  if (created != nullptr) actors.on_group_created(*created);
}

void Controller::retry() {
  if (groups.any_pending()) groups.retry();
  if (nodes.all().size() > 1) actors.retry();
}

bool Controller::remove_group(const PgId& id) {
  const PlacementGroup* group = groups.find(id);
  if (group == nullptr || group->state == GroupState::kRemoved) return false;
  actors.on_group_removed(*group);
  return groups.remove(id);
}

}  // namespace narke::controller
