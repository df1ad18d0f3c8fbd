// Python's frames, read from outside: see sampler.h. The only unit that knows the interpreter's layout.
#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE 1
#include <Python.h>

#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE

#include <cstring>
#include <fstream>
#include <optional>
#include <tuple>

#include <sys/uio.h>
#include <unistd.h>

#include "bindings/sampler.h"

namespace narke::py {
namespace {

constexpr int kMostFrames = 512, kMostThreads = 1024;
constexpr Py_ssize_t kMostText = 4096;       // characters of a name
constexpr Py_ssize_t kMostTable = 256 << 10;  // bytes of a code's table of lines
constexpr int kTries = 64;                   // for a stack that does not change while it is read

// Reads this process's memory; false: it is not there.
bool read_memory(const void* from, void* to, size_t size) {
  iovec local{to, size}, remote{const_cast<void*>(from), size};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

template <class T>
struct Copy {
  alignas(T) std::byte bytes[sizeof(T)];
  const T* operator->() const { return reinterpret_cast<const T*>(bytes); }
};
template <class T>
bool read_struct(const void* from, Copy<T>* to) {
  return from != nullptr && read_memory(from, to->bytes, sizeof(T));
}
// One field of a structure, whose end may lie in no page.
template <class T>
bool read_value(const void* from, T* to) {
  return read_memory(from, to, sizeof(T));
}

// ---- texts -------------------------------------------------------------------------------------------------

void put_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
            static_cast<char>(0x80 | (c & 0x3f))};
  } else {
    out += {static_cast<char>(0xf0 | (c >> 18 & 7)), static_cast<char>(0x80 | (c >> 12 & 0x3f)),
            static_cast<char>(0x80 | (c >> 6 & 0x3f)), static_cast<char>(0x80 | (c & 0x3f))};
  }
}

std::optional<std::string> read_text(PyObject* text) {
  Copy<PyASCIIObject> head;
  if (!read_struct(text, &head) || head->ob_base.ob_type != &PyUnicode_Type || !head->state.compact) return {};
  const Py_ssize_t length = std::min(head->length, kMostText);
  const size_t width = head->state.kind;
  if (length < 0 || (width != 1 && width != 2 && width != 4)) return {};
  const size_t start = head->state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject);
  std::string raw(static_cast<size_t>(length) * width, '\0');
  if (!read_memory(reinterpret_cast<const char*>(text) + start, raw.data(), raw.size())) return {};
  if (head->state.ascii) return raw;
  std::string out;
  for (size_t at = 0; at < raw.size(); at += width) {
    uint32_t c = 0;
    std::memcpy(&c, raw.data() + at, width);
    put_utf8(out, c);
  }
  return out;
}

std::optional<std::string> read_bytes(PyObject* bytes) {
  Copy<PyVarObject> head;
  if (!read_struct(bytes, &head) || head->ob_base.ob_type != &PyBytes_Type) return {};
  if (head->ob_size < 0 || head->ob_size > kMostTable) return {};
  std::string out(static_cast<size_t>(head->ob_size), '\0');
  if (!read_memory(reinterpret_cast<const char*>(bytes) + offsetof(PyBytesObject, ob_sval), out.data(), out.size()))
    return {};
  return out;
}

// ---- lines -------------------------------------------------------------------------------------------------

// CPython's location table (Objects/locations.md): entries of a byte 1 kkkk lll (kind, code units less one) and what
// belongs to the kind.
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

