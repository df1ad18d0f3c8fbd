#include "bindings/birth.h"

#include <cstring>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#include "bindings/spec.h"
#include "bindings/title.h"
#include "rpc/auth.h"

namespace narke::py {
namespace {

// numpy/random/src/mt19937/mt19937.h: the state's words, then the position of the next one; at the end of the words
// the generator mixes them first.
constexpr size_t kMtWords = 624;

bool random_bytes(unsigned char* to, size_t size) {
  while (size > 0) {
    ssize_t got = getrandom(to, size, 0);
    if (got < 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

bool seed(const Generators& generators) {
  if (generators.seed && !PyRef::steal(PyObject_CallNoArgs(generators.seed.get()))) return false;
  if (generators.mt19937 == nullptr) return true;
  constexpr size_t kBytes = kMtWords * sizeof(uint32_t);
  if (!random_bytes(generators.mt19937, kBytes)) return PyErr_SetFromErrno(PyExc_OSError), false;
  const int position = kMtWords;
  std::memcpy(generators.mt19937 + kBytes, &position, sizeof(position));
  return true;
}

bool redirect(int fd, const std::string& path) {
  int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str()), false;
  dup2(file, fd);
  close(file);
  return true;
}

// The session says whose it is: a process forked from this one must not use it.
bool own_session(PyObject* session) {
  PyRef pid = PyRef::steal(PyLong_FromLong(getpid()));
  return pid && PyObject_SetAttrString(session, "pid", pid.get()) == 0;
}

bool enter(const Newborn& self, Outfit& outfit, const Generators& generators) {
  setsid();
  // What it starts as a daemon stays with it, and comes to the node, which ends it, only when this process is gone.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (!redirect(1, self.stdout_path) || !redirect(2, self.stderr_path)) return false;
  set_title("narke::idle");
  if (!outfit.cwd.empty() && chdir(outfit.cwd.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR)
    return PyErr_SetFromErrnoWithFilename(PyExc_OSError, outfit.cwd.c_str()), false;
  if (!seed(generators) || !own_session(outfit.session.get())) return false;
  outfit.engine.worker = self.id;
  if (!open_engine(outfit.engine)) return false;
  current_session()->has_accelerators = outfit.has_accelerators;
  return true;
}

}  // namespace

bool read_outfit(PyObject* prepared, Outfit* out) {
  if (!PyDict_Check(prepared)) return PyErr_Format(PyExc_TypeError, "prepare() must return a dict"), false;
  *out = Outfit();
  out->engine.kind = wire::ProgramKind::Worker;
  if (!read_text(prepared, "node_socket", &out->engine.node_socket) ||
      !read_text(prepared, "token", &out->engine.token) ||
      !read_text(prepared, "session_dir", &out->engine.session_dir) || !read_text(prepared, "cwd", &out->cwd))
    return false;
  if (!read_bool(prepared, "has_accelerators", &out->has_accelerators)) return false;
  out->session = PyRef::borrow(field(prepared, "session"));
  out->set_up = PyRef::borrow(field(prepared, "set_up"));
  return out->session ? true : (PyErr_Format(PyExc_ValueError, "prepare() gave no session"), false);
}

PyObject* live(const Newborn& self, Outfit& outfit, const Generators& generators) {
  if (!enter(self, outfit, generators)) {
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError)) return nullptr;
    PyErr_Print();
    return PyLong_FromLong(EX_TEMPFAIL);  // the node tries again later
  }
  if (outfit.set_up && !PyRef::steal(PyObject_CallNoArgs(outfit.set_up.get()))) return nullptr;
  if (!run_worker()) return nullptr;
  return PyLong_FromLong(0);
}

bool prepare_to_live() {
  learn_title_area();
  rpc::prove("token", "nonce");  // the library looks its algorithms up at the first use
  return warm_execution();
}

}  // namespace narke::py
