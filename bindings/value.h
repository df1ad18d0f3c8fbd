// Python values <-> bytes. Everything needs the GIL unless it says otherwise.
//
// encode() takes a value apart without copying its big buffers; the caller asks total_size(), finds a place,
// and write_to() puts the value there with one copy. decode() reads a value from such a place; arrays of 512
// bytes and more alias it (read-only) and keep `keeper` alive.
//
// None, bool, int64, float, str, bytes, plain numpy arrays and lists/tuples of ObjectRefs have forms of their
// own. Values that a scan of exact types finds to be plain go to C pickle 5; everything else goes to
// cloudpickle through narke._private.serialization, so that classes and functions of __main__ travel by
// value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/py_util.h"
#include "bindings/value_form.h"

namespace narke::py {

// A value taken apart. It refers to the value's own memory until it is written or dropped: the value must not
// change meanwhile. Resource: neither copied nor moved. The destructor takes the GIL itself if this thread
// does not hold it, so it may run anywhere while the interpreter lives.
class Encoded {
 public:
  Encoded() = default;
  ~Encoded() { clear(); }
  Encoded(const Encoded&) = delete;
  Encoded& operator=(const Encoded&) = delete;

  // Bytes that write_to() fills.
  size_t total_size() const { return size_; }
  // Writes the value; padding is zeroed. Needs no GIL. REQUIRES: `to` has total_size() bytes, on a 64-byte
  // boundary if the arrays read from it shall be (below 16 decode() copies them).
  void write_to(uint8_t* to) const;
  // The whole value if it has no parts outside (every small one but arrays); empty otherwise. Valid until
  // clear().
  std::string_view contiguous() const { return views_.empty() ? std::string_view(head_) : std::string_view(); }
  // write_to() at the end of `out`. Needs no GIL.
  void append_to(std::string* out) const;
  // Drops everything, ready for the next encode().
  void clear();

  // The ObjectRefs (and whatever else called note_contained) inside the value: strong references owned by
  // this.
  const std::vector<PyObject*>& contained() const { return contained_; }

 private:
  friend class Encoder;
  friend bool note_contained(PyObject* ref);

  struct View {
    Py_buffer buffer;
    uint64_t offset;
  };
  std::string head_;         // the value from offset 0 up to its first view
  std::vector<View> views_;  // ascending, the gaps between them are padding
  std::vector<PyObject*> contained_;
  uint64_t size_ = 0;
};

// Takes `value` apart into `out` (cleared first). False: a Python exception is set; one that says why
// pickling failed comes from narke._private.serialization.explain(value, exc).
bool encode(PyObject* value, Encoded* out);

// The same for an exception that get() shall raise: is_error() is true for the bytes.
bool encode_error(PyObject* exception, Encoded* out);

// Reads a value. `keeper` is a Python object that owns the memory at `data` and keeps it unchanged while it
// lives; if it is null, or `data` on no 16-byte boundary, nothing of the result refers to `data`. New
// reference, or null with an exception set: ValueError for malformed bytes, otherwise whatever unpickling
// raised. Errors are returned, not raised: see is_error().
PyObject* decode(const uint8_t* data, size_t size, PyObject* keeper);

// Called by ObjectRef.__reduce__ (and ActorRef's) while a value is being pickled: adds `ref` to the contained
// refs of the innermost encode() on this thread. False, without an exception, when no encode() is running.
bool note_contained(PyObject* ref);

// What the codec must know of the native ObjectRef. Set once, before the first encode().
struct RefHooks {
  PyTypeObject* ref_type = nullptr;  // exact type of an ObjectRef
  // The id (at most 255 bytes) and the owner's address of a ref, valid while the ref lives and is not
  // changed. False with an exception set.
  bool (*parts)(PyObject* ref, std::string_view* id, std::string_view* owner) = nullptr;
  // What the function named by ObjectRef.__reduce__ does: the ref of that id. New reference or null +
  // exception.
  PyObject* (*rebuild)(std::string_view id, std::string_view owner) = nullptr;
};
void set_ref_hooks(const RefHooks& hooks);

// A read-only object of the buffer protocol over [data, data + size) that holds `keeper` (may be null for
// memory that outlives it). New reference or null with an exception set.
PyObject* new_buffer(const uint8_t* data, size_t size, PyObject* keeper);

// Called once by the module's init: adds the type Buffer and the functions
//   value_is_plain(type)        values of exactly this type (without further scanning) may go to C pickle;
//   for
//                               ActorHandle, whose __reduce__ names importable things only
//   value_needs_reducer(type)   values of exactly this type always go to cloudpickle; register_serializer
//   calls it
// 0, or -1 with an exception set.
int init_value(PyObject* module);

}  // namespace narke::py
