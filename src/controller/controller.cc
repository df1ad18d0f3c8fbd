#include "controller/controller.h"

namespace narke::controller {

Controller::Controller(Out& out) : actors(out, nodes, groups), groups(out, nodes), out_(out) {
  kv.on_change([this](const std::string& name_space, const std::string& key) {
    out_.touched(Table::kKeys, name_space + '\0' + key);
  });
}

const Job& Controller::start_job(const WorkerId& driver, const NodeId& node, int pid, std::string config) {
  if (const Job* known = jobs.running_of(driver)) return *known;
  const Job& job = jobs.start(driver, node, pid, std::move(config), out_.now_ms());
  out_.touched(Table::kJobs, std::string(job.id.view()));
  return job;
}

void Controller::finish_job(const JobId& id, const std::string& why) {
  const Job* job = jobs.finish(id, out_.now_ms());
  if (job == nullptr) return;
  out_.touched(Table::kJobs, std::string(id.view()));
  actors.on_program_gone(job->driver, wire::DeathCause::JobFinished, "its driver " + why + ".");
  for (const PgId& group : groups.of_job(id)) remove_group(group);
}

void Controller::on_worker_gone(const WorkerId& worker, const std::string& who) {
  actors.on_program_gone(worker, wire::DeathCause::OwnerDied, "its owner has died. " + who);
}

void Controller::add_node(Node node) {
  out_.touched(Table::kNodes, std::string(node.id.view()));
  nodes.add(std::move(node));
  retry();
}

void Controller::on_node_gone(const NodeId& id, const std::string& why) {
  if (!nodes.remove(id, why)) return;
  on_node_lost(id, why);
}

bool Controller::drain_node(const NodeId& id, Drain drain) {
  if (!nodes.drain(id, std::move(drain))) return false;
  out_.touched(Table::kNodes, std::string(id.view()));
  actors.on_node_draining(id);
  return true;
}

void Controller::on_node_lost(const NodeId& id, const std::string& why) {
  out_.touched(Table::kNodes, std::string(id.view()));
  const Node* ended = nodes.find_ended(id);
  actors.on_owners_gone(id, why);
  groups.on_node_gone(id);  // first: an actor of a group that lost its place waits for the group
  actors.on_node_gone(id, why, ended != nullptr && ended->is_draining());
}

void Controller::on_node_back(const NodeId& id, const Present& present) {
  for (const auto& [number, job] : std::map<uint32_t, Job>(jobs.all()))
    if (job.running && job.node == id && !present.programs.contains(job.driver))
      finish_job(job.id, "ended while the head was away");
  groups.on_node_back(id, present.bundles);
  actors.on_node_back(id, present.actors);
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
