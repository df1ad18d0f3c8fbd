// Reading Python values back. The bytes are not trusted: every size is checked before it is used.
#include <cstring>

#include "bindings/value_internal.h"

namespace narke::py {
namespace {

PyObject* loads;           // pickle.loads
PyObject* loads_keywords;  // ("buffers",)

PyObject* malformed(const char* what) {
  return PyErr_Format(PyExc_ValueError,
                      "Stored value is malformed: %s. It was cut short, damaged, or written by another version.", what);
}

// The bytes of one value, read from the front.
class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  template <class T>
  bool read(T* out) {
    if (left() < sizeof(T)) return false;
    std::memcpy(out, data_ + at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }

  bool take(size_t count, std::string_view* out) {
    if (left() < count) return false;
    *out = std::string_view(reinterpret_cast<const char*>(data_ + at_), count);
    at_ += count;
    return true;
  }

  size_t left() const { return size_ - at_; }
  size_t at() const { return at_; }
  const uint8_t* here() const { return data_ + at_; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

// The least alignment at which items are read in place; what Python allocates has it.
constexpr uintptr_t kItemAlignment = 16;

// A read-only bytes-like object of [data, data + size): in place where the contract of decode() allows, else
// a copy.
PyRef items_object(const uint8_t* data, size_t size, PyObject* keeper) {
  const bool aligned = reinterpret_cast<uintptr_t>(data) % kItemAlignment == 0;
  if (keeper != nullptr && size >= kInPlaceBytes && aligned) {
    return PyRef::steal(new_buffer(data, size, keeper));
  }
  return PyRef::steal(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data), Py_ssize_t(size)));
}

class Decoder {
 public:
  Decoder(const uint8_t* data, size_t size, PyObject* keeper)
      : data_(data), size_(size), keeper_(keeper), reader_(data, size) {}

  PyObject* decode() {
    if (size_ == 0) return malformed("it is empty");
    if (size_ > size_t(PY_SSIZE_T_MAX)) return malformed("its size is impossible");
    switch (Form(data_[0])) {
      case Form::kNone: return constant(Py_None);
      case Form::kTrue: return constant(Py_True);
      case Form::kFalse: return constant(Py_False);
      case Form::kInt: return decode_int();
      case Form::kFloat: return decode_float();
      case Form::kStr: return PyUnicode_DecodeUTF8(text(), text_size(), "strict");
      case Form::kBytes: return PyBytes_FromStringAndSize(text(), text_size());
      case Form::kPickle: return decode_pickle();
      case Form::kError: return decode_pickle();
      case Form::kArray: return decode_array();
      case Form::kRefList: return decode_refs();
      case Form::kRefTuple: return decode_refs();
      case Form::kEngineError: return decode_engine_error();
    }
    return PyErr_Format(PyExc_ValueError,
                        "Stored value has the unknown form 0x%02x: damaged, or written by a newer "
                        "version of Narke.",
                        int(data_[0]));
  }

 private:
  const char* text() const { return reinterpret_cast<const char*>(data_) + 1; }
  Py_ssize_t text_size() const { return Py_ssize_t(size_) - 1; }

  PyObject* constant(PyObject* value) const {
    return size_ == 1 ? Py_NewRef(value) : malformed("bytes follow a constant");
  }

  template <class T>
  bool read_number(T* out) const {
    if (size_ != 1 + sizeof(T)) return false;
    std::memcpy(out, data_ + 1, sizeof(T));
    return true;
  }

  PyObject* decode_int() const {
    int64_t number;
    return read_number(&number) ? PyLong_FromLongLong(number) : malformed("an int has the wrong size");
  }

  PyObject* decode_float() const {
    double number;
    return read_number(&number) ? PyFloat_FromDouble(number) : malformed("a float has the wrong size");
  }

  PyObject* decode_pickle() {
    PickleHeader header;
    if (!reader_.read(&header)) return malformed("the header of a pickle is cut short");
    if (header.n_buffers > reader_.left() / sizeof(BufferEntry)) return malformed("its buffer table is cut short");
    PyRef buffers;
    if (header.n_buffers > 0) {
      buffers = read_buffers(header.n_buffers);
      if (!buffers) return nullptr;
    }
    if (header.pickle_size > reader_.left()) return malformed("a pickle is cut short");
    return unpickle(reader_.here(), header.pickle_size, buffers.get());
  }

  // The tuple of out-of-band buffers; null with an exception set.
  PyRef read_buffers(uint32_t count) {
    PyRef buffers = PyRef::steal(PyTuple_New(Py_ssize_t(count)));
    for (uint32_t i = 0; buffers && i < count; ++i) {
      BufferEntry entry;
      if (!reader_.read(&entry) || entry.offset > size_ || entry.size > size_ - entry.offset) {
        malformed("a buffer lies outside of it");
        return {};
      }
      PyRef items = items_object(data_ + entry.offset, entry.size, keeper_);
      if (!items) return {};
      PyTuple_SET_ITEM(buffers.get(), Py_ssize_t(i), items.release());
    }
    return buffers;
  }

