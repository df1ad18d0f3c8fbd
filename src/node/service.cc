#include "node/service.h"

#include <chrono>
#include <cstdlib>

#include <sys/random.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#include "node/memory_guard.h"
#include "store/arena.h"

namespace narke::node {

constexpr int kWatchTries = 40;
constexpr std::chrono::milliseconds kWatchPause{50};

static constexpr std::chrono::milliseconds kHurry{10};
static constexpr int kLinkGraceMs = 200;       // between a worker's link and its process ending
static constexpr std::chrono::milliseconds kLastWords{100};  // between a process and its link ending
static constexpr int kLeaveGraceMs = 500;      // for workers of an ended job
static constexpr int64_t kGoodbyeMs = 2'000;   // most that a driver waits for the logs of its workers
static constexpr int64_t kLatelyMs = 30'000;     // so long a program that ended is remembered
static constexpr size_t kFewWorkers = 16;
static constexpr size_t kTailBytes = 2'000;    // of a failed worker's error output, in the message

template <class IdType>
static IdType random_id() {
  IdType id;
  NARKE_CHECK(getrandom(id.data(), IdType::kSize, 0) == static_cast<ssize_t>(IdType::kSize));
  return id;
}
WorkerId random_worker_id() { return random_id<WorkerId>(); }
NodeId random_node_id() { return random_id<NodeId>(); }

int64_t steady_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

static controller::Node self_of(const ServiceConfig& config) {
  controller::Node self;
  self.address = config.address;
  self.hostname = config.hostname;
  self.endpoint = config.endpoint;
  self.outside = config.outside;
  return self;
}

static std::string below(const std::string& folder, const char* name) { return folder.empty() ? "" : folder + name; }

Service::Service(rpc::Reactor& reactor, ServiceConfig config, std::function<void(const std::string&)> log)
    : reactor_(reactor),
      config_(std::move(config)),
      log_(std::move(log)),
      cluster_(config_.node, self_of(config_), config_.is_head, *this),
      peers_(reactor, *this),
      logs_(reactor, below(config_.session_dir, "/logs"), *this, log_limits()),
      tasks_(below(config_.session_dir, "/history"), log_),
      packages_(below(config_.session_dir, "/packages")),
      errands_(reactor),
      control_(
          cluster_,
          {config_.session_dir, config_.socket_path, config_.address, config_.hostname,
           [this](const NodeId& node, controller::Drain wanted) { return drain(node, std::move(wanted)); }},
          history_, tasks_.table(), packages_, [this] { return store_; }, *this,
          [this](const WorkerId& program, uint32_t call_id, const Answer& answer) {
            reply_control(program, call_id, answer);
          }) {
  if (config_.is_head) head_ = cluster_.self();
}

Service::~Service() {
  for (const int process : left_) {
    reactor_.unwatch(process);
    ::close(process);
  }
  for (auto& [id, program] : programs_)
    if (program->link) program->link->set_handler(nullptr);
}

void Service::attach(WorkerProcesses& processes, store::ProgramStore& store) {
  processes_ = &processes;
  store_ = &store;
  make_environments();
}

Program* Service::find(const WorkerId& id) {
  const auto at = programs_.find(id);
  return at == programs_.end() ? nullptr : at->second.get();
}

// An empty one for a job whose record is gone.
const controller::Job& Service::job_of(const JobId& job) const {
  static const controller::Job kNone;
  const controller::Job* record = cluster_.controller().jobs.find(job);
  return record != nullptr ? *record : kNone;
}

// A driver of another node is reached through that node.
Program* Service::driver_of(const JobId& job) {
  const controller::Job* record = cluster_.controller().jobs.find(job);
  if (record == nullptr) return nullptr;
  if (record->running && record->node != cluster_.self() && !record->node.is_nil() && !find(record->driver) &&
      !departed_.contains(record->driver)) {
    Program& driver = remote_program(record->driver, record->node);
    driver.job = job;
    read_config(driver, record->config);
  }
  return find(record->driver);
}

Builder& Service::fresh() {
  builder_.Clear();
  return builder_;
}

int64_t Service::now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(reactor_.now().time_since_epoch()).count();
}

