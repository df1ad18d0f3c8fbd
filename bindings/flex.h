// Python's plain values <-> FlexBuffers, for control messages. Needs the GIL.
#pragma once

#include <string>
#include <string_view>

#include "bindings/py_util.h"

namespace narke::py {

// None, bool, int (64 bit), float, str, bytes, list, tuple, dict with str keys. False with an exception set.
bool to_flex(PyObject* value, std::string* out);
// New reference; null with ValueError for damaged bytes. Empty bytes are an empty dict.
PyObject* from_flex(std::string_view bytes);

}  // namespace narke::py
