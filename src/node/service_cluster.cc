// What daemons say to each other: joining, the view of all nodes, frames of programs of other nodes, actors and
// bundles that the head places elsewhere.
#include <algorithm>

#include <unistd.h>

#include "node/service.h"
#include "store/arena.h"

namespace narke::node {

using std::chrono::milliseconds;

static constexpr milliseconds kReportEvery{20};    // a node looks whether it has news for the head
static constexpr int64_t kReportAtLeastMs = 500;   // and says at least this often that it lives
static constexpr milliseconds kSpreadEvery{40};    // the head passes on what has changed
static constexpr milliseconds kSilenceEvery{250};  // the head looks who is silent
static constexpr int64_t kSilenceMs = 3'000;       // silent for so long: gone
static constexpr milliseconds kRejoinEvery{200};   // a node looks whether the head is back
static constexpr milliseconds kReturnLimit{15'000};  // nodes come back to a new head within this, or count as gone
static constexpr int64_t kUnheardMs = 5'000;       // what was said in the last moments may not have been heard
static constexpr milliseconds kJobPause{20};       // between looks whether a job's news has arrived
static constexpr int kJobTries = 500;

// ---- small things ------------------------------------------------------------------------------------------

static flatbuffers::Offset<WireResources> pack_resources(Builder& b, const ResourceSet& resources) {
  std::vector<flatbuffers::Offset<wire::Resource>> out;
  for (const ResourceSet::Entry& entry : resources.entries())
    out.push_back(wire::CreateResource(b, b.CreateString(entry.name), entry.amount));
  return b.CreateVector(out);
}

static flatbuffers::Offset<Vector<uint8_t>> pack_labels(Builder& b, const sched::Labels& labels) {
  flexbuffers::Builder map;
  map.Map([&] {
    for (const auto& [key, value] : labels) map.String(key.c_str(), value);
  });
  map.Finish();
  return b.CreateVector(map.GetBuffer());
}

static sched::Labels labels_of(const Vector<uint8_t>* bytes) {
  sched::Labels out;
  if (bytes == nullptr) return out;
  const flexbuffers::Map map = map_of(bytes->data(), bytes->size());
  const flexbuffers::TypedVector keys = map.Keys();
  for (size_t i = 0; i < keys.size(); ++i) out[keys[i].AsKey()] = map[keys[i].AsKey()].AsString().str();
  return out;
}

static flatbuffers::Offset<wire::NodeState> pack_node(Builder& b, const controller::Node& node) {
  const auto id = wired<wire::NodeId>(node.id);
  const auto endpoint = b.CreateString(node.endpoint);
  const auto hostname = b.CreateString(node.hostname);
  const auto labels = pack_labels(b, node.labels);
  const auto total = pack_resources(b, node.pool ? node.pool->total() : ResourceSet());
  const auto available = pack_resources(b, node.pool ? node.pool->available() : ResourceSet());
  const auto why = b.CreateString(node.why);
  return wire::CreateNodeState(b, &id, endpoint, hostname, labels, total, available, node.alive, why, node.head);
}

static rpc::Bytes as_bytes(const Builder& table) { return {table.GetBufferPointer(), table.GetSize()}; }

std::string Service::endpoint_of(const NodeId& node) {
  const controller::Node* known = cluster_.controller().nodes.find(node);
  return known ? known->endpoint : std::string();
}

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
  Builder b(128);
  const auto id = wired<wire::WorkerId>(program.id);
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
  }
  return *program;
}

void Service::on_program_came(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ProgramCame>();
  if (table == nullptr || table->worker() == nullptr) return;
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
    if (program != nullptr && program->node == from) on_relayed_request(from, *program, inner, table->stay());
    return;
  }
  on_relayed_reply(from, *program, inner);
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
  if (job == nullptr)
    deny(holder, call_id, wire::LeaseStatus::Failed, wire::FailureKind::Stopping,
         "The node was not told of job " + request.job.hex() + "; its link to the head may be broken.");
  else if (!cluster_.serve_lease(std::move(request), stay))
    deny(holder, call_id, wire::LeaseStatus::Bounced, wire::FailureKind::None, "");
}

