#include "bindings/spec.h"

#include <algorithm>
#include <cmath>

#include "bindings/flex.h"
#include "bindings/ref.h"

namespace narke::py {

PyObject* field(PyObject* dict, const char* name) {
  PyObject* value = PyDict_GetItemString(dict, name);
  return value == Py_None ? nullptr : value;
}

bool read_int(PyObject* dict, const char* name, int* out) {
  PyObject* value = field(dict, name);
  if (value == nullptr) return true;
  long number = PyLong_AsLong(value);
  if (number == -1 && PyErr_Occurred()) return false;
  *out = static_cast<int>(std::clamp<long>(number, INT32_MIN, INT32_MAX));
  return true;
}

bool read_bool(PyObject* dict, const char* name, bool* out) {
  PyObject* value = field(dict, name);
  if (value == nullptr) return true;
  int truth = PyObject_IsTrue(value);
  *out = truth > 0;
  return truth >= 0;
}

bool read_text(PyObject* dict, const char* name, std::string* out) {
  PyObject* value = field(dict, name);
  if (value == nullptr) return true;
  Py_ssize_t size;
  const char* data = nullptr;
  if (PyBytes_Check(value)) {
    data = PyBytes_AS_STRING(value);
    size = PyBytes_GET_SIZE(value);
  } else {
    data = PyUnicode_AsUTF8AndSize(value, &size);
  }
  if (data == nullptr) return false;
  out->assign(data, static_cast<size_t>(size));
  return true;
}

bool read_resources(PyObject* dict, const char* name, std::vector<std::pair<std::string, int64_t>>* out) {
  constexpr double kUnits = 10'000;
  PyObject* resources = field(dict, name);
  if (resources == nullptr) return true;
  PyObject *key, *value;
  Py_ssize_t at = 0;
  while (PyDict_Next(resources, &at, &key, &value)) {
    const char* text = PyUnicode_AsUTF8(key);
    double amount = PyFloat_AsDouble(value);
    if (text == nullptr || (amount == -1 && PyErr_Occurred())) return false;
    out->emplace_back(text, std::llround(amount * kUnits));
  }
  std::sort(out->begin(), out->end());
  return true;
}

namespace {

template <class T>
bool read_id(PyObject* dict, const char* name, T* out) {
  std::string bytes;
  if (!read_text(dict, name, &bytes)) return false;
  if (bytes.size() == T::kSize) *out = T::from_bytes(bytes);
  return true;
}

bool read_strategy(PyObject* dict, worker::LeaseShape* out) {
  PyObject* strategy = field(dict, "strategy");
  if (strategy == nullptr) return true;
  std::string kind;
  if (!read_text(strategy, "kind", &kind)) return false;
  if (kind == "SPREAD") out->strategy = wire::StrategyKind::Spread;
  if (kind == "NODE_AFFINITY") {
    out->strategy = wire::StrategyKind::NodeAffinity;
    return read_id(strategy, "node", &out->node) && read_bool(strategy, "soft", &out->soft);
  }
  if (kind == "NODE_LABEL") {
    out->strategy = wire::StrategyKind::NodeLabel;
    return to_flex(strategy, &out->labels);
  }
  return true;
}

}  // namespace

bool read_shape(PyObject* dict, worker::LeaseShape* out, bool* follows_group) {
  *follows_group = field(dict, "pg") == nullptr;
  return read_resources(dict, "resources", &out->resources) && read_text(dict, "runtime_env", &out->runtime_env) &&
         read_id(dict, "pg", &out->pg) && read_int(dict, "bundle", &out->bundle) &&
         read_bool(dict, "capture", &out->capture) && read_strategy(dict, out);
}

bool read_call(PyObject* dict, CallInfo* out) {
  worker::CallSpecPtr spec(new worker::CallSpec);
  PyObject* retry = field(dict, "retry_exceptions");
  if (retry != nullptr && PyBytes_Check(retry)) {
    spec->retry_exceptions = true;
    spec->retry_types.assign(PyBytes_AS_STRING(retry), static_cast<size_t>(PyBytes_GET_SIZE(retry)));
  } else if (!read_bool(dict, "retry_exceptions", &spec->retry_exceptions)) {
    return false;
  }
  PyObject* arity = field(dict, "arity");
  int any_keywords = 0;
  if (arity != nullptr && !PyArg_ParseTuple(arity, "iip", &out->min_positional, &out->max_positional, &any_keywords))
    return false;
  out->any_keywords = any_keywords != 0;
  if (PyObject* check = field(dict, "check")) out->check = PyRef::borrow(check);
  bool read = read_text(dict, "name", &spec->name) && read_int(dict, "num_returns", &spec->num_returns) &&
              read_int(dict, "max_retries", &spec->max_retries) &&
              read_int(dict, "max_task_retries", &spec->max_retries) && read_int(dict, "max_calls", &spec->max_calls) &&
              read_int(dict, "backpressure", &spec->backpressure) &&
              read_text(dict, "concurrency_group", &spec->concurrency_group) &&
              read_int(dict, "max_pending_calls", &out->max_pending);
  out->spec = spec;
  return read;
}

bool check_args(const CallInfo& info, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  bool has_keywords = kwnames != nullptr && PyTuple_GET_SIZE(kwnames) != 0;
  bool fits = nargs >= info.min_positional && (info.max_positional < 0 || nargs <= info.max_positional);
  if ((fits && (!has_keywords || info.any_keywords)) || !info.check) return true;
  PyRef positional = PyRef::steal(PyTuple_New(nargs));
  PyRef keywords = PyRef::steal(PyDict_New());
  if (!positional || !keywords) return false;
  for (Py_ssize_t i = 0; i < nargs; ++i) PyTuple_SET_ITEM(positional.get(), i, Py_NewRef(args[i]));
  for (Py_ssize_t i = 0; has_keywords && i < PyTuple_GET_SIZE(kwnames); ++i)
    if (PyDict_SetItem(keywords.get(), PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0) return false;
  PyRef checked =
      PyRef::steal(PyObject_CallFunctionObjArgs(info.check.get(), positional.get(), keywords.get(), nullptr));
  return static_cast<bool>(checked);
}

namespace {

bool pack_one(Session& session, PyObject* value, worker::Arg* arg, PackedCall* out) {
  if (is_ref(value)) {
    arg->ref = worker::ObjectPtr(as_ref(value)->object);
    return true;
  }
  Encoded encoded;
  if (!encode(value, &encoded)) return false;
  if (encoded.total_size() > worker::kInlineLimit) {
    // A large argument is an object like any other, held by the call alone.
    worker::ObjectPtr object = put_encoded(session, encoded);
    if (!object) return false;
    arg->ref = object;
    out->put.push_back(object);
    return true;
  }
  arg->size = static_cast<uint32_t>(encoded.total_size());
  encoded.write_to(out->values.extend(encoded.total_size()));
  for (worker::ObjectPtr& inner : contained_objects(encoded)) out->nested.push_back(std::move(inner));
  return true;
}

}  // namespace

bool pack_args(Session& session, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PackedCall* out) {
  Py_ssize_t named = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  if (nargs + named == 0) return true;
  out->args.resize(static_cast<size_t>(nargs + named));
  for (Py_ssize_t i = 0; i < nargs + named; ++i) {
    worker::Arg& arg = out->args[static_cast<size_t>(i)];
    if (!pack_one(session, args[i], &arg, out)) return false;
    if (i < nargs) continue;
    const char* name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(kwnames, i - nargs));
    if (name == nullptr) return false;
    arg.keyword = name;
  }
  return true;
}

}  // namespace narke::py
