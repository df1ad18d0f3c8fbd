// The program's connection to its cluster as the extension sees it.
//
// A Session outlives disconnect() in the references that were made with it; one is current at a time.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "bindings/py_util.h"
#include "bindings/value.h"
#include "worker/engine.h"

namespace narke::py {

// A static type to be filled in before PyType_Ready().
inline PyTypeObject blank_type() {
  PyTypeObject type{};
  Py_SET_REFCNT(reinterpret_cast<PyObject*>(&type), 1);
  return type;
}

struct Session {
  std::unique_ptr<worker::Engine> engine;
  // Workers: what was loaded from pickled functions; the actor this worker has become.
  std::unordered_map<FunctionId, PyObject*> functions;
  std::unordered_map<FunctionId, int> calls_of;  // for max_calls
  PyObject* actor = nullptr;
  std::string actor_class;
  ActorId actor_id;
  std::string actor_name;
  int incarnation = 0;
  std::string actor_methods;  // what a handle must know of them
  bool actor_exits = false;
  bool exit_asked = false;  // exit_actor() was called; a method that catches what it raises still ends the actor
  bool has_accelerators = true;  // code that runs must be told which of them its lease holds
  bool orphaned = false;      // this process was forked from the one that is connected: nothing may be touched

  void ref() { ++refs_; }
  void unref() {
    if (--refs_ == 0) delete this;
  }

 private:
  long refs_ = 0;  // under the GIL
};
using SessionPtr = worker::Ptr<Session>;

// The current session, or null with no exception set.
Session* current_session();
// The same, connecting first where the program never called init(). Null with an exception set.
Session* require_session();
void set_current_session(SessionPtr session);
// Connects and makes that the current session. False with an exception set.
bool open_engine(const worker::EngineConfig& config);
// Workers: runs calls on this thread until the worker must leave. False with an exception set.
bool run_worker();
// Looks up what running calls needs of Python, so that forks of this process find it. False with an exception set.
bool warm_execution();

// module.attribute, imported once and kept. Null with an exception set.
PyObject* attribute(const char* module, const char* name);
// Raises narke.exceptions.<kind>(message). Always null.
PyObject* raise(const char* kind, const std::string& message);
// What a wait that did not end well raises; false when it was interrupted and the handler raised already.
void raise_waited(Session& session, worker::Waited waited, const char* what);
// Seconds from now, or no deadline for None. False with an exception set.
bool read_timeout(PyObject* timeout, worker::Deadline* deadline);

// ---- values of objects (get.cc) ----

// The object's value, waiting for it; raises its error. New reference or null with an exception set.
PyObject* get_object(Session& session, worker::Object& object, worker::Deadline deadline);
// Encodes a value into an outcome of a call; `id` names it when it must go to the store, `owner` is the caller.
bool encode_outcome(Session& session, PyObject* value, const ObjectId& id, const WorkerId& owner, worker::Outcome* out);
// Puts an encoded value where an object of its size belongs. Null with an exception set.
worker::ObjectPtr put_encoded(Session& session, const Encoded& value);
// The objects behind the references that were met while pickling.
std::vector<worker::ObjectPtr> contained_objects(const Encoded& value);

int init_get(PyObject* module);
int init_ref(PyObject* module);
int init_call(PyObject* module);
int init_actor(PyObject* module);
int init_execute(PyObject* module);
int init_session(PyObject* module);
int init_history(PyObject* module);
int init_zygote(PyObject* module);
int init_columns(PyObject* module);
int init_parquet(PyObject* module);
int init_formula(PyObject* module);
int init_private_view(PyObject* module);
int init_fork_hooks(PyObject* module);

}  // namespace narke::py
