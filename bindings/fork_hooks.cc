#include "bindings/fork_hooks.h"

#include <cerrno>

#include <unistd.h>

namespace narke::py {
namespace {

bool is_quiet = false;

// Calls each of a list's items, unless the zygote forks.
PyObject* run_hooks(PyObject* hooks, PyObject*) {
  if (is_quiet) Py_RETURN_NONE;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(hooks); ++i)
    if (!PyRef::steal(PyObject_CallNoArgs(PyList_GET_ITEM(hooks, i)))) PyErr_WriteUnraisable(hooks);
  Py_RETURN_NONE;
}

PyMethodDef runner = {"run_hooks", run_hooks, METH_NOARGS, "run_hooks()\n--\n\nWhat libraries do around a fork."};

PyObject* native_fork_hooks(PyObject*, PyObject* hooks) {
  if (!PyList_Check(hooks)) return PyErr_Format(PyExc_TypeError, "fork_hooks() takes a list of callables");
  return PyCFunction_New(&runner, hooks);
}

PyMethodDef methods[] = {
    {"fork_hooks", native_fork_hooks, METH_O,
     "fork_hooks(hooks, /)\n--\n\nOne hook for os.register_at_fork that runs several, not in forks of the zygote."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int fork_quietly() {
  is_quiet = true;
  PyOS_BeforeFork();
  const int pid = fork();
  const int error = errno;
  if (pid == 0)
    PyOS_AfterFork_Child();
  else
    PyOS_AfterFork_Parent();
  is_quiet = false;
  errno = error;
  return pid;
}

int init_fork_hooks(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
