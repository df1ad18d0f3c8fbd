// TaskCall and ActorCall: what `f.remote` and `actor.method.remote` are.
#include "bindings/call_sites.h"
#include "bindings/ref.h"
#include "bindings/spec.h"

namespace narke::py {
namespace {

using worker::ObjectPtr;
using worker::TaskPtr;

constexpr int kDynamic = -2;

struct TaskState {
  CallInfo info;
  SessionPtr session;                            // for which it was prepared
  worker::LeaseClass* own_class = nullptr;
  PgId group;                                    // of the last task that called from within a group
  worker::CallSpecPtr group_spec;
};

struct TaskCall {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* prepare;
  TaskState* state;
  PyObject* weakrefs;
};
PyTypeObject TaskCallType = blank_type();

struct ActorCall {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* actor;
  CallInfo* info;
  PyObject* weakrefs;
};
PyTypeObject ActorCallType = blank_type();

bool prepare(TaskCall& call) {
  PyRef dict = PyRef::steal(PyObject_CallNoArgs(call.prepare));
  if (!dict) return false;
  if (!PyDict_Check(dict.get())) {
    PyErr_SetString(PyExc_TypeError, "prepare() must return a dict");
    return false;
  }
  Session* session = require_session();
  if (session == nullptr) return false;
  auto state = std::make_unique<TaskState>();
  std::string id, pickled, name;
  if (!read_call(dict.get(), &state->info) || !read_shape(dict.get(), &state->info.shape, &state->info.follows_group) ||
      !read_text(dict.get(), "function_id", &id) || !read_text(dict.get(), "pickled", &pickled) ||
      !read_text(dict.get(), "name", &name))
    return false;
  if (id.size() != FunctionId::kSize) {
    PyErr_SetString(PyExc_ValueError, "function_id must have 16 bytes");
    return false;
  }
  std::string function_name = name;
  if (!read_text(dict.get(), "function_name", &function_name)) return false;
  worker::CallSpec& spec = *state->info.spec;
  spec.function = new worker::Function(FunctionId::from_bytes(id), std::move(pickled), function_name);
  if (spec.name == function_name) spec.name.clear();
  state->info.shape.retriable = spec.max_retries != 0;
  {
    worker::Lock held = session->engine->lock();
    spec.lease_class = session->engine->submitter().lease_class(state->info.shape);
  }
  state->own_class = spec.lease_class;
  state->session = SessionPtr(session);
  delete call.state;
  call.state = state.release();
  return true;
}

// The spec for a call made by a task whose placement group captures its children.
worker::CallSpecPtr spec_here(TaskState& state, Session& session) {
  if (!state.info.follows_group || !session.engine->is_worker()) return state.info.spec;
  worker::Lock held = session.engine->lock();
  const worker::Lent& lent = session.engine->executor().lent();
  if (!lent.capture || lent.pg.is_nil()) return state.info.spec;
  if (state.group_spec && state.group == lent.pg) return state.group_spec;
  worker::CallSpecPtr spec(new worker::CallSpec);
  const worker::CallSpec& own = *state.info.spec;
  spec->function = own.function;
  spec->name = own.name;
  spec->num_returns = own.num_returns;
  spec->max_retries = own.max_retries;
  spec->retry_exceptions = own.retry_exceptions;
  spec->retry_types = own.retry_types;
  spec->max_calls = own.max_calls;
  spec->backpressure = own.backpressure;
  worker::LeaseShape shape = state.info.shape;
  shape.pg = lent.pg;
  shape.bundle = -1;
  shape.capture = true;
  spec->lease_class = session.engine->submitter().lease_class(shape);
  state.group = lent.pg;
  state.group_spec = spec;
  return spec;
}

size_t return_count(int num_returns) { return num_returns < 0 ? 1 : static_cast<size_t>(num_returns); }

// The handles of a task's returns; must exist before the task is submitted.
PyRef returns_of(Session& session, TaskPtr& task, int num_returns) {
  if (num_returns == worker::kStreaming) {
    PyObject* generator = attribute("narke._private.generators", "ObjectRefGenerator");
    if (generator == nullptr) return {};
    PyRef stream = PyRef::steal(new_stream(session, task));
    return stream ? PyRef::steal(PyObject_CallOneArg(generator, stream.get())) : PyRef();
  }
  if (num_returns == 0) return PyRef::borrow(Py_None);
  if (num_returns == 1 || num_returns == kDynamic) return PyRef::steal(new_ref(session, task->first_return, false));
  PyRef list = PyRef::steal(PyList_New(num_returns));
  for (int i = 0; list && i < num_returns; ++i) {
    PyObject* ref = new_ref(session, task->returned(static_cast<size_t>(i)), false);
    if (ref == nullptr) return {};
    PyList_SET_ITEM(list.get(), i, ref);
  }
  return list;
}

TaskPtr make_task(Session& session, worker::CallSpecPtr spec, PackedCall& packed) {
  size_t count = return_count(spec->num_returns);
  TaskPtr task = session.engine->new_task(std::move(spec), count);
  task->args = std::move(packed.args);
  task->values = std::move(packed.values);
  task->nested = std::move(packed.nested);
  return task;
}

// The call holds its large arguments by now.
void drop_put_uses(Session& session, const PackedCall& packed) {
  for (const ObjectPtr& object : packed.put) session.engine->drop_use(*object);
}

PyObject* call_task(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* call = reinterpret_cast<TaskCall*>(self);
  Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
  Session* session = current_session();
  if (call->state == nullptr || session == nullptr || call->state->session.get() != session) {
    if (!prepare(*call)) return nullptr;
    session = call->state->session.get();
  }
  SessionPtr alive(session);
  TaskState& state = *call->state;
  if (!check_args(state.info, args, nargs, kwnames)) return nullptr;
  PackedCall packed;
  if (!pack_args(*session, args, nargs, kwnames, &packed)) return nullptr;
  worker::CallSpecPtr spec = spec_here(state, *session);
  TaskPtr task = make_task(*session, spec, packed);
  PyRef returns = returns_of(*session, task, spec->num_returns);
  if (!returns) return nullptr;
  if (records_call_sites()) note_call_sites(*session, returns.get(), "(task call)");
  session->engine->submit(std::move(task));
  drop_put_uses(*session, packed);
  return returns.release();
}

PyObject* call_actor(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* call = reinterpret_cast<ActorCall*>(self);
  Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
  ActorRef* actor = as_actor_ref(call->actor);
  Session* session = actor->session;
  CallInfo& info = *call->info;
  if (!check_args(info, args, nargs, kwnames)) return nullptr;
  PackedCall packed;
  if (!pack_args(*session, args, nargs, kwnames, &packed)) return nullptr;
  TaskPtr task = make_task(*session, info.spec, packed);
  PyRef returns = returns_of(*session, task, info.spec->num_returns);
  if (!returns) return nullptr;
  if (records_call_sites()) note_call_sites(*session, returns.get(), "(actor call)");
  worker::Engine::SubmitResult submitted = session->engine->submit_call(*actor->id, std::move(task), info.max_pending);
  drop_put_uses(*session, packed);
  if (!submitted.ok) return raise("PendingCallsLimitExceeded", submitted.error);
  return returns.release();
}

// ---- the types ----

PyObject* task_call_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"prepare", nullptr};
  PyObject* prepare;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:TaskCall", const_cast<char**>(names), &prepare)) return nullptr;
  auto* call = reinterpret_cast<TaskCall*>(type->tp_alloc(type, 0));
  if (call == nullptr) return nullptr;
  call->vectorcall = call_task;
  call->prepare = Py_NewRef(prepare);
  call->state = nullptr;
  return reinterpret_cast<PyObject*>(call);
}