// ---- links -------------------------------------------------------------------------------------------------

void Service::on_frame(rpc::Connection& link, const rpc::Frame& frame) {
  auto* program = static_cast<Program*>(link.context);
  if (program == nullptr) {
    if (frame.type == MessageType::Register)
      on_register(link, frame);
    else
      link.close({ErrorCode::kRefused, "the first frame must be Register"});
  } else if (program->kind != wire::ProgramKind::Observer && frame.type >= MessageType::StoreFirst &&
             frame.type <= MessageType::StoreLast) {
    store_->on_frame(program->key, frame, steady_now_ns());
    return;
  } else {
    serve(*program, frame);
  }
  settle();
  hurry();
}

void Service::on_closed(rpc::Connection& link, const Error& why) {
  auto* program = static_cast<Program*>(link.context);
  if (program == nullptr) return;
  link.context = nullptr;
  const std::unique_ptr<Program> gone = std::move(programs_.at(program->id));
  programs_.erase(gone->id);
  by_key_.erase(gone->key);
  packages_.on_writer_gone(gone->id);
  if (gone->kind == wire::ProgramKind::Observer) return;
  asking_.on_gone(gone->id);
  if (gone->kind == wire::ProgramKind::Driver) {
    store_->erase_owned(store::owner_key(gone->id), steady_now_ns());
    detach_when_ended(gone->key, gone->pid);
    tasks_.on_program_gone(gone->id, "Job " + gone->job.hex() + " has ended: its driver is gone.");
    program_ended(gone->id, gone->leaving, gone->leaving ? "has left" : why.message);
    driver_gone(*gone, gone->leaving ? "has left" : "is gone (" + why.message + ")");
  } else {
    // What it held is freed when its process is gone; one that only lost its link is of no use any more.
    key_of_gone_[gone->id] = gone->key;
    if (cluster_.core().find(gone->id) == nullptr) ended_.try_emplace(gone->id);
    if (ended_.contains(gone->id))
      bury(gone->id);
    else
      processes_->kill_after(gone->id, kLinkGraceMs);
  }
  settle();
}

// A driver that has left may still read arrays that lie in the store: its pins hold until its process ends.
void Service::detach_when_ended(store::ClientKey key, int pid) {
  const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (process < 0) {
    store_->detach(key, steady_now_ns());
    return;
  }
  left_.insert(process);
  reactor_.watch(process, [this, key, process] {
    reactor_.unwatch(process);
    left_.erase(process);
    ::close(process);
    store_->detach(key, steady_now_ns());
  });
}

void Service::driver_gone(Program& program, const std::string& why) {
  cluster_.finish_job(program.job, why);
  settle();
  if (driver_gone_) driver_gone_(program.pid);
}

// ---- registration ------------------------------------------------------------------------------------------

void Service::refuse(rpc::Connection& link, uint32_t call_id, const std::string& why) {
  Builder& builder = fresh();
  const auto error = builder.CreateString(why);
  wire::RegisteredBuilder reply(builder);
  reply.add_error(error);
  builder.Finish(reply.Finish());
  link.send(MessageType::Registered, call_id, builder);
}

void Service::on_register(rpc::Connection& link, const rpc::Frame& frame) {
  const auto* request = frame.as<wire::Register>();
  if (request == nullptr || request->worker() == nullptr) {
    refuse(link, frame.call_id, "The Register frame is malformed: worker is missing.");
    return;
  }
  const WorkerId id = WorkerId::from_wire(request->worker());
  const bool is_worker = request->kind() == wire::ProgramKind::Worker;
  const Worker* worker = cluster_.core().find(id);
  if (find(id) != nullptr || (is_worker && (worker == nullptr || worker->state != WorkerState::kStarting))) {
    refuse(link, frame.call_id,
           is_worker ? "This node does not expect a worker of this id (any more)."
                     : "A program with this id is connected already.");
    return;
  }
  if (request->kind() == wire::ProgramKind::Observer) {
    admit_observer(link, *request, frame.call_id);
    return;
  }
  Program* program = admit(link, *request);
  if (!is_worker && !cluster_.is_head()) {  // the head begins the job; its Registered follows
    program->register_call = frame.call_id;
    relay_to_head(*program, frame);
    return;
  }
  registered(*program, frame.call_id);
  if (is_worker) cluster_.core().on_registered(id, program->pid, program->endpoint);
}

