// The zygote's side of its link with the node: blocking frames over one descriptor, no threads.
#include <cerrno>

#include <unistd.h>

#include "bindings/flex.h"
#include "bindings/session.h"
#include "rpc/frame.h"

namespace narke::py {
namespace {

constexpr uint32_t kMaxFrameBytes = 16 << 20;

size_t padded(size_t size) { return (size + 7) & ~size_t{7}; }

enum class ReadResult { kOk, kEnd, kSignal, kError };

// Reads exactly `size` bytes. A signal before the first one ends it, if `interruptible`.
ReadResult read_all(int fd, uint8_t* to, size_t size, bool interruptible) {
  size_t have = 0;
  while (have < size) {
    ssize_t n = read(fd, to + have, size - have);
    if (n == 0) return ReadResult::kEnd;
    if (n > 0) {
      have += static_cast<size_t>(n);
      continue;
    }
    if (errno != EINTR) return ReadResult::kError;
    if (interruptible && have == 0) return ReadResult::kSignal;
  }
  return ReadResult::kOk;
}

bool write_frame(int fd, wire::MessageType type, const flatbuffers::FlatBufferBuilder& b) {
  size_t table = padded(b.GetSize());
  rpc::FrameHeader header{static_cast<uint32_t>(table), static_cast<uint16_t>(type), 0, static_cast<uint32_t>(table),
                          0};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
  bytes.resize(sizeof(header) + table, '\0');
  size_t sent = 0;
  while (sent < bytes.size()) {
    ssize_t n = write(fd, bytes.data() + sent, bytes.size() - sent);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) sent += static_cast<size_t>(n);
  }
  return true;
}

// A ForkWorker as {"worker": bytes, "config": dict}; None at the end; "child" when a signal came first.
PyObject* native_zygote_read(PyObject*, PyObject* arg) {
  int fd = static_cast<int>(PyLong_AsLong(arg));
  if (PyErr_Occurred()) return nullptr;
  rpc::FrameHeader header;
  ReadResult first = read_all(fd, reinterpret_cast<uint8_t*>(&header), sizeof(header), true);
  if (first == ReadResult::kSignal) return PyErr_CheckSignals() != 0 ? nullptr : PyUnicode_FromString("child");
  if (first != ReadResult::kOk) Py_RETURN_NONE;
  if (!rpc::is_sane(header) || header.body_size > kMaxFrameBytes)
    return PyErr_Format(PyExc_ValueError, "the node sent bytes that are no frame");
  ByteBuffer body;
  body.resize(padded(header.body_size));
  if (read_all(fd, body.data(), body.size(), false) != ReadResult::kOk) Py_RETURN_NONE;
  rpc::Frame frame{static_cast<wire::MessageType>(header.type), 0, rpc::Bytes(body.data(), header.table_size), {}};
  const auto* fork = frame.as<wire::ForkWorker>();
  if (frame.type != wire::MessageType::ForkWorker || fork == nullptr || fork->worker() == nullptr)
    return PyErr_Format(PyExc_ValueError, "the node sent something else than ForkWorker");
  std::string_view config;
  if (fork->config() != nullptr)
    config = {reinterpret_cast<const char*>(fork->config()->data()), fork->config()->size()};
  PyRef map = PyRef::steal(from_flex(config));
  if (!map) return nullptr;
  WorkerId worker = WorkerId::from_wire(fork->worker());
  return Py_BuildValue("{s:y#,s:O}", "worker", worker.data(), static_cast<Py_ssize_t>(WorkerId::kSize), "config",
                       map.get());
}

PyObject* native_zygote_forked(PyObject*, PyObject* args) {
  int fd, pid;
  const char *worker, *error = "";
  Py_ssize_t size;
  if (!PyArg_ParseTuple(args, "iy#i|s:zygote_forked", &fd, &worker, &size, &pid, &error)) return nullptr;
  if (size != static_cast<Py_ssize_t>(WorkerId::kSize))
    return PyErr_Format(PyExc_ValueError, "worker must have 28 bytes");
  flatbuffers::FlatBufferBuilder b(256);
  auto text = b.CreateString(error);
  auto id = WorkerId::from_bytes({worker, static_cast<size_t>(size)}).to_wire<wire::WorkerId>();
  b.Finish(wire::CreateForked(b, &id, pid, text));
  return PyBool_FromLong(write_frame(fd, wire::MessageType::Forked, b));
}

PyObject* native_zygote_child_exited(PyObject*, PyObject* args) {
  int fd, pid, status;
  if (!PyArg_ParseTuple(args, "iii:zygote_child_exited", &fd, &pid, &status)) return nullptr;
  flatbuffers::FlatBufferBuilder b(64);
  b.Finish(wire::CreateChildExited(b, pid, status));
  return PyBool_FromLong(write_frame(fd, wire::MessageType::ChildExited, b));
}

PyMethodDef methods[] = {
    {"zygote_read", native_zygote_read, METH_O, "zygote_read(fd, /)\n--\n\nThe next fork to make."},
    {"zygote_forked", native_zygote_forked, METH_VARARGS,
     "zygote_forked(fd, worker, pid, error='', /)\n--\n\nTells the node of a fork."},
    {"zygote_child_exited", native_zygote_child_exited, METH_VARARGS,
     "zygote_child_exited(fd, pid, status, /)\n--\n\nTells the node of a worker's end."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_zygote(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
