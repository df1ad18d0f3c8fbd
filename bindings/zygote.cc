// The zygote's loop: it takes the node's requests to fork, and tells of forks and of children that ended.
//
// One thread, blocking frames over one descriptor, and one for each branch. It runs no Python between two forks: what
// it would touch of the heap it shares with its children would be copied for it, each time.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <vector>

#include <flatbuffers/flexbuffers.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bindings/birth.h"
#include "bindings/branches.h"
#include "bindings/flex.h"
#include "bindings/fork_hooks.h"
#include "bindings/heap.h"
#include "bindings/spec.h"
#include "bindings/title.h"
#include "bindings/zygote_frames.h"

namespace narke::py {
namespace {

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

struct Order {
  int link;
  int quiet_ms;
  PyObject* on_quiet;
  PyObject* prepare;
  bool is_branch;
};

class Zygote : private BranchesOut {
 public:
  explicit Zygote(const Order& order) : order_(order), is_quiet_(order.is_branch), branches_(*this) {}

  Generators generators;

  // None when the node is gone. In a child: the worker's exit status, or a branch's link and modules. Null with an
  // exception set.
  PyObject* serve() {
    signals_.emplace();
    if (order_.is_branch && !begin_as_branch()) Py_RETURN_NONE;
    while (true) {
      if (!wait()) return nullptr;
      if (ends_[1].revents != 0) report_children();
      // Branches first: a request may begin and end some.
      if (branches_.on_events(ends_.data() + 2, ends_.size() - 2) && ends_[0].revents != 0 && !serve_node())
        return PyErr_Occurred() ? nullptr : Py_NewRef(Py_None);
      if (is_child_) return live(newborn_, outfit_, generators);
      if (branches_.born() >= 0) return become_branch();
      branches_.keep();
      if (!tell()) Py_RETURN_NONE;
    }
  }

 private:
  bool is_parent() const { return !is_child_ && branches_.born() < 0; }

  // An empty answer says that it can be asked now.
  bool begin_as_branch() {
    set_title("narke::zygote");
    settle_heap();
    const rpc::FrameHeader ready{0, static_cast<uint16_t>(wire::MessageType::Forked), 0, 0, 0};
    return write_all(order_.link, &ready, sizeof(ready));
  }

  bool wait() {
    ends_.assign({{order_.link, POLLIN, 0}, {signals_->fd(), POLLIN, 0}});
    branches_.add_to(&ends_);
    int limit_ms = branches_.timeout_ms();
    if (!is_quiet_) limit_ms = limit_ms < 0 ? order_.quiet_ms : std::min(limit_ms, order_.quiet_ms);
    const int n = poll(ends_.data(), ends_.size(), limit_ms);
    if (n < 0)
      for (pollfd& end : ends_) end.revents = 0;
    return n != 0 || is_quiet_ || on_quiet();
  }

  bool on_quiet() {
    is_quiet_ = true;
    if (!PyRef::steal(PyObject_CallNoArgs(order_.on_quiet))) return false;
    settle_heap();
    return true;
  }

  bool tell() {
    const bool told = news_.empty() || write_all(order_.link, news_.data(), news_.size());
    news_.clear();
    return told;
  }

  void report_children() {
    signals_->drain();
    int pid, status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (branches_.reap(pid)) continue;
      flatbuffers::FlatBufferBuilder b(64);
      b.Finish(wire::CreateChildExited(b, pid, status));
      rpc::append_frame(&news_, wire::MessageType::ChildExited, b);
    }
  }

  // False at the node's end, or with an exception set.
  bool serve_node() {
    Packet packet;
    if (!read_packet(order_.link, &packet) || !read_request(packet)) return false;
    const std::string_view modules = wanted_modules();
    if (!modules.empty() && branches_.take(modules, newborn_.id, packet)) return true;
    if (is_parent()) fork_worker();
    return true;
  }

