// put, get, wait: values in and out of objects.
#include "bindings/call_sites.h"
#include "bindings/ref.h"

namespace narke::py {
namespace {

using worker::Deadline;
using worker::Engine;
using worker::Object;
using worker::ObjectPtr;
using worker::ObjectState;
using worker::Waited;

// Keeps a stored object's memory in place while arrays alias it.
struct Pin {
  PyObject_HEAD
  std::shared_ptr<store::Mapping>* mapping;
  uint32_t slot;
};
void pin_dealloc(PyObject* self) {
  auto* pin = reinterpret_cast<Pin*>(self);
  (*pin->mapping)->unpin(pin->slot);
  delete pin->mapping;
  PyObject_Free(self);
}
PyTypeObject PinType = blank_type();

PyRef new_pin(const Engine::Viewed& viewed) {
  Pin* pin = PyObject_New(Pin, &PinType);
  if (pin == nullptr) return {};
  pin->mapping = new std::shared_ptr<store::Mapping>(viewed.mapping);
  pin->slot = viewed.view.slot;
  return PyRef::steal(reinterpret_cast<PyObject*>(pin));
}

PyObject* raise_error_value(PyObject* value) {
  PyRef error = PyRef::steal(value);
  if (!error) return nullptr;
  PyObject* convert = attribute("narke._private.execution", "raise_error");
  if (convert == nullptr) return nullptr;
  PyRef raised = PyRef::steal(PyObject_CallOneArg(convert, error.get()));
  if (raised) raise_instance(raised.get());
  return nullptr;
}

PyObject* read_stored(const Engine::Viewed& viewed) {
  PyRef pin = new_pin(viewed);
  if (!pin) return nullptr;
  PyObject* value = decode(viewed.view.data, viewed.view.size, pin.get());
  return value != nullptr && is_error(viewed.view.data, viewed.view.size) ? raise_error_value(value) : value;
}

std::string timeout_text(const Object& object) {
  return "Get timed out: some object(s) not ready: " + object.id.hex() +
         ". Raise the timeout, or see with wait() which are ready.";
}

PyObject* stop_waiting(Session& session, Waited waited, const Object& object) {
  if (waited == Waited::kTimeout) return raise("GetTimeoutError", timeout_text(object));
  raise_waited(session, waited, "an object");
  return nullptr;
}

// owner: the program that will own the object.
bool write_stored(Session& session, const Encoded& value, const ObjectId& id, const WorkerId& owner, bool* exists) {
  Engine& engine = *session.engine;
  Engine::Room room;
  {
    GilRelease free;
    room = engine.make_room(id, value.total_size(), owner, worker::kNoDeadline);
    if (room.data != nullptr) {
      engine.store()->mapping()->prepare(room.data, value.total_size());
      value.write_to(room.data);
    }
  }
  if (room.waited != Waited::kReady) {
    raise_waited(session, room.waited, "space in the object store");
    return false;
  }
  *exists = room.data == nullptr && room.error.code == ErrorCode::kNotFound;
  if (room.data != nullptr || *exists) return true;
  raise("ObjectStoreFullError", room.error.message);
  return false;
}

struct PutArgs {
  PyObject* value = nullptr;
  PyObject* owner = Py_None;
};

bool read_put_args(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PutArgs* out) {
  if (nargs == 1) out->value = args[0];
  Py_ssize_t count = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, i);
    if (PyUnicode_CompareWithASCIIString(name, "_owner") == 0) {
      out->owner = args[nargs + i];
    } else if (nargs == 0 && PyUnicode_CompareWithASCIIString(name, "value") == 0) {
      out->value = args[nargs + i];
    } else if (PyUnicode_CompareWithASCIIString(name, "_tensor_transport") != 0 || args[nargs + i] != Py_None) {
      PyErr_Format(PyExc_TypeError,
                   "put() got an unexpected keyword argument %R, or a value for it that means "
                   "nothing here",
                   name);
      return false;
    }
  }
  if (nargs <= 1 && out->value != nullptr) return true;
  PyErr_SetString(PyExc_TypeError, "put() takes one value to store");
  return false;
}

