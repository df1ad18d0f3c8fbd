// Connecting, and what a program may ask of its node.
#include "bindings/session.h"

#include <cmath>

#include <pthread.h>

#include "bindings/flex.h"
#include "bindings/ref.h"
#include "bindings/sampler.h"
#include "bindings/spec.h"

namespace narke::py {
namespace {

using worker::Deadline;
using worker::Engine;
using worker::Waited;

constexpr auto kGoodbyeLimit = std::chrono::seconds(5);

SessionPtr the_session;

// In a fork of a connected program the engine's threads are missing and its lock may be held for ever.
void orphan_session() {
  if (!the_session) return;
  the_session->orphaned = true;
  the_session->ref();  // never destroyed here
  the_session.reset();
}

PyObject* bytes_of(std::string_view s) {
  return PyBytes_FromStringAndSize(s.data(), static_cast<Py_ssize_t>(s.size()));
}

void set(PyObject* dict, const char* name, PyObject* value) {
  PyRef held = PyRef::steal(value);
  if (held) PyDict_SetItemString(dict, name, held.get());
}

// Runs pending signal handlers; true when one raised.
bool check_interrupt() {
  GilHold hold;
  return PyErr_CheckSignals() != 0;
}

PyObject* describe(Session& session) {
  Engine& e = *session.engine;
  PyRef info = PyRef::steal(PyDict_New());
  set(info.get(), "node_id", bytes_of(e.self().node.view()));
  set(info.get(), "job_id", bytes_of(e.job().view()));
  set(info.get(), "worker_id", bytes_of(e.self().worker.view()));
  set(info.get(), "session_dir", PyUnicode_FromString(e.session_dir().c_str()));
  set(info.get(), "job_config", from_flex(e.job_config()));
  set(info.get(), "address", bytes_of(pack_address(e.self())));
  return info.release();
}

PyObject* native_connect_driver(PyObject*, PyObject* args) {
  const char *socket, *token, *session_dir;
  Py_ssize_t token_size;
  PyObject* config;
  if (!PyArg_ParseTuple(args, "sy#sO!:connect_driver", &socket, &token, &token_size, &session_dir, &PyDict_Type,
                        &config))
    return nullptr;
  worker::EngineConfig c;
  c.node_socket = socket;
  c.token.assign(token, static_cast<size_t>(token_size));
  c.session_dir = session_dir;
  if (!to_flex(config, &c.job_config)) return nullptr;
  return open_engine(c) ? describe(*current_session()) : nullptr;
}

PyObject* native_disconnect(PyObject*, PyObject*) {
  SessionPtr session = the_session;
  if (!session) Py_RETURN_NONE;
  set_current_session({});
  {
    GilRelease free;
    session->engine->disconnect(kGoodbyeLimit);
  }
  Py_RETURN_NONE;
}

PyObject* native_is_connected(PyObject*, PyObject*) {
  Session* session = current_session();
  return PyBool_FromLong(session != nullptr && !session->engine->is_stopped());
}

PyObject* native_control(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"method", "body", "timeout_ms", nullptr};
  const char* method;
  PyObject* body = nullptr;
  long timeout_ms = 30'000;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|Ol:control", const_cast<char**>(names), &method, &body,
                                   &timeout_ms))
    return nullptr;
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  SessionPtr alive(session);
  std::string packed;
  PyRef empty = PyRef::steal(PyDict_New());
  if (!to_flex(body == nullptr || body == Py_None ? empty.get() : body, &packed)) return nullptr;
  Engine::Answer answer;
  {
    GilRelease free;
    auto deadline = timeout_ms < 0 ? worker::kNoDeadline : worker::Clock::now() + std::chrono::milliseconds(timeout_ms);
    answer = session->engine->control(method, packed, deadline);
  }
  if (answer.waited == Waited::kTimeout)
    return raise("GetTimeoutError",
                 "the node did not answer " + std::string(method) + " within " + std::to_string(timeout_ms) + " ms");
  if (answer.waited != Waited::kReady) {
    raise_waited(*session, answer.waited, method);
    return nullptr;
  }
  if (answer.error.empty()) return from_flex(answer.body);
  if (answer.error_kind == "ValueError") return PyErr_Format(PyExc_ValueError, "%s", answer.error.c_str());
  return raise(answer.error_kind.empty() ? "RaySystemError" : answer.error_kind.c_str(), answer.error);
}

PyObject* native_tell(PyObject*, PyObject* args) {
  const char* method;
  PyObject* body;
  if (!PyArg_ParseTuple(args, "sO:tell", &method, &body)) return nullptr;
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  SessionPtr alive(session);
  std::string packed;
  if (!to_flex(body, &packed)) return nullptr;
  {
    GilRelease free;
    session->engine->tell(method, packed);
  }
  Py_RETURN_NONE;
}

