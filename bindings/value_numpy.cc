// numpy arrays without numpy's headers: everything goes through Python-level names, looked up once.
#include "bindings/value_internal.h"

namespace narke::py {
namespace {

struct Numpy {
  PyTypeObject* ndarray = nullptr;
  // By position in kArrayTypes: numpy's own dtype objects and their classes (one class per item type).
  PyObject* dtypes[kArrayTypeCount] = {};
  PyTypeObject* classes[kArrayTypeCount] = {};
};

Numpy numpy;  // loaded once ndarray is set

// Interned names and module functions, made by init_numpy.
struct Names {
  PyObject *dtype, *isnative, *metadata, *kind, *view, *copy, *tobytes, *reduce_ex, *int64;
  PyObject* rebuild_array;  // _native._array
  PyObject* reduce_array;   // _native.reduce_array
};
Names names;

PyRef attribute(PyObject* object, PyObject* name) { return PyRef::steal(PyObject_GetAttr(object, name)); }

// Scalars of these types are plain, whatever module made them; void and object hold anything.
bool add_scalar_types(PyObject* module) {
  PyRef by_name = PyRef::steal(PyObject_GetAttrString(module, "sctypeDict"));
  PyRef object_type = PyRef::steal(PyObject_GetAttrString(module, "object_"));
  PyRef void_type = PyRef::steal(PyObject_GetAttrString(module, "void"));
  if (!by_name || !object_type || !void_type || !PyDict_Check(by_name.get())) return false;
  PyObject *key, *type;
  for (Py_ssize_t position = 0; PyDict_Next(by_name.get(), &position, &key, &type);) {
    if (!PyType_Check(type) || type == object_type.get() || type == void_type.get()) continue;
    set_type_kind(reinterpret_cast<PyTypeObject*>(type), TypeKind::kPlain);
  }
  return true;
}

bool load_dtypes(PyObject* module, Numpy* out) {
  PyRef dtype = PyRef::steal(PyObject_GetAttrString(module, "dtype"));
  if (!dtype) return false;
  for (size_t i = 0; i < kArrayTypeCount; ++i) {
    PyObject* made = PyObject_CallFunction(dtype.get(), "s", kArrayTypes[i]);
    if (made == nullptr) return false;
    out->dtypes[i] = made;  // kept for the life of the process, as numpy itself does
    out->classes[i] = Py_TYPE(made);
  }
  return true;
}

// False with an exception set.
bool load_numpy(PyObject* module) {
  Numpy loading;
  PyRef ndarray = PyRef::steal(PyObject_GetAttrString(module, "ndarray"));
  if (!ndarray || !load_dtypes(module, &loading) || !add_scalar_types(module)) return false;
  loading.ndarray = reinterpret_cast<PyTypeObject*>(ndarray.release());
  set_type_kind(loading.ndarray, TypeKind::kArray);
  numpy = loading;
  return true;
}

bool import_numpy() {
  if (numpy.ndarray != nullptr) return true;
  PyRef module = PyRef::steal(PyImport_ImportModule("numpy"));
  return module && load_numpy(module.get());
}

// Python's `object.name is expected`; -1 with an exception set.
int attribute_is(PyObject* object, PyObject* name, PyObject* expected) {
  PyRef found = attribute(object, name);
  return found ? found.get() == expected : -1;
}

// Index into kArrayTypes; -1 for a dtype that says more; -2 with an exception set.
int simple_type(PyObject* dtype) {
  for (size_t i = 0; i < kArrayTypeCount; ++i) {
    if (numpy.dtypes[i] == dtype) return int(i);
  }
  for (size_t i = 0; i < kArrayTypeCount; ++i) {
    if (numpy.classes[i] != Py_TYPE(dtype)) continue;
    const int native = attribute_is(dtype, names.isnative, Py_True);
    const int bare = native == 1 ? attribute_is(dtype, names.metadata, Py_None) : native;
    return bare == 1 ? int(i) : bare - 1;
  }
  return -1;
}

// The letter of dtype.kind, 0 if it is none.
Py_UCS4 dtype_kind(PyObject* dtype) {
  PyRef kind = attribute(dtype, names.kind);
  if (!kind || !PyUnicode_Check(kind.get()) || PyUnicode_GET_LENGTH(kind.get()) != 1) {
    PyErr_Clear();
    return 0;
  }
  return PyUnicode_READ_CHAR(kind.get(), 0);
}

bool is_datetime_kind(Py_UCS4 kind) { return kind == 'M' || kind == 'm'; }

// A contiguous view of `array` or of a copy of it; `order` is set. False with an exception set.
bool contiguous_view(PyObject* array, Py_buffer* view, char* order) {
  if (PyObject_GetBuffer(array, view, PyBUF_STRIDED_RO) < 0) return false;
  for (const char candidate : {'C', 'F'}) {
    if (!PyBuffer_IsContiguous(view, candidate)) continue;
    *order = candidate;
    return true;
  }
  PyBuffer_Release(view);
  PyRef copy = PyRef::steal(PyObject_CallMethodNoArgs(array, names.copy));
  *order = 'C';  // ndarray.copy's own default
  return copy && PyObject_GetBuffer(copy.get(), view, PyBUF_STRIDED_RO) == 0;
}

PyObject* reduce_by_numpy(PyObject* array) {
  PyRef protocol = PyRef::steal(PyLong_FromLong(5));
  return protocol ? PyObject_CallMethodOneArg(array, names.reduce_ex, protocol.get()) : nullptr;
}

PyRef shape_tuple(const Py_buffer& view) {
  PyRef shape = PyRef::steal(PyTuple_New(view.ndim));
  for (int i = 0; shape && i < view.ndim; ++i) {
    PyObject* extent = PyLong_FromSsize_t(view.shape[i]);
    if (extent == nullptr) return {};
    PyTuple_SET_ITEM(shape.get(), i, extent);
  }
  return shape;
}

// What _native._array takes as its buffer: small items in band as bytes, others as a PickleBuffer.
PyRef items_of(const Py_buffer& view, char order) {
  if (uint64_t(view.len) < kInPlaceBytes) {
    return PyRef::steal(PyBytes_FromStringAndSize(static_cast<const char*>(view.buf), view.len));
  }
  if (order == 'C') return PyRef::steal(PyPickleBuffer_FromObject(view.obj));
  PyRef transposed = PyRef::steal(PyObject_GetAttrString(view.obj, "T"));
  return transposed ? PyRef::steal(PyPickleBuffer_FromObject(transposed.get())) : PyRef();
}

// The dtype as _native._array takes it: an index into kArrayTypes, or the dtype itself.
PyRef dtype_argument(PyObject* dtype, int type) {
  return type >= 0 ? PyRef::steal(PyLong_FromLong(type)) : PyRef::borrow(dtype);
}

PyObject* reduce_parts(PyObject* items_source, PyObject* dtype, int type) {
  Py_buffer view;
  char order;
  if (!contiguous_view(items_source, &view, &order)) return nullptr;
  PyRef items = items_of(view, order);
  PyRef shape = shape_tuple(view);
  PyBuffer_Release(&view);
  PyRef described = dtype_argument(dtype, type);
  if (!items || !shape || !described) return nullptr;
  return Py_BuildValue("O(OOOC)", names.rebuild_array, items.get(), described.get(), shape.get(), int(order));
}

PyObject* reduce_array(PyObject*, PyObject* array) {
  if (!import_numpy()) return nullptr;
  if (Py_TYPE(array) != numpy.ndarray) return reduce_by_numpy(array);
  PyRef dtype = attribute(array, names.dtype);
  if (!dtype) return nullptr;
  const int type = simple_type(dtype.get());
  if (type == -2) return nullptr;
  if (type >= 0) return reduce_parts(array, dtype.get(), type);
  const Py_UCS4 kind = dtype_kind(dtype.get());
  if (!is_datetime_kind(kind)) return reduce_by_numpy(array);
  // numpy exports no buffer of datetimes; as integers they still go out of band.
  PyRef integers = PyRef::steal(PyObject_CallMethodOneArg(array, names.view, names.int64));
  return integers ? reduce_parts(integers.get(), dtype.get(), type) : nullptr;
}

bool dtype_from_argument(PyObject* argument, PyRef* out) {
  if (!PyLong_CheckExact(argument)) {
    *out = PyRef::borrow(argument);
    return true;
  }
  const size_t type = PyLong_AsSize_t(argument);
  if (type == size_t(-1) && PyErr_Occurred()) return false;
  *out = PyRef::borrow(array_dtype(type));
  return bool(*out);
}

PyObject* rebuild_array(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 4 || !PyTuple_Check(args[2]) || !PyUnicode_Check(args[3]) || PyUnicode_GET_LENGTH(args[3]) != 1) {
    PyErr_SetString(PyExc_TypeError, "_array needs (buffer, dtype, shape: tuple, order: str of one letter)");
    return nullptr;
  }
  PyRef dtype;
  if (!import_numpy() || !dtype_from_argument(args[1], &dtype)) return nullptr;
  return build_array(args[0], dtype.get(), args[2], char(PyUnicode_READ_CHAR(args[3], 0)));
}

PyMethodDef methods[] = {
    {"reduce_array", reduce_array, METH_O,
     "reduce_array(array) -> tuple\n\nWhat pickle needs of a numpy array, as __reduce_ex__(5) gives it, but "
     "faster "
     "to rebuild, and read-only after that. For the dispatch table of a pickler that has a buffer_callback."},
    {"_array", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(rebuild_array)), METH_FASTCALL,
     "_array(buffer, dtype, shape, order) -> numpy.ndarray\n\nRebuilds what reduce_array took apart."},
    {nullptr, nullptr, 0, nullptr},
};

