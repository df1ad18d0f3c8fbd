// Taking Python values apart: Encoded, the forms without pickle, and the two picklers.
#include <cstring>
#include <initializer_list>

#include "bindings/value_internal.h"

namespace narke::py {

void Encoded::write_to(uint8_t* to) const {
  std::memcpy(to, head_.data(), head_.size());
  uint64_t end = head_.size();
  for (const View& view : views_) {
    std::memset(to + end, 0, view.offset - end);
    if (view.buffer.len > 0) std::memcpy(to + view.offset, view.buffer.buf, size_t(view.buffer.len));
    end = view.offset + uint64_t(view.buffer.len);
  }
}

void Encoded::append_to(std::string* out) const {
  const size_t start = out->size();
  out->resize(start + size_);
  write_to(reinterpret_cast<uint8_t*>(out->data()) + start);
}

void Encoded::clear() {
  head_.clear();
  size_ = 0;
  if (views_.empty() && contained_.empty()) return;
  if (!PyGILState_Check()) {
    GilHold gil;
    clear();
    return;
  }
  for (View& view : views_) PyBuffer_Release(&view.buffer);
  views_.clear();
  for (PyObject* ref : contained_) Py_DECREF(ref);
  contained_.clear();
}

namespace {

// A part of this size is referred to, not copied into the head.
constexpr size_t kViewBytes = 4096;

// Python objects and names looked up once. `explain` and `cloud_pickle` come from
// narke._private.serialization.
struct Names {
  PyObject *dumps, *pickler, *bytes_io;                   // pickle.dumps, pickle.Pickler, io.BytesIO
  PyObject *protocol, *dispatch_table, *dump, *getvalue;  // 5, and names of attributes
  PyObject *pickler_keywords, *take_buffer;               // ("protocol", "buffer_callback"), callback
  PyObject* cloud_pickle = nullptr;
};
Names names;
RefHooks hooks;

template <class T>
void append_raw(std::string* out, const T& value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace

// Fills one Encoded. While it pickles it is the innermost of its thread: buffers and contained refs come to
// it.
class Encoder {
 public:
  explicit Encoder(Encoded* out) : out_(out) {}

  bool encode(PyObject* value) {
    PyTypeObject* type = Py_TYPE(value);
    if (value == Py_None) return encode_constant(Form::kNone);
    if (type == &PyLong_Type) return encode_int(value);
    if (type == &PyUnicode_Type) return encode_str(value);
    if (type == &PyFloat_Type) return encode_float(value);
    if (type == &PyBytes_Type) return encode_bytes(value);
    if (type == &PyBool_Type) return encode_constant(value == Py_True ? Form::kTrue : Form::kFalse);
    if (type == &PyList_Type || type == &PyTuple_Type) return encode_sequence(value);
    if (type_kind(type) == TypeKind::kArray) return encode_array(value);
    return encode_pickle(value, Form::kPickle, scan_value(value));
  }

  bool encode_exception(PyObject* exception) { return encode_pickle(exception, Form::kError, Scan()); }

  // The callback that picklers get: None keeps the buffer out of band, True puts it into the pickle.
  static PyObject* take_buffer(PyObject*, PyObject* buffer) {
    if (innermost_ == nullptr) {
      PyErr_SetString(PyExc_RuntimeError, "A buffer callback of Narke was called after its value was pickled.");
      return nullptr;
    }
    Encoded::View view = {};
    if (PyObject_GetBuffer(buffer, &view.buffer, PyBUF_ANY_CONTIGUOUS) == 0) {
      innermost_->out_->views_.push_back(view);
      Py_RETURN_NONE;
    }
    if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError)) return nullptr;
    PyErr_Clear();  // not contiguous: pickle decides, as without a callback
    Py_RETURN_TRUE;
  }

  static Encoded* innermost() { return innermost_ ? innermost_->out_ : nullptr; }

 private:
  bool encode_constant(Form form) {
    out_->head_.assign(1, char(form));
    return finish();
  }

  bool encode_int(PyObject* value) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return encode_pickle(value, Form::kPickle, {.plain = true});
    return encode_number(Form::kInt, int64_t(number));
  }

