// Running one call that arrived: its arguments, its code, its answer.
#pragma once

#include "bindings/session.h"

namespace narke::py {

// Arguments as a vector call takes them; holds the values.
struct Arguments {
  std::vector<PyRef> values;
  PyRef names;  // tuple of keywords, or null
  std::vector<PyObject*> raw() const {
    std::vector<PyObject*> out;
    out.reserve(values.size());
    for (const PyRef& value : values) out.push_back(value.get());
    return out;
  }
};

// Where a call's pieces lie: the same for tasks and constructors.
struct CallParts {
  const flatbuffers::Vector<flatbuffers::Offset<wire::Arg>>* args = nullptr;
  const flatbuffers::Vector<flatbuffers::Offset<wire::Ref>>* nested = nullptr;
  rpc::Bytes raw;
};
bool unpack_args(Session& session, const CallParts& parts, Arguments* out);

// Takes the raised exception and makes the outcome that get() raises. `name`: what ran.
worker::Outcome exception_outcome(Session& session, PyObject* exception, const std::string& name);
// Encodes what a call returned as the call's num_returns outcomes; false with an exception set.
bool return_outcomes(Session& session, PyObject* result, const worker::Inbound& call,
                     std::vector<worker::Outcome>* out);
// Answers a call with a value or with the exception that is set. Handles SystemExit, cancelling and retries.
void answer_value(Session& session, worker::InboundPtr call, PyObject* result);
void answer_exception(Session& session, worker::InboundPtr call);
std::string describe_exception(PyObject* exception);
// The actor ends on purpose: the node is told, and nothing more is begun.
void begin_exit(Session& session);
std::string name_of(Session& session, const worker::Inbound& call);
// Iterates a generator, sending each item; then answers.
void stream_items(Session& session, worker::InboundPtr call, PyObject* generator);
// Encodes and sends one item of a stream. False with an exception set.
bool send_item(Session& session, worker::Inbound& call, PyObject* value);

// The bound method of the actor, or null with AttributeError; *special: a method every actor has.
PyRef find_method(Session& session, const std::string& name, bool* special);

int init_exec_task(PyObject* module);
// A call of an async actor, for Python to run. New reference.
PyObject* new_exec_task(Session& session, worker::InboundPtr call);

}  // namespace narke::py
