#include "bindings/flex.h"

#include <flatbuffers/flexbuffers.h>

namespace narke::py {
namespace {

constexpr int kMaxDepth = 64;

bool add(flexbuffers::Builder& b, PyObject* value, int depth);

bool add_dict(flexbuffers::Builder& b, PyObject* dict, int depth) {
  size_t start = b.StartMap();
  PyObject *key, *item;
  Py_ssize_t at = 0;
  bool good = true;
  while (good && PyDict_Next(dict, &at, &key, &item)) {
    const char* name = PyUnicode_Check(key) ? PyUnicode_AsUTF8(key) : nullptr;
    if (name == nullptr) {
      if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "keys of a control message must be str");
      good = false;
      break;
    }
    b.Key(name);
    good = add(b, item, depth + 1);
  }
  if (good) b.EndMap(start);
  return good;
}

bool add_sequence(flexbuffers::Builder& b, PyObject* sequence, int depth) {
  PyRef items = PyRef::steal(PySequence_Fast(sequence, "a list"));
  if (!items) return false;
  size_t start = b.StartVector();
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
    if (!add(b, PySequence_Fast_GET_ITEM(items.get(), i), depth + 1)) return false;
  b.EndVector(start, false, false);
  return true;
}

bool add(flexbuffers::Builder& b, PyObject* value, int depth) {
  if (depth > kMaxDepth) {
    PyErr_SetString(PyExc_ValueError, "a control message is nested too deeply");
    return false;
  }
  if (value == Py_None) return b.Null(), true;
  if (PyBool_Check(value)) return b.Bool(value == Py_True), true;
  if (PyLong_Check(value)) {
    long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred()) return false;
    return b.Int(number), true;
  }
  if (PyFloat_Check(value)) return b.Double(PyFloat_AS_DOUBLE(value)), true;
  if (PyUnicode_Check(value)) {
    Py_ssize_t size;
    const char* text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text == nullptr) return false;
    return b.String(text, static_cast<size_t>(size)), true;
  }
  if (PyBytes_Check(value)) return b.Blob(PyBytes_AS_STRING(value), static_cast<size_t>(PyBytes_GET_SIZE(value))), true;
  if (PyDict_Check(value)) return add_dict(b, value, depth);
  if (PyList_Check(value) || PyTuple_Check(value)) return add_sequence(b, value, depth);
  PyErr_Format(PyExc_TypeError, "a control message can't hold %R", reinterpret_cast<PyObject*>(Py_TYPE(value)));
  return false;
}

PyObject* read(flexbuffers::Reference value, int depth);

PyObject* read_map(flexbuffers::Map map, int depth) {
  PyRef dict = PyRef::steal(PyDict_New());
  auto keys = map.Keys();
  auto values = map.Values();
  for (size_t i = 0; dict && i < map.size(); ++i) {
    PyRef item = PyRef::steal(read(values[i], depth + 1));
    if (!item || PyDict_SetItemString(dict.get(), keys[i].AsKey(), item.get()) < 0) return nullptr;
  }
  return dict.release();
}

template <class Vector>
PyObject* read_vector(Vector vector, int depth) {
  PyRef list = PyRef::steal(PyList_New(static_cast<Py_ssize_t>(vector.size())));
  for (size_t i = 0; list && i < vector.size(); ++i) {
    PyObject* item = read(vector[i], depth + 1);
    if (item == nullptr) return nullptr;
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), item);
  }
  return list.release();
}

PyObject* read(flexbuffers::Reference value, int depth) {
  if (depth > kMaxDepth) return PyErr_Format(PyExc_ValueError, "a control message is nested too deeply");
  if (value.IsNull()) Py_RETURN_NONE;
  if (value.IsBool()) return PyBool_FromLong(value.AsBool());
  if (value.IsUInt()) return PyLong_FromUnsignedLongLong(value.AsUInt64());
  if (value.IsInt()) return PyLong_FromLongLong(value.AsInt64());
  if (value.IsFloat()) return PyFloat_FromDouble(value.AsDouble());
  if (value.IsString() || value.IsKey()) {
    std::string text = value.AsString().str();
    return PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  }
  if (value.IsBlob()) {
    auto blob = value.AsBlob();
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(blob.data()), static_cast<Py_ssize_t>(blob.size()));
  }
  if (value.IsMap()) return read_map(value.AsMap(), depth);
  if (value.IsTypedVector()) return read_vector(value.AsTypedVector(), depth);
  if (value.IsVector()) return read_vector(value.AsVector(), depth);
  return PyErr_Format(PyExc_ValueError, "a control message holds a value of an unknown type");
}

}  // namespace

bool to_flex(PyObject* value, std::string* out) {
  flexbuffers::Builder b(512);
  if (!add(b, value, 0)) return false;
  b.Finish();
  out->assign(reinterpret_cast<const char*>(b.GetBuffer().data()), b.GetSize());
  return true;
}

PyObject* from_flex(std::string_view bytes) {
  if (bytes.empty()) return PyDict_New();
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  if (bytes.size() < 3) return PyErr_Format(PyExc_ValueError, "damaged bytes of a control message");
  return read(flexbuffers::GetRoot(data, bytes.size()), 0);
}

}  // namespace narke::py