int task_call_traverse(PyObject* self, visitproc visit, void* arg) {
  auto* call = reinterpret_cast<TaskCall*>(self);
  Py_VISIT(call->prepare);
  if (call->state != nullptr) Py_VISIT(call->state->info.check.get());
  return 0;
}

int task_call_clear(PyObject* self) {
  auto* call = reinterpret_cast<TaskCall*>(self);
  Py_CLEAR(call->prepare);
  delete std::exchange(call->state, nullptr);
  return 0;
}

void task_call_dealloc(PyObject* self) {
  auto* call = reinterpret_cast<TaskCall*>(self);
  PyObject_GC_UnTrack(self);
  if (call->weakrefs != nullptr) PyObject_ClearWeakRefs(self);
  task_call_clear(self);
  Py_TYPE(self)->tp_free(self);
}

PyObject* actor_call_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"actor", "method", "options", nullptr};
  PyObject *actor, *options;
  const char* method;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!sO!:ActorCall", const_cast<char**>(names), &ActorRefType, &actor,
                                   &method, &PyDict_Type, &options))
    return nullptr;
  auto info = std::make_unique<CallInfo>();
  if (!read_call(options, info.get())) return nullptr;
  info->spec->method = method;
  auto* call = reinterpret_cast<ActorCall*>(type->tp_alloc(type, 0));
  if (call == nullptr) return nullptr;
  call->vectorcall = call_actor;
  call->actor = Py_NewRef(actor);
  call->info = info.release();
  return reinterpret_cast<PyObject*>(call);
}

