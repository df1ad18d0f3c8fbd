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
  last_ = {};
  last_.function = function;
  last_.method = text_of(push.method());
  last_.name = text_of(push.name());
  last_.lease = lent.lease;
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

// When the buffer is full, because the node does not read, what it holds is given up.
void TaskLog::make_room() {
  if (batch_.size() < kMostRecords && !batch_.is_full()) return;
  dropped_ += batch_.size();
  forget_batch();
}

void TaskLog::forget_batch() {
  batch_.clear();
  failures_.clear();
  last_.has_place = false;
}

// Tasks of a driver have its own task as their parent: nil but for the job.
void TaskLog::put_parent(Record& record, const TaskId& parent) const {
  put(record.parent, parent);
  if (parent.is_nil()) put(record.parent + TaskId::kSize - JobId::kSize, job_);
}

static bool same_maker(const TaskId& a, const TaskId& b) {
  return std::memcmp(a.data() + sizeof(uint64_t), b.data() + sizeof(uint64_t), TaskId::kSize - sizeof(uint64_t)) == 0;
}

// A call that ended well and differs from the last one by its number and times only: most do. REQUIRES: it has a push,
// and its name is that of the last one.
bool TaskLog::add_like_last(const Inbound& call, const TaskId& parent) {
  const bool is_like = last_.has_place && last_.attempt == call.push->attempt() && same_maker(call.task, last_.task) &&
                       parent == last_.parent && batch_.size() < kMostRecords;
  if (!is_like) return false;
  history::Row row{.number = history::number_of(call.task),
                   .place = last_.place,
                   .ended_us = epoch_of(call.ended),
                   .began_us = epoch_of(call.began)};
  if (const wire::TaskTimes* times = call.push->times()) {
    row.pushed_us = times->pushed();
    row.created_us = times->created();
    row.ready_us = times->ready();
  }
  batch_.add(row);
  return true;
}

void TaskLog::call(const Inbound& call, const Executor& executor, State state, const std::string& type,
                   const std::string& message) {
  const uint32_t name = name_of_call(call, executor);
  const TaskId parent = call.push == nullptr ? TaskId() : TaskId::from_wire(call.push->parent());
  const bool is_plain = call.push != nullptr && state == State::kFinished;
  if (is_plain && add_like_last(call, parent)) return;
  make_room();
  Record record = history::blank_record();
  record.name = name;
  record.failure = failure_of(type, message);
  record.state = state;
  put(record.actor, executor.actor());
  put_parent(record, parent);
  if (call.push == nullptr) {
    record.kind = Kind::kActorCreation;
    record.attempt = call.start->incarnation();
    put_creation_task(record, executor.actor());
  } else {
    record.kind = call.is_actor_call() ? Kind::kActorTask : Kind::kTask;
    record.attempt = call.push->attempt();
    put(record.task, call.task);
  }
  if (is_plain) {
    Record common = record;
    std::memset(common.task, 0, sizeof(uint64_t));
    last_.place = batch_.place_of(common);
    last_.has_place = true;
    last_.attempt = record.attempt;
    last_.task = call.task;
    last_.parent = parent;
    add_like_last(call, parent);
    return;
  }
  if (const wire::TaskTimes* times = call.push == nullptr ? nullptr : call.push->times()) {
    record.created_us = times->created();
    record.ready_us = times->ready();
    record.pushed_us = times->pushed();
  }
  record.began_us = epoch_of(call.began);
  if (history::is_final(state)) record.ended_us = epoch_of(call.ended);
  batch_.add(record);
}

void TaskLog::task(const Task& task, State state, const std::string& type, const std::string& message) {
  const CallSpec& spec = *task.spec;
  std::string called = spec.function ? short_name(spec.function->name) : spec.method;
  if (!spec.function && task.actor != nullptr && !task.actor->class_name.empty())
    called = task.actor->class_name + "." + spec.method;
  static const Resources kNone;
  make_room();
  Record record = history::blank_record();
  record.name = name_of(spec.name.empty() ? called : spec.name, called,
                        spec.lease_class == nullptr ? kNone : spec.lease_class->shape.resources);
  record.failure = failure_of(type, message);
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
  batch_.add(record);
}

void TaskLog::answered(const Task& task) { this->task(task, State::kFinished); }

void TaskLog::profile(const TaskId& task, const ActorId& actor, const std::string& name, const std::string& extra,
                      int64_t began_us, int64_t ended_us) {
  make_room();
  Record record = history::blank_record();
  record.name = name_of(name, name, {});
  record.failure = failure_of("", extra);
  record.kind = Kind::kProfile;
  record.state = State::kFinished;
  put(record.task, task);
  put(record.actor, actor);
  put_parent(record, TaskId());
  record.began_us = began_us;
  record.ended_us = ended_us;
  batch_.add(record);
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
  batch_.encode(node.send_with_room(wire::MessageType::TaskEvents, 0, b, batch_.encoded_bytes()));
  forget_batch();
  new_names_.clear();
  reset_ = false;
  dropped_ = 0;
  offset_us_ = epoch_us() - steady_us();
  if (names_.size() > kMostNames) forget_names();
}

}  // namespace narke::worker
