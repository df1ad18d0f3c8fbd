// What the head keeps and takes up again; what a node has when it comes back.
#include <algorithm>

#include "controller/records.h"
#include "node/cluster.h"
#include "node/wire.h"

namespace narke::node {

using controller::Table;
using journal::Change;

template <class IdType>
static IdType id_of(const std::string& key) {
  return key.size() == IdType::kSize ? IdType::from_bytes(key) : IdType();
}

template <class Record>
static std::optional<std::string> saved(const Record* record) {
  if (record == nullptr) return std::nullopt;
  return controller::save(*record);
}

std::optional<std::string> Cluster::record(Table table, const std::string& key) const {
  switch (table) {
    case Table::kJobs: return saved(controller_.jobs.find(id_of<JobId>(key)));
    case Table::kActors: return saved(controller_.actors.find(id_of<ActorId>(key)));
    case Table::kGroups: return saved(controller_.groups.find(id_of<PgId>(key)));
    case Table::kNodes: {
      const auto lost = restored_nodes_.find(id_of<NodeId>(key));
      return saved(lost != restored_nodes_.end() ? &lost->second : controller_.nodes.find(id_of<NodeId>(key)));
    }
    case Table::kKeys: {
      const size_t split = key.find('\0');
      const std::string* value = controller_.kv.get(key.substr(0, split), key.substr(split + 1));
      return value ? std::optional(*value) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::vector<Change> Cluster::take_changes() {
  std::vector<Change> out;
  for (const auto& [table, key] : std::exchange(changes_, {}))
    out.push_back({static_cast<int>(table), key, record(table, key)});
  return out;
}

void Cluster::note_again(const std::vector<Change>& changes) {
  for (const Change& change : changes) changes_.insert({static_cast<Table>(change.table), change.key});
}

// The specification stands in the frame; what the node of its creator added is in the record.
static bool read_spec(controller::Actor& actor) {
  if (!actor.frame) return true;
  const rpc::Frame frame{wire::MessageType::CreateActor, 0, actor.frame->table, actor.frame->raw};
  const auto* create = frame.as<wire::CreateActor>();
  if (create == nullptr || create->spec() == nullptr) return false;
  controller::ActorSpec spec = actor_spec_of(*create->spec());
  spec.job = actor.spec.job;
  spec.owner = actor.spec.owner;
  spec.name_space = actor.spec.name_space;
  actor.spec = std::move(spec);
  return true;
}

bool Cluster::restore(const Change& record) {
  const std::string& value = *record.value;
  switch (static_cast<Table>(record.table)) {
    case Table::kJobs: {
      controller::Job job;
      if (!controller::load(value, &job)) return false;
      controller_.jobs.copy(std::move(job));
      return true;
    }
    case Table::kActors: {
      controller::Actor actor;
      if (!controller::load(value, &actor) || !read_spec(actor)) return false;
      controller_.actors.restore(std::move(actor));
      return true;
    }
    case Table::kGroups: {
      controller::PlacementGroup group;
      if (!controller::load(value, &group)) return false;
      controller_.groups.restore(std::move(group));
      return true;
    }
    case Table::kNodes: {
      controller::Node node;
      if (!controller::load(value, &node)) return false;
      restored_nodes_.emplace(node.id, std::move(node));
      return true;
    }
    case Table::kKeys: {
      const size_t split = record.key.find('\0');
      if (split == std::string::npos) return false;
      controller_.kv.put(record.key.substr(0, split), record.key.substr(split + 1), value, true);
      return true;
    }
  }
  return false;
}

void Cluster::on_node_back(const NodeId& node, const controller::Controller::Present& present) {
  restored_nodes_.erase(node);
  controller_.on_node_back(node, present);
}

void Cluster::on_node_lost(const NodeId& node, const std::string& why) {
  restored_nodes_.erase(node);
  for (const auto& [number, job] : std::map<uint32_t, controller::Job>(controller_.jobs.all()))
    if (job.running && job.node == node) finish_job(job.id, "is gone with its node: " + why);
  controller_.on_node_lost(node, why);
}

controller::Controller::Present Cluster::present() const {
  controller::Controller::Present out;
  for (const auto& [id, worker] : core_.workers())
    if (!worker.actor.is_nil() && worker.actor_started && !worker.killed) out.actors[worker.actor] = worker.incarnation;
  for (const auto& [id, group] : core_.groups())
    for (const auto& [index, bundle] : group.bundles) out.bundles[id].insert(index);
  return out;
}

std::string Cluster::leftovers(const std::function<bool(const WorkerId&)>& lives) const {
  std::string out;
  const auto add = [&out](size_t count, const char* what) {
    if (count > 0) out += (out.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  size_t waiting = 0;
  core_.for_each_request([&](const Request&) { ++waiting; });
  add(waiting, "requests");
  const auto leased = [](const auto& entry) { return entry.second.lease && entry.second.actor.is_nil(); };
  add(static_cast<size_t>(std::count_if(core_.workers().begin(), core_.workers().end(), leased)), "leases");
  add(core_.groups().size(), "reserved groups");
  add(forwarded_.size(), "requests at other nodes");
  add(remote_leases_.size(), "leases at other nodes");
  add(for_group_.size(), "groups that requests wait for");
  add(groups_.size(), "groups that were asked about");
  add(placed_.size(), "actors that are to start");
  const auto has_ended = [&](const WorkerId& id) { return !lives(id); };
  add(static_cast<size_t>(std::count_if(guests_.begin(), guests_.end(), has_ended)), "guests");
  add(creators_.size(), "owners of actors");
  return out;
}

std::vector<PgId> Cluster::watched_groups() const {
  std::vector<PgId> out;
  for (const auto& [id, group] : groups_)
    if (group.state != controller::GroupState::kRemoved) out.push_back(id);
  for (const auto& [id, waiting] : for_group_)
    if (!groups_.contains(id)) out.push_back(id);
  return out;
}

}  // namespace narke::node
