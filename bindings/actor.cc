// Making actors and ending them.
#include "bindings/flex.h"
#include "bindings/ref.h"
#include "bindings/spec.h"

namespace narke::py {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using worker::ObjectPtr;

using ResourceList = std::vector<std::pair<std::string, int64_t>>;

struct ActorOptions {
  std::string function, class_name, name, ns, runtime_env, methods;
  bool detached = false, get_if_exists = false, is_async = false, out_of_order = false;
  int max_restarts = 0, max_task_retries = 0, max_concurrency = 1, max_pending_calls = -1;
  ResourceList placement, running;
  worker::LeaseShape shape;
  bool follows_group = false;
};

bool read_options(PyObject* d, ActorOptions* o) {
  return read_text(d, "function", &o->function) && read_text(d, "class_name", &o->class_name) &&
         read_text(d, "name", &o->name) && read_text(d, "namespace_", &o->ns) &&
         read_bool(d, "detached", &o->detached) && read_bool(d, "get_if_exists", &o->get_if_exists) &&
         read_int(d, "max_restarts", &o->max_restarts) && read_int(d, "max_task_retries", &o->max_task_retries) &&
         read_int(d, "max_concurrency", &o->max_concurrency) && read_bool(d, "is_async", &o->is_async) &&
         read_bool(d, "out_of_order", &o->out_of_order) && read_int(d, "max_pending_calls", &o->max_pending_calls) &&
         read_resources(d, "placement_resources", &o->placement) &&
         read_resources(d, "running_resources", &o->running) && read_text(d, "methods", &o->methods) &&
         read_shape(d, &o->shape, &o->follows_group);
}

Offset<flatbuffers::Vector<Offset<wire::Resource>>> pack(FlatBufferBuilder& b, const ResourceList& resources) {
  std::vector<Offset<wire::Resource>> out;
  for (const auto& [name, amount] : resources) out.push_back(wire::CreateResource(b, b.CreateString(name), amount));
  return b.CreateVector(out);
}

bool pack_groups(FlatBufferBuilder& b, PyObject* spec, std::vector<Offset<wire::ConcurrencyGroup>>* out) {
  PyObject* groups = field(spec, "groups");
  if (groups == nullptr) return true;
  for (Py_ssize_t i = 0; i < PyList_Size(groups); ++i) {
    PyObject* group = PyList_GET_ITEM(groups, i);
    std::string name;
    int limit = 1;
    if (!read_text(group, "name", &name) || !read_int(group, "limit", &limit)) return false;
    std::vector<std::string> methods;
    PyObject* list = field(group, "methods");
    for (Py_ssize_t j = 0; list != nullptr && j < PyList_Size(list); ++j) {
      const char* method = PyUnicode_AsUTF8(PyList_GET_ITEM(list, j));
      if (method == nullptr) return false;
      methods.emplace_back(method);
    }
    out->push_back(wire::CreateConcurrencyGroup(b, b.CreateString(name), limit, b.CreateVectorOfStrings(methods)));
  }
  return true;
}

Offset<wire::Strategy> pack_strategy(FlatBufferBuilder& b, const worker::LeaseShape& shape) {
  auto labels = b.CreateVector(reinterpret_cast<const uint8_t*>(shape.labels.data()), shape.labels.size());
  auto node = shape.node.to_wire<wire::NodeId>();
  return wire::CreateStrategy(b, shape.strategy, &node, shape.soft, labels);
}

// The placement group a new actor joins: its own, or that of the task that makes it.
void join_group(Session& session, ActorOptions* o) {
  if (!o->follows_group || !session.engine->is_worker()) return;
  worker::Lock held = session.engine->lock();
  const worker::Lent& lent = session.engine->executor().lent();
  if (!lent.capture || lent.pg.is_nil()) return;
  o->shape.pg = lent.pg;
  o->shape.bundle = -1;
  o->shape.capture = true;
}

struct PackedArgs {
  std::vector<Offset<wire::Arg>> args;
  std::vector<Offset<wire::Ref>> nested;
  std::vector<ObjectPtr> pinned;
};

// References among a constructor's arguments are resolved where the actor starts, each time it does.
PackedArgs pack_constructor(FlatBufferBuilder& b, Session& session, PackedCall& packed) {
  PackedArgs out;
  worker::Lock held = session.engine->lock();
  worker::Objects& objects = session.engine->objects();
  for (worker::Arg& arg : packed.args) {
    Offset<flatbuffers::String> keyword;
    if (!arg.keyword.empty()) keyword = b.CreateString(arg.keyword);
    if (!arg.ref) {
      out.args.push_back(wire::CreateArg(b, wire::ArgKind::Value, arg.size, 0, keyword));
      continue;
    }
    out.args.push_back(wire::CreateArg(b, wire::ArgKind::Store, 0, objects.describe(b, *arg.ref), keyword));
    out.pinned.push_back(arg.ref);
  }
  for (ObjectPtr& ref : packed.nested) {
    out.nested.push_back(objects.describe(b, *ref));
    out.pinned.push_back(ref);
  }
  return out;
}

bool build(FlatBufferBuilder& b, Session& session, PyObject* spec, ActorOptions& o, const ActorId& id,
           size_t class_size, PackedCall& packed, std::vector<ObjectPtr>* pinned) {
  std::vector<Offset<wire::ConcurrencyGroup>> groups;
  if (!pack_groups(b, spec, &groups)) return false;
  PackedArgs args = pack_constructor(b, session, packed);
  *pinned = args.pinned;
  auto group_list = b.CreateVector(groups);
  auto arg_list = b.CreateVector(args.args);
  auto nested = b.CreateVector(args.nested);
  auto class_name = b.CreateString(o.class_name);
  auto owner = session.engine->self().to_wire(b);
  auto name = b.CreateString(o.name);
  auto ns = b.CreateString(o.ns);
  auto placement = pack(b, o.placement);
  auto running = pack(b, o.running);
  auto strategy = pack_strategy(b, o.shape);
  auto env = b.CreateString(o.shape.runtime_env);
  auto methods = b.CreateVector(reinterpret_cast<const uint8_t*>(o.methods.data()), o.methods.size());
  auto wire_id = id.to_wire<wire::ActorId>();
  auto function = FunctionId::from_bytes(o.function).to_wire<wire::FunctionId>();
  auto pg = o.shape.pg.to_wire<wire::PgId>();
  auto job = session.engine->job().to_wire<wire::JobId>();
  auto actor = wire::CreateActorSpec(b, &wire_id, &function, static_cast<uint32_t>(class_size), class_name, arg_list,
                                     nested, owner, name, ns, o.detached, o.get_if_exists, o.max_restarts,
                                     o.max_task_retries, o.max_concurrency, o.is_async, group_list, o.out_of_order,
                                     o.max_pending_calls, placement, running, o.shape.pg.is_nil() ? nullptr : &pg,
                                     o.shape.bundle, o.shape.capture, strategy, env, methods, &job);
  b.Finish(wire::CreateCreateActor(b, actor));
  return true;
}

// The arguments of a call given as tuple and dict, as a vector call has them.
bool flatten(PyObject* args, PyObject* kwargs, std::vector<PyObject*>* values, PyRef* names) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) values->push_back(PyTuple_GET_ITEM(args, i));
  *names = PyRef::steal(PySequence_Tuple(kwargs));
  if (!*names) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names->get()); ++i)
    values->push_back(PyDict_GetItem(kwargs, PyTuple_GET_ITEM(names->get(), i)));
  return true;
}

