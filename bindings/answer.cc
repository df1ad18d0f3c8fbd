// From what user code returned or raised to the answer its caller gets.
#include "bindings/execute.h"
#include "bindings/ref.h"

namespace narke::py {
namespace {

using worker::InboundPtr;
using worker::Outcome;

constexpr uint32_t kStreamFirstIndex = 2;
constexpr int kDynamic = -2;

Outcome engine_outcome(const std::string& kind, const std::string& message, const std::string& id) {
  Outcome outcome;
  outcome.kind = wire::ResultKind::Error;
  outcome.bytes = encode_engine_error(kind, message, id);
  return outcome;
}

bool matches(PyObject* exception, const wire::PushTask& push) {
  if (!push.retry_exceptions()) return false;
  if (push.retry_types() == nullptr) return true;
  PyObject* check = attribute("narke._private.execution", "retry_matches");
  if (check == nullptr) return PyErr_Clear(), false;
  PyRef same = PyRef::steal(PyObject_CallFunction(check, "Oy#", exception, push.retry_types()->data(),
                                                  static_cast<Py_ssize_t>(push.retry_types()->size())));
  if (!same) PyErr_Clear();
  return same && PyObject_IsTrue(same.get()) == 1;
}

bool is_a(PyObject* exception, const char* module, const char* name) {
  PyObject* type = attribute(module, name);
  if (type == nullptr) return PyErr_Clear(), false;
  return PyObject_IsInstance(exception, type) == 1;
}

void reply(Session& session, const InboundPtr& call, wire::TaskStatus status, std::vector<Outcome> outcomes,
           bool retriable = false) {
  worker::Lock held = session.engine->lock();
  session.engine->executor().reply(*call, status, std::move(outcomes), retriable);
}

void reply_one(Session& session, const InboundPtr& call, wire::TaskStatus status, Outcome outcome,
               bool retriable = false) {
  std::vector<Outcome> outcomes;
  outcomes.push_back(std::move(outcome));
  reply(session, call, status, std::move(outcomes), retriable);
}

int exit_code(PyObject* exit) {
  PyRef code = PyRef::steal(PyObject_GetAttrString(exit, "code"));
  if (!code || code.get() == Py_None) return PyErr_Clear(), 0;
  long number = PyLong_AsLong(code.get());
  if (number == -1 && PyErr_Occurred()) return PyErr_Clear(), 1;
  return static_cast<int>(number);
}

// exit_actor() and __ray_terminate__: the actor ends on purpose.
void leave_actor(Session& session, const InboundPtr& call) {
  begin_exit(session);
  std::string message = "the actor " + session.actor_class + " left by exit_actor()";
  reply_one(session, call, wire::TaskStatus::ActorExit,
            engine_outcome("ActorDiedError", message, session.actor_id.hex()));
  session.engine->leave();
}

// A plain sys.exit(): the process ends as it asked; the caller sees a worker that died.
[[noreturn]] void leave_process(Session& session, PyObject* exit) {
  int code = exit_code(exit);
  session.engine->flush();  // answers of other calls may lie in buffers
  PyObject* flush = attribute("narke._private.execution", "flush_output");
  if (flush != nullptr) PyRef::steal(PyObject_CallNoArgs(flush));
  _exit(code);
}

}  // namespace

void begin_exit(Session& session) {
  session.actor_exits = true;
  session.engine->actor_exits(session.actor_id);
  session.engine->leave_at_once();
}

std::string name_of(Session& session, const worker::Inbound& call) {
  if (call.start != nullptr) return call.start->spec()->class_name()->str() + ".__init__";
  if (call.push->method() != nullptr) return session.actor_class + "." + call.push->method()->str();
  std::string name;
  worker::Lock held = session.engine->lock();
  session.engine->executor().function(FunctionId::from_wire(call.push->function()), &name);
  return name;
}

// For lists of tasks: the type and the text.
std::string describe_exception(PyObject* exception) {
  std::string text = Py_TYPE(exception)->tp_name;
  PyRef said = PyRef::steal(PyObject_Str(exception));
  Py_ssize_t size = 0;
  const char* words = said ? PyUnicode_AsUTF8AndSize(said.get(), &size) : nullptr;
  if (words == nullptr) return PyErr_Clear(), text;
  return size == 0 ? text : text + ": " + std::string(words, static_cast<size_t>(size));
}

Outcome exception_outcome(Session& session, PyObject* exception, const std::string& name) {
  Outcome outcome;
  outcome.kind = wire::ResultKind::Error;
  PyObject* encode = attribute("narke._private.execution", "encode_exception");
  PyRef actor = session.actor == nullptr ? PyRef::borrow(Py_None) : PyRef::steal(PyObject_Repr(session.actor));
  if (!actor) PyErr_Clear(), actor = PyRef::borrow(Py_None);
  PyRef pickled;
  if (encode != nullptr)
    pickled = PyRef::steal(PyObject_CallFunction(encode, "Os#O", exception, name.data(),
                                                 static_cast<Py_ssize_t>(name.size()), actor.get()));
  if (pickled && PyBytes_Check(pickled.get())) {
    outcome.bytes =
        encode_pickled_error({PyBytes_AS_STRING(pickled.get()), static_cast<size_t>(PyBytes_GET_SIZE(pickled.get()))});
    return outcome;
  }
  PyErr_Print();
  outcome.bytes = encode_engine_error(
      "RaySystemError", name + " raised an exception that could not be sent: " + Py_TYPE(exception)->tp_name, "");
  return outcome;
}

// The values of a generator that has several returns: where it raises, the values before that stand.
bool generator_outcomes(Session& session, PyObject* generator, const worker::Inbound& call, std::vector<Outcome>* out) {
  const auto count = static_cast<size_t>(call.push->num_returns());
  for (size_t i = 0; i < count; ++i) {
    PyRef item = PyRef::steal(PyIter_Next(generator));
    if (item) {
      const ObjectId id = object_of(call.task, static_cast<uint32_t>(i) + 1);
      if (!encode_outcome(session, item.get(), id, call.link->peer(), &out->emplace_back())) return false;
      continue;
    }
    if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "Task yielded %zu objects, but num_returns=%zu.", i, count);
    PyRef exception = take_exception();
    if (i == 0 || matches(exception.get(), *call.push)) {
      set_exception(std::move(exception));
      return false;
    }
    out->resize(count, exception_outcome(session, exception.get(), name_of(session, call)));
    return true;
  }
  PyRef more = PyRef::steal(PyIter_Next(generator));
  if (more) PySys_WriteStderr("A task yielded more than num_returns=%zu objects; the others are dropped.\n", count);
  return more || !PyErr_Occurred();
}