  bool read_request(const Packet& packet) {
    const rpc::Frame frame = packet.frame();
    request_ = frame.type == wire::MessageType::ForkWorker ? frame.as<wire::ForkWorker>() : nullptr;
    if (request_ == nullptr || request_->worker() == nullptr)
      return PyErr_Format(PyExc_ValueError, "the node sent something else than ForkWorker"), false;
    newborn_.id = WorkerId::from_wire(request_->worker());
    newborn_.stdout_path = request_->stdout_path() == nullptr ? "" : request_->stdout_path()->str();
    newborn_.stderr_path = request_->stderr_path() == nullptr ? "" : request_->stderr_path()->str();
    asked_config_ = {};
    if (request_->config() != nullptr)
      asked_config_ = {reinterpret_cast<const char*>(request_->config()->data()), request_->config()->size()};
    return true;
  }

  // What the worker's config names; nothing in a branch, which has it.
  std::string_view wanted_modules() {
    if (order_.is_branch || asked_config_.size() < 3) return {};
    if (asked_config_ != modules_config_) {
      modules_config_ = asked_config_;
      const auto* bytes = reinterpret_cast<const uint8_t*>(modules_config_.data());
      modules_ = flexbuffers::GetRoot(bytes, modules_config_.size()).AsMap()["preload"].AsString().str();
    }
    return modules_;
  }

  void fork_worker() {
    if (!dress()) return report_fork(0, exception_text(), false);
    const int pid = fork_quietly();
    if (pid == 0) return become_child();
    const int error = pid < 0 ? errno : 0;
    report_fork(pid, error != 0 ? std::strerror(error) : "", error == EAGAIN || error == ENOMEM);
  }

  // ---- of branches
  void relay(const Packet& news) override {
    news_.append(reinterpret_cast<const char*>(news.bytes.data()), news.bytes.size());
  }
  bool fork_here(const Packet& request) override {
    if (!read_request(request)) return PyErr_Clear(), true;  // it was read before
    fork_worker();
    return !is_child_;
  }
  void fork_lost(const WorkerId& worker) override {
    newborn_.id = worker;
    report_fork(0, "the process that forks workers with the modules it has imported has ended", true);
  }
  PyObject* become_branch() {
    signals_.reset();
    close(order_.link);
    return Py_BuildValue("(is)", branches_.born(), modules_.c_str());
  }

  // Takes on the job and environment that are asked for, unless it was so dressed for the last fork.
  bool dress() {
    if (is_dressed_ && asked_config_ == config_) return true;
    is_dressed_ = false;
    PyRef map = PyRef::steal(from_flex(asked_config_));
    std::string job_config;
    if (!map || !read_text(map.get(), "job_config", &job_config)) return false;
    PyRef job = PyRef::steal(from_flex(job_config));
    if (!job) return false;
    PyRef prepared = PyRef::steal(PyObject_CallFunctionObjArgs(order_.prepare, map.get(), job.get(), nullptr));
    if (!prepared || !read_outfit(prepared.get(), &outfit_)) return false;
    config_ = asked_config_;
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
    rpc::append_frame(&news_, wire::MessageType::Forked, b);
  }

  void become_child() {
    is_child_ = true;
    signals_.reset();
    branches_.forget();
    close(order_.link);
  }

  const Order order_;
  std::optional<Signals> signals_;
  std::vector<pollfd> ends_;
  bool is_quiet_;
  bool is_child_ = false;
  bool is_dressed_ = false;
  std::string config_;                         // what it is dressed for
  std::string modules_config_, modules_;       // a config, and the modules it names
  Outfit outfit_;
  const wire::ForkWorker* request_ = nullptr;  // in the packet that is served
  std::string_view asked_config_;              // in it, too
  Newborn newborn_;
  std::string news_;
  Branches branches_;
};

PyObject* native_zygote_serve(PyObject*, PyObject* args) {
  Order order;
  PyObject* seed;
  unsigned long long mt19937;
  int is_branch;
  if (!PyArg_ParseTuple(args, "iiOOOKp:zygote_serve", &order.link, &order.quiet_ms, &order.on_quiet, &order.prepare,
                        &seed, &mt19937, &is_branch))
    return nullptr;
  order.is_branch = is_branch != 0;
  if (!prepare_to_live()) return nullptr;
  Zygote zygote(order);
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
     "zygote_serve(link, quiet_ms, on_quiet, prepare, seed, mt19937, is_branch, /)\n--\n\n"
     "Forks workers until the node is gone: None. In a worker: its exit status, when it has ended. In a process that "
     "is\n"
     "to become a branch (see branches.h): its link and the names of its modules, between commas."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_zygote(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