PyObject* native_pack(PyObject*, PyObject* value) {
  std::string bytes;
  if (!to_flex(value, &bytes)) return nullptr;
  return PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
}

PyObject* native_cancel(PyObject*, PyObject* args) {
  PyObject* ref;
  int force, recursive;
  if (!PyArg_ParseTuple(args, "O!pp:cancel", &RefType, &ref, &force, &recursive)) return nullptr;
  if (force != 0 && as_ref(ref)->session->engine->is_actor_call(*as_ref(ref)->object))
    return PyErr_Format(PyExc_ValueError,
                        "force=True is not supported for actor tasks: it would end the actor. "
                        "Cancel without force, or use kill() on the actor.");
  as_ref(ref)->session->engine->cancel(*as_ref(ref)->object, force != 0, recursive != 0);
  Py_RETURN_NONE;
}

PyObject* native_take_logs(PyObject*, PyObject* args) {
  long timeout_ms = 1000;
  if (!PyArg_ParseTuple(args, "|l:take_logs", &timeout_ms)) return nullptr;
  Session* session = current_session();
  if (session == nullptr) Py_RETURN_NONE;
  SessionPtr alive(session);
  std::vector<worker::LogLine> lines;
  {
    GilRelease free;
    lines = session->engine->take_logs(std::chrono::milliseconds(timeout_ms));
  }
  if (lines.empty() && session->engine->is_stopped()) Py_RETURN_NONE;
  PyRef out = PyRef::steal(PyList_New(0));
  for (const worker::LogLine& line : lines) {
    PyRef text =
        PyRef::steal(PyUnicode_DecodeUTF8(line.text.data(), static_cast<Py_ssize_t>(line.text.size()), "replace"));
    PyRef entry = PyRef::steal(Py_BuildValue("{s:i,s:s,s:O,s:O,s:s,s:y#}", "pid", line.pid, "name", line.name.c_str(),
                                             "is_error", line.is_error ? Py_True : Py_False, "text", text.get(),
                                             "notice", line.notice.c_str(), "worker", line.worker.data(),
                                             static_cast<Py_ssize_t>(WorkerId::kSize)));
    if (!entry || PyList_Append(out.get(), entry.get()) < 0) return nullptr;
  }
  return out.release();
}

PyObject* native_ready_fd(PyObject*, PyObject*) {
  Session* session = current_session();
  return PyLong_FromLong(session == nullptr ? -1 : session->engine->token_fd());
}

PyObject* native_sockets_fd(PyObject*, PyObject*) {
  Session* session = current_session();
  return PyLong_FromLong(session == nullptr ? -1 : session->engine->poll_fd());
}

// Unlike poll_now() this leaves the sockets to the background thread as well: the loop may be busy with other things.
PyObject* native_poll(PyObject*, PyObject*) {
  Session* session = current_session();
  if (session == nullptr) Py_RETURN_NONE;
  SessionPtr alive(session);
  {
    GilRelease free;
    session->engine->poll();
  }
  Py_RETURN_NONE;
}

PyObject* native_take_ready(PyObject*, PyObject*) {
  Session* session = current_session();
  PyRef out = PyRef::steal(PyList_New(0));
  if (session == nullptr || !out) return out.release();
  for (uint64_t token : session->engine->take_tokens()) {
    PyRef number = PyRef::steal(PyLong_FromUnsignedLongLong(token));
    if (!number || PyList_Append(out.get(), number.get()) < 0) return nullptr;
  }
  return out.release();
}

PyObject* native_flush_leases(PyObject*, PyObject*) {
  if (Session* session = current_session()) {
    worker::Lock held = session->engine->lock();
    session->engine->submitter().return_idle(std::chrono::milliseconds(0));
  }
  Py_RETURN_NONE;
}