  bool encode_float(PyObject* value) { return encode_number(Form::kFloat, PyFloat_AS_DOUBLE(value)); }

  template <class T>
  bool encode_number(Form form, T number) {
    char bytes[1 + sizeof(number)];
    bytes[0] = char(form);
    std::memcpy(bytes + 1, &number, sizeof(number));
    out_->head_.assign(bytes, sizeof(bytes));
    return finish();
  }

  bool encode_str(PyObject* value) {
    if (PyUnicode_IS_COMPACT_ASCII(value)) {
      return encode_text(Form::kStr, value, static_cast<const char*>(PyUnicode_DATA(value)),
                         PyUnicode_GET_LENGTH(value));
    }
    PyRef utf8 = PyRef::steal(PyUnicode_AsUTF8String(value));
    if (utf8) return encode_text(Form::kStr, utf8.get(), PyBytes_AS_STRING(utf8.get()), PyBytes_GET_SIZE(utf8.get()));
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return false;
    PyErr_Clear();  // lone surrogates, which pickle can carry
    return encode_pickle(value, Form::kPickle, {.plain = true});
  }

  bool encode_bytes(PyObject* value) {
    return encode_text(Form::kBytes, value, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
  }

  // `owner` keeps `data` alive.
  bool encode_text(Form form, PyObject* owner, const char* data, Py_ssize_t size) {
    out_->head_.reserve(1 + (size_t(size) < kViewBytes ? size_t(size) : 0));
    out_->head_.assign(1, char(form));
    return append_part(owner, data, size) && finish();
  }

  // Bytes right behind the head: a copy of few, a view of many.
  bool append_part(PyObject* owner, const char* data, Py_ssize_t size) {
    if (size_t(size) < kViewBytes) {
      out_->head_.append(data, size_t(size));
      return true;
    }
    Encoded::View view = {{}, out_->head_.size()};
    if (PyBuffer_FillInfo(&view.buffer, owner, const_cast<char*>(data), size, /*readonly=*/1, PyBUF_SIMPLE) < 0) {
      return false;
    }
    out_->views_.insert(out_->views_.begin(), view);
    return true;
  }

  bool encode_sequence(PyObject* value) {
    if (is_sequence_of_refs(value)) return encode_refs(value);
    return encode_pickle(value, Form::kPickle, scan_value(value));
  }

  static bool is_sequence_of_refs(PyObject* value) {
    const Py_ssize_t size = PySequence_Fast_GET_SIZE(value);
    PyObject** items = PySequence_Fast_ITEMS(value);
    if (size == 0 || hooks.parts == nullptr || Py_TYPE(items[0]) != hooks.ref_type) return false;
    for (Py_ssize_t i = 0; i < size; ++i) {
      if (Py_TYPE(items[i]) != hooks.ref_type) return false;
    }
    return size <= Py_ssize_t(UINT32_MAX) && type_kind(hooks.ref_type) == TypeKind::kRef;
  }

  bool encode_refs(PyObject* value) {
    const Py_ssize_t size = PySequence_Fast_GET_SIZE(value);
    std::string& head = out_->head_;
    head.assign(1, char(PyList_CheckExact(value) ? Form::kRefList : Form::kRefTuple));
    append_raw(&head, uint32_t(size));
    out_->contained_.reserve(size_t(size));
    std::string_view last_owner;
    for (Py_ssize_t i = 0; i < size; ++i) {
      if (!append_ref(PySequence_Fast_GET_ITEM(value, i), &last_owner)) return false;
    }
    return finish();
  }

  // `last_owner` points into the ref appended before, which contained_ holds.
  bool append_ref(PyObject* ref, std::string_view* last_owner) {
    std::string_view id, owner;
    if (!hooks.parts(ref, &id, &owner)) return false;
    std::string& head = out_->head_;
    head.push_back(char(id.size()));
    head.append(id);
    const bool same = !out_->contained_.empty() && owner == *last_owner;
    append_raw(&head, same ? kSameOwner : uint32_t(owner.size()));
    if (!same) head.append(owner);
    *last_owner = owner;
    out_->contained_.push_back(Py_NewRef(ref));
    return true;
  }

  bool encode_array(PyObject* array) {
    ArrayParts parts;
    switch (read_array(array, &parts)) {
      case ArrayRead::kFailed: return false;
      case ArrayRead::kNotSimple: return encode_pickle(array, Form::kPickle, scan_value(array));
      case ArrayRead::kTaken: break;
    }
    const ArrayHeader header = {Form::kArray, parts.type, uint8_t(parts.view.ndim), uint8_t(parts.order), 0};
    out_->head_.clear();
    append_raw(&out_->head_, header);
    for (int i = 0; i < parts.view.ndim; ++i) append_raw(&out_->head_, uint64_t(parts.view.shape[i]));
    out_->views_.push_back({parts.view, place_buffer(out_->head_.size(), uint64_t(parts.view.len))});
    return finish();
  }

  bool encode_pickle(PyObject* value, Form form, const Scan& scan) {
    Encoder* outer = std::exchange(innermost_, this);
    PyRef pickle = run_pickler(value, scan);
    // Still innermost: the explanation pickles parts of the value, which may hold refs.
    if (!pickle) explain_failure(value);
    innermost_ = outer;
    return pickle && add_pickle(form, pickle.get());
  }

  static PyRef run_pickler(PyObject* value, const Scan& scan) {
    if (scan.plain && !scan.arrays) return pickle_plain(value);
    PyRef pickle = scan.plain ? pickle_arrays(value) : pickle_cloud(value);
    if (!pickle || PyBytes_Check(pickle.get())) return pickle;
    PyErr_Format(PyExc_TypeError, "The pickler returned %.100s, not bytes.", Py_TYPE(pickle.get())->tp_name);
    return {};
  }

  static PyRef pickle_plain(PyObject* value) {
    PyObject* args[] = {value, names.protocol};
    return PyRef::steal(PyObject_Vectorcall(names.dumps, args, 2, nullptr));
  }

  static PyRef pickle_arrays(PyObject* value) {
    PyObject* table = array_dispatch_table();
    PyRef file = table ? PyRef::steal(PyObject_CallNoArgs(names.bytes_io)) : PyRef();
    if (!file) return {};
    PyObject* args[] = {file.get(), names.protocol, names.take_buffer};
    PyRef pickler = PyRef::steal(PyObject_Vectorcall(names.pickler, args, 1, names.pickler_keywords));
    if (!pickler || PyObject_SetAttr(pickler.get(), names.dispatch_table, table) < 0) return {};
    PyRef done = PyRef::steal(PyObject_CallMethodOneArg(pickler.get(), names.dump, value));
    return done ? PyRef::steal(PyObject_CallMethodNoArgs(file.get(), names.getvalue)) : PyRef();
  }

  static PyRef pickle_cloud(PyObject* value) {
    if (names.cloud_pickle == nullptr) {
      names.cloud_pickle = import_attribute("narke._private.serialization", "cloud_pickle").release();
      if (names.cloud_pickle == nullptr) return {};
    }
    PyObject* args[] = {value, names.take_buffer};
    return PyRef::steal(PyObject_Vectorcall(names.cloud_pickle, args, 2, nullptr));
  }

  // Replaces the pickler's exception by one that names the culprit. Interrupts and exits pass as they are.
  static void explain_failure(PyObject* value) {
    PyRef failure = take_exception();
    if (!PyErr_GivenExceptionMatches(failure.get(), PyExc_Exception)) return set_exception(std::move(failure));
    PyRef explain = import_attribute("narke._private.serialization", "explain");
    PyRef told;
    if (explain) told = PyRef::steal(PyObject_CallFunctionObjArgs(explain.get(), value, failure.get(), nullptr));
    if (told && PyExceptionInstance_Check(told.get())) return set_exception(std::move(told));
    if (PyErr_Occurred()) PyErr_WriteUnraisable(explain.get());
    set_exception(std::move(failure));
  }

  bool add_pickle(Form form, PyObject* pickle) {
    const PickleHeader header = {form, {}, uint32_t(out_->views_.size()), uint64_t(PyBytes_GET_SIZE(pickle))};
    const uint64_t table_size = out_->views_.size() * sizeof(BufferEntry);
    const size_t copied = header.pickle_size < kViewBytes ? header.pickle_size : 0;
    out_->head_.reserve(sizeof(header) + table_size + copied);
    out_->head_.clear();
    append_raw(&out_->head_, header);
    append_table(sizeof(header) + table_size + header.pickle_size);
    return append_part(pickle, PyBytes_AS_STRING(pickle), PyBytes_GET_SIZE(pickle)) && finish();
  }

  // Places the buffers collected so far behind `end`, and says where.
  void append_table(uint64_t end) {
    for (Encoded::View& view : out_->views_) {
      const uint64_t size = uint64_t(view.buffer.len);
      view.offset = place_buffer(end, size);
      append_raw(&out_->head_, BufferEntry{view.offset, size});
      end = view.offset + size;
    }
  }

  bool finish() {
    const auto& views = out_->views_;
    out_->size_ = views.empty() ? out_->head_.size() : views.back().offset + uint64_t(views.back().buffer.len);
    return true;
  }

  static thread_local Encoder* innermost_;
  Encoded* out_;
};

thread_local Encoder* Encoder::innermost_ = nullptr;

namespace {

PyMethodDef take_buffer_method = {"take_buffer", Encoder::take_buffer, METH_O,
                                  "take_buffer(buffer) -> bool\n\nThe buffer_callback of the value being pickled."};

PyObject* kind_setter(PyObject* argument, TypeKind kind) {
  if (!PyType_Check(argument)) {
    return PyErr_Format(PyExc_TypeError, "A type is needed here, not %R.", argument);
  }
  set_type_kind(reinterpret_cast<PyTypeObject*>(argument), kind);
  Py_RETURN_NONE;
}

PyObject* value_is_plain(PyObject*, PyObject* type) { return kind_setter(type, TypeKind::kPlain); }
PyObject* value_needs_reducer(PyObject*, PyObject* type) { return kind_setter(type, TypeKind::kOther); }

PyMethodDef methods[] = {
    {"value_is_plain", value_is_plain, METH_O,
     "value_is_plain(type)\n\nValues of exactly this type pickle by importable names only: C pickle may take "
     "them."},
    {"value_needs_reducer", value_needs_reducer, METH_O,
     "value_needs_reducer(type)\n\nFrom now on values of exactly this type go to cloudpickle, which knows "
     "the "
     "registered reducers. Built-in containers, numbers and strings are not affected, as in pickle."},
    {nullptr, nullptr, 0, nullptr},
};

bool look_up_names() {
  names.dumps = import_attribute("pickle", "dumps").release();
  names.pickler = import_attribute("pickle", "Pickler").release();
  names.bytes_io = import_attribute("io", "BytesIO").release();
  names.protocol = PyLong_FromLong(5);
  names.dispatch_table = PyUnicode_InternFromString("dispatch_table");
  names.dump = PyUnicode_InternFromString("dump");
  names.getvalue = PyUnicode_InternFromString("getvalue");
  names.pickler_keywords = Py_BuildValue("(ss)", "protocol", "buffer_callback");
  names.take_buffer = PyCFunction_New(&take_buffer_method, nullptr);
  for (PyObject* found : {names.dumps, names.pickler, names.bytes_io, names.protocol, names.dispatch_table, names.dump,
                          names.getvalue, names.pickler_keywords, names.take_buffer}) {
    if (found == nullptr) return false;
  }
  return true;
}

}  // namespace

bool encode(PyObject* value, Encoded* out) {
  out->clear();
  if (Encoder(out).encode(value)) return true;
  out->clear();
  return false;
}

bool encode_error(PyObject* exception, Encoded* out) {
  out->clear();
  if (Encoder(out).encode_exception(exception)) return true;
  out->clear();
  return false;
}

bool note_contained(PyObject* ref) {
  Encoded* out = Encoder::innermost();
  if (out == nullptr) return false;
  out->contained_.push_back(Py_NewRef(ref));
  return true;
}

void set_ref_hooks(const RefHooks& given) {
  hooks = given;
  if (hooks.ref_type != nullptr) set_type_kind(hooks.ref_type, TypeKind::kRef);
}

const RefHooks& ref_hooks() { return hooks; }

int init_encode(PyObject* module) { return look_up_names() ? PyModule_AddFunctions(module, methods) : -1; }

}  // namespace narke::py
