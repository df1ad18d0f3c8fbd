#include "worker/wire_task.h"

#include "worker/task_log.h"

namespace narke::worker {
namespace {

void define_function(Peer& peer, Function& function) {
  if (!peer.functions.insert(function.id).second) return;
  flatbuffers::FlatBufferBuilder b(256);
  auto name = b.CreateString(function.name);
  auto id = function.id.to_wire<wire::FunctionId>();
  b.Finish(wire::CreateDefineFunction(b, &id, name));
  rpc::Bytes pickled(reinterpret_cast<const uint8_t*>(function.pickled.data()), function.pickled.size());
  peer.link->send(wire::MessageType::DefineFunction, 0, b, pickled);
}

bool is_inline(const Arg& arg) { return arg.ref && arg.ref->state.load() == ObjectState::kValue; }

struct PackedArgs {
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Arg>>> args;
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Ref>>> nested;
  size_t raw_bytes = 0;
};

void describe_contained(flatbuffers::FlatBufferBuilder& b, Object& object, Objects& objects,
                        std::vector<flatbuffers::Offset<wire::Ref>>& out) {
  Object::Extra* extra = object.find_extra();
  if (extra == nullptr) return;
  for (ObjectPtr& inner : extra->contained) out.push_back(objects.describe(b, *inner));
}

PackedArgs pack_args(flatbuffers::FlatBufferBuilder& b, Task& task, Objects& objects) {
  PackedArgs packed;
  packed.raw_bytes = task.values.size();
  if (task.args.empty()) return packed;
  std::vector<flatbuffers::Offset<wire::Arg>> args;
  std::vector<flatbuffers::Offset<wire::Ref>> nested;
  args.reserve(task.args.size());
  for (Arg& arg : task.args) {
    flatbuffers::Offset<flatbuffers::String> keyword;
    if (!arg.keyword.empty()) keyword = b.CreateString(arg.keyword);
    if (arg.ref) describe_contained(b, *arg.ref, objects, nested);
    if (arg.ref && !is_inline(arg)) {
      auto node = objects.node_of(*arg.ref).to_wire<wire::NodeId>();
      args.push_back(wire::CreateArg(b, wire::ArgKind::Store, 0, objects.describe(b, *arg.ref), keyword, &node));
      continue;
    }
    size_t size = arg.ref ? arg.ref->value->bytes().size() : arg.size;
    if (arg.ref) packed.raw_bytes += size;
    args.push_back(wire::CreateArg(b, wire::ArgKind::Value, static_cast<uint32_t>(size), 0, keyword));
  }
  for (ObjectPtr& ref : task.nested) nested.push_back(objects.describe(b, *ref));
  packed.args = b.CreateVector(args);
  if (!nested.empty()) packed.nested = b.CreateVector(nested);
  return packed;
}

void write_raw(Task& task, uint8_t* to) {
  const uint8_t* values = task.values.data();
  for (Arg& arg : task.args) {
    rpc::Bytes bytes = is_inline(arg) ? arg.ref->value->bytes() : rpc::Bytes(values, arg.size);
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    to += bytes.size();
    if (!arg.ref) values += arg.size;
  }
}

flatbuffers::Offset<wire::PushTask> build(flatbuffers::FlatBufferBuilder& b, Task& task, const PackedArgs& packed) {
  const CallSpec& spec = *task.spec;
  flatbuffers::Offset<flatbuffers::String> method, name, group;
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> retry_types;
  if (!spec.method.empty()) method = b.CreateString(spec.method);
  if (!spec.name.empty()) name = b.CreateString(spec.name);
  if (!spec.concurrency_group.empty()) group = b.CreateString(spec.concurrency_group);
  if (!spec.retry_types.empty())
    retry_types = b.CreateVector(reinterpret_cast<const uint8_t*>(spec.retry_types.data()), spec.retry_types.size());
  auto id = task.id.to_wire<wire::TaskId>();
  auto parent = task.parent.to_wire<wire::TaskId>();
  wire::FunctionId function;
  wire::PushTaskBuilder push(b);
  push.add_task(&id);
  push.add_parent(&parent);
  if (spec.function) {
    function = spec.function->id.to_wire<wire::FunctionId>();
    push.add_function(&function);
  }
  if (!method.IsNull()) push.add_method(method);
  push.add_num_returns(spec.num_returns);
  if (!packed.args.IsNull()) push.add_args(packed.args);
  if (!packed.nested.IsNull()) push.add_nested(packed.nested);
  if (!name.IsNull()) push.add_name(name);
  push.add_attempt(task.attempt);
  push.add_retry_exceptions(spec.retry_exceptions && task.retries_left != 0);
  if (!retry_types.IsNull()) push.add_retry_types(retry_types);
  if (!group.IsNull()) push.add_concurrency_group(group);
  push.add_backpressure(spec.backpressure);
  push.add_depth(task.depth);
  push.add_max_calls(spec.max_calls);
  const wire::TaskTimes times(task.created_us, task.ready_us, task.pushed_us);
  push.add_times(&times);
  return push.Finish();
}

}  // namespace

Object* failed_argument(Task& task) {
  for (Arg& arg : task.args)
    if (arg.ref && arg.ref->state.load() == ObjectState::kError) return arg.ref.get();
  return nullptr;
}

void push_task(Peer& peer, const TaskPtr& task, Objects& objects) {
  static thread_local flatbuffers::FlatBufferBuilder b(1024);
  if (task->spec->function) define_function(peer, *task->spec->function);
  b.Clear();
  task->pushed_us = coarse_epoch_us();
  task->told = false;
  PackedArgs packed = pack_args(b, *task, objects);
  b.Finish(build(b, *task, packed));
  task->call_id = peer.link->next_call_id();
  task->state = Task::State::kSent;
  uint8_t* raw = peer.link->send_with_room(wire::MessageType::PushTask, task->call_id, b, packed.raw_bytes);
  if (packed.raw_bytes != 0) write_raw(*task, raw);
  peer.calls.add(task);
}

}  // namespace narke::worker