int actor_call_traverse(PyObject* self, visitproc visit, void* arg) {
  auto* call = reinterpret_cast<ActorCall*>(self);
  Py_VISIT(call->actor);
  if (call->info != nullptr) Py_VISIT(call->info->check.get());
  return 0;
}

int actor_call_clear(PyObject* self) {
  auto* call = reinterpret_cast<ActorCall*>(self);
  Py_CLEAR(call->actor);
  delete std::exchange(call->info, nullptr);
  return 0;
}

void actor_call_dealloc(PyObject* self) {
  auto* call = reinterpret_cast<ActorCall*>(self);
  PyObject_GC_UnTrack(self);
  if (call->weakrefs != nullptr) PyObject_ClearWeakRefs(self);
  actor_call_clear(self);
  Py_TYPE(self)->tp_free(self);
}

void describe(PyTypeObject& type, const char* name, const char* doc, size_t size, size_t vectorcall, size_t weakrefs) {
  type.tp_name = name;
  type.tp_doc = doc;
  type.tp_basicsize = static_cast<Py_ssize_t>(size);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
  type.tp_vectorcall_offset = static_cast<Py_ssize_t>(vectorcall);
  type.tp_weaklistoffset = static_cast<Py_ssize_t>(weakrefs);
  type.tp_call = PyVectorcall_Call;
}

}  // namespace

int init_call(PyObject* module) {
  describe(TaskCallType, "narke._native.TaskCall", "Submits tasks of one remote function with one set of options.",
           sizeof(TaskCall), offsetof(TaskCall, vectorcall), offsetof(TaskCall, weakrefs));
  TaskCallType.tp_new = task_call_new;
  TaskCallType.tp_traverse = task_call_traverse;
  TaskCallType.tp_clear = task_call_clear;
  TaskCallType.tp_dealloc = task_call_dealloc;
  describe(ActorCallType, "narke._native.ActorCall", "Calls one method of one actor with one set of options.",
           sizeof(ActorCall), offsetof(ActorCall, vectorcall), offsetof(ActorCall, weakrefs));
  ActorCallType.tp_new = actor_call_new;
  ActorCallType.tp_traverse = actor_call_traverse;
  ActorCallType.tp_clear = actor_call_clear;
  ActorCallType.tp_dealloc = actor_call_dealloc;
  if (PyType_Ready(&TaskCallType) < 0 || PyType_Ready(&ActorCallType) < 0) return -1;
  if (PyModule_AddObjectRef(module, "TaskCall", reinterpret_cast<PyObject*>(&TaskCallType)) < 0) return -1;
  return PyModule_AddObjectRef(module, "ActorCall", reinterpret_cast<PyObject*>(&ActorCallType));
}

}  // namespace narke::py
