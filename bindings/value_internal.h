// What the files of the value codec share. Everything needs the GIL.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bindings/py_util.h"
#include "bindings/value.h"

namespace narke::py {

// value_buffer.cc
int init_buffer(PyObject* module);

// value_scan.cc: which pickler may take a value.
enum class TypeKind : uint8_t {
  kOther,  // cloudpickle
  kPlain,  // C pickle, whatever it holds
  kTuple,
  kList,
  kDict,
  kSet,
  kArray,
  kZoned,  // a datetime or time: plain if its tzinfo is
  kRef,
};
TypeKind type_kind(PyTypeObject* type);
// From now on values of exactly `type` are of `kind`; kOther is final.
void set_type_kind(PyTypeObject* type, TypeKind kind);

struct Scan {
  bool plain = false;   // C pickle gives what cloudpickle would
  bool arrays = false;  // a numpy array was met (known only if plain)
};
// Looks at `value` and what it holds. Runs no Python code, visits a bounded number of objects.
Scan scan_value(PyObject* value);

// value_numpy.cc. An array is simple if numpy's built-in native dtype of kArrayTypes says all about its
// items.
struct ArrayParts {
  Py_buffer view;  // contiguous; the caller releases it
  uint8_t type;
  char order;
};
enum class ArrayRead { kTaken, kNotSimple, kFailed };
// Takes a simple array apart (kFailed: exception set; only kTaken leaves a view). A non-contiguous one is
// copied.
ArrayRead read_array(PyObject* array, ArrayParts* out);
// Can C pickle take this array: no objects inside, no dtype of the user's own?
bool is_plain_array(PyObject* array);
// The read-only array over `buffer`. Errors as numpy raises them.
PyObject* build_array(PyObject* buffer, PyObject* dtype, PyObject* shape, char order);
// The dtype of kArrayTypes[type] (borrowed), importing numpy where needed; null with an exception set.
PyObject* array_dtype(size_t type);
// numpy is loaded: its array and scalar types are known to type_kind(). Cheap once it is.
bool numpy_is_loaded();
// Copies of copyreg's table with reduce_array for numpy arrays (borrowed), for pickle.Pickler.dispatch_table.
PyObject* array_dispatch_table();
int init_numpy(PyObject* module);

// value_encode.cc
int init_encode(PyObject* module);
const RefHooks& ref_hooks();

// value_decode.cc
int init_decode();

}  // namespace narke::py