Program* Service::admit(rpc::Connection& link, const wire::Register& request) {
  auto program = std::make_unique<Program>();
  program->link = &link;
  program->id = WorkerId::from_wire(request.worker());
  program->kind = request.kind();
  program->pid = request.pid();
  program->endpoint = config_.endpoint.empty() ? text_of(request.endpoint()) : config_.endpoint;
  program->node = cluster_.self();
  program->key = ++last_key_;
  by_key_[program->key] = program->id;
  std::string config;
  if (program->kind == wire::ProgramKind::Driver) {
    config = bytes_of(request.config());
    if (cluster_.is_head()) {
      const controller::Job& job = cluster_.start_job(program->id, cluster_.self(), program->pid, config);
      program->job = job.id;
      tell_jobs(job);
    }
  } else {
    program->job = cluster_.core().find(program->id)->job;
    config = job_of(program->job).config;
  }
  read_config(*program, config);
  link.context = program.get();
  const WorkerId id = program->id;
  return (programs_[id] = std::move(program)).get();  // a record of a driver elsewhere gives way
}

void Service::read_config(Program& program, const std::string& bytes) {
  const flexbuffers::Map config = map_of(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (config["namespace"].IsString()) program.name_space = config["namespace"].AsString().str();
  if (!config["log_to_driver"].IsNull()) program.log_to_driver = config["log_to_driver"].AsBool();
}

// It only asks: no job begins, and no store is handed over.
void Service::admit_observer(rpc::Connection& link, const wire::Register& request, uint32_t call_id) {
  auto program = std::make_unique<Program>();
  program->link = &link;
  program->id = WorkerId::from_wire(request.worker());
  program->kind = request.kind();
  program->pid = request.pid();
  program->node = cluster_.self();
  link.context = program.get();
  programs_.emplace(program->id, std::move(program));
  Builder& builder = fresh();
  const auto session = builder.CreateString(config_.session_dir);
  const auto node = config_.node.node.to_wire<wire::NodeId>();
  wire::RegisteredBuilder reply(builder);
  reply.add_node(&node);
  reply.add_session_dir(session);
  builder.Finish(reply.Finish());
  link.send(MessageType::Registered, call_id, builder);
}

void Service::registered(Program& program, uint32_t call_id) {
  Builder& builder = fresh();
  const controller::Job& job = job_of(program.job);
  const auto session = builder.CreateString(config_.session_dir);
  const auto cluster = builder.CreateVector(reinterpret_cast<const uint8_t*>(reactor_.identity().cluster.data()),
                                            reactor_.identity().cluster.size());
  const auto config = builder.CreateVector(reinterpret_cast<const uint8_t*>(job.config.data()), job.config.size());
  const auto node = config_.node.node.to_wire<wire::NodeId>();
  const auto endpoint = builder.CreateString(config_.endpoint);
  const auto door = builder.CreateString(config_.door);
  const auto job_id = program.job.to_wire<wire::JobId>();
  wire::RegisteredBuilder reply(builder);
  reply.add_node(&node);
  reply.add_job(&job_id);
  reply.add_cluster(cluster);
  reply.add_session_dir(session);
  if (program.kind == wire::ProgramKind::Worker) reply.add_config(config);
  reply.add_store_bytes(store_->arena_bytes());
  reply.add_store_fd(true);
  reply.add_endpoint(endpoint);
  reply.add_door(door);
  reply.add_tls(reactor_.identity().tls);
  builder.Finish(reply.Finish());
  if (!program.link->send_fd(store_->fd()))
    return program.link->close({ErrorCode::kOverloaded, "the node has no descriptors left for another program"});
  program.link->send(MessageType::Registered, call_id, builder);
}

// ---- frames ------------------------------------------------------------------------------------------------

// What cannot be decided or done by a node that knows of no other.
static bool concerns_others(const rpc::Frame& frame) {
  if (frame.type == MessageType::Control) {
    const auto* table = frame.as<wire::Control>();
    return table && table->method() && table->method()->string_view() == "worker_fate";
  }
  return frame.type == MessageType::RequestLease || frame.type == MessageType::CancelLease ||
         frame.type == MessageType::PullObject || frame.type == MessageType::EraseObjects ||
         frame.type == MessageType::PromoteObjects;
}

void Service::serve(Program& program, const rpc::Frame& frame) {
  if (dispatch(program, frame)) return;
  program.link->close(
      {ErrorCode::kRefused, std::string("malformed frame of type ") + wire::EnumNameMessageType(frame.type)});
}

// False: the frame is malformed or not a program's to send.
bool Service::dispatch(Program& program, const rpc::Frame& frame) {
  if (program.kind == wire::ProgramKind::Observer && frame.type != MessageType::Control) return false;
  Core& core = cluster_.core();
  if (program.register_call != 0) return false;  // it may not speak yet
  if (program.link != nullptr && concerns_others(frame) && !knows_others()) {
    hold(program, frame);
    return true;
  }
  switch (frame.type) {
    case MessageType::RequestLease: return on_request_lease(program, frame);
    case MessageType::ReturnLease: {
      const auto* table = frame.as<wire::ReturnLease>();
      if (table) cluster_.return_lease(program.id, table->lease(), table->worker_failed(), table->worker_exiting());
      return table != nullptr;
    }
    case MessageType::CancelLease: {
      const auto* table = frame.as<wire::CancelLease>();
      if (table) cluster_.cancel_lease(program.id, table->request());
      return table != nullptr;
    }
    case MessageType::Blocked: core.on_blocked(program.id); return true;
    case MessageType::Unblocked: core.on_unblocked(program.id); return true;
    case MessageType::Control: return on_control(program, frame);
    case MessageType::ControlReply: return on_answer(program.id, frame);
    case MessageType::Goodbye: on_goodbye(program, frame.call_id); return true;
    case MessageType::PullObject: return on_pull(program, frame);
    case MessageType::EraseObjects: return on_erase(frame);
    case MessageType::PromoteObjects: return on_promote(program, frame);
    case MessageType::TaskEvents:
      return cluster_.is_head() ? tasks_.on_events(program, frame) : relay_to_head(program, frame);
    default: return dispatch_actor(program, frame);
  }
}

bool Service::dispatch_actor(Program& program, const rpc::Frame& frame) {
  if (!cluster_.is_head() && frame.type != MessageType::ActorStarted) {
    if (frame.type == MessageType::CreateActor) cluster_.note_creator(program.id);
    return relay_to_head(program, frame);
  }
  switch (frame.type) {
    case MessageType::CreateActor: return on_create_actor(program, frame);
    case MessageType::ActorStarted: return on_actor_started(program, frame);
    case MessageType::WatchActor: return on_watch_actor(program, frame);
    case MessageType::KillActor: return on_kill_actor(frame);
    case MessageType::ActorExiting: {
      const auto* table = frame.as<wire::ActorExiting>();
      if (!table || !table->actor()) return false;
      const controller::Actor* actor = cluster_.controller().actors.find(ActorId::from_wire(table->actor()));
      if (!actor || (actor->address.worker != program.id && actor->state == wire::ActorState::Alive)) return false;
      cluster_.controller().actors.exiting(actor->spec.id);
      return true;
    }
    default: return false;
  }
}

bool Service::on_request_lease(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::RequestLease>();
  if (table == nullptr || frame.call_id == 0) return false;
  LeaseRequest request = lease_request_of(*table);
  request.holder = program.id;
  request.call_id = frame.call_id;
  request.job = program.job;
  cluster_.request_lease(std::move(request));
  return true;
}

bool Service::on_create_actor(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::CreateActor>();
  if (!table || !table->spec() || !table->spec()->actor()) return false;
  controller::ActorSpec spec = actor_spec_of(*table->spec());
  spec.job = program.job;
  if (spec.owner.worker.is_nil()) spec.owner = {program.id, program.node, program.endpoint};
  if (spec.name_space.empty()) spec.name_space = program.name_space;
  controller::ActorFrame bytes{{frame.table.begin(), frame.table.end()}, {frame.raw.begin(), frame.raw.end()}};
  const controller::ActorSpec asked = spec;
  const auto created = cluster_.controller().actors.create(std::move(spec), std::move(bytes), program.id);

  if (created.status == wire::CreateActorStatus::Created) tasks_.on_actor_asked(program, asked);

  Builder& builder = fresh();
  const auto message = builder.CreateString(created.message);
  if (created.status != wire::CreateActorStatus::Existing) {
    wire::CreateActorReplyBuilder reply(builder);
    reply.add_status(created.status);
    reply.add_message(message);
    builder.Finish(reply.Finish());
  } else {
    const controller::ActorSpec& existing = created.actor->spec;
    const auto methods =
        builder.CreateVector(reinterpret_cast<const uint8_t*>(existing.methods.data()), existing.methods.size());
    const auto owner = pack_address(builder, existing.owner.worker, existing.owner.node, existing.owner.endpoint);
    const auto class_name = builder.CreateString(existing.class_name);
    const auto id = existing.id.to_wire<wire::ActorId>();
    builder.Finish(wire::CreateCreateActorReply(builder, created.status, &id, methods, message, owner, class_name));
  }
  send_to(program, MessageType::CreateActorReply, frame.call_id, builder);
  return true;
}

bool Service::on_actor_started(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ActorStarted>();
  if (!table || !table->actor()) return false;
  cluster_.core().on_actor_started(program.id, ActorId::from_wire(table->actor()), table->ok(),
                                   {frame.raw.begin(), frame.raw.end()});
  return true;
}

bool Service::on_watch_actor(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::WatchActor>();
  if (!table || !table->actor()) return false;
  watch_actor(program.id, ActorId::from_wire(table->actor()), kWatchTries);
  return true;
}

// A handle may reach a program, and its question this node, before the creator's own message does: an actor that is
// not known yet is asked for again, for two seconds in all.
void Service::watch_actor(const WorkerId& watcher, const ActorId& id, int tries) {
  if (const controller::Actor* actor = cluster_.controller().actors.watch(id, watcher))
    return actor_changed(watcher, *actor);
  if (tries > 0) {
    reactor_.after(kWatchPause, [this, watcher, id, tries] { watch_actor(watcher, id, tries - 1); });
    return;
  }
  controller::Actor unknown;
  unknown.spec.id = id;
  unknown.state = wire::ActorState::Unknown;
  unknown.message = "The cluster knows no actor " + id.hex() + ": it died long ago, or belongs to another cluster.";
  actor_changed(watcher, unknown);
}

bool Service::on_kill_actor(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::KillActor>();
  if (!table || !table->actor()) return false;
  const ActorId id = ActorId::from_wire(table->actor());
  if (table->out_of_scope())
    cluster_.controller().actors.out_of_scope(id);
  else
    cluster_.controller().actors.kill(id, table->no_restart(), table->key());
  return true;
}

bool Service::on_control(Program& program, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::Control>();
  if (!table || !table->method()) return false;
  const flexbuffers::Map body =
      table->body() ? map_of(table->body()->data(), table->body()->size()) : flexbuffers::Map::EmptyMap();
  std::string method = table->method()->str();
  const bool is_for_here = method.starts_with(kHereMark);
  if (is_for_here) method.erase(0, kHereMark.size());
  if (method == "worker_fate") {
    const std::string where = id_text(body["node_id"]);
    const NodeId node = where.size() == NodeId::kSize ? NodeId::from_bytes(where) : cluster_.self();
    if (node != cluster_.self() && cluster_.controller().nodes.find(node)) {
      relay(node, program, frame.type, frame.call_id, frame.table, frame.raw);
      return true;
    }
  } else if (!is_for_here && !cluster_.is_head() && method != "session_info" && method != "store_stats") {
    return relay_to_head(program, frame);
  }
  control_.handle(program, frame.call_id, method, body);
  return true;
}

// ---- goodbye -----------------------------------------------------------------------------------------------

void Service::say_goodbye(Program& program, uint32_t call_id) {
  Builder& builder = fresh();
  builder.Finish(wire::CreateGoodbye(builder));
  program.link->send(MessageType::Goodbye, call_id, builder);
}

void Service::on_goodbye(Program& program, uint32_t call_id) {
  if (program.kind != wire::ProgramKind::Driver) {
    say_goodbye(program, call_id);
    return;
  }
  program.leaving = true;
  program.goodbye_call = call_id;
  program.goodbye_deadline_ms = now_ms() + kGoodbyeMs;
  program_ended(program.id, true, "has left");
  cluster_.finish_job(program.job, "has left");
  settle();
  finish_goodbyes();
}

bool Service::has_ending_workers(const JobId& job) const {
  for (const auto& [id, worker] : cluster_.core().workers())
    if (worker.job == job && (worker.state == WorkerState::kLeaving || worker.killed)) return true;
  return false;
}

void Service::finish_goodbyes() {
  for (auto& [id, program] : programs_) {
    if (!program->leaving || program->goodbye_deadline_ms == 0) continue;
    if (has_ending_workers(program->job) && now_ms() < program->goodbye_deadline_ms) continue;
    logs_.drain();
    program->goodbye_deadline_ms = 0;
    say_goodbye(*program, program->goodbye_call);
  }
}

// ---- to programs -------------------------------------------------------------------------------------------

void Service::grant(const Grant& grant) {
  Program* holder = find(grant.holder);
  if (holder == nullptr) return;  // its link is closed: on_holder_gone takes the lease back
  Builder& builder = fresh();
  const auto worker = pack_address(builder, grant.worker, config_.node.node, grant.endpoint);
  const auto devices = pack_devices(builder, *grant.allocation);
  const auto group = grant.pg.to_wire<wire::PgId>();
  wire::LeaseReplyBuilder reply(builder);
  reply.add_status(wire::LeaseStatus::Granted);
  reply.add_lease(grant.lease);
  reply.add_worker(worker);
  reply.add_instances(devices);
  if (!grant.pg.is_nil()) reply.add_pg(&group);
  reply.add_bundle(grant.bundle);
  builder.Finish(reply.Finish());
  send_to(*holder, MessageType::LeaseReply, grant.call_id, builder);
}

void Service::deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind failure,
                   const std::string& message) {
  Program* program = find(holder);
  if (program == nullptr) return;
  Builder& builder = fresh();
  const auto text = builder.CreateString(message);
  wire::LeaseReplyBuilder reply(builder);
  reply.add_status(status);
  reply.add_failure(failure);
  reply.add_message(text);
  builder.Finish(reply.Finish());
  send_to(*program, MessageType::LeaseReply, call_id, builder);
}

