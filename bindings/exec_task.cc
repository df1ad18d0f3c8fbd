// ExecTask: a call of an async actor in Python's hands, and what its event loop asks.
#include <csignal>

#include "bindings/execute.h"
#include "bindings/ref.h"

namespace narke::py {
namespace {

using worker::InboundPtr;

struct ExecTask {
  PyObject_HEAD
  InboundPtr* call;
  Session* session;
  PyObject* target;
  PyObject* args;
  PyObject* kwargs;
};
PyTypeObject ExecTaskType = blank_type();

ExecTask* as_task(PyObject* o) { return reinterpret_cast<ExecTask*>(o); }
std::vector<TaskId> cancelled_tasks;  // under the engine's lock

void dealloc(PyObject* self) {
  ExecTask* task = as_task(self);
  Py_XDECREF(task->target);
  Py_XDECREF(task->args);
  Py_XDECREF(task->kwargs);
  delete task->call;
  task->session->unref();
  PyObject_Free(self);
}

const wire::PushTask& push_of(PyObject* self) { return *(*as_task(self)->call)->push; }

PyObject* text(const flatbuffers::String* s) { return PyUnicode_FromString(s == nullptr ? "" : s->c_str()); }
PyObject* get_method(PyObject* self, void*) { return text(push_of(self).method()); }
PyObject* get_group(PyObject* self, void*) {
  worker::Lock held = as_task(self)->session->engine->lock();
  return PyUnicode_FromString(as_task(self)->session->engine->executor().group_of(**as_task(self)->call).c_str());
}
PyObject* get_name(PyObject* self, void*) {
  return PyUnicode_FromString(name_of(*as_task(self)->session, **as_task(self)->call).c_str());
}
PyObject* get_args(PyObject* self, void*) { return Py_NewRef(as_task(self)->args); }
PyObject* get_kwargs(PyObject* self, void*) { return Py_NewRef(as_task(self)->kwargs); }
PyObject* get_target(PyObject* self, void*) { return Py_NewRef(as_task(self)->target); }
PyObject* get_num_returns(PyObject* self, void*) { return PyLong_FromLong(push_of(self).num_returns()); }
PyObject* get_task_id(PyObject* self, void*) {
  const TaskId& id = (*as_task(self)->call)->task;
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(id.data()), TaskId::kSize);
}

PyObject* enter(PyObject* self, PyObject*) {
  worker::Running& here = worker::running_here();
  here.call = *as_task(self)->call;
  here.task = here.call->task;
  here.depth = here.call->push->depth();
  Py_RETURN_NONE;
}

// The arguments are dropped before the answer leaves, so that kept references are registered.
void drop_arguments(ExecTask* task) {
  Py_CLEAR(task->args);
  Py_CLEAR(task->kwargs);
  task->args = PyTuple_New(0);
  task->kwargs = PyDict_New();
}

PyObject* finish(PyObject* self, PyObject* value) {
  ExecTask* task = as_task(self);
  drop_arguments(task);
  answer_value(*task->session, *task->call, value);
  if (PyErr_Occurred()) return nullptr;
  Py_RETURN_NONE;
}

PyObject* fail(PyObject* self, PyObject* exception) {
  ExecTask* task = as_task(self);
  if (!PyExceptionInstance_Check(exception)) return PyErr_Format(PyExc_TypeError, "fail() takes an exception");
  drop_arguments(task);
  set_exception(PyRef::borrow(exception));
  answer_exception(*task->session, *task->call);
  if (PyErr_Occurred()) return nullptr;
  Py_RETURN_NONE;
}

bool has_room_now(ExecTask* task) {
  worker::Lock held = task->session->engine->lock();
  const worker::Inbound& call = **task->call;
  int limit = call.push->backpressure();
  return !call.stopped && (limit <= 0 || call.produced - call.consumed < static_cast<uint64_t>(limit));
}

PyObject* yield_value(PyObject* self, PyObject* value) {
  ExecTask* task = as_task(self);
  if (!send_item(*task->session, **task->call, value)) return nullptr;
  return PyBool_FromLong(has_room_now(task));
}

PyObject* has_room(PyObject* self, PyObject*) { return PyBool_FromLong(has_room_now(as_task(self))); }
PyObject* is_stopped(PyObject* self, PyObject*) { return PyBool_FromLong((*as_task(self)->call)->stopped); }

PyMethodDef task_methods[] = {
    {"enter", enter, METH_NOARGS, "enter($self, /)\n--\n\nMakes current() and new tasks refer to this call."},
    {"finish", finish, METH_O, "finish($self, value, /)\n--\n\nAnswers the call with what it returned."},
    {"fail", fail, METH_O, "fail($self, exception, /)\n--\n\nAnswers the call with what it raised."},
    {"yield_value", yield_value, METH_O,
     "yield_value($self, value, /)\n--\n\nSends an item; False: wait for has_room() before the next."},
    {"has_room", has_room, METH_NOARGS, "has_room($self, /)\n--\n\nWhether another item may be sent."},
    {"is_stopped", is_stopped, METH_NOARGS, "is_stopped($self, /)\n--\n\nWhether nobody wants the items any more."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef task_fields[] = {
    {"method", get_method, nullptr, "The method's name.", nullptr},
    {"group", get_group, nullptr, "The concurrency group asked for, or ''.", nullptr},
    {"name", get_name, nullptr, "What people read: Class.method.", nullptr},
    {"args", get_args, nullptr, "Positional arguments.", nullptr},
    {"kwargs", get_kwargs, nullptr, "Keyword arguments.", nullptr},
    {"target", get_target, nullptr, "The bound method.", nullptr},
    {"num_returns", get_num_returns, nullptr, "How many values are returned; -1 streams.", nullptr},
    {"task_id", get_task_id, nullptr, "24 bytes.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

bool split(Arguments& arguments, ExecTask* task) {
  size_t named = arguments.names ? static_cast<size_t>(PyTuple_GET_SIZE(arguments.names.get())) : 0;
  size_t positional = arguments.values.size() - named;
  task->args = PyTuple_New(static_cast<Py_ssize_t>(positional));
  task->kwargs = PyDict_New();
  if (task->args == nullptr || task->kwargs == nullptr) return false;
  for (size_t i = 0; i < positional; ++i)
    PyTuple_SET_ITEM(task->args, static_cast<Py_ssize_t>(i), arguments.values[i].release());
  for (size_t i = 0; i < named; ++i)
    if (PyDict_SetItem(task->kwargs, PyTuple_GET_ITEM(arguments.names.get(), static_cast<Py_ssize_t>(i)),
                       arguments.values[positional + i].get()) < 0)
      return false;
  return true;
}

// ---- what the event loop asks ----

Session* async_session() {
  Session* session = require_session();
  static bool prepared = false;
  if (session != nullptr && !prepared) {
    prepared = true;
    session->engine->set_polled(true);
    worker::Lock held = session->engine->lock();
    session->engine->set_cancel_hook([](const TaskId& task, bool force) {
      if (force) _exit(1);
      cancelled_tasks.push_back(task);
    });
  }
  return session;
}

PyObject* native_poll_fd(PyObject*, PyObject*) {
  Session* session = async_session();
  return session == nullptr ? nullptr : PyLong_FromLong(session->engine->poll_fd());
}

// Calls of every group: an event loop runs them all.
InboundPtr take_any(Session& session) {
  worker::Lock held = session.engine->lock();
  return session.engine->executor().take_any();
}

PyObject* native_poll_now(PyObject*, PyObject*) {
  Session* session = async_session();
  if (session == nullptr) return nullptr;
  SessionPtr alive(session);
  session->engine->poll_and_take();
  PyRef out = PyRef::steal(PyList_New(0));
  while (InboundPtr call = take_any(*session)) {
    PyRef task = PyRef::steal(new_exec_task(*session, call));
    if (!task) {  // the arguments could not be read or there is no such method
      answer_exception(*session, call);
      continue;
    }
    if (PyList_Append(out.get(), task.get()) < 0) return nullptr;
  }
  return out.release();
}

PyObject* native_take_cancelled(PyObject*, PyObject*) {
  Session* session = async_session();
  if (session == nullptr) return nullptr;
  std::vector<TaskId> tasks;
  {
    worker::Lock held = session->engine->lock();
    tasks.swap(cancelled_tasks);
  }
  PyRef out = PyRef::steal(PyList_New(0));
  for (const TaskId& task : tasks) {
    PyRef id = PyRef::steal(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(task.data()), TaskId::kSize));
    if (!id || PyList_Append(out.get(), id.get()) < 0) return nullptr;
  }
  return out.release();
}

PyObject* native_is_leaving(PyObject*, PyObject*) {
  Session* session = require_session();
  return session == nullptr ? nullptr : PyBool_FromLong(session->engine->is_leaving());
}

// None without a session: the loop may turn on after the connection has ended.
PyObject* native_begin_turn(PyObject*, PyObject*) {
  if (Session* session = current_session(); session != nullptr) session->engine->begin_turn();
  Py_RETURN_NONE;
}

PyObject* native_end_turn(PyObject*, PyObject*) {
  if (Session* session = current_session(); session != nullptr) session->engine->end_turn();
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"poll_fd", native_poll_fd, METH_NOARGS, "poll_fd()\n--\n\nReadable when poll_now() has work."},
    {"poll_now", native_poll_now, METH_NOARGS,
     "poll_now()\n--\n\nHandles what has arrived; the calls to start, as ExecTasks. take_ready() is due after it."},
    {"begin_turn", native_begin_turn, METH_NOARGS,
     "begin_turn()\n--\n\nThe event loop of this thread has woken: what it sends is gathered until end_turn()."},
    {"end_turn", native_end_turn, METH_NOARGS,
     "end_turn()\n--\n\nThe event loop of this thread is about to sleep: what was gathered leaves."},
    {"take_cancelled", native_take_cancelled, METH_NOARGS,
     "take_cancelled()\n--\n\nIds of running calls that shall be cancelled."},
    {"is_leaving", native_is_leaving, METH_NOARGS, "is_leaving()\n--\n\nWhether this worker takes no more calls."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* new_exec_task(Session& session, InboundPtr call) {
  bool special = false;
  PyRef method = find_method(session, call->push->method()->str(), &special);
  if (!method) return nullptr;
  Arguments arguments;
  CallParts parts{call->push->args(), call->push->nested(), call->raw};
  worker::Running before = worker::running_here();
  worker::running_here().call = call;  // references among the arguments are covered by the call
  bool good = unpack_args(session, parts, &arguments);
  worker::running_here() = before;
  if (!good) return nullptr;
  ExecTask* task = PyObject_New(ExecTask, &ExecTaskType);
  if (task == nullptr) return nullptr;
  task->call = new InboundPtr(std::move(call));
  task->session = &session;
  session.ref();
  task->target = method.release();
  task->args = task->kwargs = nullptr;
  PyRef owned = PyRef::steal(reinterpret_cast<PyObject*>(task));
  return split(arguments, task) ? owned.release() : nullptr;
}

int init_exec_task(PyObject* module) {
  ExecTaskType.tp_name = "narke._native.ExecTask";
  ExecTaskType.tp_basicsize = sizeof(ExecTask);
  ExecTaskType.tp_flags = Py_TPFLAGS_DEFAULT;
  ExecTaskType.tp_doc = "A call of an async actor, to be run and answered.";
  ExecTaskType.tp_dealloc = dealloc;
  ExecTaskType.tp_methods = task_methods;
  ExecTaskType.tp_getset = task_fields;
  if (PyType_Ready(&ExecTaskType) < 0) return -1;
  return PyModule_AddFunctions(module, functions);
}

}  // namespace narke::py