int line_of(const std::string& table, int first_line, long unit) {
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

// ---- frames ------------------------------------------------------------------------------------------------

#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000

using Frame = _PyInterpreterFrame;

const Frame* top_of(const PyThreadState& thread) {
  const Frame* top = nullptr;
  if (thread.cframe == nullptr) return nullptr;
  const char* frame = reinterpret_cast<const char*>(thread.cframe) + offsetof(_PyCFrame, current_frame);
  return read_value(frame, &top) ? top : nullptr;
}

// How often the interpreter's loop has been entered in a thread; -1: the list changed while it was read.
int count_entries(const PyThreadState* at, const PyThreadState& thread) {
  const char* const root = reinterpret_cast<const char*>(at) + offsetof(PyThreadState, root_cframe);
  const char* entry = reinterpret_cast<const char*>(thread.cframe);
  int count = 0;
  for (; entry != root && count < kMostFrames; ++count)
    if (entry == nullptr || !read_value(entry + offsetof(_PyCFrame, previous), &entry)) return -1;
  return count;
}

// False: it is no frame. An empty function: one that has not begun.
bool read_frame(const Frame* from, StackFrame* out, const Frame** previous, bool* is_entry) {
  // The locals behind it are of no interest, and may end a page.
  alignas(Frame) std::byte bytes[offsetof(Frame, localsplus)];
  if (!read_memory(from, bytes, sizeof(bytes))) return false;
  const Frame& frame = *reinterpret_cast<const Frame*>(bytes);
  *previous = frame.previous;
  *is_entry = frame.is_entry;
  Copy<PyCodeObject> code;
  if (!read_struct(frame.f_code, &code) || code->ob_base.ob_base.ob_type != &PyCode_Type) return false;
  const char* first = reinterpret_cast<const char*>(frame.f_code) + offsetof(PyCodeObject, co_code_adaptive);
  const long unit = (reinterpret_cast<const char*>(frame.prev_instr) - first) / static_cast<long>(sizeof(_Py_CODEUNIT));
  const bool has_begun = frame.owner == FRAME_OWNED_BY_GENERATOR || unit >= code->_co_firsttraceable;
  if (!has_begun) return true;
  const auto function = read_text(code->co_qualname), file = read_text(code->co_filename);
  const auto table = read_bytes(code->co_linetable);
  if (!function || !file || !table) return false;
  *out = {*function, *file, line_of(*table, code->co_firstlineno, unit)};
  return true;
}

constexpr bool kKnown = true;

#else

using Frame = void;
const Frame* top_of(const PyThreadState&) { return nullptr; }
int count_entries(const PyThreadState*, const PyThreadState&) { return -1; }
bool read_frame(const Frame*, StackFrame*, const Frame**, bool*) { return false; }
constexpr bool kKnown = false;

#endif

// One reading of a thread's stack. False: it changed meanwhile. A generator that rests has no caller, so a stack whose
// top did just rest looks whole; it is when it has as many frames that entered the interpreter as were entered.
bool read_once(const PyThreadState* thread, std::vector<StackFrame>* out) {
  Copy<PyThreadState> state;
  if (!read_struct(thread, &state)) return false;
  const Frame* const top = top_of(*state.operator->());
  int entered = 0;
  const Frame* frame = top;
  for (int count = 0; frame != nullptr && count < kMostFrames; ++count) {
    StackFrame each;
    bool is_entry = false;
    if (!read_frame(frame, &each, &frame, &is_entry)) return false;
    entered += is_entry;
    if (!each.function.empty()) out->push_back(std::move(each));
  }
  const bool is_cut = frame != nullptr;
  if (!read_struct(thread, &state) || top_of(*state.operator->()) != top) return false;
  return is_cut || entered == count_entries(thread, *state.operator->());
}

// What a thread that never holds still shows at its longest is told rather than nothing.
std::vector<StackFrame> read_frames(const PyThreadState* thread) {
  std::vector<StackFrame> longest;
  for (int tries = 0; tries < kTries; ++tries) {
    std::vector<StackFrame> out;
    if (read_once(thread, &out)) return out;
    if (out.size() > longest.size()) longest = std::move(out);
  }
  return longest;
}

void look_at_system(ThreadStack& thread) {
  const std::string folder = "/proc/self/task/" + std::to_string(thread.native_id);
  std::getline(std::ifstream(folder + "/comm"), thread.name);
  std::string stat;
  std::getline(std::ifstream(folder + "/stat"), stat);
  const size_t end = stat.rfind(") ");
  if (end != std::string::npos && end + 2 < stat.size()) thread.state = stat[end + 2];
}

}  // namespace

Result<std::vector<ThreadStack>> sample_stacks() {
  if (!kKnown)
    return Error{ErrorCode::kFailed, "stacks can be read of CPython 3.11 only; this is " PY_VERSION
                                     ". faulthandler.dump_traceback_later() in the program shows them too."};
  // The list may change while it is read: threads come and go.
  const PyThreadState* at = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
  const PyThreadState* holder = _PyThreadState_UncheckedGet();  // of Python's lock, whichever thread asks
  std::vector<ThreadStack> out;
  for (int count = 0; at != nullptr && count < kMostThreads; ++count) {
    Copy<PyThreadState> state;
    if (!read_struct(at, &state)) {
      if (count == 0)
        return Error{ErrorCode::kFailed, std::string("the system does not let this process read its own memory (") +
                                             std::strerror(errno) + "); a seccomp profile must allow process_vm_readv"};
      break;
    }
    ThreadStack thread;
    thread.native_id = static_cast<int>(state->native_thread_id);
    thread.is_main = thread.native_id == getpid();
    thread.holds_lock = at == holder;
    thread.frames = read_frames(at);
    look_at_system(thread);
    if (!thread.frames.empty()) out.push_back(std::move(thread));
    at = state->next;
  }
  return out;
}

}  // namespace narke::py