  PyObject* unpickle(const uint8_t* pickle, uint64_t size, PyObject* buffers) const {
    PyRef source = PyRef::steal(new_buffer(pickle, size, keeper_));
    if (!source) return nullptr;
    PyObject* args[] = {source.get(), buffers};
    PyObject* value = PyObject_Vectorcall(loads, args, 1, buffers ? loads_keywords : nullptr);
    return value;
  }

  PyObject* decode_array() {
    ArrayHeader header;
    if (!reader_.read(&header) || header.ndim > kMaxDims || header.type >= kArrayTypeCount) {
      return malformed("the header of an array makes no sense");
    }
    if (header.order != 'C' && header.order != 'F') return malformed("the order of an array is neither C nor F");
    PyRef shape = PyRef::steal(PyTuple_New(header.ndim));
    uint64_t bytes = kArrayItemSizes[header.type];
    for (int i = 0; shape && i < header.ndim; ++i) {
      uint64_t extent = 0;
      if (!reader_.read(&extent) || __builtin_mul_overflow(bytes, extent, &bytes) || extent > PY_SSIZE_T_MAX) {
        return malformed("the shape of an array is impossible");
      }
      PyObject* number = PyLong_FromUnsignedLongLong(extent);
      if (number == nullptr) return nullptr;
      PyTuple_SET_ITEM(shape.get(), i, number);
    }
    return shape ? place_array(header, shape.get(), bytes) : nullptr;
  }

  PyObject* place_array(const ArrayHeader& header, PyObject* shape, uint64_t bytes) const {
    const uint64_t offset = place_buffer(reader_.at(), bytes);
    if (offset > size_ || bytes != size_ - offset) return malformed("an array and its shape differ in size");
    PyObject* dtype = array_dtype(header.type);
    PyRef items = dtype ? items_object(data_ + offset, bytes, keeper_) : PyRef();
    return items ? build_array(items.get(), dtype, shape, char(header.order)) : nullptr;
  }

  PyObject* decode_refs() {
    const auto rebuild = ref_hooks().rebuild;
    if (rebuild == nullptr) return malformed("it holds ObjectRefs, but this process is not connected");
    uint8_t form = 0;
    uint32_t count = 0;
    if (!reader_.read(&form) || !reader_.read(&count)) return malformed("a list of refs is cut short");
    // Each ref takes five bytes at least: a damaged count asks for no memory that is not there.
    if (count > reader_.left() / 5) return malformed("a list of refs is cut short");
    const bool list = Form(form) == Form::kRefList;
    PyRef refs = PyRef::steal(list ? PyList_New(count) : PyTuple_New(count));
    std::string_view owner;
    for (uint32_t i = 0; refs && i < count; ++i) {
      PyObject* ref = decode_ref(rebuild, &owner);
      if (ref == nullptr) return nullptr;
      if (list) {
        PyList_SET_ITEM(refs.get(), i, ref);
      } else {
        PyTuple_SET_ITEM(refs.get(), i, ref);
      }
    }
    if (refs && reader_.left() != 0) return malformed("bytes follow a list of refs");
    return refs.release();
  }

  // `owner` is that of the ref before, and becomes this one's.
  PyObject* decode_ref(PyObject* (*rebuild)(std::string_view, std::string_view), std::string_view* owner) {
    uint8_t id_size = 0;
    uint32_t owner_size = 0;
    std::string_view id;
    if (!reader_.read(&id_size) || !reader_.take(id_size, &id) || !reader_.read(&owner_size)) {
      return malformed("a ref is cut short");
    }
    if (owner_size != kSameOwner && !reader_.take(owner_size, owner)) {
      return malformed("the owner of a ref is cut short");
    }
    return rebuild(id, *owner);
  }

  PyObject* decode_engine_error() const {
    EngineError error;
    if (!read_engine_error(data_, size_, &error)) return malformed("an engine error is cut short");
    PyRef make = import_attribute("narke.exceptions", "engine_error");
    PyRef args = PyRef::steal(PyTuple_New(3));
    if (!make || !args) return nullptr;
    Py_ssize_t position = 0;
    for (const std::string_view part : {error.kind, error.message, error.id_hex}) {
      PyObject* text = PyUnicode_DecodeUTF8(part.data(), Py_ssize_t(part.size()), "replace");
      if (text == nullptr) return nullptr;
      PyTuple_SET_ITEM(args.get(), position++, text);
    }
    return PyObject_CallObject(make.get(), args.get());
  }

  const uint8_t* data_;
  size_t size_;
  PyObject* keeper_;
  Reader reader_;
};

}  // namespace

PyObject* decode(const uint8_t* data, size_t size, PyObject* keeper) { return Decoder(data, size, keeper).decode(); }

int init_decode() {
  loads = import_attribute("pickle", "loads").release();
  loads_keywords = Py_BuildValue("(s)", "buffers");
  return loads != nullptr && loads_keywords != nullptr ? 0 : -1;
}

int init_value(PyObject* module) {
  if (init_buffer(module) < 0 || init_numpy(module) < 0 || init_encode(module) < 0) return -1;
  return init_decode();
}

}  // namespace narke::py