PyObject* native_put(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PutArgs a;
  if (!read_put_args(args, nargs, kwnames, &a)) return nullptr;
  if (is_ref(a.value)) {
    PyErr_SetString(PyExc_TypeError,
                    "Calling 'put' on an ObjectRef is not allowed. Pass the reference itself, or put a list with it.");
    return nullptr;
  }
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  if (a.owner != Py_None) {
    PyObject* put_owned = attribute("narke._private.values", "put_owned");
    return put_owned == nullptr ? nullptr : PyObject_CallFunctionObjArgs(put_owned, a.value, a.owner, nullptr);
  }
  Encoded encoded;
  if (!encode(a.value, &encoded)) return nullptr;
  ObjectPtr object = put_encoded(*session, encoded);
  if (object && records_call_sites()) note_call_site(*session, *object, "(put object)");
  return object ? new_ref(*session, object, true) : nullptr;
}

PyObject* actor_is_gone(const ActorId& id) {
  return raise("ActorDiedError", "the actor " + id.hex() +
                                     ", which was to own the value, is dead; put it without _owner, or for another "
                                     "actor");
}

// put() for an actor that shall own the value.
PyObject* native_put_for(PyObject*, PyObject* args) {
  PyObject* value;
  const char* bytes;
  Py_ssize_t size;
  if (!PyArg_ParseTuple(args, "Oy#", &value, &bytes, &size)) return nullptr;
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  if (size != static_cast<Py_ssize_t>(ActorId::kSize)) return PyErr_Format(PyExc_ValueError, "not an actor's id");
  const ActorId actor = ActorId::from_bytes({bytes, static_cast<size_t>(size)});
  Engine& engine = *session->engine;
  Encoded encoded;
  if (!encode(value, &encoded)) return nullptr;
  Waited waited;
  worker::Address owner;
  {
    GilRelease free;
    owner = engine.actor_address(actor, &waited);
  }
  if (waited != Waited::kReady) return raise_waited(*session, waited, "the actor that is to own the value"), nullptr;
  if (owner.worker.is_nil()) return actor_is_gone(actor);
  const ObjectId id = engine.new_object_id();
  worker::ValuePtr small;
  if (encoded.total_size() <= worker::kInlineLimit) {
    small = worker::ValuePtr(worker::Value::make(encoded.total_size()));
    encoded.write_to(small->data());
  } else {
    bool exists = false;
    if (!write_stored(*session, encoded, id, owner.worker, &exists)) return nullptr;
    engine.seal(id);
  }
  ObjectPtr object;
  {
    std::vector<ObjectPtr> contained = contained_objects(encoded);
    GilRelease free;
    object = engine.hand_over(id, owner, small, encoded.total_size(), std::move(contained), &waited);
  }
  if (waited != Waited::kReady) return raise_waited(*session, waited, "the actor that is to own the value"), nullptr;
  return object ? new_ref(*session, object, true) : actor_is_gone(actor);
}

// ---- get ----

bool are_all_refs(PyObject* list) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i)
    if (!is_ref(PyList_GET_ITEM(list, i))) return false;
  return true;
}

PyObject* get_list(Session& session, PyObject* refs, Deadline deadline) {
  Py_ssize_t count = PyList_GET_SIZE(refs);
  PyRef out = PyRef::steal(PyList_New(count));
  if (!out) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (i >= PyList_GET_SIZE(refs) || !is_ref(PyList_GET_ITEM(refs, i))) {
      PyErr_SetString(PyExc_RuntimeError, "the list given to get() changed while it was read");
      return nullptr;
    }
    PyRef item = PyRef::borrow(PyList_GET_ITEM(refs, i));  // user code may run while it is decoded
    PyObject* value = get_object(session, *as_ref(item.get())->object, deadline);
    if (value == nullptr) return nullptr;
    PyList_SET_ITEM(out.get(), i, value);
  }
  return out.release();
}

