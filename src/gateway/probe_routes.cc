#include "gateway/probe_routes.h"

#include <charconv>
#include <map>
#include <string_view>

#include "gateway/flame.h"
#include "gateway/tables.h"

namespace narke::gateway {

static constexpr int64_t kDefaultSeconds = 5, kMostSeconds = 60;  // Ray's
static constexpr int64_t kMemorySeconds = 10;                     // Ray's, of a memory profile
static constexpr int64_t kMostIterations = 1000;
static constexpr int64_t kMostRate = 1000;                        // samples a second

// Absent: 0. False: no whole number from `least` to `most`; the request has been answered.
static bool read_number(const Call& call, const char* name, int64_t least, int64_t most, int64_t* out) {
  const std::string& text = call.request.argument(name);
  *out = 0;
  if (text.empty()) return true;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (error == std::errc() && end == text.data() + text.size() && *out >= least && *out <= most) return true;
  call.reply(text_response(400, std::string(name) + " must be a whole number from " + std::to_string(least) + " to " +
                                    std::to_string(most) + ", got '" + text + "'."));
  return false;
}

bool ProbeRoutes::read_aim(const Call& call, const char* what, Aim* out) {
  static const std::map<std::string_view, int64_t> kSeconds = {{"stack", 0},
                                                               {"cpu_profile", kDefaultSeconds},
                                                               {"memory_profile", kMemorySeconds},
                                                               {"torch_profile", kMostSeconds}};
  out->what = what;
  out->worker_id = call.request.argument("worker_id");
  out->node_id = call.request.argument("node_id");
  out->idle = call.request.argument("idle") == "1";
  out->leaks = call.request.argument("leaks") == "1";
  if (!read_number(call, "pid", 1, INT32_MAX, &out->pid)) return false;
  if (!read_number(call, "duration", 1, kMostSeconds, &out->duration_s)) return false;
  if (!read_number(call, "rate", 1, kMostRate, &out->rate)) return false;
  if (!read_number(call, "num_iterations", 1, kMostIterations, &out->iterations)) return false;
  if (out->duration_s == 0) out->duration_s = kSeconds.at(what);
  return true;
}

void ProbeRoutes::ask(const Aim& aim, Reply reply, Then then) {
  if (aim.pid == 0 && aim.worker_id.empty())
    return reply(text_response(400, "Say which process is meant: pid (and node_id), or worker_id."));
  auto body = map_body([&](flexbuffers::Builder& out) {
    out.String("what", aim.what);
    out.String("worker_id", aim.worker_id);
    out.String("node_id", aim.node_id);
    out.Int("pid", aim.pid);
    out.Int("duration", aim.duration_s);
    out.Int("rate", aim.rate);
    out.Int("num_iterations", aim.iterations);
    out.Bool("idle", aim.idle);
    out.Bool("leaks", aim.leaks);
  });
  cluster_.call("probe", std::move(body), [reply, then = std::move(then)](const ControlAnswer& answer) {
    if (answer.ok()) return then(json_of(answer.map()));
    static const std::map<std::string, int> kStatus = {
        {"ValueError", 404}, {"NotImplementedError", 400}, {"GetTimeoutError", 504}};
    const auto status = kStatus.find(answer.error_kind);
    reply(text_response(status == kStatus.end() ? 500 : status->second, answer.error));
  });
}

void ProbeRoutes::worker_traceback(Call call) {
  Aim aim;
  if (!read_aim(call, "stack", &aim)) return;
  ask(aim, call.reply,
      [reply = call.reply](const json::object& answer) { reply(text_response(200, stack_text(answer))); });
}

static void reply_profile(const Reply& reply, const std::string& format, const json::object& profile) {
  const bool is_memory = profile.contains("traced_bytes");
  const std::string title =
      std::string(is_memory ? "memory of process " : "process ") + std::to_string(number_at(profile, "pid", 0));
  Response out = text_response(200, "");
  if (format == "table") {
    out.body = memory_table(profile, title);
    out.content_type = "text/html; charset=utf-8";
  } else if (format == "raw") {
    out.body = collapsed(profile);
  } else if (format == "speedscope") {
    out.body = json::serialize(speedscope(profile, title));
  } else {
    out.body = flame_svg(profile, title, is_memory ? "bytes" : "samples");
    out.content_type = "image/svg+xml";
  }
  reply(std::move(out));
}

// False: there is no such format; the request has been answered.
static bool read_format(const Call& call, bool has_table, std::string* out) {
  *out = call.request.has_argument("format") ? call.request.argument("format") : "flamegraph";
  if (*out == "flamegraph" || *out == "raw" || *out == "speedscope" || (has_table && *out == "table")) return true;
  call.reply(text_response(400, "There is no format '" + *out + "'; choose flamegraph, " +
                                    (has_table ? "table, " : "") + "raw or speedscope."));
  return false;
}

void ProbeRoutes::worker_profile(Call call) {
  Aim aim;
  std::string format;
  if (!read_aim(call, "cpu_profile", &aim) || !read_format(call, false, &format)) return;
  ask(aim, call.reply,
      [reply = call.reply, format](const json::object& profile) { reply_profile(reply, format, profile); });
}

void ProbeRoutes::gpu_profile(Call call) {
  Aim aim;
  if (!read_aim(call, "torch_profile", &aim)) return;
  ask(aim, call.reply, [reply = call.reply](const json::object& answer) {
    const std::string file = text_at(answer, "file");
    Response out = text_response(302, "The trace is in the log file " + file + ".");
    out.headers.emplace_back("Location", "/api/v0/logs/file?node_id=" + text_at(answer, "node_id") +
                                             "&filename=" + file + "&download_filename=" + file + "&lines=-1");
    reply(std::move(out));
  });
}

// ---- by task -----------------------------------------------------------------------------------------------

void ProbeRoutes::with_worker_of_task(const Call& call, Aim aim, std::function<void(Aim)> then) {
  const std::string task = call.request.argument("task_id");
  if (task.empty()) return call.reply(text_response(400, "Say which task is meant: task_id (and attempt_number)."));
  int64_t attempt = 0;
  if (!read_number(call, "attempt_number", 0, INT32_MAX, &attempt)) return;
  auto body = map_body([&](flexbuffers::Builder& out) {
    out.Int("limit", 100);
    out.Vector("filters", [&] { out.Vector([&] { out.String("task_id"), out.String("="), out.String(task); }); });
  });
  cluster_.call("list_tasks", std::move(body),
                [aim = std::move(aim), task, attempt, reply = call.reply, then](const ControlAnswer& answer) mutable {
                  if (!answer.ok()) return reply(text_response(400, answer.error));
                  const flexbuffers::Vector rows = answer.map()["tasks"].AsVector();
                  for (size_t i = 0; i < rows.size(); ++i) {
                    const json::object row = json_of(rows[i].AsMap());
                    const bool runs = text_at(row, "state").starts_with("RUNNING");
                    if (number_at(row, "attempt_number", 0) != attempt || !runs) continue;
                    aim.worker_id = text_at(row, "worker_id");
                    return then(std::move(aim));
                  }
                  reply(text_response(404, "Task " + task + ", attempt " + std::to_string(attempt) +
                                               ", does not run now; only what runs has a stack."));
                });
}

void ProbeRoutes::task_traceback(Call call) {
  Aim aim;
  if (!read_aim(call, "stack", &aim)) return;
  with_worker_of_task(call, aim, [this, reply = call.reply](const Aim& found) {
    ask(found, reply, [reply](const json::object& answer) { reply(text_response(200, stack_text(answer))); });
  });
}

void ProbeRoutes::task_profile(Call call) {
  Aim aim;
  std::string format;
  if (!read_aim(call, "cpu_profile", &aim) || !read_format(call, false, &format)) return;
  with_worker_of_task(call, aim, [this, reply = call.reply, format](const Aim& found) {
    ask(found, reply, [reply, format](const json::object& profile) { reply_profile(reply, format, profile); });
  });
}

void ProbeRoutes::memory_profile(Call call) {
  Aim aim;
  std::string format;
  if (!read_aim(call, "memory_profile", &aim) || !read_format(call, true, &format)) return;
  const auto record = [this, reply = call.reply, format](const Aim& found) {
    ask(found, reply, [reply, format](const json::object& profile) { reply_profile(reply, format, profile); });
  };
  if (call.request.has_argument("task_id")) return with_worker_of_task(call, aim, record);
  record(aim);
}

// ---- for the pages -----------------------------------------------------------------------------------------

void ProbeRoutes::raw(Call call, const char* what) {
  Aim aim;
  if (!read_aim(call, what, &aim)) return;
  ask(aim, call.reply, [reply = call.reply](const json::object& answer) { reply(json_response(200, answer)); });
}

// Profiles are recorded inside the programs, of Python's frames: no frames of C, no other processes.
static json::object profiling_defaults() {
  json::object defaults = {{"native", false},
                           {"subprocesses", false},
                           {"idle", false},
                           {"leaks", false},
                           {"tracePythonAllocators", true},
                           {"cpuDuration", kDefaultSeconds},
                           {"memoryDuration", kMemorySeconds},
                           {"maxDuration", kMostSeconds},
                           {"cpuFormat", "flamegraph"},
                           {"memoryFormat", "flamegraph"},
                           {"pyspyNativeSupported", false}};
  return enveloped(true, "", {{"profilingEnabled", true}, {"profilingDefaults", std::move(defaults)}});
}

void ProbeRoutes::add_to(Router& router) {
  const auto add = [&](const char* pattern, const char* summary, Route::Handler handler, std::vector<Parameter> query) {
    Route route;
    route.method = "GET";
    route.pattern = pattern;
    route.summary = summary;
    route.handler = std::move(handler);
    route.query = std::move(query);
    router.add(std::move(route));
  };
  const std::vector<Parameter> whom = {{"pid", "integer"}, {"worker_id"}, {"node_id"}, {"ip"}};
  const std::vector<Parameter> task = {{"task_id"}, {"attempt_number", "integer"}, {"node_id"}};
  const auto with = [](std::vector<Parameter> all) {
    all.insert(all.end(), {{"duration", "integer", "seconds, 1 to 60; 5 by default"},
                           {"rate", "integer", "samples a second, 100 by default"},
                           {"idle", "string", "1: with threads that wait"},
                           {"format", "string", "flamegraph, raw or speedscope"}});
    return all;
  };
  add(
      "/worker/traceback", "The Python stacks of a program.", [this](Call call) { worker_traceback(std::move(call)); },
      whom);
  add(
      "/worker/cpu_profile", "Where a program spends its time, for some seconds.",
      [this](Call call) { worker_profile(std::move(call)); }, with(whom));
  add(
      "/task/traceback", "The Python stacks of the worker that runs a task.",
      [this](Call call) { task_traceback(std::move(call)); }, task);
  add(
      "/task/cpu_profile", "Where the worker that runs a task spends its time.",
      [this](Call call) { task_profile(std::move(call)); }, with(task));
  auto memory = with(whom);
  memory.back() = {"format", "string", "flamegraph, table, raw or speedscope"};
  memory.push_back({"leaks", "string", "1: only what is still allocated at the end; else what was at the peak"});
  const auto memory_of_task = [&] {
    auto all = memory;
    all.insert(all.end(), {{"task_id"}, {"attempt_number", "integer"}});
    return all;
  };
  add(
      "/memory_profile", "What a program, or the worker that runs a task, allocates, by the calls that do so.",
      [this](Call call) { memory_profile(std::move(call)); }, memory_of_task());
  add("/worker/gpu_profile", "A trace of what PyTorch does in a program, kernels included, for some optimizer steps.",
      [this](Call call) { gpu_profile(std::move(call)); },
      {{"pid", "integer"},
       {"node_id"},
       {"ip"},
       {"num_iterations", "integer", "steps, 4 by default"},
       {"duration", "integer", "seconds at most"}});
  add(
      "/api/narke/memory_profile", "What a program allocates, as data.",
      [this](Call call) { raw(std::move(call), "memory_profile"); }, memory);
  add("/api/profiling_enabled", "Whether programs can be profiled, and how they are unless a request says otherwise.",
      [](Call call) { call.reply(json_response(200, profiling_defaults())); }, {});
  add(
      "/api/narke/stack", "The Python stacks of a program, as data.",
      [this](Call call) { raw(std::move(call), "stack"); }, whom);
  add(
      "/api/narke/profile", "A CPU profile of a program, as data.",
      [this](Call call) { raw(std::move(call), "cpu_profile"); }, with(whom));
}

}  // namespace narke::gateway
