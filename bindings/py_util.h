// Small helpers over the raw CPython API. Everything here needs the GIL unless it says otherwise.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <utility>

namespace narke::py {

// Owns one strong reference (or none). steal() takes over a new reference, borrow() adds one.
class PyRef {
 public:
  PyRef() = default;
  static PyRef steal(PyObject* object) { return PyRef(object); }
  static PyRef borrow(PyObject* object) { return PyRef(Py_XNewRef(object)); }

  PyRef(const PyRef&) = delete;
  PyRef& operator=(const PyRef&) = delete;
  PyRef(PyRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  PyRef& operator=(PyRef&& other) noexcept {
    PyRef old(std::exchange(object_, std::exchange(other.object_, nullptr)));
    return *this;
  }
  ~PyRef() { Py_XDECREF(object_); }

  PyObject* get() const { return object_; }
  // Hands the reference to the caller.
  [[nodiscard]] PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  explicit PyRef(PyObject* object) : object_(object) {}
  PyObject* object_ = nullptr;
};

// Takes the GIL for its scope on a thread that may or may not hold it.
class GilHold {
 public:
  GilHold() : state_(PyGILState_Ensure()) {}
  ~GilHold() { PyGILState_Release(state_); }
  GilHold(const GilHold&) = delete;
  GilHold& operator=(const GilHold&) = delete;

 private:
  PyGILState_STATE state_;
};

// Gives the GIL up for its scope. REQUIRES: this thread holds it.
class GilRelease {
 public:
  GilRelease() : thread_(PyEval_SaveThread()) {}
  ~GilRelease() { PyEval_RestoreThread(thread_); }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* thread_;
};

// Takes the exception that is set, normalised and with its traceback attached, and clears it. Null: none was
// set.
PyRef take_exception();
// Sets `exception` (an instance, reference taken over) as the current exception.
void set_exception(PyRef exception);
// As Python's `raise exception`: what is being handled becomes its context.
void raise_instance(PyObject* exception);

// module.attribute, or null with an exception set.
PyRef import_attribute(const char* module, const char* attribute);
// module.attribute if the module is loaded already and has it; null without an exception otherwise.
PyRef loaded_attribute(const char* module, const char* attribute);

}  // namespace narke::py
