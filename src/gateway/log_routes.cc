#include "gateway/log_routes.h"

#include <charconv>
#include <filesystem>

#include "base/log_files.h"
#include "gateway/log_keeper.h"
#include "gateway/remote_log.h"
#include "gateway/tables.h"
#include "gateway/text.h"
#include "gateway/url.h"

namespace narke::gateway {

namespace fs = std::filesystem;

static constexpr size_t kShortId = 16;               // digits of a worker's id in the name of its log

std::string log_group(const std::string& name) {
  const std::string base = fs::path(name).filename();
  if (base.starts_with("job-driver")) return "driver";
  if (base.starts_with("worker-")) return base.ends_with(".err") ? "worker_err" : "worker_out";
  if (base.starts_with("narke-node") || base.starts_with("node.")) return "raylet";
  if (base.starts_with("gateway")) return "dashboard";
  return "internal";
}

// The files of one node, or of all: rows of the control method list_logs.
void LogRoutes::list(const Call& call, std::function<void(const json::array&)> then) {
  auto body = map_body([&](flexbuffers::Builder& out) {
    out.String("glob", call.request.has_argument("glob") ? call.request.argument("glob") : "*");
    out.String("node_id", call.request.argument("node_id"));
    if (call.request.has_argument("node_ip")) {
      out.Vector("filters", [&] {
        out.Vector([&] { out.String("ip"), out.String("="), out.String(call.request.argument("node_ip")); });
      });
    }
  });
  cluster_.call("list_logs", std::move(body),
                [reply = call.reply, then = std::move(then)](const ControlAnswer& answer) {
                  if (!answer.ok()) return reply(text_response(500, answer.error));
                  const json::object got = json_of(answer.map());
                  const json::value* files = got.if_contains("files");
                  then(files != nullptr && files->is_array() ? files->get_array() : json::array());
                });
}

void LogRoutes::names(Call call) {
  list(call, [reply = call.reply](const json::array& files) {
    json::object groups;
    for (const json::value& file : files) {
      const std::string name = text_at(file.get_object(), "name");
      json::value& group = groups[log_group(name)];
      if (!group.is_array()) group.emplace_array();
      group.get_array().push_back(json::string(name));
    }
    reply(json_response(200, enveloped(true, "", {{"result", std::move(groups)}})));
  });
}

void LogRoutes::files(Call call) {
  list(call, [reply = call.reply](json::array files) {
    for (json::value& file : files) file.get_object()["group"] = log_group(text_at(file.get_object(), "name"));
    reply(json_response(200, {{"files", std::move(files)}}));
  });
}

// ---- which file --------------------------------------------------------------------------------------------

void LogRoutes::find_by_worker(const char* method, const char* rows, std::string key, std::string wanted,
                               std::string suffix, Reply reply, Found found) {
  cluster_.call(method, map_body([&](flexbuffers::Builder& out) { out.Int("limit", 10'000); }),
                [rows, key, wanted, suffix, reply, found](const ControlAnswer& answer) {
                  if (!answer.ok()) return reply(text_response(500, answer.error));
                  const flexbuffers::Vector all = answer.map()[rows].AsVector();
                  for (size_t i = all.size(); i-- > 0;) {
                    const json::object row = json_of(all[i].AsMap());
                    const json::value* value = row.if_contains(key);
                    const std::string worker = text_at(row, "worker_id");
                    if (value && equals(*value, wanted) && worker.size() > kShortId)
                      return found("worker-" + worker.substr(0, kShortId) + "." + suffix, text_at(row, "node_id"));
                  }
                  reply(text_response(404, "No log is known of " + key + " " + wanted +
                                               ": it does not exist, has not started, or is forgotten."));
                });
}

void LogRoutes::find_file(const Call& call, Found found) {
  const Request& request = call.request;
  const std::string& suffix = request.argument("suffix");
  const std::string ending = suffix.empty() ? "out" : suffix;
  if (ending != "out" && ending != "err") return call.reply(text_response(400, "suffix must be out or err."));
  if (request.has_argument("filename")) {
    const std::string& name = request.argument("filename");
    if (!is_log_name(name)) return call.reply(text_response(400, "'" + name + "' is no name of a log file."));
    return found(name, request.argument("node_id"));
  }
  if (request.has_argument("submission_id")) {
    const std::string& id = request.argument("submission_id");
    if (jobs_.find(id) == nullptr) return call.reply(text_response(404, "Job " + id + " does not exist"));
    return found(fs::path(jobs_.log_path(id)).filename(), "");
  }
  struct Way {
    const char *parameter, *method, *rows, *key;
  };
  for (const Way& way :
       {Way{"actor_id", "list_actors", "actors", "actor_id"}, Way{"task_id", "list_tasks", "tasks", "task_id"},
        Way{"pid", "list_workers", "workers", "pid"}})
    if (request.has_argument(way.parameter))
      return find_by_worker(way.method, way.rows, way.key, request.argument(way.parameter), ending, call.reply, found);
  call.reply(text_response(400, "Say which log: filename, actor_id, task_id, pid or submission_id."));
}

// ---- its text ----------------------------------------------------------------------------------------------

void LogRoutes::text(Call call) {
  const std::string kind = call.parts[0];
  if (kind != "file" && kind != "stream")
    return call.reply(text_response(404, "Logs are read as file or stream, not as '" + kind + "'."));
  const auto shared = std::make_shared<Call>(std::move(call));  // shared by the look-up's two ends
  find_file(*shared, [this, shared, kind](const std::string& name, const std::string& node_id) {
    serve(*shared, name, node_id, kind == "stream");
  });
}

void LogRoutes::serve(const Call& call, const std::string& name, const std::string& node_id, bool follow) {
  const std::string& asked = call.request.argument("lines");
  int64_t lines = 1000;
  if (!asked.empty()) {
    const auto [end, error] = std::from_chars(asked.data(), asked.data() + asked.size(), lines);
    if (error != std::errc() || end != asked.data() + asked.size())
      return call.reply(text_response(400, "lines must be a whole number (-1 for all), got '" + asked + "'."));
  }
  const std::string& ansi = call.request.argument("filter_ansi_code");
  RemoteLog log{node_id, name, lines, follow, ansi == "True" || ansi == "true"};
  const std::string file = call.request.argument("download_filename");
  const auto answer = [reply = call.reply, file](std::shared_ptr<Source> source, const std::string& error) {
    if (!source) return reply(text_response(404, error));
    Response out;
    out.source = std::move(source);
    if (is_plain_name(file) && file.find('"') == file.npos)
      out.headers.emplace_back("Content-Disposition", "attachment; filename=\"" + file + "\"");
    reply(std::move(out));
  };
  open_remote_log(cluster_, log, after_, [this, log, answer](std::shared_ptr<Source> source, const std::string& error) {
    if (source || log.node_id.empty()) return answer(std::move(source), error);
    RemoteLog left{"", gone_folder(log.node_id) + "/" + log.name, log.tail_lines, false, log.plain};
    open_remote_log(cluster_, std::move(left), after_,
                    [answer, error](std::shared_ptr<Source> found, const std::string&) { answer(found, error); });
  });
}

// ---- search ------------------------------------------------------------------------------------------------

void LogRoutes::search(Call call) {
  const std::string wanted = call.request.argument("query");
  if (wanted.empty()) return call.reply(text_response(400, "Say what to look for: query."));
  auto body = map_body([&](flexbuffers::Builder& out) {
    out.String("query", wanted);
    out.String("glob", call.request.has_argument("glob") ? call.request.argument("glob") : "*");
    out.String("node_id", call.request.argument("node_id"));
  });
  cluster_.call("search_logs", std::move(body), [reply = call.reply](const ControlAnswer& answer) {
    if (!answer.ok()) return reply(text_response(500, answer.error));
    json::array matches;
    bool complete = answer.map()["partial_failure_warning"].IsNull();
    const flexbuffers::Vector rows = answer.map()["matches"].AsVector();
    for (size_t i = 0; i < rows.size(); ++i) {
      const flexbuffers::Map row = rows[i].AsMap();
      complete = complete && row["complete"].AsBool();
      matches.push_back({{"file", row["file"].AsString().str()},
                         {"line", row["line"].AsInt64()},
                         {"node_id", row["node_id"].AsString().str()},
                         {"ip", row["ip"].AsString().str()},
                         {"text", valid_utf8(without_ansi(row["text"].AsString().str()))}});
    }
    reply(json_response(200, {{"matches", std::move(matches)}, {"complete", complete}}));
  });
}

void LogRoutes::add_to(Router& router) {
  const auto add = [&](const char* pattern, const char* summary, void (LogRoutes::*method)(Call),
                       std::vector<Parameter> query) {
    Route route;
    route.method = "GET";
    route.pattern = pattern;
    route.summary = summary;
    route.handler = [this, method](Call call) { (this->*method)(std::move(call)); };
    route.query = std::move(query);
    router.add(std::move(route));
  };
  add("/api/v0/logs", "Names of log files by group.", &LogRoutes::names, {{"glob"}, {"node_id"}, {"node_ip"}});
  add("/api/v0/logs/{media_type}", "A log (file), or a log as it grows (stream).", &LogRoutes::text,
      {{"filename"},
       {"node_id"},
       {"actor_id"},
       {"task_id"},
       {"pid", "integer"},
       {"submission_id"},
       {"lines", "integer", "of its end; -1 for all"},
       {"suffix", "string", "out or err"},
       {"filter_ansi_code", "boolean"}});
  add("/api/narke/logs", "The log files of all nodes, or of one.", &LogRoutes::files, {{"glob"}, {"node_id"}});
  add("/api/narke/logs/search", "Lines of all logs that contain a text.", &LogRoutes::search,
      {{"query"}, {"glob"}, {"node_id"}});
}

}  // namespace narke::gateway
