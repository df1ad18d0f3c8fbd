#include "worker/submitter.h"

#include <algorithm>

#include "worker/wire_task.h"

namespace narke::worker {
namespace {

constexpr size_t kMaxDepth = 256;
constexpr double kWorkAheadNs = 1.5e6;  // how much work a worker holds beyond the running task
constexpr size_t kMaxRequests = 32;     // lease requests under way for one class
constexpr double kOldWeight = 0.8;

flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Resource>>> pack_resources(
    flatbuffers::FlatBufferBuilder& b, const LeaseShape& shape) {
  std::vector<flatbuffers::Offset<wire::Resource>> resources;
  for (const auto& [name, amount] : shape.resources)
    resources.push_back(wire::CreateResource(b, b.CreateString(name), amount));
  return b.CreateVector(resources);
}

}  // namespace

std::string LeaseShape::key() const {
  std::string key;
  for (const auto& [name, amount] : resources) key += name + '=' + std::to_string(amount) + ';';
  key += '|' + runtime_env + '|' + std::string(pg.view()) + std::to_string(bundle) + (capture ? 'c' : '-');
  key += std::to_string(static_cast<int>(strategy)) + std::string(node.view()) + (soft ? 's' : 'h') + labels;
  key += retriable ? 'r' : 'n';
  return near.is_nil() ? key : key + std::string(near.view());
}

LeaseClass* Submitter::lease_class(const LeaseShape& shape) {
  std::unique_ptr<LeaseClass>& slot = classes_[shape.key()];
  if (!slot) {
    slot = std::make_unique<LeaseClass>();
    slot->shape = shape;
  }
  return slot.get();
}

LeaseClass& Submitter::class_of(const Task& task) {
  if (task.near.is_nil()) return *task.spec->lease_class;
  LeaseShape shape = task.spec->lease_class->shape;
  shape.near = task.near;
  return *lease_class(shape);
}

void Submitter::enqueue(TaskPtr task) {
  LeaseClass& c = class_of(*task);
  task->state = Task::State::kQueued;
  c.queue.push_back(std::move(task));
  pump(c);
}

void Submitter::requeue(TaskPtr task) {
  LeaseClass& c = class_of(*task);
  task->lease = nullptr;
  if (task->cancelled)
    return out_.fail(*task, make_failure("TaskCancelledError", "the task was cancelled", task->id.hex()));
  task->state = Task::State::kQueued;
  c.queue.push_front(std::move(task));
  pump(c);
}

bool Submitter::remove(Task& task) {
  LeaseClass& c = class_of(task);
  auto found = std::find_if(c.queue.begin(), c.queue.end(), [&](const TaskPtr& t) { return t.get() == &task; });
  if (found == c.queue.end()) return false;
  c.queue.erase(found);
  if (c.queue.empty()) cancel_requests(c);
  return true;
}

size_t Submitter::depth(const LeaseClass& c) const {
  if (c.task_ns <= 0) return 1;
  return std::clamp<size_t>(static_cast<size_t>(kWorkAheadNs / c.task_ns), 1, kMaxDepth);
}

Lease* Submitter::pick(LeaseClass& c, const Task& task) {
  // A task that must not run twice never waits behind another: a crash there would leave it in doubt.
  size_t limit = task.retries_left == 0 && task.spec->max_retries == 0 ? 1 : depth(c);
  Lease* best = nullptr;
  size_t least = limit;
  for (Lease* lease : c.leases) {
    if (lease->reclaimed || lease->stalled) continue;
    size_t under_way = lease->peer->calls.size();
    if (under_way < least) {
      best = lease;
      least = under_way;
      if (least == 0) break;
    }
  }
  return best;
}

void Submitter::pump(LeaseClass& c) {
  while (!c.queue.empty()) {
    Lease* lease = pick(c, *c.queue.front());
    if (lease == nullptr) break;
    TaskPtr task = std::move(c.queue.front());
    c.queue.pop_front();
    task->lease = lease;
    bool was_idle = lease->peer->calls.size() == 0;
    push_task(*lease->peer, task, objects_);
    if (was_idle) lease->peer->link->flush();
  }
  if (c.queue.empty()) {
    if (!c.requests.empty()) cancel_requests(c);
    return;
  }
  while (c.requests.size() < std::min(c.queue.size(), kMaxRequests)) {
    size_t before = c.requests.size();
    request(c);
    if (c.requests.size() == before) break;
  }
}

void Submitter::request(LeaseClass& c) {
  rpc::ConnectionPtr node = links_.node();
  if (!node) return;
  flatbuffers::FlatBufferBuilder b(512);
  auto resource_list = pack_resources(b, c.shape);
  auto env = b.CreateString(c.shape.runtime_env);
  auto labels = b.CreateVector(reinterpret_cast<const uint8_t*>(c.shape.labels.data()), c.shape.labels.size());
  auto node_id = c.shape.node.to_wire<wire::NodeId>();
  auto strategy = wire::CreateStrategy(b, c.shape.strategy, &node_id, c.shape.soft, labels);
  const Task& first = *c.queue.front();
  auto name = b.CreateString(!first.spec->name.empty() || !first.spec->function ? first.spec->name
                                                                                : first.spec->function->name);
  auto pg = c.shape.pg.to_wire<wire::PgId>();
  auto near = c.shape.near.to_wire<wire::NodeId>();
  auto backlog = static_cast<uint32_t>(std::min<size_t>(c.queue.size(), UINT32_MAX));
  b.Finish(wire::CreateRequestLease(b, resource_list, env, c.shape.pg.is_nil() ? nullptr : &pg, c.shape.bundle,
                                    c.shape.capture, strategy, backlog, first.depth, c.shape.retriable, name,
                                    c.shape.near.is_nil() ? nullptr : &near));
  uint32_t call_id = node->next_call_id();
  node->send(wire::MessageType::RequestLease, call_id, b);
  if (c.requests.empty()) node->flush();
  c.requests.insert(call_id);
  requests_[call_id] = &c;
}

void Submitter::cancel_requests(LeaseClass& c) {
  rpc::ConnectionPtr node = links_.node();
  if (!node) return;
  for (uint32_t call_id : c.requests) {
    flatbuffers::FlatBufferBuilder b(64);
    b.Finish(wire::CreateCancelLease(b, call_id));
    node->send(wire::MessageType::CancelLease, 0, b);
    // Its answer finds no class and is treated as one that nobody needs.
    requests_[call_id] = &c;
  }
  c.requests.clear();
}

void Submitter::on_lease_reply(const rpc::Frame& frame) {
  const auto* reply = frame.as<wire::LeaseReply>();
  auto found = requests_.find(frame.call_id);
  if (reply == nullptr || found == requests_.end()) return;
  LeaseClass& c = *found->second;
  requests_.erase(found);
  c.requests.erase(frame.call_id);
  if (reply->status() == wire::LeaseStatus::Granted) return begin(c, *reply);
  if (reply->status() == wire::LeaseStatus::Failed) return fail_class(c, *reply);
  pump(c);
}

void Submitter::begin(LeaseClass& c, const wire::LeaseReply& reply) {
  if (leases_.contains(reply.lease())) return pump(c);  // told twice
  auto lease = std::make_unique<Lease>();
  lease->id = reply.lease();
  lease->lease_class = &c;
  lease->idle_since = Clock::now();
  lease->peer = out_.peer(Address::from_wire(reply.worker()));
  Lease& held = *lease;
  leases_[held.id] = std::move(lease);
  bool is_taken = held.peer != nullptr && (held.peer->lease != nullptr || held.peer->actor != nullptr);
  if (held.peer == nullptr || is_taken) {
    held.peer = nullptr;
    give_back(held, true, false);
    return pump(c);
  }
  held.peer->lease = &held;
  c.leases.push_back(&held);
  flatbuffers::FlatBufferBuilder b(512);
  std::vector<flatbuffers::Offset<wire::Instances>> instances;
  if (reply.instances() != nullptr)
    for (const wire::Instances* one : *reply.instances())
      if (one->name() != nullptr && one->ids() != nullptr)
        instances.push_back(wire::CreateInstances(b, b.CreateString(one->name()->str()),
                                                  b.CreateVector(one->ids()->data(), one->ids()->size())));
  auto resource_list = pack_resources(b, c.shape);
  auto instance_list = b.CreateVector(instances);
  auto job = out_.job().to_wire<wire::JobId>();
  PgId pg = PgId::from_wire(reply.pg());
  auto wire_pg = pg.to_wire<wire::PgId>();
  b.Finish(wire::CreateBeginLease(b, held.id, &job, resource_list, instance_list, pg.is_nil() ? nullptr : &wire_pg,
                                  reply.bundle(), c.shape.capture));
  held.peer->link->send(wire::MessageType::BeginLease, 0, b);
  pump(c);
  settle(held);
}

void Submitter::fail_class(LeaseClass& c, const wire::LeaseReply& reply) {
  static const std::map<wire::FailureKind, const char*> kKinds = {
      {wire::FailureKind::PlacementGroupRemoved, "TaskPlacementGroupRemoved"},
      {wire::FailureKind::RuntimeEnv, "RuntimeEnvSetupError"},
      {wire::FailureKind::Unschedulable, "TaskUnschedulableError"},
      {wire::FailureKind::Stopping, "LocalRayletDiedError"},
  };
  auto found = kKinds.find(reply.failure());
  std::string kind = found == kKinds.end() ? "RaySystemError" : found->second;
  std::string message = reply.message() == nullptr ? "the node refused the lease" : reply.message()->str();
  cancel_requests(c);
  std::deque<TaskPtr> queue = std::move(c.queue);
  c.queue.clear();
  for (TaskPtr& task : queue) out_.fail(*task, make_failure(kind, message, task->id.hex()));
}

void Submitter::on_reclaim(uint64_t id) {
  auto found = leases_.find(id);
  if (found == leases_.end()) return;
  found->second->reclaimed = true;
  settle(*found->second);
}

void Submitter::on_finished(Lease& lease, uint64_t duration_ns, bool give_back) {
  LeaseClass& c = *lease.lease_class;
  if (give_back) {
    lease.stalled = true;
  } else {
    lease.stalled = false;
    auto ns = static_cast<double>(duration_ns);
    c.task_ns = c.task_ns <= 0 ? ns + 1 : kOldWeight * c.task_ns + (1 - kOldWeight) * ns;
  }
  if (lease.stalled && lease.peer->calls.size() == 0) lease.stalled = false;
  pump(c);
  settle(lease);
}

// An idle lease that the node wants goes back now; others wait for return_idle().
void Submitter::settle(Lease& lease) {
  if (lease.peer == nullptr || lease.peer->calls.size() != 0) return;
  lease.idle_since = Clock::now();
  if (!lease.reclaimed) return;
  LeaseClass& c = *lease.lease_class;
  give_back(lease, false, false);
  pump(c);
}

void Submitter::give_back(Lease& lease, bool worker_failed, bool worker_exiting) {
  if (rpc::ConnectionPtr node = links_.node()) {
    flatbuffers::FlatBufferBuilder b(64);
    b.Finish(wire::CreateReturnLease(b, lease.id, worker_failed, worker_exiting));
    node->send(wire::MessageType::ReturnLease, 0, b);
  }
  if (lease.peer != nullptr) lease.peer->lease = nullptr;
  std::erase(lease.lease_class->leases, &lease);
  leases_.erase(lease.id);
}

void Submitter::on_worker_leaves(Lease& lease) {
  LeaseClass& c = *lease.lease_class;
  std::vector<TaskPtr> unstarted = lease.peer->calls.take_all();
  give_back(lease, false, true);
  for (auto it = unstarted.rbegin(); it != unstarted.rend(); ++it) requeue(*it);
  pump(c);
}

void Submitter::on_worker_lost(Lease& lease, std::vector<TaskPtr> calls, bool counts) {
  LeaseClass& c = *lease.lease_class;
  Address worker = lease.peer->address;
  lease.peer = nullptr;
  give_back(lease, true, false);
  // The first call was running: it has used up an attempt. The others wait behind it and can be repeated.
  for (size_t i = calls.size(); i-- > 1;) requeue(calls[i]);
  if (!calls.empty()) {
    TaskPtr first = calls[0];
    first->lease = nullptr;
    if (first->cancelled) {
      requeue(first);
    } else if (first->retries_left == 0) {
      out_.fail_worker_died(first, worker);
    } else {
      if (counts && first->retries_left > 0) --first->retries_left;
      ++first->attempt;
      requeue(first);
    }
  }
  pump(c);
}

bool Submitter::return_idle(std::chrono::milliseconds idle) {
  auto now = Clock::now();
  std::vector<Lease*> stale;
  for (auto& [id, lease] : leases_)
    if (lease->peer->calls.size() == 0 && now - lease->idle_since >= idle) stale.push_back(lease.get());
  for (Lease* lease : stale) give_back(*lease, false, false);
  return !leases_.empty();
}

void Submitter::on_node_lost(const std::string& why) {
  for (auto& [key, c] : classes_) {
    std::deque<TaskPtr> queue = std::move(c->queue);
    c->queue.clear();
    c->requests.clear();
    for (TaskPtr& task : queue) out_.fail(*task, make_failure("LocalRayletDiedError", why, task->id.hex()));
  }
  requests_.clear();
}

size_t Submitter::queued() const {
  size_t total = 0;
  for (const auto& [key, c] : classes_) total += c->queue.size();
  return total;
}

static std::string class_name(const LeaseShape& shape) {
  std::string out;
  for (const auto& [name, amount] : shape.resources)
    out += (out.empty() ? "" : " ") + name + ":" + std::to_string(amount);
  return "{" + out + "}" + (shape.retriable ? "" : " runs once");
}

std::string Submitter::describe() const {
  std::string out;
  for (const auto& [key, c] : classes_) {
    if (c->queue.empty() && c->leases.empty() && c->requests.empty()) continue;
    out += "tasks " + class_name(c->shape) + ": " + std::to_string(c->queue.size()) + " queued, requests";
    for (const uint32_t call_id : c->requests) out += " " + std::to_string(call_id);
    out += "\n";
    for (const Lease* lease : c->leases)
      out += "  lease " + std::to_string(lease->id) + " of worker " + lease->peer->address.worker.hex().substr(0, 8) +
             ": " + std::to_string(lease->peer->calls.size()) + " calls" + (lease->reclaimed ? ", called back" : "") +
             (lease->stalled ? ", stalled" : "") + "\n";
  }
  return out;
}

void Submitter::for_each_queue(const std::function<void(std::deque<TaskPtr>&)>& visit) {
  for (auto& [key, c] : classes_) visit(c->queue);
}

void Submitter::for_each_queued(const std::function<void(Task&)>& visit) {
  for (auto& [key, c] : classes_)
    for (TaskPtr& task : c->queue) visit(*task);
}

}  // namespace narke::worker
