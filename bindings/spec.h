// From the dicts that Python describes calls with to the engine's terms.
#pragma once

#include "bindings/session.h"

namespace narke::py {

// A field of a dict, borrowed; null when absent or None.
PyObject* field(PyObject* dict, const char* name);
// These return false (or the default where the field is absent) with an exception set on a wrong type.
bool read_int(PyObject* dict, const char* name, int* out);
bool read_bool(PyObject* dict, const char* name, bool* out);
bool read_text(PyObject* dict, const char* name, std::string* out);  // str or bytes
bool read_resources(PyObject* dict, const char* name, std::vector<std::pair<std::string, int64_t>>* out);
bool read_shape(PyObject* dict, worker::LeaseShape* out, bool* follows_group);

// What calls of one function or method have in common, and how its arguments are checked.
struct CallInfo {
  worker::CallSpecPtr spec;
  worker::LeaseShape shape;       // tasks
  bool follows_group = false;     // joins the placement group of the task that calls
  int min_positional = 0, max_positional = -1;
  bool any_keywords = false;
  PyRef check;
  int max_pending = -1;
};
bool read_call(PyObject* dict, CallInfo* out);

// Arguments of a call into a task or an actor's constructor: values one after another, references by themselves.
struct PackedCall {
  std::vector<worker::Arg> args;
  ByteBuffer values;
  std::vector<worker::ObjectPtr> nested;
  std::vector<worker::ObjectPtr> put;  // large arguments: objects held by this until the call holds them
};
bool pack_args(Session& session, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PackedCall* out);
// Raises TypeError unless the arguments fit.
bool check_args(const CallInfo& info, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

}  // namespace narke::py