PyObject* get_other(PyObject* refs, PyObject* timeout) {
  PyObject* other = attribute("narke._private.values", "get_other");
  return other == nullptr ? nullptr : PyObject_CallFunctionObjArgs(other, refs, timeout, nullptr);
}

struct GetArgs {
  PyObject* refs = nullptr;
  PyObject* timeout = Py_None;
};

// timeout is keyword-only in Ray, and so here.
bool read_get_args(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, GetArgs* out) {
  if (nargs == 1) out->refs = args[0];
  Py_ssize_t count = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, i);
    if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0) {
      out->timeout = args[nargs + i];
    } else if (nargs == 0 && PyUnicode_CompareWithASCIIString(name, "object_refs") == 0) {
      out->refs = args[nargs + i];
    } else if (PyUnicode_CompareWithASCIIString(name, "_use_object_store") != 0) {
      PyErr_Format(PyExc_TypeError, "get() got an unexpected keyword argument %R", name);
      return false;
    }
  }
  if (nargs <= 1 && out->refs != nullptr) return true;
  PyErr_SetString(PyExc_TypeError, "get() takes an ObjectRef or a list of ObjectRefs, and the keyword timeout");
  return false;
}

PyObject* native_get(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  GetArgs a;
  if (!read_get_args(args, nargs, kwnames, &a)) return nullptr;
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  SessionPtr alive(session);
  if (a.timeout == Py_None && is_ref(a.refs)) return get_object(*session, *as_ref(a.refs)->object, worker::kNoDeadline);
  Deadline deadline;
  if (!read_timeout(a.timeout, &deadline)) return nullptr;
  if (is_ref(a.refs)) return get_object(*session, *as_ref(a.refs)->object, deadline);
  if (PyList_CheckExact(a.refs) && are_all_refs(a.refs)) return get_list(*session, a.refs, deadline);
  return get_other(a.refs, a.timeout);
}

// ---- wait ----

struct WaitArgs {
  PyObject* refs = nullptr;
  Py_ssize_t num_returns = 1;
  PyObject* timeout = Py_None;
};

bool read_wait_args(PyObject* args, PyObject* kwargs, WaitArgs* out) {
  static const char* names[] = {"ray_waitables", "num_returns", "timeout", "fetch_local", nullptr};
  int fetch_local = 1;
  return PyArg_ParseTupleAndKeywords(args, kwargs, "O|$nOp:wait", const_cast<char**>(names), &out->refs,
                                     &out->num_returns, &out->timeout, &fetch_local) != 0;
}

bool check_wait_args(const WaitArgs& a) {
  if (is_ref(a.refs)) {
    PyErr_SetString(PyExc_TypeError, "wait() expected a list of ObjectRef, got a single ObjectRef; put it in a list");
    return false;
  }
  if (!PyList_Check(a.refs)) {
    PyErr_Format(PyExc_TypeError, "wait() expected a list of ObjectRef or ObjectRefGenerator, got %R",
                 reinterpret_cast<PyObject*>(Py_TYPE(a.refs)));
    return false;
  }
  Py_ssize_t count = PyList_GET_SIZE(a.refs);
  if (a.num_returns <= 0) {
    PyErr_SetString(PyExc_ValueError, "Invalid number of objects to return: num_returns must be at least 1.");
    return false;
  }
  if (count != 0 && a.num_returns > count) {
    PyErr_SetString(PyExc_ValueError,
                    "num_returns cannot be greater than the number of ray_waitables provided to "
                    "wait().");
    return false;
  }
  return true;
}

enum class Scan { kDone, kNotEnough, kOther, kError };

struct Split {
  std::vector<Py_ssize_t> ready;  // positions of the ready ones to return, ascending
  std::vector<Object*> pending;   // filled only when too few are ready
};