bool intern_names() {
  const std::pair<PyObject**, const char*> wanted[] = {
      {&names.dtype, "dtype"},       {&names.isnative, "isnative"},
      {&names.metadata, "metadata"}, {&names.kind, "kind"},
      {&names.view, "view"},         {&names.copy, "copy"},
      {&names.int64, "int64"},       {&names.reduce_ex, "__reduce_ex__"},
  };
  for (const auto& [slot, text] : wanted) {
    *slot = PyUnicode_InternFromString(text);
    if (*slot == nullptr) return false;
  }
  return true;
}

}  // namespace

bool numpy_is_loaded() {
  if (numpy.ndarray != nullptr) return true;
  PyRef loaded = loaded_attribute("numpy", "ndarray");
  PyRef module = loaded ? PyRef::steal(PyImport_ImportModule("numpy")) : PyRef();
  if (module && load_numpy(module.get())) return true;
  // Another thread is half-way through importing numpy: cloudpickle copes, and the next value asks again.
  PyErr_Clear();
  return false;
}

PyObject* array_dtype(size_t type) {
  if (!import_numpy()) return nullptr;
  if (type < kArrayTypeCount) return numpy.dtypes[type];
  PyErr_Format(PyExc_ValueError, "Stored array has unknown item type %zu; it was written by a newer version.", type);
  return nullptr;
}

