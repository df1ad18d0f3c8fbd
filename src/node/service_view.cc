// The view of all nodes: who tells whom what, and when.
//
// A node is told of the others when it first needs them (want_view): one that only runs what it is given costs the head
// nothing but its signs of life. Until the answer is there, what needs it is held.
#include <algorithm>

#include "node/service.h"

namespace narke::node {

using std::chrono::milliseconds;

static constexpr milliseconds kReportPause{20};  // a node gathers its news for the head for so long
static constexpr size_t kWholeViewsARound = 128'000;  // nodes, in all of them
static constexpr int64_t kReportAtLeastMs = 500;  // and says at least this often that it lives
static constexpr int64_t kViewAgainMs = 5'000;  // an answer that has not come by then is asked for again

// Each name once, however many nodes have it.
static flatbuffers::Offset<WireResources> pack_shared(Builder& b, const ResourceSet& resources) {
  std::vector<flatbuffers::Offset<wire::Resource>> out;
  for (const ResourceSet::Entry& entry : resources.entries())
    out.push_back(wire::CreateResource(b, b.CreateSharedString(entry.name), entry.amount));
  return b.CreateVector(out);
}

flatbuffers::Offset<wire::NodeState> Service::pack_node(Builder& b, const controller::Node& node, Told told) {
  const bool all = told == Told::kAll;
  const auto id = wired<wire::NodeId>(node.id);
  const auto endpoint = all ? b.CreateString(node.endpoint) : 0;
  const auto hostname = all ? b.CreateString(node.hostname) : 0;
  const auto labels = all ? pack_labels(b, node.labels) : 0;
  const auto total = pack_shared(b, node.pool ? node.pool->total() : ResourceSet());
  const auto available = pack_shared(b, node.pool ? node.pool->available() : ResourceSet());
  const auto why = b.CreateString(node.why);
  const auto message = b.CreateString(node.drain.message);
  return wire::CreateNodeState(b, &id, endpoint, hostname, labels, total, available, node.alive, why, node.head,
                               node.outside, node.drain.reason, message, epoch_of(node.drain.deadline_ms));
}

// ---- from the head -----------------------------------------------------------------------------------------

void Service::begin_rounds() {
  if (cluster_.is_head()) {
    spread_view();
    look_for_silence();
  }
}

template <class Shares>
static flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::JobShare>>> pack_shares(Builder& b,
                                                                                                 const Shares& shares) {
  std::vector<flatbuffers::Offset<wire::JobShare>> out;
  for (const auto& [job, held] : shares) {
    const auto id = wired<wire::JobId>(job);
    const auto resources = pack_resources(b, held);
    out.push_back(wire::CreateJobShare(b, &id, resources));
  }
  return b.CreateVector(out);
}

static std::map<JobId, ResourceSet> read_shares(
    const flatbuffers::Vector<flatbuffers::Offset<wire::JobShare>>* shares) {
  std::map<JobId, ResourceSet> out;
  if (shares != nullptr)
    for (const wire::JobShare* share : *shares) out[JobId::from_wire(share->job())] = resources_of(share->resources());
  return out;
}

void Service::note_shares(const NodeId& from, const flatbuffers::Vector<flatbuffers::Offset<wire::JobShare>>* shares) {
  std::map<JobId, ResourceSet> now = read_shares(shares);
  std::map<JobId, ResourceSet>& before = shares_[from];
  if (before == now) return;
  before = std::move(now);
  shares_changed_ = true;
}

std::map<JobId, ResourceSet> Service::shares_in_all() const {
  std::map<JobId, ResourceSet> out;
  for (const auto& [where, shares] : shares_)
    for (const auto& [job, held] : shares) out[job].add(held);
  return out;
}

std::map<JobId, ResourceSet> Service::shares_without(const NodeId& node, std::map<JobId, ResourceSet> all) const {
  if (const auto own = shares_.find(node); own != shares_.end())
    for (const auto& [job, held] : own->second) all[job].subtract(held);
  std::erase_if(all, [](const auto& share) { return share.second.empty(); });
  return all;
}

// From the head: itself, to one that joins.
void Service::tell_head(const NodeId& to) {
  Builder b(512);
  const controller::Node& self = *cluster_.controller().nodes.find(cluster_.self());
  const auto states = b.CreateVector(std::vector{pack_node(b, self, Told::kAll)});
  b.Finish(wire::CreateClusterView(b, states));
  peers_.send(to, MessageType::ClusterView, 0, b);
}

// Many may ask at once: what they are told is bounded in each round, and the others wait for the next.
void Service::on_want_view(const NodeId& from) {
  if (told_whole_ >= kWholeViewsARound / std::max<size_t>(cluster_.controller().nodes.all().size(), 1) + 1)
    wanting_.insert(from);
  else
    tell_whole_view(from);
}

// After the round's news: what is packed from now on has them, and the next round tells what changes after it.
void Service::tell_whole_views() {
  told_whole_ = 0;
  whole_view_.reset();
  for (const NodeId& to : std::exchange(wanting_, {}))
    if (cluster_.controller().nodes.find(to) != nullptr) on_want_view(to);
}

void Service::tell_whole_view(const NodeId& to) {
  ++told_whole_;
  spread_.add_viewer(to);
  if (const auto shares = shares_in_all(); !shares.empty()) tell_shares(to, shares);
  if (!whole_view_) pack_whole_view();
  peers_.send(to, MessageType::ClusterView, 0, *whole_view_);
}

// Nodes that may come back are told of too: of all others the node knows then that they are gone.
void Service::pack_whole_view() {
  Builder& b = whole_view_.emplace(64 << 10);
  std::vector<flatbuffers::Offset<wire::NodeState>> packed;
  for (const controller::Node& node : cluster_.controller().nodes.all())
    packed.push_back(pack_node(b, node, Told::kAll));
  for (const auto& [id, node] : cluster_.restored_nodes()) packed.push_back(pack_node(b, node, Told::kAll));
  std::vector<wire::WorkerId> ended;  // it may have to do with one of these since
  for (const Departed::Entry& entry : departed_.all()) ended.push_back(wired<wire::WorkerId>(entry.id));
  const auto states = b.CreateVector(packed);
  const auto programs = b.CreateVectorOfStructs(ended);
  b.Finish(wire::CreateClusterView(b, states, programs));
}

static void keep_unique(std::vector<NodeId>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

// Who came, leaves or is gone since the last time, packed once: to those who want to know. That a node is gone all are
// told: their programs may have to do with its programs.
void Service::tell_changes() {
  const controller::NodeTable& nodes = cluster_.controller().nodes;
  Builder changes(1024), ends(256);
  std::vector<flatbuffers::Offset<wire::NodeState>> packed, gone;
  for (const NodeId& id : came_)
    if (const controller::Node* node = nodes.find(id)) packed.push_back(pack_node(changes, *node, Told::kAll));
  for (const NodeId& id : altered_) {
    const controller::Node* node = nodes.find(id);
    if (node != nullptr) packed.push_back(pack_node(changes, *node, Told::kChanges));
    if (node != nullptr || (node = nodes.find_ended(id)) == nullptr) continue;
    packed.push_back(pack_node(changes, *node, Told::kChanges));
    gone.push_back(pack_node(ends, *node, Told::kChanges));
  }
  std::vector<wire::WorkerId> ended;
  for (const WorkerId& id : ended_programs_) ended.push_back(wired<wire::WorkerId>(id));
  const auto states = changes.CreateVector(packed);
  const auto programs = changes.CreateVectorOfStructs(ended);
  changes.Finish(wire::CreateClusterView(changes, states, programs));
  ends.Finish(wire::CreateClusterView(ends, ends.CreateVector(gone)));
  for (const controller::Node& node : nodes.all()) {
    if (node.id == cluster_.self()) continue;
    if (spread_.is_viewer(node.id))
      peers_.send(node.id, MessageType::ClusterView, 0, changes);
    else if (!gone.empty())
      peers_.send(node.id, MessageType::ClusterView, 0, ends);
  }
}

// As little as can be: there are many of these. What is not named is free in full.
static flatbuffers::Offset<wire::NodeState> pack_free(Builder& b, const controller::Node& node) {
  const ResourceSet& available = node.pool->available();
  ResourceSet held = node.pool->total();
  held.subtract(available);
  std::vector<flatbuffers::Offset<wire::Resource>> free;
  for (const ResourceSet::Entry& entry : held.entries())
    free.push_back(wire::CreateResource(b, b.CreateSharedString(entry.name), available.get(entry.name)));
  const auto id = wired<wire::NodeId>(node.id);
  const auto packed = b.CreateVector(free);
  wire::NodeStateBuilder state(b);
  state.add_node(&id);
  state.add_available(packed);
  return state.Finish();
}

void Service::tell_busy() {
  const controller::NodeTable& nodes = cluster_.controller().nodes;
  for (const Spread::News& news : spread_.take()) {
    Builder b(1024);
    std::vector<flatbuffers::Offset<wire::NodeState>> packed;
    for (const NodeId& id : news.nodes)
      if (const controller::Node* node = nodes.find(id)) packed.push_back(pack_free(b, *node));
    const auto states = b.CreateVector(packed);
    b.Finish(wire::CreateClusterView(b, states));
    for (const NodeId& to : news.viewers) peers_.send(to, MessageType::ClusterView, 0, b);
  }
}

// What the others hold: the one part of the news that is not the same for all.
void Service::tell_shares(const NodeId& to, const std::map<JobId, ResourceSet>& all) {
  Builder b(256);
  const auto states = b.CreateVector(std::vector<flatbuffers::Offset<wire::NodeState>>());
  const auto shares = pack_shares(b, shares_without(to, all));
  b.Finish(wire::CreateClusterView(b, states, 0, shares));
  peers_.send(to, MessageType::ClusterView, 0, b);
}

void Service::tell_shares() {
  const std::map<JobId, ResourceSet> all = shares_in_all();
  for (const NodeId& to : spread_.viewers()) tell_shares(to, all);
}

void Service::spread_view() {
  const ResourceSet& available = cluster_.core().pool().available();
  if (!(available == reported_)) {
    reported_ = available;
    spread_.changed(cluster_.self());
    std::map<JobId, ResourceSet> own;
    for (auto& [job, held] : cluster_.shares_here()) own[job] = std::move(held);
    shares_changed_ |= std::exchange(shares_[cluster_.self()], own) != own;
  }
  if (shares_changed_) {
    cluster_.on_shares(shares_without(cluster_.self(), shares_in_all()));
    settle();
  }
  if (std::exchange(shares_changed_, false)) tell_shares();
  keep_unique(came_);
  keep_unique(altered_);
  if (came_.size() + altered_.size() + ended_programs_.size() > 0) tell_changes();
  came_.clear();
  altered_.clear();
  ended_programs_.clear();
  tell_busy();
  tell_whole_views();
  reactor_.after(spread_.pause(), [this] { spread_view(); });
}

void Service::on_report(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::NodeReport>();
  const controller::Node* node = cluster_.controller().nodes.find(from);
  if (table == nullptr || node == nullptr) return;
  ResourceSet available = resources_of(table->available());
  note_shares(from, table->shares());
  ResourceSet total = resources_of(table->total());
  const bool has_more = !(node->pool->total() == total);
  if (!has_more && node->pool->available() == available) return;
  cluster_.on_pool_report(from, std::move(total), std::move(available));
  if (has_more)
    altered_.push_back(from);
  else
    spread_.changed(from);
}

void Service::look_for_silence() {
  const int64_t now = now_ms();
  end_overdue(now);
  for (const NodeId& node : suspicion_.silent(now)) {
    if (is_outside(node)) continue;  // a tunnel has its own bound
    node_gone(node, "it has not been heard of for " + std::to_string(suspicion_.bound_ms(node)) + " ms");
  }
  settle();
  reactor_.after(milliseconds(controller::Suspicion::kLookEveryMs), [this] { look_for_silence(); });
}

// ---- at the others -----------------------------------------------------------------------------------------

void Service::want_view() {
  if (cluster_.is_head() || std::exchange(wants_view_, true)) return;
  ask_for_view();
}

// Others may have to do with this node before the head has told it that it has joined: on_joined and on_back ask then.
void Service::ask_for_view() {
  if (!wants_view_ || has_view_ || lost_ms_ != 0 || head_.is_nil()) return;
  view_asked_ms_ = now_ms();
  Builder b(32);
  b.Finish(wire::CreateWantView(b));
  peers_.send(head_, MessageType::WantView, 0, b);
}

void Service::when_viewed(std::function<void()> what) {
  if (knows_others()) return what();
  until_viewed_.push_back(std::move(what));
  want_view();
}

// Its bytes are the link's, and only for now.
static std::function<rpc::Frame()> kept(const rpc::Frame& frame) {
  return
      [type = frame.type, call_id = frame.call_id, table = std::vector<uint8_t>(frame.table.begin(), frame.table.end()),
       raw = std::vector<uint8_t>(frame.raw.begin(), frame.raw.end())] {
        return rpc::Frame{type, call_id, table, raw};
      };
}

void Service::hold(Program& program, const rpc::Frame& frame) {
  when_viewed([this, id = program.id, later = kept(frame)] {
    Program* still = find(id);
    if (still != nullptr && still->link != nullptr) serve(*still, later());
  });
}

void Service::hold(const NodeId& from, const rpc::Frame& frame) {
  when_viewed([this, from, later = kept(frame)] { on_node_frame(from, later()); });
}

void Service::on_view(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ClusterView>();
  if (table == nullptr || table->nodes() == nullptr) return;
  std::set<NodeId> named;
  // The answer to WantView tells all of the head and of this node. News of who has come may tell all of this node too,
  // but never of the head.
  bool tells_of_head = false, tells_of_self = false;
  for (const wire::NodeState* state : *table->nodes()) {
    const NodeId id = NodeId::from_wire(state->node());
    named.insert(id);
    const bool tells_all = state->endpoint() != nullptr;
    if (id == cluster_.self()) tells_of_self |= tells_all;
    if (state->head()) tells_of_head |= tells_all;
    if (id != cluster_.self()) on_node_state(id, *state);
  }
  if (table->shares() != nullptr) cluster_.on_shares(read_shares(table->shares()));
  if (table->ended() != nullptr)
    for (const wire::WorkerId* id : *table->ended()) {
      const Program* program = find(WorkerId::from_wire(id));
      if (program != nullptr && program->link != nullptr) continue;
      departed_.add(WorkerId::from_wire(id), false, "", now_ms());
      forget_program(WorkerId::from_wire(id));
    }
  if (tells_of_head && tells_of_self) on_whole_view(named);
}

// What of it is not named is free in full, as the head says when nothing but that has changed (pack_free).
void Service::on_free(const NodeId& id, const wire::NodeState& state) {
  const controller::Node* node = cluster_.controller().nodes.find(id);
  if (node == nullptr) return;
  ResourceSet total = node->told_total, available = total;
  if (state.available() != nullptr)
    for (const wire::Resource* free : *state.available())
      if (free->name() != nullptr) available.set(free->name()->string_view(), free->amount());
  cluster_.on_pool_report(id, std::move(total), std::move(available));
}

void Service::on_node_state(const NodeId& id, const wire::NodeState& state) {
  if (state.alive() && state.total() == nullptr) return on_free(id, state);
  const bool known = cluster_.controller().nodes.find(id) != nullptr;
  if (known && state.drain() != wire::DrainReason::None) cluster_.drain_node(id, drain_of(state));
  if (!state.alive()) {
    if (!known) stranger_gone(id, text_of(state.why()), state.drain() != wire::DrainReason::None);
    return node_gone(id, text_of(state.why()));
  }
  if (!known && state.endpoint() == nullptr) return;  // it came while this node did not want to know
  if (!known) {
    controller::Node node;
    node.id = id;
    node.endpoint = text_of(state.endpoint());
    node.address = node.endpoint.substr(0, node.endpoint.rfind(':'));
    node.hostname = text_of(state.hostname());
    node.labels = labels_of(state.labels());
    node.head = state.head();
    node.outside = state.outside();
    cluster_.add_node(std::move(node));
    if (state.drain() != wire::DrainReason::None) cluster_.drain_node(id, drain_of(state));
  }
  cluster_.on_pool_report(id, resources_of(state.total()), resources_of(state.available()));
}

// What it does not name was gone before the head could tell this node, or before this node wanted to know.
void Service::on_whole_view(const std::set<NodeId>& named) {
  std::vector<NodeId> gone;
  for (const controller::Node& node : cluster_.controller().nodes.all())
    if (node.id != cluster_.self() && !named.contains(node.id)) gone.push_back(node.id);
  for (const NodeId& node : gone) node_gone(node, "the head of the cluster does not know it any more");
  has_view_ = true;
  for (const auto& what : std::exchange(until_viewed_, {})) what();
}

// One that this node has not been told of; its programs may have come here all the same.
void Service::stranger_gone(const NodeId& node, const std::string& why, bool drained) {
  for (const WorkerId& id : programs_of(node)) forget_program(id);
  tell_programs_gone(node, why, drained);
}

void Service::report() {
  report_due_ = false;
  if (lost_ms_ != 0) return;
  const ResourcePool& pool = cluster_.core().pool();
  reported_ = pool.available();
  reported_ms_ = now_ms();
  Builder b(256);
  const auto total = pack_resources(b, pool.total());
  const auto available = pack_resources(b, pool.available());
  b.Finish(wire::CreateNodeReport(b, total, available, pack_shares(b, cluster_.shares_here())));
  peers_.send(head_, MessageType::NodeReport, 0, b);
}

// There is news for the head.
void Service::report_soon() {
  if (cluster_.is_head() || head_.is_nil() || report_due_ || cluster_.core().pool().available() == reported_) return;
  report_due_ = true;
  reactor_.after(kReportPause, [this] { report(); });
}

void Service::report_again() {
  if (now_ms() - reported_ms_ >= kReportAtLeastMs / 2) report();
  if (now_ms() - view_asked_ms_ >= kViewAgainMs) ask_for_view();
  reactor_.after(milliseconds(kReportAtLeastMs), [this] { report_again(); });
}

}  // namespace narke::node
