// ObjectRef, ActorRef and StreamRef: Python's handles on the engine's objects.
#pragma once

#include "bindings/session.h"

namespace narke::py {

struct Ref {
  PyObject_HEAD
  worker::Object* object;  // one use and one reference are held
  Session* session;        // one reference is held
  PyObject* weakrefs;
};
extern PyTypeObject RefType;
inline bool is_ref(PyObject* o) { return Py_TYPE(o) == &RefType; }
inline Ref* as_ref(PyObject* o) { return reinterpret_cast<Ref*>(o); }

// A handle on `object`. counted: the caller's use of it is taken over; otherwise one is added.
PyObject* new_ref(Session& session, worker::ObjectPtr object, bool counted);

struct ActorRef {
  PyObject_HEAD
  worker::Object* object;  // the actor's handle object; null for one looked up by name without an owner
  Session* session;
  PyObject* weakrefs;
  ActorId* id;
};
extern PyTypeObject ActorRefType;
inline bool is_actor_ref(PyObject* o) { return Py_TYPE(o) == &ActorRefType; }
inline ActorRef* as_actor_ref(PyObject* o) { return reinterpret_cast<ActorRef*>(o); }
PyObject* new_actor_ref(Session& session, const ActorId& id, worker::ObjectPtr object);
// One that does not keep its actor alive, nor do its copies.
PyObject* new_weak_actor_ref(Session& session, const ActorId& id);

struct StreamRef {
  PyObject_HEAD
  worker::Task* task;
  Session* session;
};
PyObject* new_stream(Session& session, worker::TaskPtr task);

// An owner's address as the bytes that travel inside pickles, and back.
std::string pack_address(const worker::Address& address);
bool unpack_address(std::string_view bytes, worker::Address* out);

}  // namespace narke::py
