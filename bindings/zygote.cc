// The zygote's loop: it takes the node's requests to fork, and tells of forks and of children that ended.
//
// One thread, blocking frames over one descriptor. It runs no Python between two forks: what it would touch of the
// heap it shares with its children would be copied for it, each time.
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bindings/birth.h"
#include "bindings/flex.h"
#include "bindings/fork_hooks.h"
#include "bindings/heap.h"
#include "bindings/spec.h"
#include "rpc/frame.h"

namespace narke::py {
namespace {

constexpr uint32_t kMaxFrameBytes = 16 << 20;

size_t padded(size_t size) { return (size + 7) & ~size_t{7}; }

// Reads exactly `size` bytes; false at the end of the link.
bool read_all(int fd, uint8_t* to, size_t size) {
  for (size_t have = 0; have < size;) {
    ssize_t n = read(fd, to + have, size - have);
    if (n == 0 || (n < 0 && errno != EINTR)) return false;
    if (n > 0) have += static_cast<size_t>(n);
  }
  return true;
}

bool write_all(int fd, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    ssize_t n = write(fd, bytes.data() + sent, bytes.size() - sent);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) sent += static_cast<size_t>(n);
  }
  return true;
}

// Signals as a process of Python's own has them, put back in every child.
class Signals {
 public:
  Signals() {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &mask_);
    fd_ = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;  // Ctrl-C in the driver's terminal is the driver's matter
    sigaction(SIGINT, &ignore, &interrupt_);
  }
  ~Signals() {
    close(fd_);
    sigaction(SIGINT, &interrupt_, nullptr);
    sigprocmask(SIG_SETMASK, &mask_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_; }
  void drain() {
    signalfd_siginfo info[16];
    while (read(fd_, info, sizeof(info)) > 0) {
    }
  }

 private:
  sigset_t mask_;
  struct sigaction interrupt_{};
  int fd_ = -1;
};

class Zygote {
 public:
  Zygote(int link, int quiet_ms, PyObject* on_quiet, PyObject* prepare)
      : link_(link), quiet_ms_(quiet_ms), on_quiet_(on_quiet), prepare_(prepare) {}

  Generators generators;

  // None when the node is gone. In a child: the worker's exit status. Null with an exception set.
  PyObject* serve() {
    signals_.emplace();
    while (true) {
      pollfd ends[] = {{link_, POLLIN, 0}, {signals_->fd(), POLLIN, 0}};
      const int n = poll(ends, 2, is_quiet_ ? -1 : quiet_ms_);
      if (n == 0 && !on_quiet()) return nullptr;
      if (n > 0 && ends[1].revents != 0) report_children();
      if (n > 0 && ends[0].revents != 0) {
        if (!read_request()) return PyErr_Occurred() ? nullptr : Py_NewRef(Py_None);
        if (!on_request()) return nullptr;
        if (is_child_) return live(newborn_, outfit_, generators);
      }
      if (!tell()) Py_RETURN_NONE;
    }
  }

 private:
  bool on_quiet() {
    is_quiet_ = true;
    if (!PyRef::steal(PyObject_CallNoArgs(on_quiet_))) return false;
    settle_heap();
    return true;
  }

  bool tell() {
    const bool told = news_.empty() || write_all(link_, news_);
    news_.clear();
    return told;
  }

  void add_news(wire::MessageType type, const flatbuffers::FlatBufferBuilder& b) {
    const size_t table = padded(b.GetSize());
    rpc::FrameHeader header{static_cast<uint32_t>(table), static_cast<uint16_t>(type), 0, static_cast<uint32_t>(table),
                            0};
    const size_t start = news_.size();
    news_.append(reinterpret_cast<const char*>(&header), sizeof(header));
    news_.append(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
    news_.resize(start + sizeof(header) + table, '\0');
  }

  void report_children() {
    signals_->drain();
    int pid, status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      flatbuffers::FlatBufferBuilder b(64);
      b.Finish(wire::CreateChildExited(b, pid, status));
      add_news(wire::MessageType::ChildExited, b);
    }
  }

  bool read_request() {
    rpc::FrameHeader header;
    if (!read_all(link_, reinterpret_cast<uint8_t*>(&header), sizeof(header))) return false;
    if (!rpc::is_sane(header) || header.body_size > kMaxFrameBytes)
      return PyErr_Format(PyExc_ValueError, "the node sent bytes that are no frame"), false;
    body_.resize(padded(header.body_size));
    if (!read_all(link_, body_.data(), body_.size())) return false;
    rpc::Frame frame{static_cast<wire::MessageType>(header.type), 0, rpc::Bytes(body_.data(), header.table_size), {}};
    request_ = frame.type == wire::MessageType::ForkWorker ? frame.as<wire::ForkWorker>() : nullptr;
    if (request_ == nullptr || request_->worker() == nullptr)
      return PyErr_Format(PyExc_ValueError, "the node sent something else than ForkWorker"), false;
    return true;
  }