bool return_outcomes(Session& session, PyObject* result, const worker::Inbound& call, std::vector<Outcome>* out) {
  int count = call.push->num_returns();
  const TaskId& task = call.task;
  WorkerId owner = call.link->peer();
  if (count == 0) return true;
  if (count == 1) {
    out->resize(1);
    return encode_outcome(session, result, object_of(task, 1), owner, &out->front());
  }
  if (PyGen_CheckExact(result)) return generator_outcomes(session, result, call, out);
  PyRef items = PyRef::steal(PySequence_Tuple(result));
  if (!items) {
    PyErr_Format(PyExc_ValueError,
                 "Task with num_returns=%d must return %d objects, but returned %R, which is no "
                 "sequence. Return a tuple or list, or set num_returns=1.",
                 count, count, result);
    return false;
  }
  if (PyTuple_GET_SIZE(items.get()) != count) {
    PyErr_Format(PyExc_ValueError, "Task returned %zd objects, but num_returns=%d.", PyTuple_GET_SIZE(items.get()),
                 count);
    return false;
  }
  out->resize(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i)
    if (!encode_outcome(session, PyTuple_GET_ITEM(items.get(), i), object_of(task, static_cast<uint32_t>(i) + 1), owner,
                        &(*out)[static_cast<size_t>(i)]))
      return false;
  return true;
}

void answer_exception(Session& session, InboundPtr call) {
  PyRef exception = take_exception();
  PyObject* raised = exception.get();
  if (is_a(raised, "narke._private.execution", "ActorExit")) return leave_actor(session, call);
  if (PyErr_GivenExceptionMatches(raised, PyExc_SystemExit)) leave_process(session, raised);
  std::string name = name_of(session, *call);
  if (call->cancelled && PyErr_GivenExceptionMatches(raised, PyExc_KeyboardInterrupt))
    return reply_one(session, call, wire::TaskStatus::Cancelled,
                     engine_outcome("TaskCancelledError", name + " was cancelled", call->task.hex()));
  bool retriable = matches(raised, *call->push);
  call->failure = describe_exception(raised);
  reply_one(session, call, wire::TaskStatus::Failed, exception_outcome(session, raised, name), retriable);
}

