// Formulas over columns of numbers (src/data/formula.h) on Python's buffers.
#include "data/formula.h"

#include <type_traits>
#include <vector>

#include "bindings/session.h"
#include "bindings/views.h"

namespace narke::py {
namespace {

using data::Action;

bool action_of(const char* name, Action* out) {
  constexpr const char* kNames = "cnk+-*/";  // in the order of Action
  for (int i = 0; kNames[i] != '\0'; ++i)
    if (name[0] == kNames[i] && name[1] == '\0') return *out = static_cast<Action>(i), true;
  return refuse("there is no such step of a formula");
}

template <typename Value>
bool read_number(PyObject* object, Value* out) {
  if constexpr (std::is_same_v<Value, int64_t>)
    *out = PyLong_AsLongLong(object);
  else
    *out = PyFloat_AsDouble(object);
  return PyErr_Occurred() == nullptr;
}

// Steps with the buffers that their columns lie in.
template <typename Value>
struct Program {
  std::vector<View> views;
  std::vector<data::Step<Value>> steps;

  bool read(PyObject* list, int64_t rows) {
    PyRef items = PyRef::steal(PySequence_Fast(list, "steps must be a sequence"));
    if (!items) return false;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
      if (!read_step(PySequence_Fast_GET_ITEM(items.get(), i), rows)) return false;
    return data::is_formula<Value>(steps) || refuse("the steps are no formula");
  }

 private:
  // (action, number, None), or ("c", first row, buffer).
  bool read_step(PyObject* tuple, int64_t rows) {
    const char* name;
    PyObject *number, *buffer;
    data::Step<Value> step;
    if (!PyArg_ParseTuple(tuple, "sOO", &name, &number, &buffer) || !action_of(name, &step.action)) return false;
    if (step.action == Action::kColumn ? !read_column(number, buffer, rows, &step) : !read_number(number, &step.value))
      return false;
    steps.push_back(step);
    return true;
  }

  bool read_column(PyObject* number, PyObject* buffer, int64_t rows, data::Step<Value>* step) {
    int64_t offset = PyLong_AsLongLong(number);
    View view;
    if (PyErr_Occurred() != nullptr || !view.open(buffer, false)) return false;
    int64_t held = view.size() / static_cast<int64_t>(sizeof(Value));
    if (offset < 0 || offset > held || held - offset < rows) return refuse("a buffer is too short");
    step->column = view.span<const Value>().data() + offset;
    views.push_back(std::move(view));
    return true;
  }
};

PyObject* number_of(int64_t value) { return PyLong_FromLongLong(value); }
PyObject* number_of(double value) { return PyFloat_FromDouble(value); }

template <typename Value>
PyObject* run(PyObject* steps, int64_t rows, PyObject* out) {
  Program<Value> program;
  View to;
  if (!program.read(steps, rows) || !to.open(out, true)) return nullptr;
  std::span<const data::Step<Value>> formula = program.steps;
  if (out == Py_None) {
    Value sum;
    {
      GilRelease free;
      sum = data::sum_formula(formula, rows);
    }
    return number_of(sum);
  }
  auto values = to.span<Value>();
  if (static_cast<int64_t>(values.size()) < rows) return refuse("out is too short"), nullptr;
  {
    GilRelease free;
    data::compute_formula(formula, values.first(static_cast<size_t>(rows)));
  }
  Py_RETURN_NONE;
}

PyObject* columns_formula(PyObject*, PyObject* args) {
  const char* kind;
  PyObject *steps, *out;
  long long rows;
  if (!PyArg_ParseTuple(args, "sOLO:columns_formula", &kind, &steps, &rows, &out)) return nullptr;
  if (rows < 0) return refuse("rows must not be negative"), nullptr;
  return kind[0] == 'f' ? run<double>(steps, rows, out) : run<int64_t>(steps, rows, out);
}

PyMethodDef methods[] = {
    {"columns_formula", columns_formula, METH_VARARGS,
     "columns_formula(kind, steps, rows, out, /)\n--\n\nThe values of a formula over columns, or without out their "
     "sum."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_formula(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
