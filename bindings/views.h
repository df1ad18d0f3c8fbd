// Python's buffers as C++ sees them, for kernels that check every argument and then run without the GIL.
#pragma once

#include <cstdint>
#include <span>

#include "bindings/py_util.h"

namespace narke::py {

// A contiguous buffer for as long as the view lives; empty for None.
class View {
 public:
  View() = default;
  View(View&& other) noexcept : buffer_(other.buffer_) { other.buffer_.obj = nullptr; }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() { PyBuffer_Release(&buffer_); }

  bool open(PyObject* object, bool writable) {
    if (object == Py_None) return true;
    return PyObject_GetBuffer(object, &buffer_, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) == 0;
  }
  uint8_t* data() const { return static_cast<uint8_t*>(buffer_.buf); }
  int64_t size() const { return buffer_.buf == nullptr ? 0 : buffer_.len; }
  template <typename T>
  std::span<T> span() const {
    return {reinterpret_cast<T*>(buffer_.buf), static_cast<size_t>(size()) / sizeof(T)};
  }

 private:
  Py_buffer buffer_{};
};

// Sets ValueError; false.
inline bool refuse(const char* what) {
  PyErr_SetString(PyExc_ValueError, what);
  return false;
}

}  // namespace narke::py
