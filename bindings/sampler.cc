#include "bindings/sampler.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include <flatbuffers/flexbuffers.h>
#include <unistd.h>

#include "bindings/flex.h"
#include "bindings/py_util.h"

namespace narke::py {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Path = std::vector<StackFrame>;  // the outermost first

constexpr int64_t kMostSeconds = 300, kDefaultSeconds = 5;
constexpr int64_t kMostRate = 1000, kDefaultRate = 100;  // samples a second
constexpr size_t kMostPaths = 20'000;  // different stacks in a profile

std::string text_of(flexbuffers::Builder& out) {
  out.Finish();
  const std::vector<uint8_t>& bytes = out.GetBuffer();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void put_frames(flexbuffers::Builder& out, const std::vector<StackFrame>& frames) {
  const size_t list = out.StartVector("frames");
  for (const StackFrame& frame : frames)
    out.Map([&] {
      out.String("function", frame.function);
      out.String("file", frame.file);
      out.Int("line", frame.line);
    });
  out.EndVector(list, false, false);
}

Sampled stacks() {
  const auto threads = sample_stacks();
  if (!threads) return {"RaySystemError", threads.error().message, ""};
  flexbuffers::Builder out;
  out.Map([&] {
    out.Int("pid", getpid());
    const size_t list = out.StartVector("threads");
    for (const ThreadStack& thread : threads.value())
      out.Map([&] {
        out.Int("native_id", thread.native_id);
        out.String("name", thread.name);
        out.String("state", std::string(1, thread.state));
        out.Bool("is_main", thread.is_main);
        out.Bool("holds_gil", thread.holds_lock);
        put_frames(out, thread.frames);
      });
    out.EndVector(list, false, false);
  });
  return {"", "", text_of(out)};
}

int64_t number_in(const flexbuffers::Map& map, const char* key, int64_t otherwise, int64_t most) {
  const int64_t given = map[key].IsNumeric() ? map[key].AsInt64() : 0;
  return given <= 0 ? otherwise : std::min(given, most);
}

// Samples at even times; those of threads that wait count only with `idle`.
Sampled profile(const flexbuffers::Map& body, const std::atomic<bool>& stop) {
  const int64_t seconds = number_in(body, "duration", kDefaultSeconds, kMostSeconds);
  const int64_t rate = number_in(body, "rate", kDefaultRate, kMostRate);
  const bool idle = body["idle"].IsBool() && body["idle"].AsBool();
  const auto began = steady_clock::now();
  std::map<Path, int64_t> counts;
  int64_t samples = 0, left_out = 0;
  for (int64_t turn = 0; turn < seconds * rate && !stop; ++turn) {
    std::this_thread::sleep_until(began + milliseconds(turn * 1000 / rate));
    auto threads = sample_stacks();
    if (!threads) return {"RaySystemError", threads.error().message, ""};
    ++samples;
    for (ThreadStack& thread : threads.value()) {
      if (!idle && thread.state != 'R' && thread.state != 'D' && !thread.holds_lock) continue;
      std::reverse(thread.frames.begin(), thread.frames.end());
      if (counts.size() < kMostPaths || counts.contains(thread.frames))
        ++counts[std::move(thread.frames)];
      else
        ++left_out;
    }
  }
  flexbuffers::Builder out;
  out.Map([&] {
    out.Int("pid", getpid());
    out.Int("samples", samples);
    out.Int("left_out", left_out);
    out.Int("duration_ms", std::chrono::duration_cast<milliseconds>(steady_clock::now() - began).count());
    out.Int("rate", rate);
    const size_t list = out.StartVector("stacks");
    for (const auto& [path, count] : counts)
      out.Map([&, &path = path, count = count] {
        out.Int("count", count);
        put_frames(out, path);
      });
    out.EndVector(list, false, false);
  });
  return {"", "", text_of(out)};
}

// ---- with Python's help --------------------------------------------------------------------------------------

constexpr char kStop[] = "narke.stop";

PyObject* stops(PyObject* self, PyObject*) {
  const auto* stop = static_cast<const std::atomic<bool>*>(PyCapsule_GetPointer(self, kStop));
  return stop == nullptr ? nullptr : PyBool_FromLong(stop->load());
}

std::string text_of_exception(PyObject* exception) {
  PyRef text = PyRef::steal(PyObject_Str(exception));
  const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (utf8 == nullptr) PyErr_Clear();
  return utf8 == nullptr ? "" : utf8;
}

// narke._private.probes answers. Waits for Python's lock: what hangs with the lock held is never asked.
Sampled ask_python(const std::string& what, const std::string& body, const std::atomic<bool>& stop) {
  static PyMethodDef method{"stops", stops, METH_NOARGS, nullptr};
  if (stop) return {"RaySystemError", "the program ends", ""};
  GilHold hold;
  Sampled out;
  PyRef capsule = PyRef::steal(PyCapsule_New(const_cast<std::atomic<bool>*>(&stop), kStop, nullptr));
  PyRef asks = capsule ? PyRef::steal(PyCFunction_New(&method, capsule.get())) : PyRef();
  PyRef asked = asks ? PyRef::steal(from_flex(body)) : PyRef();
  PyRef function = asked ? import_attribute("narke._private.probes", "answer") : PyRef();
  PyRef answer;
  if (function)
    answer = PyRef::steal(PyObject_CallFunction(function.get(), "sOO", what.c_str(), asked.get(), asks.get()));
  if (answer && to_flex(answer.get(), &out.body)) return out;
  PyRef error = take_exception();
  const bool is_refusal = PyErr_GivenExceptionMatches(error.get(), PyExc_NotImplementedError) != 0;
  out.error_kind = is_refusal ? "NotImplementedError" : "RaySystemError";
  out.error = text_of_exception(error.get());
  if (!is_refusal) out.error = std::string(Py_TYPE(error.get())->tp_name) + ": " + out.error;
  return out;
}

}  // namespace

Sampled answer_sampling(const std::string& what, const std::string& body, const std::atomic<bool>& stop) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(body.data());
  const bool is_good = !body.empty() && flexbuffers::VerifyBuffer(bytes, body.size());
  const flexbuffers::Map map =
      is_good ? flexbuffers::GetRoot(bytes, body.size()).AsMap() : flexbuffers::Map::EmptyMap();
  if (what == "stack") return stacks();
  if (what == "cpu_profile") return profile(map, stop);
  if (what == "memory_profile" || what == "torch_profile") return ask_python(what, body, stop);
  return {"NotImplementedError", "A program cannot be asked for '" + what + "'.", ""};
}

}  // namespace narke::py
