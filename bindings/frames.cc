// Python's frames, read from outside: see sampler.h. What differs between versions of CPython is in frame_layout.h.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include <sys/uio.h>
#include <unistd.h>

#include "bindings/frame_layout.h"
#include "bindings/sampler.h"

namespace narke::py {

#if NARKE_KNOWS_FRAMES

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
template <class T>
const PyTypeObject* type_of(const Copy<T>& object) {
  return reinterpret_cast<const PyObject*>(object.bytes)->ob_type;
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
  if (!read_struct(text, &head) || type_of(head) != &PyUnicode_Type || !head->state.compact) return {};
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
  if (!read_struct(bytes, &head) || type_of(head) != &PyBytes_Type) return {};
  if (head->ob_size < 0 || head->ob_size > kMostTable) return {};
  std::string out(static_cast<size_t>(head->ob_size), '\0');
  if (!read_memory(reinterpret_cast<const char*>(bytes) + offsetof(PyBytesObject, ob_sval), out.data(), out.size()))
    return {};
  return out;
}

// ---- frames ------------------------------------------------------------------------------------------------

// False: it is no frame. An empty function: one that has not begun, or none of Python's.
bool read_frame(const void* from, StackFrame* out, layout::RawFrame* raw) {
  alignas(layout::Frame) std::byte bytes[layout::kFrameBytes];
  if (!read_memory(from, bytes, sizeof(bytes))) return false;
  *raw = layout::raw_of(*reinterpret_cast<const layout::Frame*>(bytes));
  if (!raw->is_python) return true;
  Copy<PyCodeObject> code;
  if (!read_struct(raw->code, &code) || type_of(code) != &PyCode_Type) return false;
  if (!layout::has_begun(*raw, *code.operator->())) return true;
  const auto function = read_text(layout::name_of(*code.operator->())), file = read_text(code->co_filename);
  const auto table = read_bytes(code->co_linetable);
  if (!function || !file || !table) return false;
  *out = {*function, *file, layout::line_of(*table, code->co_firstlineno, layout::unit_of(*raw))};
  return true;
}

// One reading of a thread's stack. False: it changed meanwhile.
bool read_once(const PyThreadState* thread, std::vector<StackFrame>* out) {
  Copy<PyThreadState> state;
  if (!read_struct(thread, &state)) return false;
  const void* const top = layout::top_of(*state.operator->(), read_memory);
  if (top == nullptr) return true;
  int entered = 0;
  layout::RawFrame raw{.previous = top};
  for (int count = 0; raw.previous != nullptr && count < kMostFrames; ++count) {
    StackFrame each;
    if (!read_frame(raw.previous, &each, &raw)) return false;
    entered += raw.enters;
    if (!each.function.empty()) out->push_back(std::move(each));
  }
  const bool is_cut = raw.previous != nullptr;
  if (!read_struct(thread, &state) || layout::top_of(*state.operator->(), read_memory) != top) return false;
  return is_cut || layout::is_whole(thread, *state.operator->(), entered, raw, kMostFrames, read_memory);
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
  // The list may change while it is read: threads come and go.
  const PyThreadState* at = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
  const PyThreadState* holder = _PyThreadState_UncheckedGet();
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
    thread.native_id = layout::native_id_of(*state.operator->(), read_memory);
    thread.is_main = thread.native_id == getpid();
    thread.holds_lock = layout::holds_lock(at, *state.operator->(), holder);
    thread.frames = read_frames(at);
    look_at_system(thread);
    if (!thread.frames.empty()) out.push_back(std::move(thread));
    at = state->next;
  }
  return out;
}

#else

Result<std::vector<ThreadStack>> sample_stacks() {
  return Error{ErrorCode::kFailed, "stacks can be read of CPython 3.10 to 3.13 with the GIL only; this is " PY_VERSION
                                   ". faulthandler.dump_traceback_later() in the program shows them too."};
}

#endif

}  // namespace narke::py