void Service::reclaim(const WorkerId& holder, uint64_t lease) {
  Program* program = find(holder);
  if (program == nullptr) return;
  Builder& builder = fresh();
  builder.Finish(wire::CreateReclaimLease(builder, lease));
  send_to(*program, MessageType::ReclaimLease, 0, builder);
}

void Service::notice(const JobId& job, const std::string& kind, const std::string& text) {
  log_("notice for job " + job.hex() + ": " + text);
  history_.add(now_ms(), "WARNING", "NODE", text);
  Program* driver = driver_of(job);
  if (driver == nullptr) return;
  Builder& builder = fresh();
  const auto kind_text = builder.CreateString(kind);
  builder.Finish(wire::CreateNotice(builder, kind_text, builder.CreateString(text)));
  send_to(*driver, MessageType::Notice, 0, builder);
}

void Service::actor_changed(const WorkerId& watcher, const controller::Actor& actor) {
  if (actor.state == wire::ActorState::Dead) tasks_.on_actor_dead(actor);
  Program* program = find(watcher);
  if (program == nullptr) return;
  Builder& builder = fresh();
  pack_actor_update(builder, actor);
  send_to(*program, MessageType::ActorUpdate, 0, builder, actor.error);
}

// ---- to workers --------------------------------------------------------------------------------------------