PyObject* native_forget_connection(PyObject*, PyObject*) {
  orphan_session();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"forget_connection", native_forget_connection, METH_NOARGS,
     "forget_connection()\n--\n\nLeaves the connection to the process this one was forked from."},
    {"connect_driver", native_connect_driver, METH_VARARGS,
     "connect_driver(node_socket, token, session_dir, config, /)\n--\n\nJoins a node as a driver; facts about it."},
    {"disconnect", native_disconnect, METH_NOARGS, "disconnect()\n--\n\nLeaves; nothing happens when not connected."},
    {"is_connected", native_is_connected, METH_NOARGS, "is_connected()\n--\n\nWhether the node is there."},
    {"control", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(native_control)),
     METH_VARARGS | METH_KEYWORDS,
     "control(method, body=None, timeout_ms=30000)\n--\n\nA request to the node; its answer as a dict."},
    {"tell", native_tell, METH_VARARGS,
     "tell(method, body, /)\n--\n\nA request to the node whose answer nobody awaits."},
    {"pack", native_pack, METH_O, "pack(value, /)\n--\n\nPlain values as FlexBuffers, for programs without Python."},
    {"cancel", native_cancel, METH_VARARGS, "cancel(ref, force, recursive, /)\n--\n\nCancels the object's task."},
    {"take_logs", native_take_logs, METH_VARARGS,
     "take_logs(timeout_ms=1000, /)\n--\n\nLines of workers' output and notices; None once disconnected."},
    {"ready_fd", native_ready_fd, METH_NOARGS,
     "ready_fd()\n--\n\nReadable while take_ready() has something; -1 when not connected."},
    {"sockets_fd", native_sockets_fd, METH_NOARGS,
     "sockets_fd()\n--\n\nReadable while poll() may have work; -1 when not connected."},
    {"poll", native_poll, METH_NOARGS, "poll()\n--\n\nHandles what has arrived, unless another thread does."},
    {"take_ready", native_take_ready, METH_NOARGS, "take_ready()\n--\n\nTokens whose objects became ready."},
    {"return_idle_leases", native_flush_leases, METH_NOARGS,
     "return_idle_leases()\n--\n\nGives idle workers back to the node now."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

Session* current_session() { return the_session.get(); }

void set_current_session(SessionPtr session) { the_session = std::move(session); }

Session* require_session() {
  if (Session* session = current_session()) return session;
  PyObject* connect = attribute("narke._private.session", "connected");
  if (connect == nullptr) return nullptr;
  PyRef done = PyRef::steal(PyObject_CallNoArgs(connect));
  if (!done) return nullptr;
  Session* session = current_session();
  if (session == nullptr) raise("RaySystemError", "this process is not connected; call init() first");
  return session;
}

bool open_engine(const worker::EngineConfig& config) {
  Result<std::unique_ptr<Engine>> engine = [&] {
    GilRelease free;
    return Engine::connect(config);
  }();
  if (!engine) {
    const char* kind = engine.error().code == ErrorCode::kRefused ? "AuthenticationError" : "RaySystemError";
    if (engine.error().code == ErrorCode::kDisconnected)
      PyErr_Format(PyExc_ConnectionError, "%s", engine.error().message.c_str());
    else if (engine.error().code == ErrorCode::kOverloaded)
      PyErr_Format(PyExc_BlockingIOError, "%s", engine.error().message.c_str());
    else
      raise(kind, engine.error().message);
    return false;
  }
  SessionPtr session(new Session);
  session->engine = std::move(engine).value();
  session->engine->set_interrupt_check(check_interrupt);
  {
    worker::Lock held = session->engine->lock();
    session->engine->set_prober([](const std::string& what, const std::string& body, const std::atomic<bool>& stop) {
      Sampled sampled = answer_sampling(what, body, stop);
      return Engine::Answer{Waited::kReady, std::move(sampled.error), std::move(sampled.error_kind),
                            std::move(sampled.body)};
    });
  }
  set_current_session(session);
  return true;
}

PyObject* attribute(const char* module, const char* name) {
  static std::unordered_map<std::string, PyObject*> known;
  std::string key = std::string(module) + ':' + name;
  auto found = known.find(key);
  if (found != known.end()) return found->second;
  PyRef value = import_attribute(module, name);
  if (!value) return nullptr;
  return known[key] = value.release();
}

PyObject* raise(const char* kind, const std::string& message) {
  PyObject* make = attribute("narke.exceptions", "engine_error");
  if (make == nullptr) return nullptr;
  PyRef error = PyRef::steal(
      PyObject_CallFunction(make, "ss#s", kind, message.data(), static_cast<Py_ssize_t>(message.size()), ""));
  if (error) raise_instance(error.get());
  return nullptr;
}

void raise_waited(Session& session, Waited waited, const char* what) {
  if (waited == Waited::kInterrupted) return;  // the signal's handler has raised
  if (waited == Waited::kTimeout) {
    raise("GetTimeoutError", "Get timed out: " + std::string(what) + " did not come in time");
    return;
  }
  const std::string& reason = session.engine->stop_reason();
  raise(reason.empty() ? "RaySystemError" : "LocalRayletDiedError",
        "waiting for " + std::string(what) +
            " ended: " + (reason.empty() ? "this program was disconnected (shutdown() was called)" : reason));
}

bool read_timeout(PyObject* timeout, Deadline* deadline) {
  *deadline = worker::kNoDeadline;
  if (timeout == nullptr || timeout == Py_None) return true;
  double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "timeout must be a number of seconds or None, got %R", timeout);
    return false;
  }
  if (seconds < 0 || std::isnan(seconds)) {
    PyErr_Format(PyExc_ValueError, "timeout must be 0 or more seconds, or None; got %R", timeout);
    return false;
  }
  constexpr double kForever = 1e9;
  if (seconds < kForever)
    *deadline = worker::Clock::now() + std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9));
  return true;
}

int init_session(PyObject* module) {
  pthread_atfork(nullptr, nullptr, orphan_session);
  return PyModule_AddFunctions(module, methods);
}

}  // namespace narke::py