void Service::on_remote_driver(const NodeId& from, const WorkerId& id, const rpc::Frame& frame) {
  const auto* request = frame.as<wire::Register>();
  if (request == nullptr) return;
  Program& program = remote_program(id, from);
  program.kind = wire::ProgramKind::Driver;
  program.pid = request->pid();
  program.endpoint = text_of(request->endpoint());
  const std::string config = bytes_of(request->config());
  const controller::Job& job = cluster_.start_job(id, from, program.pid, config);
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

// ---- programs that end -------------------------------------------------------------------------------------

// A program of this node: the head is told, and tells everybody.
void Service::program_ended(const WorkerId& id, bool left, const std::string& message) {
  if (config_.endpoint.empty()) return;
  if (cluster_.is_head()) {
    if (left) tell_job_of(id);
    ended_programs_.push_back(id);
    return;
  }
  Builder b(128);
  const auto worker = wired<wire::WorkerId>(id);
  const auto text = b.CreateString(message);
  b.Finish(wire::CreateProgramGone(b, &worker, left, text));
  peers_.send(head_, MessageType::ProgramGone, 0, b);
}

void Service::on_program_gone_there(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ProgramGone>();
  if (table == nullptr || table->worker() == nullptr) return;
  const WorkerId id = WorkerId::from_wire(table->worker());
  const Program* program = find(id);
  if (program != nullptr && program->node == cluster_.self()) return;
  end_remote_program(id, text_of(table->message()));
}

// The head: what a program of another node owned and drove ends with it.
void Service::end_remote_program(const WorkerId& id, const std::string& message) {
  tasks_.on_program_gone(id, message);
  if (const Program* program = find(id); program && program->kind == wire::ProgramKind::Driver) {
    cluster_.finish_job(program->job, "is gone (" + message + ")");
    if (const controller::Job* job = cluster_.controller().jobs.find(program->job)) tell_jobs(*job);
  }
  cluster_.controller().on_worker_gone(id, message);
  ended_programs_.push_back(id);
  forget_program(id);
}

void Service::forget_program(const WorkerId& id) {
  cluster_.on_program_gone(id);
  store_->erase_owned(store::owner_key(id), steady_now_ns());
  if (transfers_) transfers_->forget_owner(store::owner_key(id));
  const auto at = programs_.find(id);
  if (at != programs_.end() && at->second->link == nullptr) programs_.erase(at);
}

// ---- jobs --------------------------------------------------------------------------------------------------

void Service::tell_job(const NodeId& node, const controller::Job& job) {
  Builder b(256 + job.config.size());
  const auto id = wired<wire::JobId>(job.id);
  const auto driver = wired<wire::WorkerId>(job.driver);
  const auto where = wired<wire::NodeId>(job.node);
  const auto config = b.CreateVector(reinterpret_cast<const uint8_t*>(job.config.data()), job.config.size());
  b.Finish(wire::CreateJobNews(b, &id, &driver, &where, job.driver_pid, config, job.running));
  peers_.send(node, MessageType::JobNews, 0, b);
}

void Service::tell_jobs(const controller::Job& job) {
  for (const controller::Node& node : cluster_.controller().nodes.all())
    if (node.id != cluster_.self()) tell_job(node.id, job);
}

void Service::tell_job_of(const WorkerId& driver) {
  const Program* program = find(driver);
  const controller::Job* job = program ? cluster_.controller().jobs.find(program->job) : nullptr;
  if (job == nullptr) return;
  controller::Job ended = *job;
  ended.running = false;
  tell_jobs(ended);
}

void Service::on_job_news(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::JobNews>();
  if (table == nullptr || table->job() == nullptr) return;
  controller::Job job;
  job.id = JobId::from_wire(table->job());
  job.driver = WorkerId::from_wire(table->driver());
  job.node = NodeId::from_wire(table->node());
  job.driver_pid = table->pid();
  job.config = bytes_of(table->config());
  job.running = table->running();
  cluster_.copy_job(std::move(job));
}

// ---- joining -----------------------------------------------------------------------------------------------

void Service::on_arrival(const rpc::Preface& preface, int fd) {
  Program* program = preface.kind == rpc::LinkKind::kProgram ? find(preface.target) : nullptr;
  if (preface.kind == rpc::LinkKind::kNode) return peers_.adopt(fd);
  if (preface.kind == rpc::LinkKind::kData) return transfers_->serve(fd);
  if (program != nullptr && program->link != nullptr) {
    Builder& b = fresh();
    b.Finish(wire::CreateIncomingLink(b));
    program->link->send_fd(fd);
    program->link->send(MessageType::IncomingLink, 0, b);
  }
  ::close(fd);  // the link has its own, or nobody of that name is here
}

void Service::join(const std::string& head_endpoint, std::function<void(const std::string& error)> joined) {
  joined_ = std::move(joined);
  const NodeId nobody;
  head_endpoint_ = head_endpoint;
  if (Status opened = peers_.connect(nobody, head_endpoint); !opened) return joined_(opened.error().message);
  send_join(nobody, false);
}

// back: to a head that was started again, which is told what this node has.
void Service::send_join(const NodeId& to, bool back) {
  Builder b(1024);
  std::vector<flatbuffers::Offset<wire::PresentActor>> actors;
  std::vector<flatbuffers::Offset<wire::PresentGroup>> groups;
  std::vector<wire::WorkerId> programs;
  if (back) {
    for (const auto& [worker_id, worker] : cluster_.core().workers()) {
      if (worker.actor.is_nil() || !worker.actor_started || worker.killed) continue;
      const auto actor = wired<wire::ActorId>(worker.actor);
      const auto address = pack_address(b, worker.id, cluster_.self(), worker.endpoint);
      actors.push_back(wire::CreatePresentActor(b, &actor, worker.incarnation, address, worker.pid));
    }
    for (const auto& [group, indexes] : cluster_.present().bundles) {
      const auto group_id = wired<wire::PgId>(group);
      const auto list = b.CreateVector(std::vector<int>(indexes.begin(), indexes.end()));
      groups.push_back(wire::CreatePresentGroup(b, &group_id, list));
    }
    for (const auto& [program_id, program] : programs_)
      if (program->link) programs.push_back(wired<wire::WorkerId>(program_id));
  }
  const auto packed_actors = b.CreateVector(actors);
  const auto packed_groups = b.CreateVector(groups);
  const auto packed_programs = b.CreateVectorOfStructs(programs);
  const auto id = wired<wire::NodeId>(cluster_.self());
  const auto endpoint = b.CreateString(config_.endpoint);
  const auto hostname = b.CreateString(config_.hostname);
  const auto resources = pack_resources(b, cluster_.core().pool().total());
  const auto labels = pack_labels(b, cluster_.core().config().labels);
  b.Finish(wire::CreateJoinCluster(b, &id, endpoint, hostname, getpid(), resources, labels, packed_actors,
                                   packed_groups, packed_programs, back));
  peers_.send(to, MessageType::JoinCluster, 1, b);
}

controller::Controller::Present Service::present_of(const wire::JoinCluster& table) {
  controller::Controller::Present out;
  if (table.actors() != nullptr)
    for (const wire::PresentActor* actor : *table.actors())
      out.actors[ActorId::from_wire(actor->actor())] = actor->incarnation();
  if (table.groups() != nullptr)
    for (const wire::PresentGroup* group : *table.groups())
      if (group->indexes() != nullptr)
        out.bundles[PgId::from_wire(group->group())] = {group->indexes()->begin(), group->indexes()->end()};
  if (table.programs() != nullptr)
    for (const wire::WorkerId* id : *table.programs()) out.programs.insert(WorkerId::from_wire(id));
  return out;
}

void Service::refuse_join(const NodeId& from, const rpc::Frame& frame, const std::string& why) {
  log_("node " + from.hex().substr(0, 8) + " was refused: " + why);
  Builder b(256);
  const auto error = b.CreateString(why);
  wire::JoinedBuilder reply(b);
  reply.add_error(error);
  b.Finish(reply.Finish());
  peers_.send(from, MessageType::Joined, frame.call_id, b);
}

void Service::on_join(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::JoinCluster>();
  if (table == nullptr || table->node() == nullptr || NodeId::from_wire(table->node()) != from)
    return peers_.close(from, "the JoinCluster frame is malformed, or names another node than its sender");
  controller::NodeTable& nodes = cluster_.controller().nodes;
  if (from == cluster_.self()) return peers_.close(from, "a node cannot join itself");
  if (nodes.find_ended(from))
    return refuse_join(from, frame, "the cluster has counted this node as gone; start it anew");
  controller::Node node;
  node.id = from;
  node.endpoint = text_of(table->endpoint());
  node.address = node.endpoint.substr(0, node.endpoint.rfind(':'));
  node.hostname = text_of(table->hostname());
  node.labels = labels_of(table->labels());
  const bool is_back = table->back() && cluster_.restored_nodes().contains(from);
  if (table->back() && !is_back)
    return refuse_join(from, frame, "the cluster does not know this node (any more); start it anew");
  const ResourceSet total = resources_of(table->resources());
  node.mirror = std::make_shared<ResourcePool>(ResourcePool::mirror(total, total));
  node.pool = node.mirror.get();
  heard_ms_[from] = now_ms();
  log_("node " + from.hex().substr(0, 8) + " has joined from " + text_of(table->endpoint()));
  Builder b(256);
  const auto cluster = b.CreateVector(reinterpret_cast<const uint8_t*>(reactor_.identity().cluster.data()),
                                      reactor_.identity().cluster.size());
  const auto session = b.CreateString(config_.session_dir);
  const auto head = wired<wire::NodeId>(cluster_.self());
  b.Finish(wire::CreateJoined(b, 0, cluster, session, &head));
  peers_.send(from, MessageType::Joined, frame.call_id, b);
  tell_view(from, true);
  for (const auto& [number, job] : cluster_.controller().jobs.all())
    if (job.running) tell_job(from, job);
  if (is_back) welcome_back(from, *table);
  cluster_.add_node(std::move(node));  // last: what waited for such a node is sent there at once
  changed_.push_back(from);
}

// Its programs and actors are as the journal has them, or are made so. Actors that had started unheard are heard now.
void Service::welcome_back(const NodeId& from, const wire::JoinCluster& table) {
  if (table.actors() != nullptr)
    for (const wire::PresentActor* present : *table.actors()) {
      ActorNews news;
      news.actor = ActorId::from_wire(present->actor());
      news.incarnation = present->incarnation();
      news.address = address_of(present->worker());
      news.pid = present->pid();
      const controller::Actor* actor = cluster_.controller().actors.find(news.actor);
      if (actor != nullptr && actor->state != wire::ActorState::Alive) cluster_.on_actor_news(news);
    }
  cluster_.on_node_back(from, present_of(table));
  for (const auto& [number, job] : cluster_.controller().jobs.all()) {
    if (!job.running || job.node != from) continue;
    Program& driver = remote_program(job.driver, from);
    driver.kind = wire::ProgramKind::Driver;
    driver.job = job.id;
    driver.pid = job.driver_pid;
    read_config(driver, job.config);
  }
}

void Service::on_joined(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::Joined>();
  if (table == nullptr) return;
  if (lost_ms_ != 0) {
    if (table->error() != nullptr && table->error()->size() > 0) return expelled_(table->error()->str());
    const NodeId before = std::exchange(head_, NodeId::from_wire(table->head()));
    peers_.rename(from, head_);
    lost_ms_ = 0;
    if (before != head_) node_gone(before, "the head was started again");
    return on_back();
  }
  if (!joined_) return;
  const auto joined = std::exchange(joined_, nullptr);
  if (table->error() != nullptr && table->error()->size() > 0) return joined(table->error()->str());
  head_ = NodeId::from_wire(table->head());
  peers_.rename(from, head_);
  joined("");
  report();
}

// ---- the view of all nodes ---------------------------------------------------------------------------------

void Service::begin_rounds() {
  if (cluster_.is_head()) {
    spread_view();
    look_for_silence();
  }
}

// From the head: everything, or what has changed since the last time.
void Service::tell_view(const NodeId& to, bool whole) {
  Builder b(1024);
  const controller::NodeTable& nodes = cluster_.controller().nodes;
  std::vector<flatbuffers::Offset<wire::NodeState>> packed;
  if (whole)
    for (const controller::Node& node : nodes.all()) packed.push_back(pack_node(b, node));
  else
    for (const NodeId& id : changed_) {
      const controller::Node* node = nodes.find(id);
      if (node == nullptr) node = nodes.find_ended(id);
      if (node != nullptr) packed.push_back(pack_node(b, *node));
    }
  std::vector<wire::WorkerId> ended;
  if (!whole)
    for (const WorkerId& id : ended_programs_) ended.push_back(wired<wire::WorkerId>(id));
  const auto states = b.CreateVector(packed);
  const auto programs = b.CreateVectorOfStructs(ended);
  b.Finish(wire::CreateClusterView(b, states, programs));
  peers_.send(to, MessageType::ClusterView, 0, b);
}

void Service::spread_view() {
  const ResourceSet& available = cluster_.core().pool().available();
  if (!(available == reported_)) {
    reported_ = available;
    changed_.push_back(cluster_.self());
  }
  std::sort(changed_.begin(), changed_.end());
  changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
  if (!changed_.empty() || !ended_programs_.empty())
    for (const controller::Node& node : cluster_.controller().nodes.all())
      if (node.id != cluster_.self()) tell_view(node.id, false);
  changed_.clear();
  ended_programs_.clear();
  reactor_.after(kSpreadEvery, [this] { spread_view(); });
}

void Service::on_view(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ClusterView>();
  if (table == nullptr || table->nodes() == nullptr) return;
  for (const wire::NodeState* state : *table->nodes()) {
    const NodeId id = NodeId::from_wire(state->node());
    if (id == cluster_.self()) continue;
    if (!state->alive()) {
      node_gone(id, text_of(state->why()));
      continue;
    }
    if (cluster_.controller().nodes.find(id) == nullptr) {
      controller::Node node;
      node.id = id;
      node.endpoint = text_of(state->endpoint());
      node.address = node.endpoint.substr(0, node.endpoint.rfind(':'));
      node.hostname = text_of(state->hostname());
      node.labels = labels_of(state->labels());
      node.head = state->head();
      cluster_.add_node(std::move(node));
    }
    cluster_.on_pool_report(id, resources_of(state->total()), resources_of(state->available()));
  }
  if (table->ended() != nullptr)
    for (const wire::WorkerId* id : *table->ended()) {
      const Program* program = find(WorkerId::from_wire(id));
      if (program == nullptr || program->link == nullptr) forget_program(WorkerId::from_wire(id));
    }
}

void Service::report() {
  const ResourcePool& pool = cluster_.core().pool();
  if (lost_ms_ == 0 && (!(pool.available() == reported_) || now_ms() - reported_ms_ >= kReportAtLeastMs)) {
    reported_ = pool.available();
    reported_ms_ = now_ms();
    Builder b(256);
    const auto total = pack_resources(b, pool.total());
    const auto available = pack_resources(b, pool.available());
    b.Finish(wire::CreateNodeReport(b, total, available));
    peers_.send(head_, MessageType::NodeReport, 0, b);
  }
  reactor_.after(kReportEvery, [this] { report(); });
}

void Service::on_report(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::NodeReport>();
  const controller::Node* node = cluster_.controller().nodes.find(from);
  if (table == nullptr || node == nullptr) return;
  ResourceSet available = resources_of(table->available());
  if (node->pool->available() == available) return;
  cluster_.on_pool_report(from, resources_of(table->total()), std::move(available));
  changed_.push_back(from);
}

void Service::look_for_silence() {
  const int64_t now = now_ms();
  std::vector<NodeId> silent;
  for (const auto& [node, heard] : heard_ms_)
    if (now - heard > kSilenceMs) silent.push_back(node);
  for (const NodeId& node : silent)
    node_gone(node, "it has not been heard of for " + std::to_string(kSilenceMs / 1000) + " s");
  settle();
  reactor_.after(kSilenceEvery, [this] { look_for_silence(); });
}

// ---- nodes that go -----------------------------------------------------------------------------------------

void Service::on_node_link_closed(const NodeId& node, const Error& why) {
  if (joined_) return std::exchange(joined_, nullptr)(why.message);
  if (cluster_.is_head())
    node_gone(node, "its link to the head ended: " + why.message);
  else if (node == head_ && lost_ms_ == 0)
    on_head_lost(why.message);
  settle();
}

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
  for (const auto& [id, actors] : watches_)
    if (Program* program = find(id))
      for (const ActorId& actor : actors) {
        Builder b(64);
        const auto wire_id = wired<wire::ActorId>(actor);
        b.Finish(wire::CreateWatchActor(b, &wire_id));
        relay(head_, *program, MessageType::WatchActor, 0, as_bytes(b), {});
      }
  for (const PgId& group : cluster_.watched_groups()) send_watch_group(group);
  for (const Said& said : said_)
    if (Program* program = find(said.program)) relay(head_, *program, said.type, said.call_id, said.table, said.raw);
  reported_ms_ = 0;
}

