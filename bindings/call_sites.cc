#include "bindings/call_sites.h"

#include <cstdlib>
#include <cstring>

#include <frameobject.h>

#include "bindings/ref.h"

namespace narke::py {
namespace {

constexpr int kMostFrames = 4;  // of the program, as Ray tells

std::string text_of(PyObject* text) {
  const char* utf8 = text == nullptr ? nullptr : PyUnicode_AsUTF8(text);
  if (utf8 == nullptr) PyErr_Clear();
  return utf8 == nullptr ? "?" : utf8;
}

// Frames of this package are no news to the program.
bool is_own(const std::string& file) {
  static const std::string folder = [] {
    PyObject* module = PyImport_AddModule("narke");
    const PyRef file = PyRef::steal(module == nullptr ? nullptr : PyObject_GetAttrString(module, "__file__"));
    if (!file) PyErr_Clear();
    const std::string path = text_of(file.get());
    return path.substr(0, path.rfind('/') + 1);
  }();
  return folder.size() > 1 && file.starts_with(folder);
}

// "how  | file:function:line | ...", the innermost first.
std::string stack_here(const char* how) {
  std::string out = how;
  out += ' ';
  PyRef frame = PyRef::borrow(reinterpret_cast<PyObject*>(PyEval_GetFrame()));
  for (int shown = 0; frame && shown < kMostFrames;) {
    auto* at = reinterpret_cast<PyFrameObject*>(frame.get());
    const PyRef code = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(at)));
    const auto* parts = reinterpret_cast<PyCodeObject*>(code.get());
    const std::string file = text_of(parts->co_filename);
    if (!is_own(file)) {
      out += " | " + file + ":" + text_of(parts->co_name) + ":" + std::to_string(PyFrame_GetLineNumber(at));
      ++shown;
    }
    frame = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(at)));
  }
  return out;
}

}  // namespace

bool records_call_sites() {
  static const bool records = [] {
    const char* wanted = std::getenv("RAY_record_ref_creation_sites");
    return wanted != nullptr && std::strcmp(wanted, "1") == 0;
  }();
  return records;
}

void note_call_site(Session& session, worker::Object& object, const char* how) {
  session.engine->note_call_site(object, stack_here(how));
}

void note_call_sites(Session& session, PyObject* returned, const char* how) {
  if (is_ref(returned)) return note_call_site(session, *as_ref(returned)->object, how);
  if (!PyList_Check(returned)) return;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(returned); ++i)
    if (PyObject* each = PyList_GET_ITEM(returned, i); is_ref(each))
      note_call_site(session, *as_ref(each)->object, how);
}

}  // namespace narke::py
