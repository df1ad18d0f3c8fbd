// Which pickler may take a value: a bounded look at exact types.
#include <cstring>
#include <unordered_map>

// datetime.h needs Python.h before it.
#include <Python.h>

#include <datetime.h>

#include "bindings/value_internal.h"

namespace narke::py {
namespace {

// Beyond these cloudpickle takes over; its fixed cost is nothing beside a value of that size. The bounds also
// end the walk over values that contain themselves or share their parts many times over.
constexpr uint64_t kMaxVisits = 100'000;
constexpr int kMaxDepth = 64;

// Types other than the built-in containers and atoms. Never shrinks; holds a reference to each type.
std::unordered_map<PyTypeObject*, TypeKind>& kinds() {
  static auto* table = new std::unordered_map<PyTypeObject*, TypeKind>;
  return *table;
}

bool load_datetime_types() {
  if (PyDateTimeAPI != nullptr) return true;
  PyRef timezone = loaded_attribute("datetime", "timezone");
  if (!timezone) return false;
  PyDateTime_IMPORT;
  if (PyDateTimeAPI == nullptr) {
    PyErr_Clear();
    return false;
  }
  set_type_kind(PyDateTimeAPI->DateType, TypeKind::kPlain);
  set_type_kind(PyDateTimeAPI->DeltaType, TypeKind::kPlain);
  set_type_kind(PyDateTimeAPI->DateTimeType, TypeKind::kZoned);
  set_type_kind(PyDateTimeAPI->TimeType, TypeKind::kZoned);
  set_type_kind(reinterpret_cast<PyTypeObject*>(timezone.get()), TypeKind::kPlain);
  return true;
}

bool starts_with(const char* name, const char* prefix) { return std::strncmp(name, prefix, std::strlen(prefix)) == 0; }

TypeKind other_type_kind(PyTypeObject* type) {
  const auto known = kinds().find(type);
  if (known != kinds().end()) return known->second;
  const bool loaded = (starts_with(type->tp_name, "numpy.") && numpy_is_loaded()) ||
                      (starts_with(type->tp_name, "datetime.") && load_datetime_types());
  if (!loaded) return TypeKind::kOther;
  const auto found = kinds().find(type);
  return found == kinds().end() ? TypeKind::kOther : found->second;
}

PyObject* zone_of(PyObject* value) {
  return PyDateTime_Check(value) ? PyDateTime_DATE_GET_TZINFO(value) : PyDateTime_TIME_GET_TZINFO(value);
}

bool is_atom(PyTypeObject* type) { return type == &PyUnicode_Type || type == &PyLong_Type || type == &PyFloat_Type; }

class Scanner {
 public:
  bool plain(PyObject* value, int depth) {
    PyTypeObject* type = Py_TYPE(value);
    if (is_atom(type)) return true;
    switch (type_kind(type)) {
      case TypeKind::kPlain: return true;
      case TypeKind::kRef: return true;
      case TypeKind::kOther: return false;
      case TypeKind::kTuple: return enter(PyTuple_GET_SIZE(value), depth) && tuple_plain(value, depth + 1);
      case TypeKind::kList: return enter(PyList_GET_SIZE(value), depth) && list_plain(value, depth + 1);
      case TypeKind::kDict: return enter(PyDict_GET_SIZE(value), depth) && dict_plain(value, depth + 1);
      case TypeKind::kSet: return enter(PySet_GET_SIZE(value), depth) && set_plain(value, depth + 1);
      case TypeKind::kArray: arrays_ = true; return is_plain_array(value);
      case TypeKind::kZoned: return plain(zone_of(value), depth);
    }
    return false;
  }
  bool arrays() const { return arrays_; }

 private:
  // May the walk go into a container of that size?
  bool enter(Py_ssize_t size, int depth) {
    visits_ += uint64_t(size) + 1;
    return visits_ <= kMaxVisits && depth < kMaxDepth;
  }

  bool tuple_plain(PyObject* value, int depth) {
    const Py_ssize_t size = PyTuple_GET_SIZE(value);
    for (Py_ssize_t i = 0; i < size; ++i) {
      PyObject* item = PyTuple_GET_ITEM(value, i);
      if (!is_atom(Py_TYPE(item)) && !plain(item, depth)) return false;
    }
    return true;
  }

  bool list_plain(PyObject* value, int depth) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); ++i) {
      PyObject* item = PyList_GET_ITEM(value, i);
      if (!is_atom(Py_TYPE(item)) && !plain(item, depth)) return false;
    }
    return true;
  }

  bool dict_plain(PyObject* value, int depth) {
    PyObject *key, *item;
    for (Py_ssize_t position = 0; PyDict_Next(value, &position, &key, &item);) {
      if (!is_atom(Py_TYPE(key)) && !plain(key, depth)) return false;
      if (!is_atom(Py_TYPE(item)) && !plain(item, depth)) return false;
    }
    return true;
  }

  bool set_plain(PyObject* value, int depth) {
    PyRef items = PyRef::steal(PyObject_GetIter(value));
    while (items) {
      PyRef item = PyRef::steal(PyIter_Next(items.get()));
      if (!item) break;
      if (!plain(item.get(), depth)) return false;
    }
    // Out of memory is met again, and reported, by the pickler.
    if (!PyErr_Occurred()) return true;
    PyErr_Clear();
    return false;
  }

  uint64_t visits_ = 0;
  bool arrays_ = false;
};

}  // namespace

TypeKind type_kind(PyTypeObject* type) {
  if (is_atom(type)) return TypeKind::kPlain;
  if (type == &PyTuple_Type) return TypeKind::kTuple;
  if (type == &PyList_Type) return TypeKind::kList;
  if (type == &PyDict_Type) return TypeKind::kDict;
  if (type == Py_TYPE(Py_None) || type == &PyBool_Type || type == &PyBytes_Type) return TypeKind::kPlain;
  if (type == &PySet_Type || type == &PyFrozenSet_Type) return TypeKind::kSet;
  if (type == &PyByteArray_Type || type == &PyComplex_Type) return TypeKind::kPlain;
  return other_type_kind(type);
}

void set_type_kind(PyTypeObject* type, TypeKind kind) {
  const auto [entry, added] = kinds().try_emplace(type, kind);
  if (added) {
    Py_INCREF(type);
  } else if (entry->second != TypeKind::kOther) {
    entry->second = kind;
  }
}

Scan scan_value(PyObject* value) {
  Scanner scanner;
  Scan scan;
  scan.plain = scanner.plain(value, 0);
  scan.arrays = scanner.arrays();
  return scan;
}

}  // namespace narke::py
