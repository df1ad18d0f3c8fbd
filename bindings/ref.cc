#include "bindings/ref.h"

#include <structmember.h>

#include "bindings/call_sites.h"

namespace narke::py {
namespace {

using worker::Address;
using worker::ObjectPtr;

PyObject* bytes_of(std::string_view s) {
  return PyBytes_FromStringAndSize(s.data(), static_cast<Py_ssize_t>(s.size()));
}

// ---- ObjectRef ----

void ref_dealloc(PyObject* self) {
  Ref* ref = as_ref(self);
  if (ref->weakrefs != nullptr) PyObject_ClearWeakRefs(self);
  if (ref->object != nullptr && !ref->session->orphaned) {
    ref->session->engine->drop_use(*ref->object);
    ref->object->unref();
    ref->session->unref();
  }
  PyObject_Free(self);
}

PyObject* ref_repr(PyObject* self) {
  return PyUnicode_FromFormat("ObjectRef(%s)", as_ref(self)->object->id.hex().c_str());
}

Py_hash_t ref_hash(PyObject* self) {
  auto h = static_cast<Py_hash_t>(std::hash<ObjectId>{}(as_ref(self)->object->id));
  return h == -1 ? -2 : h;
}

PyObject* ref_compare(PyObject* a, PyObject* b, int op) {
  if ((op != Py_EQ && op != Py_NE) || !is_ref(a) || !is_ref(b)) Py_RETURN_NOTIMPLEMENTED;
  bool equal = as_ref(a)->object->id == as_ref(b)->object->id;
  return PyBool_FromLong(equal == (op == Py_EQ));
}

// Whoever has the id may come back with it (from_hex, from_binary): the object can be found by it from now on.
void make_findable(PyObject* self) {
  Ref* ref = as_ref(self);
  if (ref->object->in_table || ref->session->orphaned || ref->object->id.is_nil()) return;
  worker::Lock held = ref->session->engine->lock();
  ref->session->engine->objects().add_to_table(*ref->object);
}
PyObject* ref_hex(PyObject* self, PyObject*) {
  make_findable(self);
  return PyUnicode_FromString(as_ref(self)->object->id.hex().c_str());
}
PyObject* ref_binary(PyObject* self, PyObject*) {
  make_findable(self);
  return bytes_of(as_ref(self)->object->id.view());
}
PyObject* ref_is_nil(PyObject* self, PyObject*) { return PyBool_FromLong(as_ref(self)->object->id.is_nil()); }
PyObject* ref_size(PyObject*, PyObject*) { return PyLong_FromSize_t(ObjectId::kSize); }

PyObject* make_id(const char* type, std::string_view bytes) {
  PyObject* cls = attribute("narke.ids", type);
  if (cls == nullptr) return nullptr;
  PyRef arg = PyRef::steal(bytes_of(bytes));
  return arg ? PyObject_CallOneArg(cls, arg.get()) : nullptr;
}
PyObject* ref_task_id(PyObject* self, PyObject*) { return make_id("TaskID", task_of(as_ref(self)->object->id).view()); }
PyObject* ref_job_id(PyObject* self, PyObject*) {
  return make_id("JobID", as_ref(self)->object->id.view().substr(20, 4));
}
PyObject* ref_owner_address(PyObject* self, PyObject*) {
  Ref* ref = as_ref(self);
  worker::Lock held = ref->session->engine->lock();
  return bytes_of(pack_address(ref->session->engine->objects().owner_of(*ref->object)));
}
PyObject* ref_call_site(PyObject* self, PyObject*) {
  Ref* ref = as_ref(self);
  return PyUnicode_FromString(ref->session->engine->call_site(*ref->object).c_str());
}
PyObject* ref_future(PyObject* self, PyObject*) {
  PyObject* f = attribute("narke._private.async_ref", "as_future");
  return f == nullptr ? nullptr : PyObject_CallOneArg(f, self);
}
PyObject* ref_as_future(PyObject* self, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"_internal", nullptr};
  int internal = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:as_future", const_cast<char**>(names), &internal)) return nullptr;
  PyObject* f = attribute("narke._private.async_ref", "as_asyncio_future");
  return f == nullptr ? nullptr : PyObject_CallOneArg(f, self);
}
PyObject* ref_await(PyObject* self) {
  PyObject* f = attribute("narke._private.async_ref", "await_ref");
  return f == nullptr ? nullptr : PyObject_CallOneArg(f, self);
}

PyObject* ref_reduce(PyObject* self, PyObject*) {
  if (!note_contained(self)) {
    PyObject* outside = attribute("narke._private.serialization", "ref_outside");
    if (outside == nullptr) return nullptr;
    PyRef allowed = PyRef::steal(PyObject_CallOneArg(outside, self));
    if (!allowed) return nullptr;
  }
  Ref* ref = as_ref(self);
  std::string owner;
  {
    worker::Lock held = ref->session->engine->lock();
    owner = pack_address(ref->session->engine->objects().owner_of(*ref->object));
    ref->session->engine->objects().add_to_table(*ref->object);
    ref->object->escaped = true;
  }
  PyObject* rebuild = attribute("narke._private.serialization", "rebuild_ref");
  if (rebuild == nullptr) return nullptr;
  return Py_BuildValue("O(y#y#)", rebuild, ref->object->id.data(), static_cast<Py_ssize_t>(ObjectId::kSize),
                       owner.data(), static_cast<Py_ssize_t>(owner.size()));
}

PyObject* ref_from_bytes(PyObject*, PyObject* arg) {
  char* data;
  Py_ssize_t size;
  if (PyBytes_AsStringAndSize(arg, &data, &size) < 0) return nullptr;
  if (size != static_cast<Py_ssize_t>(ObjectId::kSize))
    return PyErr_Format(PyExc_ValueError, "an ObjectRef has 28 bytes, not %zd", size);
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  ObjectId id = ObjectId::from_bytes({data, static_cast<size_t>(size)});
  worker::Lock held = session->engine->lock();
  ObjectPtr object = session->engine->objects().find(id);
  if (!object) object = new worker::Object(id, true);
  return new_ref(*session, object, false);
}
// A reference by its id alone says nothing of the owner: only what this program knows can be found again.
PyObject* ref_from_binary(PyObject*, PyObject* arg) {
  PyRef made = PyRef::steal(ref_from_bytes(nullptr, arg));
  if (!made) return nullptr;
  Ref* ref = as_ref(made.get());
  if (ref->object->id.is_nil() || ref->object->in_table) return made.release();
  worker::Lock held = ref->session->engine->lock();
  worker::Objects& objects = ref->session->engine->objects();
  objects.set_value(*ref->object,
                    worker::make_failure("ReferenceCountingAssertionError",
                                         "this program knows no object of this id: an id alone does not keep an "
                                         "object alive. Hold on to a reference, or pass the reference itself.",
                                         ref->object->id.hex()),
                    worker::ObjectState::kError);
  return made.release();
}
PyObject* ref_from_hex(PyObject* type, PyObject* arg) {
  PyRef bytes = PyRef::steal(PyObject_CallMethod(reinterpret_cast<PyObject*>(&PyBytes_Type), "fromhex", "O", arg));
  return bytes ? ref_from_binary(type, bytes.get()) : nullptr;
}
PyObject* ref_new(PyTypeObject*, PyObject* args, PyObject*) {
  PyObject* bytes;
  return PyArg_ParseTuple(args, "O:ObjectRef", &bytes) ? ref_from_bytes(nullptr, bytes) : nullptr;
}
PyObject* ref_nil(PyObject* type, PyObject*) {
  PyRef bytes = PyRef::steal(bytes_of(ObjectId().view()));
  return ref_from_bytes(type, bytes.get());
}
PyObject* ref_from_random(PyObject* type, PyObject*) {
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  PyRef bytes = PyRef::steal(bytes_of(session->engine->new_object_id().view()));
  return ref_from_bytes(type, bytes.get());
}

PyObject* ref_class_getitem(PyObject* cls, PyObject* item) { return Py_GenericAlias(cls, item); }

PyMethodDef ref_methods[] = {
    {"hex", ref_hex, METH_NOARGS, "hex($self, /)\n--\n\nThe id as 56 hexadecimal digits."},
    {"binary", ref_binary, METH_NOARGS, "binary($self, /)\n--\n\nThe id as 28 bytes."},
    {"is_nil", ref_is_nil, METH_NOARGS, "is_nil($self, /)\n--\n\nWhether this is the reference to nothing."},
    {"size", ref_size, METH_NOARGS | METH_CLASS, "size()\n--\n\nBytes of an id: 28."},
    {"task_id", ref_task_id, METH_NOARGS, "task_id($self, /)\n--\n\nThe id of the task that makes the object."},
    {"job_id", ref_job_id, METH_NOARGS, "job_id($self, /)\n--\n\nThe id of the job the object belongs to."},
    {"owner_address", ref_owner_address, METH_NOARGS, "owner_address($self, /)\n--\n\nWhere the owner is, packed."},
    {"call_site", ref_call_site, METH_NOARGS,
     "call_site($self, /)\n--\n\nWhere the reference was made; empty, call sites are not recorded."},
    {"future", ref_future, METH_NOARGS, "future($self, /)\n--\n\nA concurrent.futures.Future of the value."},
    {"as_future", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(ref_as_future)),
     METH_VARARGS | METH_KEYWORDS,
     "as_future($self, _internal=False)\n--\n\nAn asyncio.Future of the value, on the running event loop."},
    {"__reduce__", ref_reduce, METH_NOARGS, nullptr},
    {"from_binary", ref_from_binary, METH_O | METH_CLASS,
     "from_binary(id_bytes, /)\n--\n\nThe reference with these 28 bytes, among those this program knows."},
    {"from_hex", ref_from_hex, METH_O | METH_CLASS,
     "from_hex(hex_id, /)\n--\n\nThe reference with these 56 hexadecimal digits, among those this program knows."},
    {"nil", ref_nil, METH_NOARGS | METH_CLASS, "nil()\n--\n\nThe reference to nothing."},
    {"from_random", ref_from_random, METH_NOARGS | METH_CLASS, "from_random()\n--\n\nA reference with a new id."},
    {"__class_getitem__", ref_class_getitem, METH_O | METH_CLASS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyAsyncMethods ref_async = {ref_await, nullptr, nullptr, nullptr};

// ---- ActorRef ----

void actor_ref_dealloc(PyObject* self) {
  ActorRef* ref = as_actor_ref(self);
  if (ref->weakrefs != nullptr) PyObject_ClearWeakRefs(self);
  if (ref->session != nullptr && !ref->session->orphaned) {
    if (ref->object != nullptr) {
      ref->session->engine->drop_use(*ref->object);
      ref->object->unref();
    }
    ref->session->unref();
  }
  delete ref->id;
  PyObject_Free(self);
}

PyObject* actor_ref_id(PyObject* self, void*) { return bytes_of(as_actor_ref(self)->id->view()); }

PyObject* actor_ref_reduce(PyObject* self, PyObject*) {
  note_contained(self);
  ActorRef* ref = as_actor_ref(self);
  std::string owner;
  if (ref->object != nullptr) {
    worker::Lock held = ref->session->engine->lock();
    owner = pack_address(ref->session->engine->objects().owner_of(*ref->object));
    ref->session->engine->objects().add_to_table(*ref->object);
  }
  PyObject* rebuild = attribute("narke._native", "actor_ref_from_parts");
  if (rebuild == nullptr) return nullptr;
  return Py_BuildValue("O(y#y#)", rebuild, ref->id->data(), static_cast<Py_ssize_t>(ActorId::kSize), owner.data(),
                       static_cast<Py_ssize_t>(owner.size()));
}

PyObject* actor_ref_compare(PyObject* a, PyObject* b, int op) {
  if ((op != Py_EQ && op != Py_NE) || !is_actor_ref(a) || !is_actor_ref(b)) Py_RETURN_NOTIMPLEMENTED;
  return PyBool_FromLong((*as_actor_ref(a)->id == *as_actor_ref(b)->id) == (op == Py_EQ));
}
Py_hash_t actor_ref_hash(PyObject* self) {
  auto h = static_cast<Py_hash_t>(std::hash<ActorId>{}(*as_actor_ref(self)->id));
  return h == -1 ? -2 : h;
}

PyMethodDef actor_ref_methods[] = {
    {"__reduce__", actor_ref_reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef actor_ref_fields[] = {
    {"actor_id", actor_ref_id, nullptr, "The actor's id, 16 bytes.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// ---- StreamRef ----

void stream_dealloc(PyObject* self) {
  auto* stream = reinterpret_cast<StreamRef*>(self);
  if (!stream->session->orphaned) {
    stream->session->engine->abandon_stream(*stream->task);
    stream->task->unref();
    stream->session->unref();
  }
  PyObject_Free(self);
}

StreamRef* as_stream(PyObject* o) { return reinterpret_cast<StreamRef*>(o); }

PyObject* stream_next_ref(PyObject* self, PyObject* args) {
  PyObject* timeout = Py_None;
  if (!PyArg_ParseTuple(args, "|O:next_ref", &timeout)) return nullptr;
  worker::Deadline deadline;
  if (!read_timeout(timeout, &deadline)) return nullptr;
  StreamRef* stream = as_stream(self);
  worker::Engine::StreamNext next;
  {
    GilRelease free;
    next = stream->session->engine->stream_next(*stream->task, deadline);
  }
  if (next.waited != worker::Waited::kReady) {
    raise_waited(*stream->session, next.waited, "the next item of a generator");
    return nullptr;
  }
  if (!next.item) Py_RETURN_NONE;
  return new_ref(*stream->session, next.item, true);
}

PyObject* stream_is_ready(PyObject* self, PyObject*) {
  return PyBool_FromLong(as_stream(self)->session->engine->stream_ready(*as_stream(self)->task));
}

PyObject* stream_on_ready(PyObject* self, PyObject* arg) {
  uint64_t token = PyLong_AsUnsignedLongLong(arg);
  if (PyErr_Occurred()) return nullptr;
  return PyBool_FromLong(as_stream(self)->session->engine->stream_token(*as_stream(self)->task, token));
}

PyObject* stream_is_finished(PyObject* self, PyObject*) {
  worker::Lock held = as_stream(self)->session->engine->lock();
  const auto& stream = *as_stream(self)->task->stream;
  return PyBool_FromLong(stream.total && stream.first >= *stream.total);
}

PyObject* stream_task_ref(PyObject* self, void*) {
  return new_ref(*as_stream(self)->session, as_stream(self)->task->first_return, false);
}

PyMethodDef stream_methods[] = {
    {"next_ref", stream_next_ref, METH_VARARGS,
     "next_ref($self, timeout=None, /)\n--\n\nThe next item's ObjectRef, or None at the end."},
    {"is_ready", stream_is_ready, METH_NOARGS, "is_ready($self, /)\n--\n\nWhether next_ref() would not wait."},
    {"is_finished", stream_is_finished, METH_NOARGS,
     "is_finished($self, /)\n--\n\nWhether the generator has ended and every item was taken."},
    {"on_ready", stream_on_ready, METH_O,
     "on_ready($self, token, /)\n--\n\nTrue when ready now; otherwise the token comes by take_ready()."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef stream_fields[] = {
    {"task_ref", stream_task_ref, nullptr, "An ObjectRef that is ready when the generator has ended.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyTypeObject StreamRefType = blank_type();

// ---- what the codec asks ----

bool ref_parts(PyObject* o, std::string_view* id, std::string_view* owner) {
  static thread_local std::string packed;
  Ref* ref = as_ref(o);
  worker::Lock held = ref->session->engine->lock();
  packed = pack_address(ref->session->engine->objects().owner_of(*ref->object));
  ref->session->engine->objects().add_to_table(*ref->object);
  ref->object->escaped = true;
  *id = ref->object->id.view();
  *owner = packed;
  return true;
}

PyObject* rebuild(std::string_view id, std::string_view owner) {
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  Address address;
  if (id.size() != ObjectId::kSize || !unpack_address(owner, &address)) {
    PyErr_SetString(PyExc_ValueError, "damaged bytes of an ObjectRef");
    return nullptr;
  }
  ObjectPtr object;
  {
    worker::Lock held = session->engine->lock();
    bool covered = worker::running_here().call != nullptr;
    object = session->engine->objects().receive(ObjectId::from_bytes(id), address, covered);
    worker::Objects::add_use(*object);
  }
  if (records_call_sites()) note_call_site(*session, *object, "(deserialize task arg)");
  return new_ref(*session, object, true);
}

PyObject* native_rebuild_ref(PyObject*, PyObject* args) {
  const char *id, *owner;
  Py_ssize_t id_size, owner_size;
  if (!PyArg_ParseTuple(args, "y#y#:rebuild_ref", &id, &id_size, &owner, &owner_size)) return nullptr;
  return rebuild({id, static_cast<size_t>(id_size)}, {owner, static_cast<size_t>(owner_size)});
}

PyObject* native_actor_ref_from_parts(PyObject*, PyObject* args) {
  const char *id, *owner;
  Py_ssize_t id_size, owner_size;
  if (!PyArg_ParseTuple(args, "y#y#:actor_ref_from_parts", &id, &id_size, &owner, &owner_size)) return nullptr;
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  if (id_size != static_cast<Py_ssize_t>(ActorId::kSize))
    return PyErr_Format(PyExc_ValueError, "an actor id has 16 bytes, not %zd", id_size);
  ActorId actor = ActorId::from_bytes({id, static_cast<size_t>(id_size)});
  if (owner_size == 0) return new_weak_actor_ref(*session, actor);
  Address address;
  if (!unpack_address({owner, static_cast<size_t>(owner_size)}, &address))
    return PyErr_Format(PyExc_ValueError, "damaged bytes of an actor handle");
  ObjectPtr object = session->engine->actor_handle(actor, address, worker::running_here().call != nullptr);
  return new_actor_ref(*session, actor, object);
}

PyMethodDef functions[] = {
    {"rebuild_ref", native_rebuild_ref, METH_VARARGS,
     "rebuild_ref(id, owner, /)\n--\n\nThe ObjectRef of an id and its owner's packed address."},
    {"actor_ref_from_parts", native_actor_ref_from_parts, METH_VARARGS,
     "actor_ref_from_parts(actor_id, owner, /)\n--\n\nA reference to an actor; owner empty: it is not kept alive."},
    {nullptr, nullptr, 0, nullptr},
};

void describe_types() {
  RefType.tp_name = "narke._native.ObjectRef";
  RefType.tp_basicsize = sizeof(Ref);
  RefType.tp_flags = Py_TPFLAGS_DEFAULT;
  RefType.tp_doc = "A reference to an object that exists or will exist somewhere in the cluster.";
  RefType.tp_new = ref_new;
  RefType.tp_dealloc = ref_dealloc;
  RefType.tp_repr = ref_repr;
  RefType.tp_hash = ref_hash;
  RefType.tp_richcompare = ref_compare;
  RefType.tp_methods = ref_methods;
  RefType.tp_as_async = &ref_async;
  RefType.tp_weaklistoffset = offsetof(Ref, weakrefs);

  ActorRefType.tp_name = "narke._native.ActorRef";
  ActorRefType.tp_basicsize = sizeof(ActorRef);
  ActorRefType.tp_flags = Py_TPFLAGS_DEFAULT;
  ActorRefType.tp_doc = "What an actor handle holds: dropping the last one ends an actor that is not detached.";
  ActorRefType.tp_dealloc = actor_ref_dealloc;
  ActorRefType.tp_hash = actor_ref_hash;
  ActorRefType.tp_richcompare = actor_ref_compare;
  ActorRefType.tp_methods = actor_ref_methods;
  ActorRefType.tp_getset = actor_ref_fields;
  ActorRefType.tp_weaklistoffset = offsetof(ActorRef, weakrefs);

  StreamRefType.tp_name = "narke._native.StreamRef";
  StreamRefType.tp_basicsize = sizeof(StreamRef);
  StreamRefType.tp_flags = Py_TPFLAGS_DEFAULT;
  StreamRefType.tp_doc = "The items of a streaming generator, in order.";
  StreamRefType.tp_dealloc = stream_dealloc;
  StreamRefType.tp_methods = stream_methods;
  StreamRefType.tp_getset = stream_fields;
}

}  // namespace

PyTypeObject RefType = blank_type();
PyTypeObject ActorRefType = blank_type();

PyObject* new_ref(Session& session, ObjectPtr object, bool counted) {
  Ref* ref = PyObject_New(Ref, &RefType);
  if (ref == nullptr) return nullptr;
  if (!counted) worker::Objects::add_use(*object);
  ref->object = object.get();
  ref->object->ref();
  ref->session = &session;
  session.ref();
  ref->weakrefs = nullptr;
  return reinterpret_cast<PyObject*>(ref);
}

PyObject* new_weak_actor_ref(Session& session, const ActorId& id) {
  {
    worker::Lock held = session.engine->lock();
    session.engine->actors().get(id);
  }
  return new_actor_ref(session, id, nullptr);
}

PyObject* new_actor_ref(Session& session, const ActorId& id, ObjectPtr object) {
  ActorRef* ref = PyObject_New(ActorRef, &ActorRefType);
  if (ref == nullptr) return nullptr;
  ref->object = object.get();  // the caller's use is taken over
  if (ref->object != nullptr) ref->object->ref();
  ref->session = &session;
  session.ref();
  ref->weakrefs = nullptr;
  ref->id = new ActorId(id);
  return reinterpret_cast<PyObject*>(ref);
}

PyObject* new_stream(Session& session, worker::TaskPtr task) {
  StreamRef* stream = PyObject_New(StreamRef, &StreamRefType);
  if (stream == nullptr) return nullptr;
  stream->task = task.get();
  stream->task->ref();
  stream->session = &session;
  session.ref();
  return reinterpret_cast<PyObject*>(stream);
}

std::string pack_address(const Address& address) {
  std::string packed(address.worker.view());
  packed += address.node.view();
  return packed + address.endpoint;
}

bool unpack_address(std::string_view bytes, Address* out) {
  constexpr size_t kFixed = WorkerId::kSize + NodeId::kSize;
  if (bytes.size() < kFixed) return false;
  out->worker = WorkerId::from_bytes(bytes.substr(0, WorkerId::kSize));
  out->node = NodeId::from_bytes(bytes.substr(WorkerId::kSize, NodeId::kSize));
  out->endpoint = std::string(bytes.substr(kFixed));
  return true;
}

int init_ref(PyObject* module) {
  describe_types();
  for (PyTypeObject* type : {&RefType, &ActorRefType, &StreamRefType})
    if (PyType_Ready(type) < 0) return -1;
  if (PyModule_AddObjectRef(module, "ObjectRef", reinterpret_cast<PyObject*>(&RefType)) < 0) return -1;
  if (PyModule_AddObjectRef(module, "ActorRef", reinterpret_cast<PyObject*>(&ActorRefType)) < 0) return -1;
  if (PyModule_AddObjectRef(module, "StreamRef", reinterpret_cast<PyObject*>(&StreamRefType)) < 0) return -1;
  RefHooks hooks;
  hooks.ref_type = &RefType;
  hooks.parts = ref_parts;
  hooks.rebuild = rebuild;
  set_ref_hooks(hooks);
  return PyModule_AddFunctions(module, functions);
}

}  // namespace narke::py