void Service::start_worker(const Worker& worker) {
  logs_.follow(worker.id);
  const std::string logs = config_.session_dir + "/logs";
  const Made* made = environments_->find(environment_text(worker.job, worker.runtime_env));
  processes_->start_worker(worker.id,
                           {fork_config(worker, made ? made->context : ""), LogFollower::path(logs, worker.id, false),
                            LogFollower::path(logs, worker.id, true), made ? made->interpreter : Interpreter{}});
}

static void copy_texts(flexbuffers::Builder& out, const char* key, const flexbuffers::Vector& texts) {
  const size_t start = out.StartVector(key);
  for (size_t i = 0; i < texts.size(); ++i) out.String(texts[i].AsString().str());
  out.EndVector(start, false, false);
}

// The same bytes for all workers of a job in an environment: the zygote prepares itself for them once.
std::shared_ptr<const std::vector<uint8_t>> Service::fork_config(const Worker& worker, const std::string& context) {
  if (last_fork_.config && last_fork_.job == worker.job && last_fork_.runtime_env == worker.runtime_env &&
      last_fork_.context == context)
    return last_fork_.config;
  const controller::Job& job = job_of(worker.job);
  const flexbuffers::Map config = map_of(reinterpret_cast<const uint8_t*>(job.config.data()), job.config.size());
  flexbuffers::Builder out;
  out.Map([&] {
    out.String("node_socket", config_.socket_path);
    out.String("session_dir", config_.session_dir);
    out.String("token_path", config_.token_path);
    const WorkerKind kind = kind_of(worker.runtime_env);
    out.String("runtime_env", std::string(kind.environment));
    out.String("preload", std::string(kind.modules));
    out.String("environment", context);
    out.String("cwd", config["cwd"].IsString() ? config["cwd"].AsString().str() : "");
    out.Key("job_id");
    out.Blob(worker.job.data(), JobId::kSize);
    out.Key("job_config");
    out.Blob(job.config.data(), job.config.size());
    copy_texts(out, "sys_path", config["sys_path"].AsVector());
    out.Map("env", [&] {
      const flexbuffers::Map variables = config["runtime_env"].AsMap()["env_vars"].AsMap();
      const flexbuffers::TypedVector names = variables.Keys();
      for (size_t i = 0; i < names.size(); ++i)
        out.String(names[i].AsKey(), variables[names[i].AsKey()].AsString().str());
    });
  });
  out.Finish();
  last_fork_ = {worker.job, worker.runtime_env, context, std::make_shared<const std::vector<uint8_t>>(out.GetBuffer())};
  return last_fork_.config;
}