void Service::track(const WorkerId& program, const rpc::Frame& frame) {
  const int64_t now = now_ms();
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
      for (const auto& [id, node] : late) cluster_.on_node_lost(id, "it did not come back to the head");
      settle();
    });
  }
  settle();
  return ok_status();
}

// Before anybody hears of a change it is kept: what is sent leaves when this dispatch is over.
void Service::save_changes() {
  if (!journal_) return;
  const std::vector<journal::Change> changes = cluster_.take_changes();
  if (changes.empty()) return;
  if (Status kept = journal_->apply(changes); !kept) {
    log_("the journal cannot be written: " + kept.error().message);
    history_.add(now_ms(), "ERROR", "NODE", kept.error().message);
  }
}

void Service::settle() {
  cluster_.settle();
  save_changes();
}

void Service::node_gone(const NodeId& node, const std::string& why) {
  if (cluster_.controller().nodes.find(node) == nullptr) return;
  log_("node " + node.hex().substr(0, 8) + " is gone: " + why);
  history_.add(now_ms(), "ERROR", "NODE", "Node " + node.hex() + " is gone: " + why);
  heard_ms_.erase(node);
  changed_.push_back(node);
  if (transfers_) transfers_->node_gone(endpoint_of(node), why);
  std::vector<WorkerId> programs;
  for (const auto& [id, program] : programs_)
    if (program->node == node) programs.push_back(id);
  cluster_.on_node_gone(node, why);
  for (const WorkerId& id : programs) {
    if (cluster_.is_head())
      end_remote_program(id, "its node is gone: " + why);
    else
      forget_program(id);
  }
  for (const auto& [id, program] : programs_) {
    if (program->link == nullptr) continue;
    Builder& b = fresh();
    const auto gone = wired<wire::NodeId>(node);
    const auto text = b.CreateString(why);
    b.Finish(wire::CreateNodeGone(b, &gone, text));
    program->link->send(MessageType::NodeGone, 0, b);
  }
  peers_.close(node, why);
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

// ---- actors and groups at other nodes ----------------------------------------------------------------------

void Service::send_place_actor(const NodeId& node, const controller::Actor& actor) {
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

void Service::send_end_actor(const NodeId& node, const ActorId& actor, bool graceful) {
  Builder b(64);
  const auto id = wired<wire::ActorId>(actor);
  b.Finish(wire::CreateEndActor(b, &id, graceful));
  peers_.send(node, MessageType::EndActor, 0, b);
}

void Service::send_actor_news(const ActorNews& news) {
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

// ---- objects -----------------------------------------------------------------------------------------------

bool Service::on_pull(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::PullObject>();
  if (table == nullptr || table->id() == nullptr || table->owner() == nullptr) return false;
  const ObjectId id = ObjectId::from_wire(table->id());
  const std::string source = endpoint_of(NodeId::from_wire(table->node()));
  if (transfers_ == nullptr || source.empty()) {
    pulled(program.id, id, "the node that had it is not in the cluster any more");
    return true;
  }
  const uint64_t owner = store::owner_key(WorkerId::from_wire(table->owner()));
  transfers_->pull(id, {source}, owner, [this, to = program.id, id](const Status& done) {
    pulled(to, id, done.ok() ? "" : done.error().message);
  });
  return true;
}

void Service::pulled(const WorkerId& to, const ObjectId& object, const std::string& error) {
  Program* program = find(to);
  if (program == nullptr || program->link == nullptr) return;
  Builder& b = fresh();
  const auto id = wired<wire::ObjectId>(object);
  const auto message = b.CreateString(error);
  b.Finish(wire::CreateObjectPulled(b, &id, error.empty(), message));
  program->link->send(MessageType::ObjectPulled, 0, b);
}

// The node that has the first copy knows to whom it gave others, and these know to whom they did.
bool Service::on_erase(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::EraseObjects>();
  if (table == nullptr || table->ids() == nullptr) return false;
  if (transfers_ == nullptr) return true;
  const NodeId where = NodeId::from_wire(table->node());
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

// ---- dispatch ----------------------------------------------------------------------------------------------

void Service::on_node_frame(const NodeId& from, const rpc::Frame& frame) {
  if (frame.type == MessageType::Relay)
    on_relay(from, frame);
  else if (frame.type == MessageType::EraseObjects)
    on_erase(frame);
  else if (frame.type == MessageType::ProgramCame)
    on_program_came(from, frame);
  else if (cluster_.is_head())
    on_member_frame(from, frame);
  else
    on_head_frame(from, frame);
  settle();
  hurry();
}

// The head's side. A node that has not joined may only do so.
void Service::on_member_frame(const NodeId& from, const rpc::Frame& frame) {
  if (frame.type == MessageType::JoinCluster) return on_join(from, frame);
  if (cluster_.controller().nodes.find(from) == nullptr) return;
  heard_ms_[from] = now_ms();
  switch (frame.type) {
    case MessageType::NodeReport: return on_report(from, frame);
    case MessageType::ProgramGone: return on_program_gone_there(frame);
    case MessageType::ActorNews: return on_actor_news(frame);
    case MessageType::WatchGroup: return on_watch_group(from, frame);
    case MessageType::BundlesReserved: {
      const auto* table = frame.as<wire::BundlesReserved>();
      if (table == nullptr || table->group() == nullptr) return;
      cluster_.controller().on_reserved(PgId::from_wire(table->group()), from, table->attempt(), table->ok());
      return;
    }
    default: return peers_.close(from, "a frame that nodes do not send to the head");
  }
}

void Service::on_head_frame(const NodeId& from, const rpc::Frame& frame) {
  if (frame.type == MessageType::Joined) return on_joined(from, frame);
  if (from != head_) return;
  switch (frame.type) {
    case MessageType::ClusterView: return on_view(frame);
    case MessageType::JobNews: return on_job_news(frame);
    case MessageType::PlaceActor: return on_place_actor(frame);
    case MessageType::EndActor: {
      const auto* table = frame.as<wire::EndActor>();
      if (table && table->actor()) cluster_.end_actor(ActorId::from_wire(table->actor()), table->graceful());
      return;
    }
    case MessageType::ReserveBundles: return on_reserve(from, frame);
    case MessageType::ReturnBundles: return on_return_bundles(frame);
    case MessageType::GroupNews: return on_group_news(frame);
    default: return peers_.close(from, "a frame that the head does not send");
  }
}

}  // namespace narke::node
