// Where CPython keeps a thread's frames, version by version: 3.10, and 3.11 to 3.13 with Python's lock. The only file
// that knows the interpreter's layout. Everything here looks at copies, taken by the reader that is handed in; nothing
// is called, so that a thread may run, hang or end meanwhile. Source: CPython's own headers, and
// Objects/lnotab_notes.txt (3.10) and Objects/locations.md (from 3.11) for the tables of lines.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstddef>
#include <cstring>
#include <string>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#if PY_VERSION_HEX >= 0x030A0000 && PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
#define NARKE_KNOWS_FRAMES 1
#else
#define NARKE_KNOWS_FRAMES 0
#endif

#if NARKE_KNOWS_FRAMES && PY_VERSION_HEX >= 0x030B0000
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#define NARKE_DEFINED_BUILD_CORE 1
#endif
#include <internal/pycore_frame.h>
#ifdef NARKE_DEFINED_BUILD_CORE
#undef Py_BUILD_CORE
#endif
#elif NARKE_KNOWS_FRAMES
#include <frameobject.h>
#endif

namespace narke::py::layout {

// Reads memory of this process; false: it is not there.
using Read = bool (*)(const void* from, void* to, size_t size);

// One frame, as far as every version has it.
struct RawFrame {
  const void* previous = nullptr;
  PyObject* code = nullptr;  // may be no code: look at its type
  const void* instruction = nullptr;
  bool is_python = true;      // false: where C entered the interpreter's loop; nothing else of it is of interest
  bool is_generator = false;  // its function was entered before the frame was made
  bool enters = false;        // the interpreter's loop was entered for it
  bool may_be_last = false;   // a whole stack may end with it
};

#if NARKE_KNOWS_FRAMES

#if PY_VERSION_HEX < 0x030B0000
using Frame = PyFrameObject;
inline constexpr size_t kFrameBytes = offsetof(PyFrameObject, f_blockstack);
inline constexpr size_t kFirstInstruction = 0;
#else
using Frame = _PyInterpreterFrame;
inline constexpr size_t kFrameBytes = offsetof(_PyInterpreterFrame, localsplus);  // locals may end a page
inline constexpr size_t kFirstInstruction = offsetof(PyCodeObject, co_code_adaptive);
#endif

inline RawFrame raw_of(const Frame& frame) {
  RawFrame out;
#if PY_VERSION_HEX < 0x030B0000
  out.previous = frame.f_back;
  out.code = reinterpret_cast<PyObject*>(frame.f_code);
  out.instruction =
      reinterpret_cast<const void*>(static_cast<intptr_t>(frame.f_lasti));  // in code units; -1: not begun
  out.may_be_last = frame.f_state == FRAME_EXECUTING;  // a generator that rests is suspended
#else
  out.previous = frame.previous;
  out.is_generator = frame.owner == FRAME_OWNED_BY_GENERATOR;
#if PY_VERSION_HEX < 0x030D0000
  out.code = reinterpret_cast<PyObject*>(frame.f_code);
  out.instruction = frame.prev_instr;
#else
  out.code = frame.f_executable;
  out.instruction = frame.instr_ptr;
#endif
#if PY_VERSION_HEX < 0x030C0000
  out.enters = frame.is_entry;
  out.may_be_last = true;
#else
  out.is_python = frame.owner != FRAME_OWNED_BY_CSTACK;
  out.may_be_last = !out.is_python;
#endif
#endif
  return out;
}

// The innermost frame of a thread, of whose state `thread` is a copy; null: none.
inline const Frame* top_of(const PyThreadState& thread, [[maybe_unused]] Read read) {
#if PY_VERSION_HEX < 0x030B0000
  return thread.frame;
#elif PY_VERSION_HEX < 0x030D0000
  const Frame* top = nullptr;
  if (thread.cframe == nullptr) return nullptr;
  const char* field = reinterpret_cast<const char*>(thread.cframe) + offsetof(_PyCFrame, current_frame);
  return read(field, &top, sizeof(top)) ? top : nullptr;
#else
  return thread.current_frame;
#endif
}

// Whether the frames that were met, `entered` of which entered the interpreter's loop and with `last` as the outermost,
// are a whole stack: a generator that has come to rest since has no caller any more. 3.11 shows it by the number of
// entries, the others by the last frame.
inline bool is_whole([[maybe_unused]] const PyThreadState* at, [[maybe_unused]] const PyThreadState& thread,
                     [[maybe_unused]] int entered, const RawFrame& last, [[maybe_unused]] int most,
                     [[maybe_unused]] Read read) {
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
  const char* const root = reinterpret_cast<const char*>(at) + offsetof(PyThreadState, root_cframe);
  const char* entry = reinterpret_cast<const char*>(thread.cframe);
  for (; entry != root && most > 0; --most, --entered)
    if (entry == nullptr || !read(entry + offsetof(_PyCFrame, previous), &entry, sizeof(entry))) return false;
  return last.may_be_last && entered == 0;
#else
  return last.may_be_last;
#endif
}

// The index of the code unit at which a frame stands; -1: before the first.
inline long unit_of(const RawFrame& frame) {
#if PY_VERSION_HEX < 0x030B0000
  return static_cast<long>(reinterpret_cast<intptr_t>(frame.instruction));
#else
  const char* first = reinterpret_cast<const char*>(frame.code) + kFirstInstruction;
  return (static_cast<const char*>(frame.instruction) - first) / static_cast<long>(sizeof(_Py_CODEUNIT));
#endif
}

inline bool has_begun(const RawFrame& frame, [[maybe_unused]] const PyCodeObject& code) {
#if PY_VERSION_HEX < 0x030B0000
  return unit_of(frame) >= 0;
#else
  return frame.is_generator || unit_of(frame) >= code._co_firsttraceable;
#endif
}

inline PyObject* name_of(const PyCodeObject& code) {
#if PY_VERSION_HEX < 0x030B0000
  return code.co_name;
#else
  return code.co_qualname;
#endif
}

// The thread's id for the system. 3.10 knows only the C library's, which keeps the other one behind it: where, is found
// in a thread that knows both.
inline int native_id_of(const PyThreadState& thread, [[maybe_unused]] Read read) {
#if PY_VERSION_HEX >= 0x030B0000
  return static_cast<int>(thread.native_thread_id);
#else
  static const size_t kOffset = [] {
    constexpr size_t kMost = 2048;  // glibc's and musl's descriptors are longer
    const char* own = reinterpret_cast<const char*>(pthread_self());
    const pid_t id = static_cast<pid_t>(syscall(SYS_gettid));
    for (size_t at = 0; at < kMost; at += sizeof(pid_t))
      if (std::memcmp(own + at, &id, sizeof(id)) == 0) return at;
    return kMost;
  }();
  pid_t id = 0;
  return read(reinterpret_cast<const char*>(thread.thread_id) + kOffset, &id, sizeof(id)) ? id : 0;
#endif
}

// Whether a thread holds Python's lock. Where its state says so that is what counts; `holder` is what
// _PyThreadState_UncheckedGet() gave, which up to 3.11 is the holder whichever thread asks.
inline bool holds_lock([[maybe_unused]] const PyThreadState* at, [[maybe_unused]] const PyThreadState& thread,
                       [[maybe_unused]] const PyThreadState* holder) {
#if PY_VERSION_HEX < 0x030C0000
  return at == holder;
#elif PY_VERSION_HEX < 0x030D0000
  return thread._status.active;
#else
  return thread._status.holds_gil;
#endif
}

// ---- lines -------------------------------------------------------------------------------------------------

// Pairs of bytes: code bytes that it is about, and how far the line is from the one before (-128: no line).
inline int line_in_pairs(const std::string& table, int first_line, long unit) {
  int line = first_line;
  long covered = 0;
  for (size_t at = 0; at + 1 < table.size(); at += 2) {
    const int delta = static_cast<signed char>(table[at + 1]);
    if (delta != -128) line += delta;
    covered += static_cast<unsigned char>(table[at]);
    if (unit * 2 < covered) return delta == -128 ? 0 : line;
  }
  return first_line;
}

// Entries of a byte 1 kkkk lll (kind, code units less one) and what belongs to the kind.
struct Locations {
  const std::string& table;
  size_t at = 0;

