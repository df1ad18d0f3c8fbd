// Actors and bundles that the head places on other nodes.
#include <algorithm>

#include "node/service.h"

namespace narke::node {

// ---- actors and groups at other nodes ----------------------------------------------------------------------

void Service::send_place_actor(const NodeId& node, const controller::Actor& actor) {
  // Of a job that has ended, whose actor goes on, a node that came later was not told.
  if (const controller::Job* job = cluster_.controller().jobs.find(actor.spec.job); job && !job->running)
    tell_job(node, *job);
  Builder b(256);
  const auto id = wired<wire::ActorId>(actor.spec.id);
  const auto job = wired<wire::JobId>(actor.spec.job);
  const controller::Address& own = actor.spec.owner;
  const auto owner = pack_address(b, own.worker, own.node, own.endpoint);
  const auto name_space = b.CreateString(actor.spec.name_space);
  b.Finish(wire::CreatePlaceActor(b, &id, actor.incarnation, &job, owner, name_space,
                                  static_cast<uint32_t>(actor.frame->table.size())));
  peers_.send(node, MessageType::PlaceActor, 0, b, actor.frame->table, actor.frame->raw);
}

void Service::on_place_actor(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::PlaceActor>();
  if (table == nullptr || table->table_size() > frame.raw.size()) return;
  const rpc::Bytes create = frame.raw.first(table->table_size());
  const rpc::Frame inner{MessageType::CreateActor, 0, create, frame.raw.subspan(table->table_size())};
  const auto* made = inner.as<wire::CreateActor>();
  if (made == nullptr || made->spec() == nullptr) return;
  controller::Actor actor;
  actor.spec = actor_spec_of(*made->spec());
  actor.spec.job = JobId::from_wire(table->job());
  actor.spec.owner = address_of(table->owner());
  actor.spec.name_space = text_of(table->namespace_());
  actor.incarnation = table->incarnation();
  controller::ActorFrame bytes{{inner.table.begin(), inner.table.end()}, {inner.raw.begin(), inner.raw.end()}};
  actor.frame = std::make_shared<const controller::ActorFrame>(std::move(bytes));
  cluster_.place_actor(std::move(actor));
}

void Service::send_end_actor(const NodeId& node, const ActorId& actor, wire::EndKind kind) {
  Builder b(64);
  const auto id = wired<wire::ActorId>(actor);
  b.Finish(wire::CreateEndActor(b, &id, kind));
  peers_.send(node, MessageType::EndActor, 0, b);
}

// What happens after this node has said to a new head what it has, and before that head has taken it in, is said then.
void Service::send_actor_news(const ActorNews& news) {
  if (lost_ms_ != 0) return unheard_.push_back(news);
  Builder b(256);
  const auto id = wired<wire::ActorId>(news.actor);
  const auto worker = pack_address(b, news.address.worker, news.address.node, news.address.endpoint);
  const bool is_gone = news.kind == wire::ActorNewsKind::Gone;
  const auto message = b.CreateString(is_gone ? news.fate.message : news.message);
  b.Finish(wire::CreateActorNews(b, &id, news.incarnation, news.kind, worker, is_gone ? news.fate.pid : news.pid,
                                 static_cast<uint8_t>(news.fate.cause), news.fate.exit_code, news.fate.signal,
                                 news.cause, message));
  peers_.send(head_, MessageType::ActorNews, 0, b, news.error);
}

void Service::on_actor_news(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ActorNews>();
  if (table == nullptr || table->actor() == nullptr) return;
  ActorNews news;
  news.kind = table->kind();
  news.actor = ActorId::from_wire(table->actor());
  news.incarnation = table->incarnation();
  news.address = address_of(table->worker());
  news.pid = table->pid();
  news.fate.cause = static_cast<Fate::Cause>(std::min<uint8_t>(table->fate(), 3));
  news.fate.pid = table->pid();
  news.fate.exit_code = table->exit_code();
  news.fate.signal = table->signal();
  news.fate.message = news.message = text_of(table->message());
  news.cause = table->cause();
  news.error.assign(frame.raw.begin(), frame.raw.end());
  cluster_.on_actor_news(news);
}

void Service::send_reserve(const NodeId& node, const controller::PlacementGroup& group,
                           const std::vector<size_t>& which) {
  Builder b(512);
  std::vector<flatbuffers::Offset<wire::Bundle>> bundles;
  for (const size_t index : which)
    bundles.push_back(wire::CreateBundle(b, static_cast<int>(index), pack_resources(b, group.bundles[index])));
  const auto id = wired<wire::PgId>(group.id);
  const auto packed = b.CreateVector(bundles);
  b.Finish(wire::CreateReserveBundles(b, &id, group.attempt, packed));
  peers_.send(node, MessageType::ReserveBundles, 0, b);
}

void Service::on_reserve(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ReserveBundles>();
  if (table == nullptr || table->group() == nullptr || table->bundles() == nullptr) return;
  std::vector<std::pair<int, ResourceSet>> bundles;
  for (const wire::Bundle* bundle : *table->bundles())
    bundles.emplace_back(bundle->index(), resources_of(bundle->resources()));
  const bool ok = cluster_.core().reserve(PgId::from_wire(table->group()), bundles);
  Builder b(64);
  b.Finish(wire::CreateBundlesReserved(b, table->group(), table->attempt(), ok));
  peers_.send(from, MessageType::BundlesReserved, 0, b);
}

void Service::send_unreserve(const NodeId& node, const PgId& group, const std::vector<size_t>& which) {
  Builder b(128);
  const auto id = wired<wire::PgId>(group);
  const auto indexes = b.CreateVector(std::vector<int>(which.begin(), which.end()));
  b.Finish(wire::CreateReturnBundles(b, &id, which.empty(), indexes));
  peers_.send(node, MessageType::ReturnBundles, 0, b);
}

void Service::on_return_bundles(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ReturnBundles>();
  if (table == nullptr || table->group() == nullptr) return;
  std::vector<int> which;
  if (table->indexes() != nullptr) which.assign(table->indexes()->begin(), table->indexes()->end());
  if (table->removed()) which.clear();
  cluster_.core().unreserve(PgId::from_wire(table->group()), which);
}

void Service::send_watch_group(const PgId& group) {
  Builder b(64);
  const auto id = wired<wire::PgId>(group);
  b.Finish(wire::CreateWatchGroup(b, &id));
  peers_.send(head_, MessageType::WatchGroup, 0, b);
}

void Service::on_watch_group(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::WatchGroup>();
  if (table == nullptr || table->group() == nullptr) return;
  const PgId id = PgId::from_wire(table->group());
  controller::PlacementGroup unknown;
  unknown.id = id;
  unknown.state = controller::GroupState::kRemoved;
  const controller::PlacementGroup* group = cluster_.controller().groups.find(id);
  if (group != nullptr && group->state != controller::GroupState::kRemoved) group_watchers_[id].insert(from);
  tell_group(from, group ? *group : unknown);
}

void Service::tell_group(const NodeId& node, const controller::PlacementGroup& group) {
  Builder b(256);
  const auto id = wired<wire::PgId>(group.id);
  std::vector<wire::NodeId> nodes;
  for (const NodeId& each : group.nodes) nodes.push_back(wired<wire::NodeId>(each));
  const auto packed = b.CreateVectorOfStructs(nodes);
  b.Finish(wire::CreateGroupNews(b, &id, static_cast<wire::GroupStateKind>(group.state), packed));
  peers_.send(node, MessageType::GroupNews, 0, b);
}

void Service::group_changed(const controller::PlacementGroup& group) {
  control_.on_group_changed(group);
  const auto at = group_watchers_.find(group.id);
  if (at == group_watchers_.end()) return;
  for (const NodeId& node : at->second) tell_group(node, group);
  if (group.state == controller::GroupState::kRemoved) group_watchers_.erase(at);
}

void Service::on_group_news(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::GroupNews>();
  if (table == nullptr || table->group() == nullptr) return;
  controller::PlacementGroup group;
  group.id = PgId::from_wire(table->group());
  group.state = static_cast<controller::GroupState>(std::min<uint8_t>(static_cast<uint8_t>(table->state()), 2));
  if (table->nodes() != nullptr)
    for (const wire::NodeId* node : *table->nodes()) group.nodes.push_back(NodeId::from_wire(node));
  if (group.nodes.empty() && group.state == controller::GroupState::kCreated) return;
  cluster_.on_group_news(std::move(group));
}

}  // namespace narke::node
