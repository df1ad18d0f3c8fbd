// What daemons say to each other: joining, programs and nodes that end.
#include <algorithm>

#include <unistd.h>

#include "node/service.h"
#include "store/arena.h"

namespace narke::node {

using std::chrono::milliseconds;

// ---- small things ------------------------------------------------------------------------------------------

std::string Service::endpoint_of(const NodeId& node) {
  if (config_.outside) return rpc::routed_endpoint(config_.door, node);
  const controller::Node* known = cluster_.controller().nodes.find(node);
  return known ? known->endpoint : std::string();
}

// ---- programs that end -------------------------------------------------------------------------------------

// A program of this node: the head is told, and tells everybody.
void Service::program_ended(const WorkerId& id, bool left, const std::string& message) {
  if (config_.endpoint.empty()) return;
  watches_.erase(id);
  said_.remove_if([&](const Said& said) { return said.program == id; });
  departed_.add(id, true, message, now_ms());
  if (!cluster_.is_head()) return tell_program_gone(id, left, message);
  if (left) tell_job_of(id);
  ended_programs_.push_back(id);
}

// A head that is away is told when it is back.
void Service::tell_program_gone(const WorkerId& id, bool left, const std::string& message) {
  if (lost_ms_ != 0) return;
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
  departed_.add(id, false, message, now_ms());
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
  if (preface.kind == rpc::LinkKind::kTunnel) return tunnels_->serve(fd);
  if (!is_meant(preface.node)) return pass_on(preface, fd);
  Program* program = preface.kind == rpc::LinkKind::kProgram ? find(preface.target) : nullptr;
  if (preface.kind == rpc::LinkKind::kNode) return peers_.adopt(fd, preface.tls);
  if (preface.kind == rpc::LinkKind::kData) return transfers_->serve(fd, preface.tls);
  if (program != nullptr && program->link != nullptr) {
    Builder& b = fresh();
    b.Finish(wire::CreateIncomingLink(b, preface.tls));
    if (program->link->send_fd(fd)) program->link->send(MessageType::IncomingLink, 0, b);
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
  const auto python = b.CreateString(config_.python);
  b.Finish(wire::CreateJoinCluster(b, &id, endpoint, hostname, getpid(), resources, labels, packed_actors,
                                   packed_groups, packed_programs, back, config_.outside,
                                   static_cast<uint32_t>(config_.grace_ms), python));
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
  if (const std::string why = objection_to_python(text_of(table->python())); !why.empty())
    return refuse_join(from, frame, why);
  controller::Node node;
  node.id = from;
  node.outside = table->outside();
  if (node.outside && (tunnels_ == nullptr || !tunnels_->has(from)))
    return refuse_join(from, frame, "a node outside of the cluster's network joins through a tunnel only");
  node.endpoint = node.outside ? rpc::routed_endpoint(config_.endpoint, from) : text_of(table->endpoint());
  node.address = node.endpoint.substr(0, node.endpoint.rfind(':'));
  node.hostname = text_of(table->hostname());
  node.labels = labels_of(table->labels());
  const bool is_back = table->back() && cluster_.restored_nodes().contains(from);
  if (is_back) node.drain = cluster_.restored_nodes().at(from).drain;
  if (table->back() && !is_back)
    return refuse_join(from, frame, "the cluster does not know this node (any more); start it anew");
  const ResourceSet total = resources_of(table->resources());
  node.mirror = std::make_shared<ResourcePool>(ResourcePool::mirror(total, total));
  node.pool = node.mirror.get();
  suspicion_.heard(from, now_ms());
  log_("node " + from.hex().substr(0, 8) + " has joined from " + node.endpoint);
  Builder b(256);
  const auto cluster = b.CreateVector(reinterpret_cast<const uint8_t*>(reactor_.identity().cluster.data()),
                                      reactor_.identity().cluster.size());
  const auto session = b.CreateString(config_.session_dir);
  const auto head = wired<wire::NodeId>(cluster_.self());
  const auto endpoint = b.CreateString(config_.endpoint);
  const auto spill = b.CreateString(node.outside ? "" : config_.spill_storage);
  b.Finish(wire::CreateJoined(b, 0, cluster, session, &head, endpoint, spill));
  peers_.send(from, MessageType::Joined, frame.call_id, b);
  tell_head(from);
  for (const auto& [number, job] : cluster_.controller().jobs.all())
    if (job.running) tell_job(from, job);
  if (is_back) welcome_back(from, *table);
  const controller::Drain drain = node.drain;
  if (node.is_draining()) tell_drain(from, drain);
  cluster_.add_node(std::move(node));  // last: what waited for such a node is sent there at once
  if (drain.reason != wire::DrainReason::None) cluster_.drain_node(from, drain);
  came_.push_back(from);
  whole_view_.reset();
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
  const std::map<uint32_t, controller::Job> before = cluster_.controller().jobs.all();
  cluster_.on_node_back(from, present_of(table));
  for (const auto& [number, job] : before)
    if (const controller::Job* now = cluster_.controller().jobs.find(job.id); job.running && now && !now->running)
      tell_jobs(*now);
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
  if (config_.outside) config_.endpoint = rpc::routed_endpoint(text_of(table->endpoint()), cluster_.self());
  peers_.rename(from, head_);
  if (const std::string storage = text_of(table->spill()); !storage.empty() && spill_told_) spill_told_(storage);
  joined("");
  ask_for_view();
  report();
  report_again();
}

// ---- nodes that go -----------------------------------------------------------------------------------------

void Service::on_node_link_closed(const NodeId& node, const Error& why) {
  asking_.on_gone(as_program(node));
  if (joined_) return std::exchange(joined_, nullptr)(why.message);
  if (cluster_.is_head())
    node_gone(node, "its link to the head ended: " + why.message);
  else if (node == head_ && is_let_go(now_ms()))
    part();
  else if (node == head_ && lost_ms_ == 0)
    on_head_lost(why.message);
  else if (node != head_)
    on_peer_lost(node);
  settle();
}

// ---- dispatch ----------------------------------------------------------------------------------------------

void Service::on_node_frame(const NodeId& from, const rpc::Frame& frame) {
  const controller::NodeTable& nodes = cluster_.controller().nodes;
  const bool asks_to_join = cluster_.is_head() && frame.type == MessageType::JoinCluster;  // that has an answer
  if (!asks_to_join && nodes.find(from) == nullptr && nodes.find_ended(from) != nullptr)
    return peers_.close(from, "the cluster counts this node as gone");
  if (frame.type == MessageType::Relay)
    on_relay(from, frame);
  else if (!knows_others() && (frame.type == MessageType::EraseObjects || frame.type == MessageType::TakeObjects))
    hold(from, frame);
  else if (frame.type == MessageType::EraseObjects)
    on_erase(frame);
  else if (frame.type == MessageType::TakeObjects)
    on_take(from, frame);
  else if (frame.type == MessageType::ProgramCame)
    on_program_came(from, frame);
  else if (frame.type == MessageType::ObjectsTaken)
    on_taken(from, frame);
  else if (frame.type == MessageType::Control)
    on_node_question(from, frame);
  else if (frame.type == MessageType::ControlReply)
    on_answer(as_program(from), frame);
  else if (frame.type == MessageType::LeaseSync)
    on_lease_sync(from, frame);
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
  suspicion_.heard(from, now_ms());
  switch (frame.type) {
    case MessageType::NodeReport: return on_report(from, frame);
    case MessageType::ProgramGone: return on_program_gone_there(frame);
    case MessageType::ActorNews: return on_actor_news(frame);
    case MessageType::WatchGroup: return on_watch_group(from, frame);
    case MessageType::NodeLeaving: return on_leaving(from, frame);
    case MessageType::ObjectsMoved: return on_objects_moved(from, frame);
    case MessageType::WantView: return on_want_view(from);
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
      if (table && table->actor()) cluster_.end_actor(ActorId::from_wire(table->actor()), table->kind());
      return;
    }
    case MessageType::ReserveBundles: return on_reserve(from, frame);
    case MessageType::ReturnBundles: return on_return_bundles(frame);
    case MessageType::GroupNews: return on_group_news(frame);
    case MessageType::DrainNode: return on_drain(frame);
    case MessageType::ObjectsMoved: return on_objects_moved(from, frame);
    default: return peers_.close(from, "a frame that the head does not send");
  }
}

}  // namespace narke::node
