// The type narke._native.Buffer: memory of the engine, as Python sees it.
#include "bindings/value_internal.h"

namespace narke::py {
namespace {

struct Buffer {
  PyObject_HEAD;
  const uint8_t* data;
  Py_ssize_t size;
  PyObject* keeper;
};

PyTypeObject* buffer_type = nullptr;

void buffer_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(reinterpret_cast<Buffer*>(self)->keeper);
  type->tp_free(self);
  Py_DECREF(type);
}

int buffer_get(PyObject* self, Py_buffer* view, int flags) {
  const auto* buffer = reinterpret_cast<Buffer*>(self);
  return PyBuffer_FillInfo(view, self, const_cast<uint8_t*>(buffer->data), buffer->size, /*readonly=*/1, flags);
}

Py_ssize_t buffer_length(PyObject* self) { return reinterpret_cast<Buffer*>(self)->size; }

PyType_Slot buffer_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(buffer_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(buffer_get)},
    {Py_sq_length, reinterpret_cast<void*>(buffer_length)},
    {Py_tp_doc, const_cast<char*>("Read-only memory of a stored object, which lives as long as this does.")},
    {0, nullptr},
};

PyType_Spec buffer_spec = {
    .name = "narke._native.Buffer",
    .basicsize = sizeof(Buffer),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = buffer_slots,
};

}  // namespace

PyObject* new_buffer(const uint8_t* data, size_t size, PyObject* keeper) {
  auto* buffer = PyObject_New(Buffer, buffer_type);
  if (buffer == nullptr) return nullptr;
  buffer->data = data;
  buffer->size = Py_ssize_t(size);
  buffer->keeper = Py_XNewRef(keeper);
  return reinterpret_cast<PyObject*>(buffer);
}

int init_buffer(PyObject* module) {
  buffer_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&buffer_spec));
  if (buffer_type == nullptr) return -1;
  return PyModule_AddObjectRef(module, "Buffer", reinterpret_cast<PyObject*>(buffer_type));
}

}  // namespace narke::py