void Service::stop_worker(const Worker& worker, StopKind kind, const std::string& reason) {
  if (kind == StopKind::kKill) {
    processes_->kill(worker.id);
    return;
  }
  if (Program* program = find(worker.id)) {
    Builder& builder = fresh();
    builder.Finish(wire::CreateExitWorker(builder, builder.CreateString(reason)));
    program->link->send(MessageType::ExitWorker, 0, builder);
  }
  const controller::Job* job = cluster_.controller().jobs.find(worker.job);
  if (worker.actor.is_nil() && job && !job->running) processes_->kill_after(worker.id, kLeaveGraceMs);
}

void Service::start_actor(const Worker& worker, const controller::Actor& actor) {
  Program* program = find(worker.id);
  if (program == nullptr) return;  // its process is about to be seen as gone
  Builder& builder = fresh();
  pack_start_actor(builder, *actor.frame, actor.incarnation, worker.lease->allocation);
  program->link->send(MessageType::StartActor, 0, builder, actor.frame->raw);
}

// ---- from processes ----------------------------------------------------------------------------------------

void Service::on_process_started(const WorkerId&, int) {}

void Service::on_process_failed(const WorkerId& worker, const std::string& message, bool postponed) {
  log_("worker " + worker.hex().substr(0, 8) + " could not be started: " + message);
  logs_.finish(worker);
  if (postponed)
    cluster_.core().on_start_postponed(worker, message);
  else
    cluster_.core().on_start_failed(worker, message);
  settle();
}