  bool on_request() {
    newborn_.id = WorkerId::from_wire(request_->worker());
    newborn_.stdout_path = request_->stdout_path() == nullptr ? "" : request_->stdout_path()->str();
    newborn_.stderr_path = request_->stderr_path() == nullptr ? "" : request_->stderr_path()->str();
    if (!dress()) return report_fork(0, exception_text(), false), true;
    const int pid = fork_quietly();
    if (pid == 0) return become_child();
    const int error = pid < 0 ? errno : 0;
    report_fork(pid, error != 0 ? std::strerror(error) : "", error == EAGAIN || error == ENOMEM);
    return true;
  }

  // Takes on the job and environment that are asked for, unless it was so dressed for the last fork.
  bool dress() {
    std::string_view config;
    if (request_->config() != nullptr)
      config = {reinterpret_cast<const char*>(request_->config()->data()), request_->config()->size()};
    if (is_dressed_ && config == config_) return true;
    is_dressed_ = false;
    PyRef map = PyRef::steal(from_flex(config));
    std::string job_config;
    if (!map || !read_text(map.get(), "job_config", &job_config)) return false;
    PyRef job = PyRef::steal(from_flex(job_config));
    if (!job) return false;
    PyRef prepared = PyRef::steal(PyObject_CallFunctionObjArgs(prepare_, map.get(), job.get(), nullptr));
    if (!prepared || !read_outfit(prepared.get(), &outfit_)) return false;
    config_ = config;
    return is_dressed_ = true;
  }

  static std::string exception_text() {
    PyRef exception = take_exception();
    PyRef text = exception ? PyRef::steal(PyObject_Str(exception.get())) : PyRef();
    const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
    std::string out = exception ? std::string(Py_TYPE(exception.get())->tp_name) + ": " : "";
    out += utf8 == nullptr ? "(no text)" : utf8;
    PyErr_Clear();
    return out;
  }

  void report_fork(int pid, const std::string& error, bool postponed) {
    flatbuffers::FlatBufferBuilder b(256);
    auto text = b.CreateString(error);
    auto id = newborn_.id.to_wire<wire::WorkerId>();
    b.Finish(wire::CreateForked(b, &id, std::max(pid, 0), text, postponed));
    add_news(wire::MessageType::Forked, b);
  }

  bool become_child() {
    is_child_ = true;
    signals_.reset();
    close(link_);
    return true;
  }

  const int link_;
  const int quiet_ms_;
  PyObject* const on_quiet_;
  PyObject* const prepare_;
  std::optional<Signals> signals_;
  bool is_quiet_ = false;
  bool is_child_ = false;
  bool is_dressed_ = false;
  std::string config_;
  Outfit outfit_;
  ByteBuffer body_;
  const wire::ForkWorker* request_ = nullptr;  // in body_
  Newborn newborn_;
  std::string news_;
};

PyObject* native_zygote_serve(PyObject*, PyObject* args) {
  int link, quiet_ms;
  PyObject *on_quiet, *prepare, *seed;
  unsigned long long mt19937;
  if (!PyArg_ParseTuple(args, "iiOOOK:zygote_serve", &link, &quiet_ms, &on_quiet, &prepare, &seed, &mt19937))
    return nullptr;
  if (!prepare_to_live()) return nullptr;
  Zygote zygote(link, quiet_ms, on_quiet, prepare);
  if (seed != Py_None) zygote.generators.seed = PyRef::borrow(seed);
  zygote.generators.mt19937 = reinterpret_cast<unsigned char*>(static_cast<uintptr_t>(mt19937));
  return zygote.serve();
}

PyObject* native_lay_out_heap(PyObject*, PyObject*) {
  lay_out_heap();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"lay_out_heap", native_lay_out_heap, METH_NOARGS,
     "lay_out_heap()\n--\n\nLets what is allocated from now on lie so that forks of this process copy little."},
    {"zygote_serve", native_zygote_serve, METH_VARARGS,
     "zygote_serve(link, quiet_ms, on_quiet, prepare, seed, mt19937, /)\n--\n\n"
     "Forks workers until the node is gone: None. In a worker: its exit status, when it has ended."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_zygote(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
