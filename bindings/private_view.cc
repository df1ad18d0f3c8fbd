// Writable memory over a stored object's bytes, for values that know no read-only form: pages are copied when written.
#include "bindings/session.h"

namespace narke::py {
namespace {

struct Private {
  PyObject_HEAD
  Py_buffer source;  // keeps the object pinned
  store::PrivateView* view;
};

void private_dealloc(PyObject* self) {
  auto* own = reinterpret_cast<Private*>(self);
  delete own->view;
  PyBuffer_Release(&own->source);
  PyObject_Free(self);
}

int private_get(PyObject* self, Py_buffer* view, int flags) {
  auto* own = reinterpret_cast<Private*>(self);
  return PyBuffer_FillInfo(view, self, own->view->data(), own->source.len, /*readonly=*/0, flags);
}

PyBufferProcs private_buffer = {private_get, nullptr};
PyTypeObject PrivateType = blank_type();

std::shared_ptr<store::Mapping> arena_of_this_program() {
  Session* session = current_session();
  if (session == nullptr) return nullptr;
  worker::Lock held = session->engine->lock();
  store::Client* client = session->engine->store();
  return client == nullptr ? nullptr : client->mapping();
}

PyObject* native_private_view(PyObject*, PyObject* exporter) {
  Py_buffer source;
  if (PyObject_GetBuffer(exporter, &source, PyBUF_SIMPLE) != 0) return nullptr;
  std::shared_ptr<store::Mapping> mapping = arena_of_this_program();
  std::unique_ptr<store::PrivateView> view;
  if (mapping)
    view = mapping->view_privately(static_cast<const uint8_t*>(source.buf), static_cast<uint64_t>(source.len));
  Private* own = view ? PyObject_New(Private, &PrivateType) : nullptr;
  if (own == nullptr) {
    PyBuffer_Release(&source);
    if (view) return nullptr;
    Py_RETURN_NONE;
  }
  own->source = source;
  own->view = view.release();
  return reinterpret_cast<PyObject*>(own);
}

PyMethodDef methods[] = {
    {"private_view", native_private_view, METH_O,
     "private_view(buffer, /)\n--\n\nWritable memory with the buffer's bytes, copied page by page when written to; "
     "None when the buffer is no part of the object store."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_private_view(PyObject* module) {
  PrivateType.tp_name = "narke._native.PrivateView";
  PrivateType.tp_doc = "A program's own pages over a stored object, which stays as it is.";
  PrivateType.tp_basicsize = sizeof(Private);
  PrivateType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  PrivateType.tp_dealloc = private_dealloc;
  PrivateType.tp_as_buffer = &private_buffer;
  if (PyType_Ready(&PrivateType) < 0) return -1;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace narke::py
