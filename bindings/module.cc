// The extension module narke._native.
#include "bindings/session.h"

namespace {

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "narke._native",
    "The engine: see src/worker. Private; narke is the public face.",
    -1,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__native() {
  using namespace narke::py;
  PyRef module = PyRef::steal(PyModule_Create(&definition));
  if (!module) return nullptr;
  for (auto init : {init_value, init_ref, init_get, init_call, init_actor, init_execute, init_session, init_zygote,
                    init_fork_hooks, init_columns, init_parquet, init_formula, init_history, init_private_view})
    if (init(module.get()) < 0) return nullptr;
  return module.release();
}