PyObject* native_create_actor(PyObject*, PyObject* call_args) {
  PyObject *spec, *args, *kwargs;
  const char* pickled;
  Py_ssize_t pickled_size;
  if (!PyArg_ParseTuple(call_args, "O!y#O!O!:create_actor", &PyDict_Type, &spec, &pickled, &pickled_size, &PyTuple_Type,
                        &args, &PyDict_Type, &kwargs))
    return nullptr;
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  SessionPtr alive(session);
  ActorOptions options;
  if (!read_options(spec, &options)) return nullptr;
  if (options.function.size() != FunctionId::kSize)
    return PyErr_Format(PyExc_ValueError, "function must have 16 bytes");
  join_group(*session, &options);
  std::vector<PyObject*> values;
  PyRef names;
  if (!flatten(args, kwargs, &values, &names)) return nullptr;
  PackedCall packed;
  if (!pack_args(*session, values.data(), PyTuple_GET_SIZE(args), names.get(), &packed)) return nullptr;
  ActorId id = session->engine->new_actor_id();
  FlatBufferBuilder b(2048);
  std::vector<ObjectPtr> pinned;
  if (!build(b, *session, spec, options, id, static_cast<size_t>(pickled_size), packed, &pinned)) return nullptr;
  std::string raw(pickled, static_cast<size_t>(pickled_size));
  raw.append(reinterpret_cast<const char*>(packed.values.data()), packed.values.size());
  worker::Engine::Created created;
  {
    GilRelease free;
    rpc::Bytes bytes(reinterpret_cast<const uint8_t*>(raw.data()), raw.size());
    created = session->engine->create_actor(id, b, bytes, !options.name.empty(), options.detached, std::move(pinned),
                                            options.out_of_order);
  }
  for (const ObjectPtr& object : packed.put) session->engine->drop_use(*object);
  if (created.waited != worker::Waited::kReady) {
    raise_waited(*session, created.waited, "the node's answer about an actor");
    return nullptr;
  }
  switch (created.status) {
    case wire::CreateActorStatus::Existing: return new_weak_actor_ref(*session, created.existing);
    case wire::CreateActorStatus::NameTaken: return raise("ActorAlreadyExistsError", created.message);
    case wire::CreateActorStatus::Invalid: return PyErr_Format(PyExc_ValueError, "%s", created.message.c_str());
    case wire::CreateActorStatus::Created: break;
  }
  ObjectPtr handle;
  {
    worker::Lock held = session->engine->lock();
    handle = session->engine->actors().get(id).handle;
  }
  return new_actor_ref(*session, id, handle);
}

PyObject* native_kill_actor(PyObject*, PyObject* args) {
  PyObject* actor;
  int no_restart;
  if (!PyArg_ParseTuple(args, "O!p:kill_actor", &ActorRefType, &actor, &no_restart)) return nullptr;
  as_actor_ref(actor)->session->engine->kill_actor(*as_actor_ref(actor)->id, no_restart != 0);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"create_actor", native_create_actor, METH_VARARGS,
     "create_actor(spec, pickled_class, args, kwargs, /)\n--\n\nAsks for an actor; its ActorRef."},
    {"kill_actor", native_kill_actor, METH_VARARGS,
     "kill_actor(actor, no_restart, /)\n--\n\nEnds the actor's process; it restarts unless no_restart."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_actor(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
