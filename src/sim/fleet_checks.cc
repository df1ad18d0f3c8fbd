// What must hold of a simulated cluster at rest, and of a head that goes on from its records.
#include "sim/fleet.h"

namespace narke::sim {

using controller::GroupState;
using wire::ActorState;

// What the head keeps of a record it has read is that record.
void Fleet::check_records(Host& head) {
  if (!head.is_up() || head.is_doomed()) return;
  const node::Cluster& cluster = head.service().cluster();
  for (const auto& [key, value] : head.records())
    expect(cluster.record(static_cast<controller::Table>(key.first), key.second) == value,
           "a record of table " + std::to_string(key.first) + " is not what was kept");
  for (const auto& [id, actor] : cluster.controller().actors.all())
    expect(head.records().contains({static_cast<int>(controller::Table::kActors), std::string(id.view())}),
           "an actor was not kept");
  for (const auto& [id, group] : cluster.controller().groups.all())
    expect(head.records().contains({static_cast<int>(controller::Table::kGroups), std::string(id.view())}),
           "a placement group was not kept");
}

void Fleet::check_rest() {
  check_records(*hosts_[0]);
  check_detached();
  check_groups();
  const node::Cluster& head = hosts_[0]->service().cluster();
  for (const auto& host : hosts_) {
    const std::string name = "h" + std::to_string(host->index()) + " ";
    expect(host->is_up(), name + "is down");
    node::Service& service = host->service();
    expect(head.controller().nodes.find(host->node()) != nullptr, name + "is not in the cluster");
    service.cluster().core().check_invariants();
    const std::string left = leftovers(*host);
    expect(left.empty(), name + "still has " + left);
  }
  expect(head.controller().nodes.all().size() == hosts_.size(), "the head counts nodes that are not there");
}

void Fleet::check_detached() {
  const auto& actors = hosts_[0]->service().cluster().controller().actors.all();
  for (const auto& [id, actor] : actors) {
    const ActorRecord& record = ledger_.actors[ledger_.by_id.at(id)];
    const std::string who = "actor " + id.hex().substr(0, 8);
    const bool lives = actor.state != ActorState::Dead;
    expect(!lives || record.detached, who + " outlives its owner");
    expect(!lives || actor.state == ActorState::Alive,
           who + " is " + wire::EnumNameActorState(actor.state) + " for ever");
    expect(record.instances.size() == (lives ? 1 : 0), who + " has " + std::to_string(record.instances.size()) +
                                                           " processes and is " +
                                                           wire::EnumNameActorState(actor.state));
    if (lives)
      expect(record.instances.begin()->second == actor.address.worker, who + " runs elsewhere than it is said");
  }
  for (const ActorRecord& record : ledger_.actors)
    if (!actors.contains(record.id))
      expect(record.instances.empty(), "a process runs an actor that the head has forgotten");
}

// Groups end with their jobs, and there are none left.
void Fleet::check_groups() {
  for (const auto& [id, group] : hosts_[0]->service().cluster().controller().groups.all())
    expect(group.state == GroupState::kRemoved, "placement group " + id.hex().substr(0, 8) + " outlives its job");
  for (const auto& host : hosts_)
    expect(host->service().cluster().core().groups().empty(),
           "h" + std::to_string(host->index()) + " holds bundles of a group that was removed");
}

}  // namespace narke::sim