  unsigned byte() { return at < table.size() ? static_cast<unsigned char>(table[at++]) : 0; }
  unsigned varint() {
    unsigned value = 0, shift = 0, part;
    do {
      part = byte();
      value |= (part & 63) << shift;
      shift += 6;
    } while ((part & 64) != 0 && shift < 30);
    return value;
  }
  int signed_varint() {
    const unsigned value = varint();
    return (value & 1) != 0 ? -static_cast<int>(value >> 1) : static_cast<int>(value >> 1);
  }
};

inline int line_in_locations(const std::string& table, int first_line, long unit) {
  Locations in{table};
  int line = first_line;
  for (long covered = 0; in.at < table.size();) {
    const unsigned head = in.byte(), kind = head >> 3 & 15;
    covered += (head & 7) + 1;
    switch (kind) {
      case 15: break;  // no location
      case 14: line += in.signed_varint(), in.varint(), in.varint(), in.varint(); break;
      case 13: line += in.signed_varint(); break;
      case 12:
      case 11:
      case 10: line += static_cast<int>(kind) - 10, in.byte(), in.byte(); break;
      default: in.byte();
    }
    if (unit < covered) return kind == 15 ? 0 : line;
  }
  return first_line;
}

inline int line_of(const std::string& table, int first_line, long unit) {
#if PY_VERSION_HEX < 0x030B0000
  return line_in_pairs(table, first_line, unit);
#else
  return line_in_locations(table, first_line, unit);
#endif
}

#endif  // NARKE_KNOWS_FRAMES

}  // namespace narke::py::layout
