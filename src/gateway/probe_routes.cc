#include "gateway/probe_routes.h"

#include <charconv>

#include "gateway/flame.h"

namespace narke::gateway {

static constexpr int64_t kDefaultSeconds = 5, kMostSeconds = 60;  // Ray's
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
  const bool is_profile = std::string_view(what) == "cpu_profile";
  out->what = what;
  out->worker_id = call.request.argument("worker_id");
  out->node_id = call.request.argument("node_id");
  out->idle = call.request.argument("idle") == "1";
  if (!read_number(call, "pid", 1, INT32_MAX, &out->pid)) return false;
  if (!read_number(call, "duration", 1, kMostSeconds, &out->duration_s)) return false;
  if (!read_number(call, "rate", 1, kMostRate, &out->rate)) return false;
  if (is_profile && out->duration_s == 0) out->duration_s = kDefaultSeconds;
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
    out.Bool("idle", aim.idle);
  });
  cluster_.call("probe", std::move(body), [reply, then = std::move(then)](const ControlAnswer& answer) {
    if (answer.ok()) return then(json_of(answer.map()));
    const int status = answer.error_kind == "ValueError" ? 404 : answer.error_kind == "GetTimeoutError" ? 504 : 500;
    reply(text_response(status, answer.error));
  });
}

void ProbeRoutes::worker_traceback(Call call) {
  Aim aim;
  if (!read_aim(call, "stack", &aim)) return;
  ask(aim, call.reply,
      [reply = call.reply](const json::object& answer) { reply(text_response(200, stack_text(answer))); });
}

static void reply_profile(const Reply& reply, const std::string& format, const json::object& profile) {
  const std::string title = "process " + std::to_string(number_at(profile, "pid", 0));
  Response out = text_response(200, "");
  if (format == "raw") {
    out.body = collapsed(profile);
  } else if (format == "speedscope") {
    out.body = json::serialize(speedscope(profile, title));
  } else {
    out.body = flame_svg(profile, title);
    out.content_type = "image/svg+xml";
  }
  reply(std::move(out));
}

// False: there is no such format; the request has been answered.
static bool read_format(const Call& call, std::string* out) {
  *out = call.request.has_argument("format") ? call.request.argument("format") : "flamegraph";
  if (*out == "flamegraph" || *out == "raw" || *out == "speedscope") return true;
  call.reply(text_response(400, "There is no format '" + *out + "'; choose flamegraph, raw or speedscope."));
  return false;
}

void ProbeRoutes::worker_profile(Call call) {
  Aim aim;
  std::string format;
  if (!read_aim(call, "cpu_profile", &aim) || !read_format(call, &format)) return;
  ask(aim, call.reply,
      [reply = call.reply, format](const json::object& profile) { reply_profile(reply, format, profile); });
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
  if (!read_aim(call, "cpu_profile", &aim) || !read_format(call, &format)) return;
  with_worker_of_task(call, aim, [this, reply = call.reply, format](const Aim& found) {
    ask(found, reply, [reply, format](const json::object& profile) { reply_profile(reply, format, profile); });
  });
}

// ---- for the pages -----------------------------------------------------------------------------------------

void ProbeRoutes::raw(Call call, const char* what) {
  Aim aim;
  if (!read_aim(call, what, &aim)) return;
  ask(aim, call.reply, [reply = call.reply](const json::object& answer) { reply(json_response(200, answer)); });
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
  add(
      "/api/narke/stack", "The Python stacks of a program, as data.",
      [this](Call call) { raw(std::move(call), "stack"); }, whom);
  add(
      "/api/narke/profile", "A CPU profile of a program, as data.",
      [this](Call call) { raw(std::move(call), "cpu_profile"); }, with(whom));
}

}  // namespace narke::gateway
