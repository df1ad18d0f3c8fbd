#include "bindings/py_util.h"

namespace narke::py {

PyRef take_exception() {
#if PY_VERSION_HEX >= 0x030c0000
  return PyRef::steal(PyErr_GetRaisedException());
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return {};
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_DECREF(type);
  Py_XDECREF(traceback);
  return PyRef::steal(value);
#endif
}

void set_exception(PyRef exception) {
#if PY_VERSION_HEX >= 0x030c0000
  PyErr_SetRaisedException(exception.release());
#else
  PyObject* type = Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())));
  PyObject* traceback = PyException_GetTraceback(exception.get());
  PyErr_Restore(type, exception.release(), traceback);
#endif
}

void raise_instance(PyObject* exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
}

PyRef import_attribute(const char* module, const char* attribute) {
  PyRef imported = PyRef::steal(PyImport_ImportModule(module));
  if (!imported) return {};
  return PyRef::steal(PyObject_GetAttrString(imported.get(), attribute));
}

PyRef loaded_attribute(const char* module, const char* attribute) {
  PyObject* modules = PyImport_GetModuleDict();
  PyObject* loaded = modules ? PyDict_GetItemString(modules, module) : nullptr;
  if (loaded == nullptr) return {};
  PyRef found = PyRef::steal(PyObject_GetAttrString(loaded, attribute));
  // A module that another thread is still importing lacks names: not loaded yet.
  if (!found) PyErr_Clear();
  return found;
}

}  // namespace narke::py