// One pass: checks types and duplicates and finds the first num_returns ready ones.
Scan scan(const WaitArgs& a, Split* out) {
  constexpr Py_ssize_t kAhead = 12;  // references scattered over memory are fetched that far ahead
  static uint32_t mark = 0;
  ++mark;
  out->ready.clear();
  out->pending.clear();
  Py_ssize_t count = PyList_GET_SIZE(a.refs);
  PyObject** items = reinterpret_cast<PyListObject*>(a.refs)->ob_item;
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!is_ref(items[i])) return Scan::kOther;
    if (i + kAhead < count && is_ref(items[i + kAhead])) __builtin_prefetch(as_ref(items[i + kAhead])->object, 1);
    Object* object = as_ref(items[i])->object;
    if (object->wait_mark == mark) {
      PyErr_SetString(PyExc_ValueError, "wait() requires a list of unique ray_waitables; one occurs twice.");
      return Scan::kError;
    }
    object->wait_mark = mark;
    bool is_wanted = static_cast<Py_ssize_t>(out->ready.size()) < a.num_returns;
    if (is_wanted && object->is_ready()) out->ready.push_back(i);
  }
  if (static_cast<Py_ssize_t>(out->ready.size()) >= a.num_returns) return Scan::kDone;
  for (Py_ssize_t i = 0; i < count; ++i)
    if (!as_ref(items[i])->object->is_ready()) out->pending.push_back(as_ref(items[i])->object);
  return Scan::kNotEnough;
}

// (ready, rest) as lists, in the order given: runs between the ready ones are copied whole.
PyObject* split_lists(PyObject* refs, const std::vector<Py_ssize_t>& positions) {
  Py_ssize_t count = PyList_GET_SIZE(refs), ready_count = static_cast<Py_ssize_t>(positions.size());
  PyRef ready = PyRef::steal(PyList_New(ready_count));
  PyRef rest = PyRef::steal(PyList_New(count - ready_count));
  if (!ready || !rest) return nullptr;
  PyObject** items = reinterpret_cast<PyListObject*>(refs)->ob_item;
  PyObject** to = reinterpret_cast<PyListObject*>(rest.get())->ob_item;
  Py_ssize_t from = 0;
  for (Py_ssize_t i = 0; i <= ready_count; ++i) {
    Py_ssize_t until = i < ready_count ? positions[static_cast<size_t>(i)] : count;
    for (; from < until; ++from) *to++ = Py_NewRef(items[from]);
    if (i < ready_count) PyList_SET_ITEM(ready.get(), i, Py_NewRef(items[from++]));
  }
  return PyTuple_Pack(2, ready.get(), rest.get());
}

PyObject* native_wait(PyObject*, PyObject* args, PyObject* kwargs) {
  WaitArgs a;
  if (!read_wait_args(args, kwargs, &a) || !check_wait_args(a)) return nullptr;
  Session* session = require_session();
  if (session == nullptr) return nullptr;
  if (PyList_GET_SIZE(a.refs) == 0) return Py_BuildValue("([][])");
  Deadline deadline;
  if (!read_timeout(a.timeout, &deadline)) return nullptr;
  SessionPtr alive(session);
  Split found;
  Scan first = scan(a, &found);
  if (first == Scan::kNotEnough) {
    // What became ready between the scan's two looks is not among `pending` and counts.
    size_t ready_now = static_cast<size_t>(PyList_GET_SIZE(a.refs)) - found.pending.size();
    auto wanted = static_cast<size_t>(a.num_returns);
    size_t more = wanted > ready_now ? wanted - ready_now : 0;
    Waited waited;
    {
      GilRelease free;
      waited = session->engine->wait_some(found.pending, more, deadline);
    }
    if (waited != Waited::kReady && waited != Waited::kTimeout) {
      raise_waited(*session, waited, "objects");
      return nullptr;
    }
    first = scan(a, &found);
  }
  if (first == Scan::kError) return nullptr;
  if (first == Scan::kOther) {
    PyObject* other = attribute("narke._private.values", "wait_other");
    return other == nullptr ? nullptr : PyObject_Call(other, args, kwargs);
  }
  return split_lists(a.refs, found.ready);
}

