// A worker's main thread: takes calls, runs them, answers.
#include "bindings/execute.h"

#include <csignal>
#include <cstdlib>
#include <cstring>

#include <pthread.h>
#include <unistd.h>

#include "bindings/ref.h"
#include "bindings/title.h"

namespace narke::py {
namespace {

using worker::Inbound;
using worker::InboundPtr;
using worker::Running;
using worker::Waited;

pthread_t main_thread;
uint64_t applied_lease = UINT64_MAX;
int64_t applied_cpus = -1;
constexpr int64_t kResourceUnits = 10'000;  // of an amount

// Puts `call` on this thread for its scope.
class Here {
 public:
  explicit Here(const InboundPtr& call) : before_(worker::running_here()) {
    Running& here = worker::running_here();
    here.call = call;
    here.task = call->task;
    here.depth = call->push == nullptr ? 0 : call->push->depth();
  }
  ~Here() { worker::running_here() = before_; }
  Here(const Here&) = delete;
  Here& operator=(const Here&) = delete;

 private:
  Running before_;
};

PyRef instances_dict(const worker::Lent& lent) {
  PyRef dict = PyRef::steal(PyDict_New());
  for (const auto& [name, ids] : lent.instances) {
    PyRef list = PyRef::steal(PyList_New(0));
    for (int id : ids) {
      PyRef number = PyRef::steal(PyLong_FromLong(id));
      PyList_Append(list.get(), number.get());
    }
    PyDict_SetItemString(dict.get(), name.c_str(), list.get());
  }
  return dict;
}

PyRef resources_dict(const worker::Lent& lent) {
  PyRef dict = PyRef::steal(PyDict_New());
  for (const auto& [name, amount] : lent.resources) {
    PyRef number = PyRef::steal(PyFloat_FromDouble(static_cast<double>(amount) / static_cast<double>(kResourceUnits)));
    PyDict_SetItemString(dict.get(), name.c_str(), number.get());
  }
  return dict;
}

worker::Lent lent_copy(Session& session) {
  worker::Lock held = session.engine->lock();
  return session.engine->executor().lent();
}

int64_t cpus_of(const worker::Lent& lent) {
  for (const auto& [name, amount] : lent.resources)
    if (name == "CPU") return amount;
  return 0;
}

// Which accelerators the code that runs next may see, and how many threads its libraries use; once for each lease.
bool apply_lease(Session& session, bool is_actor) {
  uint64_t lease;
  {
    worker::Lock held = session.engine->lock();
    lease = session.engine->executor().lent().lease;
  }
  if (!is_actor && lease == applied_lease) return true;
  applied_lease = lease;
  worker::Lent lent = lent_copy(session);
  const int64_t cpus = cpus_of(lent) / kResourceUnits;
  if (!session.has_accelerators && lent.instances.empty() && cpus == applied_cpus) return true;
  applied_cpus = cpus;
  PyObject* apply = attribute("narke._private.execution", "apply_lease");
  if (apply == nullptr) return false;
  return static_cast<bool>(
      PyRef::steal(PyObject_CallFunction(apply, "NL", instances_dict(lent).release(), static_cast<long long>(cpus))));
}

PyObject* load_function(Session& session, const FunctionId& id) {
  auto found = session.functions.find(id);
  if (found != session.functions.end()) return found->second;
  std::string name, pickled;
  {
    worker::Lock held = session.engine->lock();
    const std::string* bytes = session.engine->executor().function(id, &name);
    if (bytes != nullptr) pickled = *bytes;
  }
  PyObject* load = attribute("narke._private.execution", "load_function");
  if (load == nullptr) return nullptr;
  PyRef bytes = PyRef::steal(PyBytes_FromStringAndSize(pickled.data(), static_cast<Py_ssize_t>(pickled.size())));
  PyRef function = PyRef::steal(PyObject_CallOneArg(load, bytes.get()));
  if (!function) return nullptr;
  return session.functions[id] = function.release();
}

// max_calls: whether this worker has run the function often enough and must leave.
bool is_used_up(Session& session, const wire::PushTask& push) {
  if (push.max_calls() <= 0) return false;
  return ++session.calls_of[FunctionId::from_wire(push.function())] >= push.max_calls();
}

PyRef invoke(PyObject* callable, const Arguments& arguments) {
  std::vector<PyObject*> raw = arguments.raw();
  size_t named = arguments.names ? static_cast<size_t>(PyTuple_GET_SIZE(arguments.names.get())) : 0;
  return PyRef::steal(PyObject_Vectorcall(callable, raw.data(), raw.size() - named, arguments.names.get()));
}

void run_task(Session& session, const InboundPtr& call) {
  Here here(call);
  Arguments arguments;
  CallParts parts{call->push->args(), call->push->nested(), call->raw};
  PyObject* function = nullptr;
  bool good = apply_lease(session, false) &&
              (function = load_function(session, FunctionId::from_wire(call->push->function()))) != nullptr &&
              unpack_args(session, parts, &arguments);
  PyRef result;
  if (good) result = invoke(function, arguments);
  // Nothing of the call may be held when its answer leaves: kept references are registered by then.
  arguments = Arguments();
  call->is_last = is_used_up(session, *call->push);
  if (!result)
    answer_exception(session, call);
  else
    answer_value(session, call, result.get());
  if (call->is_last) session.engine->leave();
}

void run_method(Session& session, const InboundPtr& call) {
  Here here(call);
  bool special = false;
  Arguments arguments;
  CallParts parts{call->push->args(), call->push->nested(), call->raw};
  std::string name = call->push->method()->str();
  PyRef method = find_method(session, name, &special);
  PyRef result;
  if (method && unpack_args(session, parts, &arguments)) result = invoke(method.get(), arguments);
  arguments = Arguments();
  // Nothing stops a method that is cancelled while it runs: it may ask, and its caller does not get what it returns.
  if (result && call->cancelled && call->push->num_returns() >= 0) {
    result = PyRef();
    PyErr_SetNone(PyExc_KeyboardInterrupt);
  }
  if (!result) return answer_exception(session, call);
  answer_value(session, call, result.get());
}

// ---- becoming an actor ----

// How many calls of each concurrency group run at once; "" is the group of methods without one.
PyRef limits_of(const wire::ActorSpec& spec) {
  PyRef limits = PyRef::steal(PyDict_New());
  PyRef main = PyRef::steal(PyLong_FromLong(spec.max_concurrency()));
  PyDict_SetItemString(limits.get(), "", main.get());
  if (spec.groups() == nullptr) return limits;
  for (const wire::ConcurrencyGroup* group : *spec.groups()) {
    PyRef limit = PyRef::steal(PyLong_FromLong(group->limit()));
    PyDict_SetItemString(limits.get(), group->name()->c_str(), limit.get());
  }
  return limits;
}

// An async actor's constructor runs on the event loop that its calls will run on: it may start tasks there.
PyRef construct_on_loop(const wire::ActorSpec& spec, PyRef cls, Arguments arguments) {
  PyObject* native = attribute("narke", "_native");
  PyObject* helper = attribute("narke._private.async_actor", "construct");
  if (native == nullptr || helper == nullptr) return {};
  std::vector<PyRef> leading;
  leading.push_back(PyRef::borrow(native));
  leading.push_back(limits_of(spec));
  leading.push_back(std::move(cls));
  arguments.values.insert(arguments.values.begin(), std::make_move_iterator(leading.begin()),
                          std::make_move_iterator(leading.end()));
  return invoke(helper, arguments);
}

PyRef construct(Session& session, const wire::ActorSpec& spec, const InboundPtr& call) {
  size_t class_size = std::min<size_t>(spec.class_size(), call->raw.size());
  PyObject* load = attribute("narke._private.execution", "load_class");
  if (load == nullptr || !apply_lease(session, true)) return {};
  PyRef pickled = PyRef::steal(
      PyBytes_FromStringAndSize(reinterpret_cast<const char*>(call->raw.data()), static_cast<Py_ssize_t>(class_size)));
  PyRef cls = PyRef::steal(PyObject_CallOneArg(load, pickled.get()));
  if (!cls) return {};
  Arguments arguments;
  CallParts parts{spec.args(), spec.nested(), call->raw.subspan(class_size)};
  if (!unpack_args(session, parts, &arguments)) return {};
  if (spec.is_async()) return construct_on_loop(spec, std::move(cls), std::move(arguments));
  return invoke(cls.get(), arguments);
}

void note_groups(Session& session, const wire::ActorSpec& spec) {
  std::unordered_map<std::string, std::string> group_of;
  if (spec.groups() != nullptr)
    for (const wire::ConcurrencyGroup* group : *spec.groups())
      if (group->methods() != nullptr)
        for (const flatbuffers::String* method : *group->methods()) group_of[method->str()] = group->name()->str();
  worker::Lock held = session.engine->lock();
  session.engine->executor().set_group_of(std::move(group_of));
}

enum class Style { kPlain, kThreaded, kAsync };

Style style_of(const wire::ActorSpec& spec) {
  if (spec.is_async()) return Style::kAsync;
  bool has_groups = spec.groups() != nullptr && spec.groups()->size() != 0;
  return spec.max_concurrency() > 1 || has_groups ? Style::kThreaded : Style::kPlain;
}

bool call_helper(const char* module, const char* name, PyObject* argument) {
  PyObject* native = attribute("narke", "_native");
  PyObject* helper = attribute(module, name);
  if (native == nullptr || helper == nullptr) return false;
  PyRef done = PyRef::steal(PyObject_CallFunctionObjArgs(helper, native, argument, nullptr));
  return static_cast<bool>(done);
}

worker::Outcome init_failure(Session& session, PyObject* exception) {
  worker::Outcome outcome;
  outcome.kind = wire::ResultKind::Error;
  PyObject* encode = attribute("narke._private.execution", "encode_init_failure");
  PyRef pickled;
  if (encode != nullptr)
    pickled = PyRef::steal(PyObject_CallFunction(encode, "Os", exception, (session.actor_class + ".__init__").c_str()));
  if (!pickled || !PyBytes_Check(pickled.get())) {
    PyErr_Print();
    return exception_outcome(session, exception, session.actor_class + ".__init__");
  }
  outcome.bytes =
      encode_pickled_error({PyBytes_AS_STRING(pickled.get()), static_cast<size_t>(PyBytes_GET_SIZE(pickled.get()))});
  return outcome;
}

// What the titles of workers begin with: Ray programs know theirs.
const std::string& title_prefix() {
  static const std::string prefix = [] {
    const char* as_ray = std::getenv("NARKE_AS_RAY");
    return std::string(as_ray != nullptr && std::strcmp(as_ray, "1") == 0 ? "ray::" : "narke::");
  }();
  return prefix;
}

// Runs the constructor; a plain actor then goes on in the main loop, others until they end in their own.
void start_actor(Session& session, const InboundPtr& call) {
  const wire::ActorSpec& spec = *call->start->spec();
  session.actor_id = ActorId::from_wire(spec.actor());
  session.actor_class = spec.class_name() == nullptr ? "actor" : spec.class_name()->str();
  session.actor_name = spec.name() == nullptr ? "" : spec.name()->str();
  session.incarnation = call->start->incarnation();
  if (spec.methods() != nullptr)
    session.actor_methods.assign(reinterpret_cast<const char*>(spec.methods()->data()), spec.methods()->size());
  note_groups(session, spec);
  set_title(title_prefix() + session.actor_class);
  PyRef instance;
  {
    Here here(call);
    instance = construct(session, spec, call);
  }
  if (!instance && session.exit_asked) {  // exit_actor() in the constructor: it began, and leaves
    take_exception();
    session.engine->reply_started(*call, nullptr);
    begin_exit(session);
    return session.engine->leave();
  }
  if (!instance) {
    PyRef exception = take_exception();
    call->failure = describe_exception(exception.get());
    worker::Outcome error = init_failure(session, exception.get());
    session.engine->reply_started(*call, &error);
    session.engine->leave();
    return;
  }
  session.actor = instance.release();
  session.engine->reply_started(*call, nullptr);
  Style style = style_of(spec);
  if (style == Style::kPlain) return;
  bool good = style == Style::kThreaded ? call_helper("narke._private.threaded_actor", "start", limits_of(spec).get())
                                        : call_helper("narke._private.async_actor", "run", nullptr);
  if (!good) PyErr_Print();
  session.engine->leave();
}

// A signal that was meant for a task may come when the task has just ended.
void forget_late_interrupt() {
  if (PyErr_CheckSignals() != 0) PyErr_Clear();
}

void run_call(Session& session, const InboundPtr& call) {
  if (call->start != nullptr) return start_actor(session, call);
  if (call->is_actor_call())
    run_method(session, call);
  else
    run_task(session, call);
  if (PyErr_Occurred()) PyErr_Print();
}

InboundPtr next_call(Session& session, const std::string& group, Waited* waited) {
  *waited = Waited::kReady;
  if (InboundPtr call = session.engine->try_next_call(group)) return call;
  GilRelease free;
  return session.engine->next_call(group, worker::kNoDeadline, waited);
}

PyObject* native_run_one(PyObject*, PyObject* arg) {
  const char* group = PyUnicode_AsUTF8(arg);
  Session* session = group == nullptr ? nullptr : require_session();
  if (session == nullptr) return nullptr;
  SessionPtr alive(session);
  Waited waited;
  InboundPtr call = next_call(*session, group, &waited);
  if (waited == Waited::kInterrupted) forget_late_interrupt();
  if (!call) return PyBool_FromLong(!session->engine->is_leaving() && !session->engine->is_stopped());
  run_call(*session, call);
  Py_RETURN_TRUE;
}

void stop_running_call(const TaskId&, bool force) {
  const Session* session = current_session();
  if (session != nullptr && !session->actor_id.is_nil()) return;
  if (force) _exit(1);
  pthread_kill(main_thread, SIGINT);
}

// The node is gone: this process and what it started end.
void die() {
  kill(-getpid(), SIGKILL);
  _exit(1);
}

PyObject* bytes_or_empty(std::string_view bytes, bool nil) {
  return PyBytes_FromStringAndSize(bytes.data(), nil ? 0 : static_cast<Py_ssize_t>(bytes.size()));
}

void set(PyObject* dict, const char* name, PyObject* value) {
  PyRef held = PyRef::steal(value);
  if (held) PyDict_SetItemString(dict, name, held.get());
}

void describe_call(Session& session, PyObject* dict, const Inbound& call) {
  const flatbuffers::String* name = call.push == nullptr ? nullptr : call.push->name();
  set(dict, "task_name", PyUnicode_FromString(name == nullptr ? name_of(session, call).c_str() : name->c_str()));
  set(dict, "cancelled", PyBool_FromLong(call.cancelled));
  set(dict, "attempt", PyLong_FromLong(call.push == nullptr ? 0 : call.push->attempt()));
  if (call.push == nullptr) return;
  TaskId parent = TaskId::from_wire(call.push->parent());
  set(dict, "parent_task_id", bytes_or_empty(parent.view(), parent.is_nil()));
}

// Where what runs was defined; null where that is not known yet.
PyRef module_of(Session& session, const Inbound& call) {
  PyObject* defined = reinterpret_cast<PyObject*>(session.actor == nullptr ? nullptr : Py_TYPE(session.actor));
  if (call.push != nullptr && call.push->function() != nullptr) {
    auto found = session.functions.find(FunctionId::from_wire(call.push->function()));
    defined = found == session.functions.end() ? nullptr : found->second;
  }
  PyRef module = PyRef::steal(defined == nullptr ? nullptr : PyObject_GetAttrString(defined, "__module__"));
  PyErr_Clear();
  return module;
}

PyObject* native_current(PyObject*, PyObject*) {
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  worker::Engine& e = *session->engine;
  const Running& here = worker::running_here();
  worker::Lent lent = lent_copy(*session);
  PyRef dict = PyRef::steal(PyDict_New());
  set(dict.get(), "job_id", bytes_or_empty(e.job().view(), false));
  set(dict.get(), "worker_id", bytes_or_empty(e.self().worker.view(), false));
  set(dict.get(), "node_id", bytes_or_empty(e.self().node.view(), false));
  set(dict.get(), "task_id", bytes_or_empty(here.task.view(), here.task.is_nil()));
  set(dict.get(), "actor_id", bytes_or_empty(session->actor_id.view(), session->actor_id.is_nil()));
  set(dict.get(), "pg_id", bytes_or_empty(lent.pg.view(), lent.pg.is_nil()));
  set(dict.get(), "capture", PyBool_FromLong(lent.capture));
  set(dict.get(), "resources", resources_dict(lent).release());
  set(dict.get(), "instances", instances_dict(lent).release());
  set(dict.get(), "actor_class", PyUnicode_FromString(session->actor_class.c_str()));
  set(dict.get(), "restarts", PyLong_FromLong(session->incarnation));
  set(dict.get(), "actor_name", PyUnicode_FromString(session->actor_name.c_str()));
  set(dict.get(), "node_ip", PyUnicode_FromString("127.0.0.1"));
  if (here.call) {
    describe_call(*session, dict.get(), *here.call);
    set(dict.get(), "function_name", PyUnicode_FromString(name_of(*session, *here.call).c_str()));
    set(dict.get(), "module", module_of(*session, *here.call).release());
  }
  return dict.release();
}

// Who writes on this thread: an actor's class or a task's name; "" outside of both.
PyObject* native_speaker(PyObject*, PyObject*) {
  Session* session = current_session();
  if (session == nullptr) return PyUnicode_FromString("");
  if (!session->actor_class.empty()) return PyUnicode_FromString(session->actor_class.c_str());
  const worker::InboundPtr& call = worker::running_here().call;
  if (!call || call->push == nullptr) return PyUnicode_FromString("");
  if (call->push->name() != nullptr) return PyUnicode_FromString(call->push->name()->c_str());
  return PyUnicode_FromString(name_of(*session, *call).c_str());
}

PyObject* native_ask_exit(PyObject*, PyObject*) {
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  session->exit_asked = true;
  Py_RETURN_NONE;
}

PyObject* native_exit_now(PyObject*, PyObject*) {
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  if (!session->engine->is_leaving()) {
    begin_exit(*session);
    session->engine->leave();
  }
  Py_RETURN_NONE;
}

PyObject* native_is_cancelled(PyObject*, PyObject*) {
  const worker::InboundPtr& call = worker::running_here().call;
  return PyBool_FromLong(call && call->cancelled);
}

// (ActorRef, methods) of the actor this worker is, or None. An actor that holds itself still ends with its last handle.
PyObject* native_own_actor(PyObject*, PyObject*) {
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  if (session->actor_id.is_nil()) Py_RETURN_NONE;
  PyRef ref = PyRef::steal(new_weak_actor_ref(*session, session->actor_id));
  if (!ref) return nullptr;
  return Py_BuildValue("(Oy#)", ref.get(), session->actor_methods.data(),
                       static_cast<Py_ssize_t>(session->actor_methods.size()));
}

PyMethodDef methods[] = {
    {"own_actor", native_own_actor, METH_NOARGS,
     "own_actor()\n--\n\n(ActorRef, methods) of the actor this worker is, or None."},
    {"speaker", native_speaker, METH_NOARGS,
     "speaker()\n--\n\nThe actor's class or the task's name that runs on this thread, or ''."},
    {"exit_now", native_exit_now, METH_NOARGS,
     "exit_now()\n--\n\nThe actor this worker is ends, although no call of it has asked for that."},
    {"ask_exit", native_ask_exit, METH_NOARGS,
     "ask_exit()\n--\n\nThe actor this worker is ends with the present call, whatever that gives."},
    {"is_cancelled", native_is_cancelled, METH_NOARGS,
     "is_cancelled()\n--\n\nWhether the call that runs on this thread has been cancelled."},
    {"run_one", native_run_one, METH_O,
     "run_one(group, /)\n--\n\nRuns one call of a concurrency group; False when the worker leaves."},
    {"current", native_current, METH_NOARGS, "current()\n--\n\nFacts about what runs on this thread."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyRef find_method(Session& session, const std::string& name, bool* special) {
  *special = false;
  PyRef method = PyRef::steal(PyObject_GetAttrString(session.actor, name.c_str()));
  if (method && PyMethod_Check(method.get())) return method;
  if (method) {  // perhaps a value that the instance has under a method's name
    PyObject* declared = attribute("narke._private.execution", "declared_method");
    if (declared == nullptr) return {};
    return PyRef::steal(PyObject_CallFunction(declared, "OsO", session.actor, name.c_str(), method.get()));
  }
  if (name.rfind("__ray_", 0) != 0) return method;
  PyErr_Clear();
  *special = true;
  PyObject* bind = attribute("narke._private.execution", "bind_special");
  return bind == nullptr ? PyRef() : PyRef::steal(PyObject_CallFunction(bind, "Os", session.actor, name.c_str()));
}

namespace {

PyObject* read_reference(Session& session, const wire::Arg& arg) {
  if (arg.ref() == nullptr || arg.ref()->id() == nullptr) return PyErr_Format(PyExc_ValueError, "a damaged argument");
  ObjectId id = ObjectId::from_wire(arg.ref()->id());
  worker::Address owner = worker::Address::from_wire(arg.ref()->owner());
  worker::ObjectPtr object;
  {
    worker::Lock held = session.engine->lock();
    object = session.engine->objects().receive(id, owner, true);
    worker::Objects::add_use(*object);
    bool is_new = !object->is_ready() && !object->owned;
    NodeId here = session.engine->self().node;
    NodeId node = arg.node() == nullptr ? here : NodeId::from_wire(arg.node());
    if (is_new && (node != here || session.engine->is_stored(id))) session.engine->objects().set_stored(*object, node);
  }
  const worker::AwaitsReply awaits;  // an argument is there, somewhere
  PyObject* value = get_object(session, *object, worker::kNoDeadline);
  session.engine->drop_use(*object);
  return value;
}

}  // namespace

bool unpack_args(Session& session, const CallParts& parts, Arguments* out) {
  if (parts.args == nullptr) return true;
  size_t at = 0;
  std::vector<PyRef> names;
  out->values.reserve(parts.args->size());
  for (const wire::Arg* arg : *parts.args) {
    PyObject* value;
    if (arg->kind() == wire::ArgKind::Store) {
      value = read_reference(session, *arg);
    } else {
      if (arg->size() > parts.raw.size() - at) return PyErr_Format(PyExc_ValueError, "a damaged argument"), false;
      value = decode(parts.raw.data() + at, arg->size(), nullptr);
      at += arg->size();
    }
    if (value == nullptr) return false;
    out->values.push_back(PyRef::steal(value));
    if (arg->keyword() == nullptr || arg->keyword()->size() == 0) continue;
    names.push_back(PyRef::steal(
        PyUnicode_FromStringAndSize(arg->keyword()->data(), static_cast<Py_ssize_t>(arg->keyword()->size()))));
  }
  if (names.empty()) return true;
  out->names = PyRef::steal(PyTuple_New(static_cast<Py_ssize_t>(names.size())));
  for (size_t i = 0; i < names.size(); ++i)
    PyTuple_SET_ITEM(out->names.get(), static_cast<Py_ssize_t>(i), names[i].release());
  return true;
}

bool run_worker() {
  Session* session = require_session();
  if (session == nullptr) return false;
  SessionPtr alive(session);
  main_thread = pthread_self();
  {
    worker::Lock held = session->engine->lock();
    session->engine->set_cancel_hook(stop_running_call);
    session->engine->set_node_lost_hook(die);
    session->engine->set_title_hook([idle = title_prefix() + "idle", session](const std::string& running) {
      const ActorId& actor = session->engine->executor().actor();
      if (!running.empty())
        set_title(title_prefix() + running);
      else
        set_title(actor.is_nil() ? idle : title_prefix() + session->engine->executor().actor_class());
    });
  }
  while (!session->engine->is_stopped()) {
    Waited waited;
    InboundPtr call = next_call(*session, "", &waited);
    if (waited == Waited::kInterrupted) forget_late_interrupt();
    if (call) {
      run_call(*session, call);
      forget_late_interrupt();
    } else if (session->engine->is_leaving()) {
      break;
    }
  }
  if (session->actor != nullptr) {
    PyObject* shut_down = attribute("narke._private.execution", "shut_down_actor");
    if (shut_down == nullptr || !PyRef::steal(PyObject_CallOneArg(shut_down, session->actor))) PyErr_Print();
  }
  GilRelease free;
  session->engine->drain();
  return true;
}

bool warm_execution() {
  static constexpr const char* kNeeded[] = {"apply_lease", "load_function", "load_class"};
  for (const char* name : kNeeded)
    if (attribute("narke._private.execution", name) == nullptr) return false;
  return attribute("narke", "_native") != nullptr;
}

int init_execute(PyObject* module) { return init_exec_task(module) < 0 ? -1 : PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
