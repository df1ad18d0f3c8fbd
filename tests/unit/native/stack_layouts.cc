// A module with what bindings/frames.cc sees, for interpreters that the engine is not built for here.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "bindings/sampler.h"

using narke::py::sample_stacks;
using narke::py::StackFrame;
using narke::py::ThreadStack;

static PyObject* frames_of(const ThreadStack& thread) {
  PyObject* out = PyList_New(0);
  for (const StackFrame& frame : thread.frames) {
    PyObject* each = Py_BuildValue("(ssi)", frame.function.c_str(), frame.file.c_str(), frame.line);
    PyList_Append(out, each);
    Py_DECREF(each);
  }
  return out;
}

static PyObject* list_of(const narke::Result<std::vector<ThreadStack>>& threads) {
  if (!threads) return PyErr_Format(PyExc_NotImplementedError, "%s", threads.error().message.c_str());
  PyObject* out = PyList_New(0);
  for (const ThreadStack& thread : threads.value()) {
    PyObject* each = Py_BuildValue("(iOOCN)", thread.native_id, thread.is_main ? Py_True : Py_False,
                                   thread.holds_lock ? Py_True : Py_False, thread.state, frames_of(thread));
    PyList_Append(out, each);
    Py_DECREF(each);
  }
  return out;
}

// stacks() -> [(native id, is the main thread, holds the lock, state, [(function, file, line), ...]), ...]
static PyObject* stacks(PyObject*, PyObject*) { return list_of(sample_stacks()); }

// watch(count) -> that many of stacks()'s answers, taken while other threads run.
static PyObject* watch(PyObject*, PyObject* count) {
  std::vector<narke::Result<std::vector<ThreadStack>>> seen;
  const long wanted = PyLong_AsLong(count);
  Py_BEGIN_ALLOW_THREADS;
  for (long i = 0; i < wanted; ++i) seen.push_back(sample_stacks());
  Py_END_ALLOW_THREADS;
  PyObject* out = PyList_New(0);
  for (const auto& each : seen) {
    PyObject* answer = list_of(each);
    if (answer == nullptr) return nullptr;
    PyList_Append(out, answer);
    Py_DECREF(answer);
  }
  return out;
}

static PyMethodDef methods[] = {
    {"stacks", stacks, METH_NOARGS, nullptr}, {"watch", watch, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "stack_layouts", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit_stack_layouts() { return PyModule_Create(&module); }