namespace {

// A reference whose get() raises.
worker::ObjectPtr put_exception(Session& session, PyObject* exception, const worker::Inbound& call) {
  const std::string bytes = exception_outcome(session, exception, name_of(session, call)).bytes;
  worker::ValuePtr value = worker::Value::copy({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  worker::ObjectPtr object = session.engine->put_value(value, {});
  object->state.store(worker::ObjectState::kError, std::memory_order_release);  // nobody else has it yet
  return object;
}

// The next item of a generator as an object; an exception after the first item is the last one. Null at the end.
worker::ObjectPtr put_next(Session& session, PyObject* iterator, bool is_first, const worker::Inbound& call) {
  Encoded encoded;
  PyRef item = PyRef::steal(PyIter_Next(iterator));
  if (item && encode(item.get(), &encoded)) return put_encoded(session, encoded);
  if (is_first || !PyErr_ExceptionMatches(PyExc_Exception)) return {};
  PyRef exception = take_exception();
  if (!matches(exception.get(), *call.push)) return put_exception(session, exception.get(), call);
  set_exception(std::move(exception));
  return {};
}

// num_returns="dynamic": the items become objects, the return a generator over their references.
PyRef collect_items(Session& session, PyObject* result, const worker::Inbound& call) {
  PyRef iterator = PyRef::steal(PyObject_GetIter(result));
  PyRef refs = PyRef::steal(PyList_New(0));
  if (!iterator || !refs) return {};
  while (worker::ObjectPtr object = put_next(session, iterator.get(), PyList_GET_SIZE(refs.get()) == 0, call)) {
    PyRef ref = PyRef::steal(new_ref(session, object, true));
    if (!ref || PyList_Append(refs.get(), ref.get()) < 0) return {};
  }
  if (PyErr_Occurred()) return {};
  PyObject* make = attribute("narke._private.generators", "DynamicObjectRefGenerator");
  return make == nullptr ? PyRef() : PyRef::steal(PyObject_CallOneArg(make, refs.get()));
}

}  // namespace

void answer_value(Session& session, InboundPtr call, PyObject* result) {
  if (session.exit_asked) return leave_actor(session, call);
  int count = call->push->num_returns();
  if (count == worker::kStreaming) return stream_items(session, call, result);
  std::vector<Outcome> outcomes;
  if (count == kDynamic) {
    PyRef generator = collect_items(session, result, *call);
    outcomes.resize(1);
    if (!generator ||
        !encode_outcome(session, generator.get(), object_of(call->task, 1), call->link->peer(), &outcomes[0]))
      return answer_exception(session, call);
  } else if (!return_outcomes(session, result, *call, &outcomes)) {
    return answer_exception(session, call);
  }
  reply(session, call, wire::TaskStatus::Done, std::move(outcomes));
}

bool send_item(Session& session, worker::Inbound& call, PyObject* value) {
  Outcome item;
  uint32_t index = kStreamFirstIndex + static_cast<uint32_t>(call.produced);
  if (!encode_outcome(session, value, object_of(call.task, index), call.link->peer(), &item)) return false;
  worker::Lock held = session.engine->lock();
  session.engine->executor().send_item(call, std::move(item));
  return true;
}

void stream_items(Session& session, InboundPtr call, PyObject* generator) {
  PyRef iterator = PyRef::steal(PyObject_GetIter(generator));
  if (!iterator) return answer_exception(session, call);
  while (!call->stopped) {
    PyRef item = PyRef::steal(PyIter_Next(iterator.get()));
    if (!item) break;
    if (!send_item(session, *call, item.get())) break;
    worker::Waited waited;
    {
      GilRelease free;
      waited = session.engine->wait_stream_room(*call);
    }
    if (waited == worker::Waited::kInterrupted) break;
  }
  if (call->cancelled && !PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);
  if (PyErr_Occurred()) return answer_exception(session, call);
  PyRef none = PyRef::borrow(Py_None);
  Outcome end;
  if (!encode_outcome(session, none.get(), object_of(call->task, 1), call->link->peer(), &end))
    return answer_exception(session, call);
  std::vector<Outcome> outcomes;
  outcomes.push_back(std::move(end));
  reply(session, call, wire::TaskStatus::Done, std::move(outcomes));
}

}  // namespace narke::py