// What a worker said last (that its actor leaves on purpose) may still be unread: its link is heard out first.
void Service::on_process_gone(const WorkerId& id, const Fate& fate) {
  ended_[id] = fate;
  if (find(id) == nullptr)
    bury(id);
  else
    reactor_.after(kLastWords, [this, id] { bury(id); });
}

void Service::bury(WorkerId id) {
  const auto ended = ended_.find(id);
  if (ended == ended_.end()) return;
  Fate fate = std::move(ended->second);
  ended_.erase(ended);
  if (const auto key = key_of_gone_.find(id); key != key_of_gone_.end()) {
    store_->detach(key->second, steady_now_ns());
    key_of_gone_.erase(key);
  }
  store_->erase_owned(store::owner_key(id), steady_now_ns());
  const Worker* worker = cluster_.core().find(id);
  if (worker && worker->state == WorkerState::kStarting && !worker->killed) {
    const std::string tail = LogFollower::tail(config_.session_dir + "/logs", id, kTailBytes);
    fate.message += " It had not registered. The end of its error output: " + (tail.empty() ? "(nothing)" : tail);
    log_("worker " + id.hex().substr(0, 8) + " failed to start: " + fate.message);
  }
  const bool is_starting = worker && worker->state == WorkerState::kStarting && !worker->killed;
  const bool is_postponed = is_starting && fate.cause == Fate::Cause::kExit && fate.exit_code == EX_TEMPFAIL;
  logs_.finish(id);
  tasks_.on_program_gone(id, fate.message);
  if (Program* program = find(id)) program->link->close({ErrorCode::kDisconnected, fate.message});
  if (is_postponed)
    cluster_.core().on_start_postponed(id, fate.message);
  else
    cluster_.core().on_worker_gone(id, std::move(fate));
  settle();
  finish_goodbyes();
}