PyObject* native_on_ready(PyObject*, PyObject* args) {
  PyObject* ref;
  unsigned long long token;
  if (!PyArg_ParseTuple(args, "O!K:on_ready", &RefType, &ref, &token)) return nullptr;
  as_ref(ref)->session->engine->on_ready_token(*as_ref(ref)->object, token);
  Py_RETURN_NONE;
}

PyObject* native_is_ready(PyObject*, PyObject* ref) {
  if (!is_ref(ref)) return PyErr_Format(PyExc_TypeError, "expected an ObjectRef, got %R", ref);
  return PyBool_FromLong(as_ref(ref)->object->is_ready());
}

PyObject* native_drop_object(PyObject*, PyObject* ref) {
  if (!is_ref(ref)) return PyErr_Format(PyExc_TypeError, "expected an ObjectRef, got %R", ref);
  {
    GilRelease free;
    as_ref(ref)->session->engine->drop_from_store(*as_ref(ref)->object);
  }
  Py_RETURN_NONE;
}

PyObject* native_location(PyObject*, PyObject* ref) {
  if (!is_ref(ref)) return PyErr_Format(PyExc_TypeError, "expected an ObjectRef, got %R", ref);
  static const char* kNames[] = {"pending", "inline", "store", "error"};
  Object* object = as_ref(ref)->object;
  auto state = object->state.load();
  uint64_t size = 0;
  worker::Engine& engine = *as_ref(ref)->session->engine;
  if (state == ObjectState::kValue || state == ObjectState::kError) size = object->value->bytes().size();
  if (state == ObjectState::kStore) {
    worker::Lock held = engine.lock();
    size = engine.store()->size_of(object->id);
  }
  return Py_BuildValue("(sK)", kNames[static_cast<int>(state)], static_cast<unsigned long long>(size));
}

