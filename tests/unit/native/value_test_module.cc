// narke_value_test: the value codec as a Python module of its own, with a stand-in for ObjectRef.
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "bindings/value.h"

namespace narke::py {
namespace {

// ---- Ref: an ObjectRef that holds an id and an owner, no more.

struct Ref {
  PyObject_HEAD;
  PyObject* id;     // bytes
  PyObject* owner;  // bytes
};

PyTypeObject* ref_type;
PyObject* ref_function;  // module.rebuild_ref

PyObject* make_ref(PyObject* id, PyObject* owner) {
  auto* ref = PyObject_New(Ref, ref_type);
  if (ref == nullptr) return nullptr;
  ref->id = Py_NewRef(id);
  ref->owner = Py_NewRef(owner);
  return reinterpret_cast<PyObject*>(ref);
}

void ref_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_DECREF(reinterpret_cast<Ref*>(self)->id);
  Py_DECREF(reinterpret_cast<Ref*>(self)->owner);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* ref_parts(PyObject* self, void*) {
  auto* ref = reinterpret_cast<Ref*>(self);
  return PyTuple_Pack(2, ref->id, ref->owner);
}

PyObject* ref_reduce(PyObject* self, PyObject*) {
  if (!note_contained(self)) {
    PyErr_SetString(PyExc_TypeError, "Refs can't be pickled outside of a value");
    return nullptr;
  }
  return Py_BuildValue("(ON)", ref_function, ref_parts(self, nullptr));
}

PyObject* ref_compare(PyObject* left, PyObject* right, int operation) {
  if (Py_TYPE(right) != ref_type) Py_RETURN_NOTIMPLEMENTED;
  PyRef one = PyRef::steal(ref_parts(left, nullptr)), other = PyRef::steal(ref_parts(right, nullptr));
  return one && other ? PyObject_RichCompare(one.get(), other.get(), operation) : nullptr;
}

Py_hash_t ref_hash(PyObject* self) { return PyObject_Hash(reinterpret_cast<Ref*>(self)->id); }

PyMethodDef ref_methods[] = {{"__reduce__", ref_reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyGetSetDef ref_getset[] = {{"parts", ref_parts, nullptr, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyType_Slot ref_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(ref_dealloc)},
                           {Py_tp_methods, ref_methods},
                           {Py_tp_getset, ref_getset},
                           {Py_tp_richcompare, reinterpret_cast<void*>(ref_compare)},
                           {Py_tp_hash, reinterpret_cast<void*>(ref_hash)},
                           {0, nullptr}};
PyType_Spec ref_spec = {"narke_value_test.Ref", sizeof(Ref), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        ref_slots};

bool hook_parts(PyObject* self, std::string_view* id, std::string_view* owner) {
  auto* ref = reinterpret_cast<Ref*>(self);
  *id = std::string_view(PyBytes_AS_STRING(ref->id), size_t(PyBytes_GET_SIZE(ref->id)));
  *owner = std::string_view(PyBytes_AS_STRING(ref->owner), size_t(PyBytes_GET_SIZE(ref->owner)));
  return true;
}

PyObject* hook_rebuild(std::string_view id, std::string_view owner) {
  PyRef id_bytes = PyRef::steal(PyBytes_FromStringAndSize(id.data(), Py_ssize_t(id.size())));
  PyRef owner_bytes = PyRef::steal(PyBytes_FromStringAndSize(owner.data(), Py_ssize_t(owner.size())));
  return id_bytes && owner_bytes ? make_ref(id_bytes.get(), owner_bytes.get()) : nullptr;
}

PyObject* rebuild_ref(PyObject*, PyObject* args) {
  PyObject *id, *owner;
  return PyArg_ParseTuple(args, "SS", &id, &owner) ? make_ref(id, owner) : nullptr;
}

// ---- The codec.

PyObject* written(const Encoded& encoded) {
  PyObject* bytes = PyBytes_FromStringAndSize(nullptr, Py_ssize_t(encoded.total_size()));
  if (bytes != nullptr) encoded.write_to(reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(bytes)));
  return bytes;
}

PyObject* encode_value(PyObject*, PyObject* value) {
  Encoded encoded;
  return encode(value, &encoded) ? written(encoded) : nullptr;
}

PyObject* encode_exception(PyObject*, PyObject* value) {
  Encoded encoded;
  return encode_error(value, &encoded) ? written(encoded) : nullptr;
}

// (total size, is it in one piece, contained refs); the value is not written.
PyObject* measure(PyObject*, PyObject* value) {
  Encoded encoded;
  if (!encode(value, &encoded)) return nullptr;
  PyRef contained = PyRef::steal(PyList_New(0));
  for (PyObject* ref : encoded.contained()) {
    if (!contained || PyList_Append(contained.get(), ref) < 0) return nullptr;
  }
  PyObject* whole = encoded.contiguous().empty() ? Py_False : Py_True;
  return Py_BuildValue("nOO", Py_ssize_t(encoded.total_size()), whole, contained.get());
}

// Encodes, then drops the result on a thread that does not hold the GIL.
PyObject* drop_without_gil(PyObject*, PyObject* value) {
  auto encoded = std::make_unique<Encoded>();
  if (!encode(value, encoded.get())) return nullptr;
  {
    GilRelease unlocked;
    encoded.reset();
  }
  Py_RETURN_NONE;
}

PyObject* decode_with(PyObject* data, bool keep) {
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return nullptr;
  PyObject* value = decode(static_cast<const uint8_t*>(view.buf), size_t(view.len), keep ? data : nullptr);
  PyBuffer_Release(&view);
  return value;
}

PyObject* decode_copy(PyObject*, PyObject* data) { return decode_with(data, false); }
PyObject* decode_in_place(PyObject*, PyObject* data) { return decode_with(data, true); }

PyObject* is_error_value(PyObject*, PyObject* data) {
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return nullptr;
  const bool error = is_error(static_cast<const uint8_t*>(view.buf), size_t(view.len));
  PyBuffer_Release(&view);
  return PyBool_FromLong(error);
}

PyObject* engine_error(PyObject*, PyObject* args) {
  const char *kind, *message, *id;
  if (!PyArg_ParseTuple(args, "sss", &kind, &message, &id)) return nullptr;
  const std::string bytes = encode_engine_error(kind, message, id);
  return PyBytes_FromStringAndSize(bytes.data(), Py_ssize_t(bytes.size()));
}

PyObject* pickled_error(PyObject*, PyObject* pickled) {
  char* data;
  Py_ssize_t size;
  if (PyBytes_AsStringAndSize(pickled, &data, &size) < 0) return nullptr;
  const std::string bytes = encode_pickled_error(std::string_view(data, size_t(size)));
  return PyBytes_FromStringAndSize(bytes.data(), Py_ssize_t(bytes.size()));
}

PyObject* make_ref_value(PyObject*, PyObject* args) { return rebuild_ref(nullptr, args); }

// ---- Timing without the cost of calls from Python.

template <class Body>
PyObject* nanoseconds(Py_ssize_t rounds, Body body) {
  const auto start = std::chrono::steady_clock::now();
  for (Py_ssize_t i = 0; i < rounds; ++i) {
    if (!body()) return nullptr;
  }
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  return PyFloat_FromDouble(spent.count() / double(rounds));
}

PyObject* time_encode(PyObject*, PyObject* args) {
  PyObject* value;
  Py_ssize_t rounds;
  if (!PyArg_ParseTuple(args, "On", &value, &rounds)) return nullptr;
  return nanoseconds(rounds, [&] {
    Encoded encoded;
    return encode(value, &encoded);
  });
}

PyObject* time_write(PyObject*, PyObject* args) {
  PyObject* value;
  Py_ssize_t rounds;
  Encoded encoded;
  if (!PyArg_ParseTuple(args, "On", &value, &rounds) || !encode(value, &encoded)) return nullptr;
  const size_t room = (encoded.total_size() + 63) / 64 * 64;
  auto* to = static_cast<uint8_t*>(std::aligned_alloc(64, room));
  encoded.write_to(to);
  PyObject* spent = nanoseconds(rounds, [&] {
    encoded.write_to(to);
    return true;
  });
  std::free(to);
  return spent;
}

PyObject* time_decode(PyObject*, PyObject* args) {
  PyObject* data;
  Py_ssize_t rounds;
  int keep;
  Py_buffer view;
  if (!PyArg_ParseTuple(args, "Opn", &data, &keep, &rounds)) return nullptr;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return nullptr;
  PyObject* spent = nanoseconds(rounds, [&] {
    PyRef value = PyRef::steal(decode(static_cast<const uint8_t*>(view.buf), size_t(view.len), keep ? data : nullptr));
    return bool(value);
  });
  PyBuffer_Release(&view);
  return spent;
}

PyMethodDef methods[] = {
    {"encode", encode_value, METH_O, nullptr},
    {"encode_error", encode_exception, METH_O, nullptr},
    {"measure", measure, METH_O, nullptr},
    {"drop_without_gil", drop_without_gil, METH_O, nullptr},
    {"decode", decode_copy, METH_O, nullptr},
    {"decode_in_place", decode_in_place, METH_O, nullptr},
    {"is_error", is_error_value, METH_O, nullptr},
    {"engine_error", engine_error, METH_VARARGS, nullptr},
    {"pickled_error", pickled_error, METH_O, nullptr},
    {"make_ref", make_ref_value, METH_VARARGS, nullptr},
    {"rebuild_ref", rebuild_ref, METH_VARARGS, nullptr},
    {"time_encode", time_encode, METH_VARARGS, nullptr},
    {"time_write", time_write, METH_VARARGS, nullptr},
    {"time_decode", time_decode, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "narke_value_test", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace
}  // namespace narke::py

PyMODINIT_FUNC PyInit_narke_value_test() {
  using namespace narke::py;
  PyRef module = PyRef::steal(PyModule_Create(&definition));
  if (!module || init_value(module.get()) < 0) return nullptr;
  ref_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&ref_spec));
  ref_function = PyObject_GetAttrString(module.get(), "rebuild_ref");
  if (ref_type == nullptr || ref_function == nullptr) return nullptr;
  if (PyModule_AddObjectRef(module.get(), "Ref", reinterpret_cast<PyObject*>(ref_type)) < 0) return nullptr;
  set_ref_hooks({ref_type, hook_parts, hook_rebuild});
  return module.release();
}
