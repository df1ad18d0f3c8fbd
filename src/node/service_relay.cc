// Frames from and for programs of other nodes; their leases; objects that come from other nodes.
#include "node/service.h"
#include "node/shared_spill.h"
#include "store/arena.h"

namespace narke::node {

using std::chrono::milliseconds;

static constexpr milliseconds kJobPause{20};       // between looks whether a job's news has arrived
static constexpr int kJobTries = 500;
static constexpr milliseconds kPullPause{100};     // before a node that could not be reached is asked again
static constexpr int64_t kPullLimitMs = 30'000;

// ---- frames for programs, wherever they are ----------------------------------------------------------------

void Service::send_to(Program& program, MessageType type, uint32_t call_id, const Builder& table, rpc::Bytes raw) {
  if (program.link != nullptr)
    program.link->send(type, call_id, table, raw);
  else
    relay(program.node, program, type, call_id, as_bytes(table), raw);
}

void Service::relay(const NodeId& node, Program& program, MessageType type, uint32_t call_id, rpc::Bytes table,
                    rpc::Bytes raw, bool stay) {
  if (program.node == cluster_.self()) introduce(node, program);
  relay(node, program.id, type, call_id, table, raw, stay);
}

void Service::relay(const NodeId& node, const WorkerId& program, MessageType type, uint32_t call_id, rpc::Bytes table,
                    rpc::Bytes raw, bool stay) {
  Builder b(128);
  const auto id = wired<wire::WorkerId>(program);
  b.Finish(wire::CreateRelay(b, &id, static_cast<uint16_t>(type), call_id, static_cast<uint32_t>(table.size()), stay));
  peers_.send(node, MessageType::Relay, 0, b, table, raw);
}

// Another node hears of a program before the first frame for it.
void Service::introduce(const NodeId& node, Program& program) {
  if (!program.known_to.insert(node).second) return;
  Builder b(256);
  const auto id = wired<wire::WorkerId>(program.id);
  const auto job = wired<wire::JobId>(program.job);
  const auto endpoint = b.CreateString(program.endpoint);
  const auto name_space = b.CreateString(program.name_space);
  b.Finish(wire::CreateProgramCame(b, &id, program.kind, &job, program.pid, endpoint, name_space));
  peers_.send(node, MessageType::ProgramCame, 0, b);
}

bool Service::relay_to_head(Program& program, const rpc::Frame& frame) {
  track(program.id, frame);
  if (lost_ms_ != 0) return true;  // it is said when the head is back
  relay(head_, program, frame.type, frame.call_id, frame.table, frame.raw);
  return true;
}

Program& Service::remote_program(const WorkerId& id, const NodeId& node) {
  std::unique_ptr<Program>& program = programs_[id];
  if (!program) {
    program = std::make_unique<Program>();
    program->id = id;
    program->node = node;
    want_view();  // its end is told to those who want to know
  }
  return *program;
}

void Service::on_program_came(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ProgramCame>();
  if (table == nullptr || table->worker() == nullptr || departed_.contains(WorkerId::from_wire(table->worker())))
    return;
  Program& program = remote_program(WorkerId::from_wire(table->worker()), from);
  if (program.link != nullptr) return;  // a program of this node: the other is mistaken
  program.kind = table->kind();
  program.pid = table->pid();
  program.endpoint = text_of(table->endpoint());
  program.name_space = text_of(table->namespace_());
  if (table->job() != nullptr && !JobId::from_wire(table->job()).is_nil()) program.job = JobId::from_wire(table->job());
}

void Service::on_relay(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::Relay>();
  if (table == nullptr || table->program() == nullptr || table->table_size() > frame.raw.size()) return;
  const rpc::Frame inner{static_cast<MessageType>(table->type()), table->call_id(),
                         frame.raw.first(table->table_size()), frame.raw.subspan(table->table_size())};
  const WorkerId id = WorkerId::from_wire(table->program());
  Program* program = find(id);
  if (program == nullptr || program->node != cluster_.self()) {
    if (inner.type == MessageType::Register && cluster_.is_head()) return on_remote_driver(from, id, inner);
    if (program != nullptr && program->node == from) return on_relayed_request(from, *program, inner, table->stay());
    if (program == nullptr && inner.type == MessageType::RequestLease) bounce(from, id, inner.call_id);
    return;
  }
  on_relayed_reply(from, *program, inner);
}

// It is not known here (any more): its node introduces it with what it asks next.
void Service::bounce(const NodeId& to, const WorkerId& stranger, uint32_t call_id) {
  Builder b(32);
  wire::LeaseReplyBuilder reply(b);
  reply.add_status(wire::LeaseStatus::Bounced);
  b.Finish(reply.Finish());
  relay(to, stranger, MessageType::LeaseReply, call_id, as_bytes(b), {}, false);
}

// For a program of this node: leases are noted, the rest goes on as it is.
void Service::on_relayed_reply(const NodeId& from, Program& program, const rpc::Frame& frame) {
  if (program.link == nullptr) return;
  if (from == head_ && frame.call_id != 0)
    said_.remove_if([&](const Said& said) { return said.program == program.id && said.call_id == frame.call_id; });
  if (from == head_ && frame.type == MessageType::ActorUpdate) note_update(program.id, frame);
  if (frame.type == MessageType::Registered && program.register_call != 0) {
    const auto* reply = frame.as<wire::Registered>();
    if (reply == nullptr || reply->job() == nullptr) return;
    program.job = JobId::from_wire(reply->job());
    registered(program, std::exchange(program.register_call, 0));
    return;
  }
  if (frame.type == MessageType::LeaseReply) {
    const auto* reply = frame.as<wire::LeaseReply>();
    if (reply == nullptr) return;
    if (reply->status() == wire::LeaseStatus::Bounced) program.known_to.erase(from);
    if (!cluster_.on_lease_answer(from, program.id, frame.call_id, reply->status(), reply->lease())) return;
  }
  program.link->send_frame(frame.type, frame.call_id, frame.table, frame.raw);
}

void Service::on_relayed_request(const NodeId& from, Program& program, const rpc::Frame& frame, bool stay) {
  if (frame.type != MessageType::RequestLease) {
    if (!dispatch(program, frame))
      log_("node " + from.hex().substr(0, 8) + " relayed a malformed frame of type " +
           wire::EnumNameMessageType(frame.type));
    return;
  }
  const auto* table = frame.as<wire::RequestLease>();
  if (table == nullptr) return;
  LeaseRequest request = lease_request_of(*table);
  request.holder = program.id;
  request.call_id = frame.call_id;
  request.job = program.job;
  serve_guest(std::move(request), stay, kJobTries);
}

// The news of its job may come later than the request: the head tells it, another node asks.
void Service::serve_guest(LeaseRequest request, bool stay, int tries) {
  if (find(request.holder) == nullptr) return;  // it has ended meanwhile
  const controller::Job* job = cluster_.controller().jobs.find(request.job);
  if (job == nullptr && tries > 0) {
    reactor_.after(kJobPause, [this, request = std::move(request), stay, tries]() mutable {
      serve_guest(std::move(request), stay, tries - 1);
      settle();
    });
    return;
  }
  const WorkerId holder = request.holder;
  const uint32_t call_id = request.call_id;
  if (job == nullptr || !cluster_.serve_lease(std::move(request), stay))
    deny(holder, call_id, wire::LeaseStatus::Bounced, wire::FailureKind::None, "");
}

void Service::on_remote_driver(const NodeId& from, const WorkerId& id, const rpc::Frame& frame) {
  const auto* request = frame.as<wire::Register>();
  if (request == nullptr || departed_.contains(id)) return;
  Program& program = remote_program(id, from);
  program.kind = wire::ProgramKind::Driver;
  program.pid = request->pid();
  program.endpoint = text_of(request->endpoint());
  const std::string config = bytes_of(request->config());
  const controller::Job* begun = cluster_.controller().jobs.find(program.job);  // another head had not answered yet
  const controller::Job& job =
      begun != nullptr && begun->running ? *begun : cluster_.start_job(id, from, program.pid, config);
  program.job = job.id;
  read_config(program, config);
  tell_jobs(job);
  Builder& b = fresh();
  const auto job_id = wired<wire::JobId>(job.id);
  wire::RegisteredBuilder reply(b);
  reply.add_job(&job_id);
  b.Finish(reply.Finish());
  send_to(program, MessageType::Registered, frame.call_id, b);
}

// ---- leases at other nodes ---------------------------------------------------------------------------------

void Service::send_lease_request(const NodeId& node, const LeaseRequest& request, bool stay) {
  Program* program = find(request.holder);
  if (program == nullptr) return;
  Builder b(512);
  pack_lease_request(b, request);
  relay(node, *program, MessageType::RequestLease, request.call_id, as_bytes(b), {}, stay);
}

void Service::send_cancel_lease(const NodeId& node, const WorkerId& holder, uint32_t call_id) {
  Program* program = find(holder);
  if (program == nullptr) return;
  Builder b(32);
  b.Finish(wire::CreateCancelLease(b, call_id));
  relay(node, *program, MessageType::CancelLease, 0, as_bytes(b), {});
}

void Service::send_return_lease(const NodeId& node, const WorkerId& holder, uint64_t lease, bool worker_failed,
                                bool worker_exiting) {
  Program* program = find(holder);
  if (program == nullptr) return;
  Builder b(64);
  b.Finish(wire::CreateReturnLease(b, lease, worker_failed, worker_exiting));
  relay(node, *program, MessageType::ReturnLease, 0, as_bytes(b), {});
}

// ---- objects -----------------------------------------------------------------------------------------------

bool Service::on_pull(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::PullObject>();
  if (table == nullptr || table->id() == nullptr || table->owner() == nullptr) return false;
  const ObjectId id = ObjectId::from_wire(table->id());
  Wanted wanted{program.id, id, store::owner_key(WorkerId::from_wire(table->owner())), {}, now_ms() + kPullLimitMs};
  wanted.nodes.push_back(NodeId::from_wire(table->node()));
  if (table->others() != nullptr)
    for (const wire::NodeId* other : *table->others()) wanted.nodes.push_back(NodeId::from_wire(other));
  pull(std::move(wanted));
  return true;
}

// A node that cannot be reached and is not known to be gone may be reached in a moment.
void Service::pull(Wanted wanted) {
  std::vector<std::string> sources;
  for (const NodeId& node : wanted.nodes) sources.push_back(endpoint_of(node));
  std::erase(sources, std::string());
  if (transfers_ == nullptr || sources.empty())
    return pulled(wanted.program, wanted.id,
                  Error{ErrorCode::kNotFound, "no node that had it is in the cluster any more"});
  transfers_->pull(wanted.id, sources, wanted.owner, [this, wanted](const Status& done) {
    const bool unreachable =
        !done.ok() && (done.error().code == ErrorCode::kDisconnected || done.error().code == ErrorCode::kTimeout);
    if (!unreachable || now_ms() >= wanted.deadline_ms) return pulled(wanted.program, wanted.id, done);
    reactor_.after(kPullPause, [this, wanted] { pull(wanted); });
  });
}

void Service::pulled(const WorkerId& to, const ObjectId& object, const Status& done) {
  Program* program = find(to);
  if (program == nullptr || program->link == nullptr) return;
  Builder& b = fresh();
  const auto id = wired<wire::ObjectId>(object);
  const auto message = b.CreateString(done.ok() ? "" : done.error().message);
  const bool full = !done.ok() && done.error().code == ErrorCode::kOverloaded;
  b.Finish(wire::CreateObjectPulled(b, &id, done.ok(), message, full));
  program->link->send(MessageType::ObjectPulled, 0, b);
}

// An owner has lost the copy to keep: one of this node's is to take its place.
bool Service::on_promote(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::PromoteObjects>();
  if (table == nullptr || table->ids() == nullptr || table->node() == nullptr) return false;
  const NodeId node = NodeId::from_wire(table->node());
  if (node != cluster_.self()) {
    if (cluster_.controller().nodes.find(node) && program.node == cluster_.self())
      relay(node, program, frame.type, frame.call_id, frame.table, frame.raw);
    return true;  // when the node is gone, the program hears of that
  }
  if (table->lost_at() != nullptr) return seek_spilled(program.id, *table), true;
  std::vector<wire::ObjectId> kept, missing;
  for (const wire::ObjectId* id : *table->ids())
    (store_->promote(ObjectId::from_wire(id)) ? kept : missing).push_back(*id);
  Builder b(256);
  const auto packed_kept = b.CreateVectorOfStructs(kept), packed_missing = b.CreateVectorOfStructs(missing);
  b.Finish(wire::CreateObjectsPromoted(b, table->node(), packed_kept, packed_missing));
  send_to(program, MessageType::ObjectsPromoted, 0, b);
  return true;
}

void Service::seek_spilled(const WorkerId& owner, const wire::PromoteObjects& table) {
  std::vector<NodeId> lost_at;
  for (const wire::NodeId* node : *table.lost_at()) lost_at.push_back(NodeId::from_wire(node));
  for (const wire::ObjectId* wire_id : *table.ids()) {
    const ObjectId id = ObjectId::from_wire(wire_id);
    if (spill_ == nullptr)
      answer_sought(owner, id, false);
    else
      spill_->seek(id, store::owner_key(owner), lost_at,
                   [this, owner, id](bool found) { answer_sought(owner, id, found); });
  }
}

void Service::answer_sought(const WorkerId& owner, const ObjectId& id, bool found) {
  Program* program = find(owner);
  if (program == nullptr) {  // it has ended meanwhile
    if (found) store_->erase(id, steady_now_ns());
    return;
  }
  Builder& b = fresh();
  const auto node = wired<wire::NodeId>(cluster_.self());
  const auto wire_id = wired<wire::ObjectId>(id);
  const auto some = b.CreateVectorOfStructs(&wire_id, 1), none = b.CreateVectorOfStructs(&wire_id, 0);
  b.Finish(wire::CreateObjectsPromoted(b, &node, found ? some : none, found ? none : some, true));
  send_to(*program, MessageType::ObjectsPromoted, 0, b);
}

// The node that has the first copy knows to whom it gave others, and these know to whom they did.
bool Service::on_erase(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::EraseObjects>();
  if (table == nullptr || table->ids() == nullptr) return false;
  if (transfers_ == nullptr) return true;
  const NodeId where = NodeId::from_wire(table->node());
  if (where != cluster_.self() && spill_ != nullptr && cluster_.controller().nodes.find(where) == nullptr) {
    for (const wire::ObjectId* id : *table->ids()) spill_->forget(ObjectId::from_wire(id), where);
    return true;
  }
  if (where != cluster_.self()) {
    Builder b(256);
    std::vector<wire::ObjectId> ids;
    for (const wire::ObjectId* id : *table->ids()) ids.push_back(*id);
    const auto packed = b.CreateVectorOfStructs(ids);
    b.Finish(wire::CreateEraseObjects(b, packed, table->node()));
    peers_.send(where, MessageType::EraseObjects, 0, b);
    return true;
  }
  for (const wire::ObjectId* wire_id : *table->ids()) {
    const ObjectId id = ObjectId::from_wire(wire_id);
    for (const std::string& endpoint : transfers_->given(id)) erase_at(endpoint, *wire_id);
    store_->erase(id, steady_now_ns());
  }
  return true;
}

void Service::erase_at(const std::string& endpoint, const wire::ObjectId& id) {
  for (const controller::Node& node : cluster_.controller().nodes.all()) {
    if (node.endpoint != endpoint) continue;
    Builder b(128);
    const auto to = wired<wire::NodeId>(node.id);
    const auto ids = b.CreateVectorOfStructs(&id, 1);
    b.Finish(wire::CreateEraseObjects(b, ids, &to));
    peers_.send(node.id, MessageType::EraseObjects, 0, b);
  }
}

}  // namespace narke::node
