// From a fork of the zygote to a worker that takes calls.
//
// All of it is C++: every Python object that is only looked at has its reference count written, which costs the child
// a copy of the page it lies on, and a worker's start is made of little else.
#pragma once

#include <string>

#include "bindings/session.h"

namespace narke::py {

// What all workers of one job in one environment have in common. Made in the zygote, which has that job's module path
// and variables then, so that a fork of it has them too.
struct Outfit {
  worker::EngineConfig engine;  // all but the worker's id
  std::string cwd;
  bool has_accelerators = true;  // leases may change what CUDA_VISIBLE_DEVICES says
  PyRef session;  // the narke._private.session.Session that is current already
  PyRef set_up;   // called without arguments before the first call is taken; null: nothing is left to do
};

// From what narke._private.worker_main.prepare() returns. False with an exception set.
bool read_outfit(PyObject* prepared, Outfit* out);

// Random generators of libraries that every worker seeds anew.
struct Generators {
  PyRef seed;                    // a callable without arguments, or null
  unsigned char* mt19937 = nullptr;  // state of NumPy's global generator, or null
};

struct Newborn {
  WorkerId id;
  std::string stdout_path, stderr_path;
};

// REQUIRES: this process was forked just now, the GIL is held. Runs the worker until it must leave.
// Returns its exit status, or null with an exception set.
PyObject* live(const Newborn& self, Outfit& outfit, const Generators& generators);

// Imports and computes beforehand what live() needs.
bool prepare_to_live();

}  // namespace narke::py