PyObject* build_array(PyObject* buffer, PyObject* dtype, PyObject* shape, char order) {
  PyRef args = PyRef::steal(Py_BuildValue("(OOOiOC)", shape, dtype, buffer, 0, Py_None, int(order)));
  return args ? numpy.ndarray->tp_new(numpy.ndarray, args.get(), nullptr) : nullptr;
}

ArrayRead read_array(PyObject* array, ArrayParts* out) {
  PyRef dtype = attribute(array, names.dtype);
  const int type = dtype ? simple_type(dtype.get()) : -2;
  if (type == -2) return ArrayRead::kFailed;
  if (type == -1) return ArrayRead::kNotSimple;
  if (!contiguous_view(array, &out->view, &out->order)) return ArrayRead::kFailed;
  out->type = uint8_t(type);
  if (size_t(out->view.ndim) <= kMaxDims) return ArrayRead::kTaken;
  PyBuffer_Release(&out->view);
  return ArrayRead::kNotSimple;
}

bool is_plain_array(PyObject* array) {
  PyRef dtype = attribute(array, names.dtype);
  const int type = dtype ? simple_type(dtype.get()) : -2;
  if (type >= 0) return true;
  PyErr_Clear();
  if (type == -2) return false;
  const Py_UCS4 kind = dtype_kind(dtype.get());
  const bool known = is_datetime_kind(kind) || kind == 'S' || kind == 'U';
  const int bare = known ? attribute_is(dtype.get(), names.metadata, Py_None) : 0;
  if (bare < 0) PyErr_Clear();
  return bare == 1;
}

PyObject* array_dispatch_table() {
  static PyObject* source = nullptr;
  static PyObject* table = nullptr;
  static Py_ssize_t source_size = -1;
  if (source == nullptr) source = import_attribute("copyreg", "dispatch_table").release();
  if (source == nullptr) return nullptr;
  if (source_size == PyDict_GET_SIZE(source)) return table;
  PyRef fresh = PyRef::steal(PyDict_Copy(source));
  auto* ndarray = reinterpret_cast<PyObject*>(numpy.ndarray);
  if (!fresh || PyDict_SetItem(fresh.get(), ndarray, names.reduce_array) < 0) return nullptr;
  source_size = PyDict_GET_SIZE(source);
  Py_XSETREF(table, fresh.release());
  return table;
}

int init_numpy(PyObject* module) {
  if (!intern_names() || PyModule_AddFunctions(module, methods) < 0) return -1;
  names.reduce_array = PyObject_GetAttrString(module, "reduce_array");
  names.rebuild_array = PyObject_GetAttrString(module, "_array");
  return names.reduce_array != nullptr && names.rebuild_array != nullptr ? 0 : -1;
}

}  // namespace narke::py
