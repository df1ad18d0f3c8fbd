// A head that is away and comes back; what it keeps, and takes up again.
#include <algorithm>

#include "node/service.h"

namespace narke::node {

using std::chrono::milliseconds;

static constexpr milliseconds kRejoinEvery{200};   // a node looks whether the head is back
static constexpr milliseconds kReturnLimit{15'000};  // nodes come back to a new head within this, or count as gone
static constexpr int64_t kJournalPauseMs = 1'000;  // before the next attempt to write it
// What was said in the last moments may not have been heard: so long a head without power is taken to be there.
static constexpr int64_t kUnheardMs = 15'000;

// ---- a head that is away -----------------------------------------------------------------------------------

// This node and its programs go on; what they have to say to the head waits.
void Service::on_head_lost(const std::string& why) {
  lost_ms_ = now_ms();
  log_("the head is away: " + why + "; its return is waited for");
  history_.add(now_ms(), "ERROR", "NODE", "The head of the cluster is away: " + why);
  try_to_rejoin();
}

void Service::try_to_rejoin() {
  if (lost_ms_ == 0) return;
  if (now_ms() - lost_ms_ > config_.head_wait_ms)
    return expelled_("the head of the cluster did not come back within " + std::to_string(config_.head_wait_ms / 1000) +
                     " s");
  const NodeId nobody;
  if (!peers_.is_linked(nobody) && peers_.connect(nobody, head_endpoint_).ok()) send_join(nobody, true);
  reactor_.after(kRejoinEvery, [this] { try_to_rejoin(); });
}

// What the old head may not have heard or answered is said again; all of it may be said twice.
void Service::on_back() {
  log_("the head is back");
  for (auto& [id, program] : programs_) {
    program->known_to.clear();
    if (program->link && program->register_call == 0) introduce(head_, *program);
  }
  for (const ActorNews& news : std::exchange(unheard_, {})) send_actor_news(news);
  for (const auto& [id, actors] : watches_)
    if (Program* program = find(id))
      for (const ActorId& actor : actors) {
        Builder b(64);
        const auto wire_id = wired<wire::ActorId>(actor);
        b.Finish(wire::CreateWatchActor(b, &wire_id));
        relay(head_, *program, MessageType::WatchActor, 0, as_bytes(b), {});
      }
  for (const Departed::Entry& entry : departed_.all())
    if (entry.own) tell_program_gone(entry.id, false, entry.why);
  for (const Said& said : said_)
    if (Program* program = find(said.program)) relay(head_, *program, said.type, said.call_id, said.table, said.raw);
  for (const PgId& group : cluster_.watched_groups()) send_watch_group(group);  // after what may make one
  has_view_ = false;
  ask_for_view();
  report();
  leave_again();
}

void Service::track(const WorkerId& program, const rpc::Frame& frame) {
  const int64_t now = now_ms();
  if (lost_ms_ == 0)
    said_.remove_if([now](const Said& said) { return said.call_id == 0 && now - said.at_ms > kUnheardMs; });
  if (frame.type == MessageType::WatchActor) {
    const auto* table = frame.as<wire::WatchActor>();
    if (table && table->actor()) watches_[program].insert(ActorId::from_wire(table->actor()));
    return;
  }
  if (frame.type == MessageType::CreateActor) {
    const auto* table = frame.as<wire::CreateActor>();
    if (table && table->spec() && table->spec()->actor())
      watches_[program].insert(ActorId::from_wire(table->spec()->actor()));
  }
  said_.push_back({program,
                   frame.type,
                   frame.call_id,
                   now,
                   {frame.table.begin(), frame.table.end()},
                   {frame.raw.begin(), frame.raw.end()}});
}

// The dead are not asked about again.
void Service::note_update(const WorkerId& program, const rpc::Frame& frame) {
  const auto* update = frame.as<wire::ActorUpdate>();
  if (update == nullptr || update->actor() == nullptr || update->state() != wire::ActorState::Dead) return;
  if (const auto at = watches_.find(program); at != watches_.end())
    at->second.erase(ActorId::from_wire(update->actor()));
}

std::string Service::leftovers(const std::function<bool(const WorkerId&)>& lives) const {
  std::string out = cluster_.leftovers(lives);
  const auto add = [&out](const auto& things, const char* what, const auto& counts) {
    const auto count = std::count_if(things.begin(), things.end(), counts);
    if (count > 0) out += (out.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  const auto any = [](const auto&) { return true; };
  const auto is_elsewhere = [&](const auto& entry) { return entry.second->link == nullptr && !lives(entry.first); };
  add(programs_, "programs of other nodes", is_elsewhere);
  if (const auto at = std::find_if(programs_.begin(), programs_.end(), is_elsewhere); at != programs_.end())
    out += " (one is " + at->first.hex().substr(0, 8) + " of " + at->second->node.hex().substr(0, 8) + ")";
  add(said_, "questions without an answer", [](const Said& said) { return said.call_id != 0; });
  add(watches_, "watches of programs that are gone",
      [this](const auto& entry) { return !programs_.contains(entry.first); });
  add(group_watchers_, "watched groups", any);
  add(ended_, "processes that are not buried", any);
  add(key_of_gone_, "links of ended programs", any);
  return out;
}

// ---- the journal -------------------------------------------------------------------------------------------

Status Service::resume(std::unique_ptr<journal::Journal> journal) {
  size_t unread = 0;
  Status loaded = journal->load([&](int table, const std::string& key, const std::string& value) {
    if (!cluster_.restore({table, key, value})) ++unread;
  });
  if (!loaded) return loaded;
  if (unread > 0) log_(std::to_string(unread) + " records of the journal could not be read and are left out");
  journal_ = std::move(journal);
  cluster_.keep_changes();
  cluster_.note_self();
  const std::map<NodeId, controller::Node> nodes = cluster_.restored_nodes();
  for (const auto& [id, node] : nodes)
    if (node.head) cluster_.on_node_lost(id, "the head was ended and started again");
  if (!cluster_.restored_nodes().empty()) {
    log_("taking up the cluster again; waiting for " + std::to_string(cluster_.restored_nodes().size()) + " nodes");
    reactor_.after(kReturnLimit, [this] {
      const std::map<NodeId, controller::Node> late = cluster_.restored_nodes();
      for (const auto& [id, node] : late) {
        cluster_.controller().nodes.add_ended(node, "it did not come back to the head");
        cluster_.on_node_lost(id, "it did not come back to the head");
        for (const WorkerId& program : programs_of(id)) end_remote_program(program, "its node did not come back");
        altered_.push_back(id);  // the others still count on it
      }
      settle();
    });
  }
  settle();
  return ok_status();
}

// Before anybody hears of a change it is kept: what is sent leaves when this dispatch is over. While that cannot be
// done (a full disk, a Redis server that is away) the cluster goes on, and what has changed is kept later.
void Service::save_changes() {
  if (!journal_) return;
  if (now_ms() < journal_retry_ms_) return;
  const std::vector<journal::Change> changes = cluster_.take_changes();
  if (changes.empty()) return;
  const Status kept = journal_->apply(changes);
  if (kept.ok()) {
    if (std::exchange(journal_retry_ms_, 0) != 0) log_("the journal is written again");
    return;
  }
  if (journal_retry_ms_ == 0 || kept.error().code == ErrorCode::kRefused) {
    log_("the journal cannot be written: " + kept.error().message);
    history_.add(now_ms(), "ERROR", "NODE", kept.error().message);
  }
  if (kept.error().code == ErrorCode::kRefused) return expelled_(kept.error().message);
  cluster_.note_again(changes);
  journal_retry_ms_ = now_ms() + kJournalPauseMs;
}

void Service::drop_journal() {
  if (journal_ == nullptr || journal_->outlives_head()) return;
  if (Status erased = journal_->erase(); !erased) log_("the journal cannot be emptied: " + erased.error().message);
}

void Service::settle() {
  cluster_.settle();
  save_changes();
  report_soon();
}

void Service::node_gone(const NodeId& node, const std::string& why) {
  const controller::Node* known = cluster_.controller().nodes.find(node);
  if (known == nullptr) return;
  const bool drained = known->is_draining();
  log_("node " + node.hex().substr(0, 8) + " is gone: " + why);
  history_.add(now_ms(), "ERROR", "NODE", "Node " + node.hex() + " is gone: " + why);
  suspicion_.forget(node);
  shares_changed_ |= shares_.erase(node) > 0;
  if (cluster_.is_head()) altered_.push_back(node);
  whole_view_.reset();
  on_shelter_gone(node);
  spread_.remove_viewer(node);
  spread_.forget(node);
  for (auto& [group, watchers] : group_watchers_) watchers.erase(node);  // that its groups end with it is no news to it
  broken_with_.erase(node);
  if (transfers_) transfers_->node_gone(endpoint_of(node), why);
  const std::vector<WorkerId> programs = programs_of(node);
  cluster_.on_node_gone(node, why);
  for (const WorkerId& id : programs) {
    if (cluster_.is_head())
      end_remote_program(id, "its node is gone: " + why);
    else
      forget_program(id);
  }
  tell_programs_gone(node, why, drained);
  save_changes();  // what is to be written to that node leaves with the link's end
  peers_.close(node, why);
}

std::vector<WorkerId> Service::programs_of(const NodeId& node) const {
  std::vector<WorkerId> out;
  for (const auto& [id, program] : programs_)
    if (program->node == node) out.push_back(id);
  return out;
}

void Service::tell_programs_gone(const NodeId& node, const std::string& why, bool drained) {
  for (const auto& [id, program] : programs_) {
    if (program->link == nullptr) continue;
    Builder& b = fresh();
    const auto gone = wired<wire::NodeId>(node);
    const auto text = b.CreateString(why);
    b.Finish(wire::CreateNodeGone(b, &gone, text, drained));
    program->link->send(MessageType::NodeGone, 0, b);
  }
}

}  // namespace narke::node
