#include "worker/task_log.h"

#include "worker/actors.h"
#include "worker/executor.h"
#include "worker/submitter.h"

namespace narke::worker {
namespace {

using history::Kind;
using history::Record;
using history::State;

constexpr size_t kMostUnsent = 8 << 20;  // bytes that the node has not read; more records wait here

bool same(const flatbuffers::String* a, const std::string& b) {
  return a == nullptr ? b.empty() : a->string_view() == b;
}
std::string text_of(const flatbuffers::String* s) { return s == nullptr ? std::string() : s->str(); }

template <class IdType>
void put(uint8_t* to, const IdType& id) {
  std::memcpy(to, id.data(), IdType::kSize);
}

// Such ids begin with bytes that no counted one has.
void put_creation_task(Record& record, const ActorId& actor) {
  std::memset(record.task, 0xff, TaskId::kSize - ActorId::kSize);
  put(record.task + TaskId::kSize - ActorId::kSize, actor);
}

}  // namespace

std::string error_type_of(const std::string& exception) {
  static const std::unordered_map<std::string, std::string> kTypes = {
      {"WorkerCrashedError", "WORKER_DIED"},
      {"ActorDiedError", "ACTOR_DIED"},
      {"ActorUnavailableError", "ACTOR_UNAVAILABLE"},
      {"TaskCancelledError", "TASK_CANCELLED"},
      {"OutOfMemoryError", "OUT_OF_MEMORY"},
      {"RuntimeEnvSetupError", "RUNTIME_ENV_SETUP_FAILED"},
      {"TaskUnschedulableError", "TASK_UNSCHEDULABLE_ERROR"},
      {"ActorUnschedulableError", "ACTOR_UNSCHEDULABLE_ERROR"},
      {"TaskPlacementGroupRemoved", "TASK_PLACEMENT_GROUP_REMOVED"},
      {"ActorPlacementGroupRemoved", "ACTOR_PLACEMENT_GROUP_REMOVED"},
      {"LocalRayletDiedError", "LOCAL_RAYLET_DIED"},
      {"OwnerDiedError", "OWNER_DIED"},
      {"ObjectLostError", "OBJECT_LOST"},
      {"ObjectReconstructionFailedError", "OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED"},
  };
  const auto found = kTypes.find(exception);
  return found == kTypes.end() ? "TASK_EXECUTION_EXCEPTION" : found->second;
}

// ---- names -------------------------------------------------------------------------------------------------

void TaskLog::forget_names() {
  names_.clear();
  new_names_.clear();
  last_ = {};
  reset_ = true;
}

uint32_t TaskLog::name_of(const std::string& name, const std::string& function, const Resources& resources) {
  std::string key = name + '\0' + function;
  for (const auto& [resource, amount] : resources) key += '\0' + resource + '=' + std::to_string(amount);
  const auto [at, is_new] = names_.try_emplace(std::move(key), static_cast<uint32_t>(names_.size()));
  if (is_new) new_names_.push_back({at->second, name, function, resources});
  return at->second;
}

uint32_t TaskLog::name_of_call(const Inbound& call, const Executor& executor) {
  const Lent& lent = executor.lent();
  if (call.push == nullptr) return name_of(executor.function_of(call), executor.function_of(call), lent.resources);
  const wire::PushTask& push = *call.push;
  const FunctionId function = FunctionId::from_wire(push.function());
  const bool is_known = names_.size() != 0 && function == last_.function && lent.lease == last_.lease &&
                        same(push.method(), last_.method) && same(push.name(), last_.name);
  if (is_known) return last_.index;
  last_ = {function, text_of(push.method()), text_of(push.name()), lent.lease, 0};
  const std::string called = executor.function_of(call);
  return last_.index = name_of(last_.name.empty() ? called : last_.name, called, lent.resources);
}

uint32_t TaskLog::failure_of(const std::string& type, const std::string& message) {
  if (type.empty() && message.empty()) return 0;
  failures_.emplace_back(type, message.substr(0, kMostText));
  return static_cast<uint32_t>(failures_.size());
}

// ---- records -----------------------------------------------------------------------------------------------

int64_t TaskLog::epoch_of(Clock::time_point time) const {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count() + offset_us_;
}

// A new record. When the buffer is full its older half is given up.
Record& TaskLog::add() {
  if (records_.size() >= kMostRecords) {
    dropped_ += kMostRecords / 2;
    records_.erase(records_.begin(), records_.begin() + kMostRecords / 2);
  }
  Record& record = records_.emplace_back();
  history::clear(record);
  return record;
}

// Tasks of a driver have its own task as their parent: nil but for the job.
void TaskLog::put_parent(Record& record, const TaskId& parent) const {
  put(record.parent, parent);
  if (parent.is_nil()) put(record.parent + TaskId::kSize - JobId::kSize, job_);
}

void TaskLog::call(const Inbound& call, const Executor& executor, State state, const std::string& type,
                   const std::string& message) {
  const uint32_t name = name_of_call(call, executor);
  const uint32_t failure = failure_of(type, message);
  Record& record = add();
  record.name = name;
  record.failure = failure;
  record.state = state;
  record.began_us = epoch_of(call.began);
  if (history::is_final(state)) record.ended_us = epoch_of(call.ended);
  put(record.actor, executor.actor());
  if (call.push == nullptr) {
    record.kind = Kind::kActorCreation;
    record.attempt = call.start->incarnation();
    put_creation_task(record, executor.actor());
    return put_parent(record, TaskId());
  }
  record.kind = call.is_actor_call() ? Kind::kActorTask : Kind::kTask;
  record.attempt = call.push->attempt();
  put(record.task, call.task);
  put_parent(record, TaskId::from_wire(call.push->parent()));
  if (const wire::TaskTimes* times = call.push->times()) {
    record.created_us = times->created();
    record.ready_us = times->ready();
    record.pushed_us = times->pushed();
  }
}

void TaskLog::task(const Task& task, State state, const std::string& type, const std::string& message) {
  const CallSpec& spec = *task.spec;
  std::string called = spec.function ? short_name(spec.function->name) : spec.method;
  if (!spec.function && task.actor != nullptr && !task.actor->class_name.empty())
    called = task.actor->class_name + "." + spec.method;
  static const Resources kNone;
  const uint32_t name = name_of(spec.name.empty() ? called : spec.name, called,
                                spec.lease_class == nullptr ? kNone : spec.lease_class->shape.resources);
  const uint32_t failure = failure_of(type, message);
  Record& record = add();
  record.name = name;
  record.failure = failure;
  record.kind = task.spec->function ? Kind::kTask : Kind::kActorTask;
  record.state = state;
  record.attempt = task.attempt;
  put(record.task, task.id);
  put_parent(record, task.parent);
  if (task.actor != nullptr) put(record.actor, task.actor->id);
  record.created_us = task.created_us;
  record.ready_us = task.ready_us;
  record.pushed_us = task.pushed_us;
  if (history::is_final(state)) record.ended_us = epoch_us();
}

void TaskLog::answered(const Task& task) { this->task(task, State::kFinished); }

void TaskLog::profile(const TaskId& task, const ActorId& actor, const std::string& name, const std::string& extra,
                      int64_t began_us, int64_t ended_us) {
  const uint32_t index = name_of(name, name, {});
  const uint32_t failure = failure_of("", extra);
  Record& record = add();
  record.name = index;
  record.failure = failure;
  record.kind = Kind::kProfile;
  record.state = State::kFinished;
  put(record.task, task);
  put(record.actor, actor);
  put_parent(record, TaskId());
  record.began_us = began_us;
  record.ended_us = ended_us;
}

// ---- sending -----------------------------------------------------------------------------------------------

void TaskLog::send(rpc::Connection& node) {
  if (empty() || node.unsent_bytes() > kMostUnsent) return;
  flatbuffers::FlatBufferBuilder b(1024);
  std::vector<flatbuffers::Offset<wire::TaskName>> names;
  for (const NewName& name : new_names_) {
    std::vector<flatbuffers::Offset<wire::Resource>> resources;
    for (const auto& [resource, amount] : name.resources)
      resources.push_back(wire::CreateResource(b, b.CreateString(resource), amount));
    auto text = b.CreateString(name.name), function = b.CreateString(name.function);
    names.push_back(wire::CreateTaskName(b, name.index, text, function, b.CreateVector(resources)));
  }
  std::vector<flatbuffers::Offset<wire::TaskFailure>> failures;
  for (const auto& [type, message] : failures_) {
    auto kind = b.CreateString(type);
    failures.push_back(wire::CreateTaskFailure(b, kind, b.CreateString(message)));
  }
  auto name_list = b.CreateVector(names);
  b.Finish(wire::CreateTaskEvents(b, reset_, name_list, b.CreateVector(failures), dropped_));
  node.send(wire::MessageType::TaskEvents, 0, b,
            {reinterpret_cast<const uint8_t*>(records_.data()), records_.size() * sizeof(Record)});
  records_.clear();
  failures_.clear();
  new_names_.clear();
  reset_ = false;
  dropped_ = 0;
  offset_us_ = epoch_us() - steady_us();
  if (names_.size() > kMostNames) forget_names();
}

}  // namespace narke::worker