PyMethodDef methods[] = {
    {"put", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(native_put)), METH_FASTCALL | METH_KEYWORDS,
     "put(value, *, _owner=None, _tensor_transport=None)\n--\n\n"
     "Store a value and return an ObjectRef to it.\n\nThe value is copied once; large ones go to shared memory, where "
     "get() reads them in place.\n\nRaises:\n    TypeError: the value is an ObjectRef or cannot be pickled.\n"
     "    ObjectStoreFullError: no space can be made for it."},
    {"put_for", native_put_for, METH_VARARGS,
     "put_for(value, actor_id, /)\n--\n\nStore a value that an actor shall own, and return an ObjectRef to it."},
    {"get", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(native_get)), METH_FASTCALL | METH_KEYWORDS,
     "get(object_refs, *, timeout=None, _use_object_store=False)\n--\n\n"
     "The value of an ObjectRef, or the list of values of a list of them; waits until they exist.\n\n"
     "Arrays are read-only: they lie in shared memory.\n\nArgs:\n    object_refs: an ObjectRef or a list.\n"
     "    timeout: seconds to wait at most; None waits for ever.\n\nRaises:\n"
     "    GetTimeoutError: not ready in time.\n    RayTaskError: the task raised; also an instance of its error's "
     "type."},
    {"wait", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(native_wait)), METH_VARARGS | METH_KEYWORDS,
     "wait(ray_waitables, *, num_returns=1, timeout=None, fetch_local=True)\n--\n\n"
     "Split a list of ObjectRefs into (ready, not ready), in the order given.\n\nReturns when num_returns are ready "
     "or after timeout seconds; ready holds at most num_returns.\n\nRaises:\n    ValueError: duplicates, or a bad "
     "num_returns.\n    TypeError: not a list of ObjectRefs."},
    {"on_ready", native_on_ready, METH_VARARGS,
     "on_ready(ref, token, /)\n--\n\nHands the token to take_ready() once the object is ready."},
    {"is_ready", native_is_ready, METH_O, "is_ready(ref, /)\n--\n\nWhether get() would not wait."},
    {"drop_object", native_drop_object, METH_O, "drop_object(ref, /)\n--\n\nLoses the stored value, for tests."},
    {"location", native_location, METH_O,
     "location(ref, /)\n--\n\n('pending' | 'inline' | 'store' | 'error', size in bytes)."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* get_object(Session& session, Object& object, Deadline deadline) {
  Engine& engine = *session.engine;
  while (true) {
    switch (object.state.load(std::memory_order_acquire)) {
      case ObjectState::kValue: {
        rpc::Bytes bytes = object.value->bytes();
        return decode(bytes.data(), bytes.size(), nullptr);
      }
      case ObjectState::kError: {
        rpc::Bytes bytes = object.value->bytes();
        return raise_error_value(decode(bytes.data(), bytes.size(), nullptr));
      }
      case ObjectState::kPending: {
        Waited waited;
        {
          GilRelease free;
          waited = engine.wait_ready(object, deadline);
        }
        if (waited != Waited::kReady) return stop_waiting(session, waited, object);
        continue;
      }
      case ObjectState::kStore: {
        Engine::Viewed viewed = engine.try_view(object);
        if (viewed.waited != Waited::kReady) {
          GilRelease free;
          viewed = engine.view(object, deadline);
        }
        if (viewed.waited != Waited::kReady) return stop_waiting(session, viewed.waited, object);
        if (!viewed.full.empty()) return raise("ObjectStoreFullError", viewed.full);
        if (viewed.changed) continue;
        return read_stored(viewed);
      }
    }
  }
}

std::vector<ObjectPtr> contained_objects(const Encoded& value) {
  std::vector<ObjectPtr> out;
  for (PyObject* ref : value.contained()) {
    Object* object = is_ref(ref) ? as_ref(ref)->object : is_actor_ref(ref) ? as_actor_ref(ref)->object : nullptr;
    if (object != nullptr) out.emplace_back(object);
  }
  return out;
}

ObjectPtr put_encoded(Session& session, const Encoded& value) {
  std::vector<ObjectPtr> contained = contained_objects(value);
  if (value.total_size() <= worker::kInlineLimit) {
    worker::Value* bytes = worker::Value::make(value.total_size());
    worker::ValuePtr holder(bytes);
    value.write_to(bytes->data());
    return session.engine->put_value(holder, std::move(contained));
  }
  ObjectId id = session.engine->new_object_id();
  bool exists = false;
  if (!write_stored(session, value, id, session.engine->self().worker, &exists)) return {};
  return session.engine->put_stored(id, value.total_size(), std::move(contained));
}

bool encode_outcome(Session& session, PyObject* value, const ObjectId& id, const WorkerId& owner,
                    worker::Outcome* out) {
  Encoded encoded;
  if (!encode(value, &encoded)) return false;
  out->contained = contained_objects(encoded);
  out->size = encoded.total_size();
  if (out->size <= worker::kInlineLimit) {
    std::string_view whole = encoded.contiguous();
    if (!whole.empty())
      out->bytes.assign(whole);
    else
      encoded.append_to(&out->bytes);
    return true;
  }
  bool exists = false;
  if (!write_stored(session, encoded, id, owner, &exists)) return false;
  if (!exists) session.engine->seal(id);
  out->kind = wire::ResultKind::Store;
  return true;
}

int init_get(PyObject* module) {
  PinType.tp_name = "narke._native.Pin";
  PinType.tp_basicsize = sizeof(Pin);
  PinType.tp_flags = Py_TPFLAGS_DEFAULT;
  PinType.tp_dealloc = pin_dealloc;
  PinType.tp_doc = "Keeps a stored object's memory in place.";
  if (PyType_Ready(&PinType) < 0) return -1;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace narke::py
