// Tasks' history from Python: what user code measures, and histories that were written to disk.
#include "bindings/flex.h"
#include "bindings/session.h"
#include "history/query.h"
#include "history/segments.h"

namespace narke::py {
namespace {

constexpr size_t kMostRead = 20'000'000;

PyObject* native_profile_event(PyObject*, PyObject* args) {
  const char *name, *extra;
  Py_ssize_t name_size, extra_size;
  long long began_us, ended_us;
  if (!PyArg_ParseTuple(args, "s#s#LL:profile_event", &name, &name_size, &extra, &extra_size, &began_us, &ended_us))
    return nullptr;
  if (Session* session = current_session())
    session->engine->profile({name, static_cast<size_t>(name_size)}, {extra, static_cast<size_t>(extra_size)}, began_us,
                             ended_us);
  Py_RETURN_NONE;
}

using Answerer = void (*)(const history::TaskTable&, const history::Query&, flexbuffers::Builder&);

Answerer answerer_named(const std::string& method) {
  if (method == "list_tasks") return history::list_tasks;
  if (method == "summarize_tasks") return history::summarize_tasks;
  return method == "task_events" ? history::task_events : nullptr;
}

// The answer's bytes, or an error.
Result<std::string> answer(const std::string& folder, Answerer answerer, const std::string& body) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(body.data());
  Result<history::Query> query = history::Query::parse(flexbuffers::GetRoot(bytes, body.size()).AsMap());
  if (!query) return query.error();
  history::TaskTable table({kMostRead, 0});
  size_t damaged = 0;
  if (Status read = history::read_segments(folder, &table, &damaged); !read) return read.error();
  flexbuffers::Builder out;
  out.Map([&] {
    answerer(table, query.value(), out);
    out.UInt("damaged_files", damaged);
  });
  out.Finish();
  return std::string(out.GetBuffer().begin(), out.GetBuffer().end());
}

PyObject* native_read_history(PyObject*, PyObject* args) {
  const char *folder, *method;
  PyObject* body;
  if (!PyArg_ParseTuple(args, "ssO!:read_history", &folder, &method, &PyDict_Type, &body)) return nullptr;
  const Answerer answerer = answerer_named(method);
  if (answerer == nullptr)
    return PyErr_Format(PyExc_ValueError,
                        "a history cannot be asked for %s; use list_tasks, summarize_tasks or task_events", method);
  std::string packed;
  if (!to_flex(body, &packed)) return nullptr;
  Result<std::string> answered = [&] {
    GilRelease free;
    return answer(folder, answerer, packed);
  }();
  if (answered) return from_flex(answered.value());
  PyObject* kind = answered.error().code == ErrorCode::kNotFound ? PyExc_FileNotFoundError : PyExc_ValueError;
  return PyErr_Format(kind, "%s", answered.error().message.c_str());
}

PyMethodDef methods[] = {
    {"profile_event", native_profile_event, METH_VARARGS,
     "profile_event(name, extra, began_us, ended_us, /)\n--\n\nTells the node what user code measured."},
    {"read_history", native_read_history, METH_VARARGS,
     "read_history(folder, method, body, /)\n--\n\nAsks a task history on disk; needs no cluster."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_history(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace narke::py