static const char* severity_of(const Fate& fate) {
  if (fate.cause == Fate::Cause::kOutOfMemory) return "ERROR";
  return fate.intended ? "INFO" : "WARNING";
}

void Service::worker_gone(const WorkerId& worker, const JobId&, const Fate& fate) {
  if (fate.cause != Fate::Cause::kExit || fate.exit_code != 0) {
    log_("worker " + worker.hex().substr(0, 8) + ": " + fate.message);
    history_.add(now_ms(), severity_of(fate), "NODE", fate.message);
  }
  control_.on_worker_gone(worker);
  program_ended(worker, false, fate.message);
}

// ---- store and upkeep --------------------------------------------------------------------------------------

void Service::send(store::ClientKey client, MessageType type, const Builder& table) {
  const auto at = by_key_.find(client);
  if (Program* program = at == by_key_.end() ? nullptr : find(at->second)) program->link->send(type, 0, table);
}

void Service::tick() {
  cluster_.tick();
  end_unused_environments();
  settle();
  control_.tick();
  asking_.tick(now_ms());
  prune_old_logs();
  finish_goodbyes();
  tasks_.tick();
  if (lost_ms_ == 0) departed_.forget_before(now_ms() - kLatelyMs);  // a head that is away may not know of them
}

// Something waits for time to pass: it is looked at soon, and again until nothing does.
void Service::hurry() {
  if (hurrying_ || !(cluster_.core().wants_tick() || control_.has_waiters())) return;
  hurrying_ = true;
  reactor_.after(kHurry, [this] {
    hurrying_ = false;
    tick();
    hurry();
  });
}

// Before memory is so short that workers must be ended, no more are started; the few that any job needs still are.
void Service::hold_starts(const std::string& figures, int64_t for_ms) {
  const size_t few = kFewWorkers + 4 * static_cast<size_t>(config_.node.idle_keep);
  if (cluster_.core().workers().size() < few) return;
  cluster_.core().pause_starts("memory is short: " + figures, for_ms);
}

void Service::relieve_memory(const std::string& figures) {
  const auto rss = [](int pid) { return resident_bytes(pid); };
  if (cluster_.core().relieve_memory(figures, rss)) log_("memory is short (" + figures + "); ending a worker");
  settle();
}

void Service::stop() {
  for (const auto& [id, program] : programs_) tasks_.on_program_gone(id, "The node was stopped.");
  tasks_.write();
  for (auto& [id, program] : programs_)
    if (program->link) program->link->close({ErrorCode::kDisconnected, "the node is stopping"});
}

}  // namespace narke::node
