#include "gateway/log_routes.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "gateway/tables.h"
#include "gateway/text.h"
#include "gateway/url.h"

namespace narke::gateway {

namespace fs = std::filesystem;

static constexpr size_t kMostFiles = 20'000;
static constexpr size_t kMostMatches = 500;
static constexpr uint64_t kMostSearched = 64 << 20;  // bytes of all files in one search
static constexpr size_t kShownBytes = 500;           // of a matching line
static constexpr size_t kShortId = 16;               // digits of a worker's id in the name of its log

bool is_log_name(const std::string& name) {
  if (name.empty() || name.size() > 500) return false;
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    if (!is_plain_name(name.substr(at, end - at))) return false;
    at = end + 1;
  }
  return true;
}

std::string log_group(const std::string& name) {
  const std::string base = fs::path(name).filename();
  if (base.starts_with("job-driver")) return "driver";
  if (base.starts_with("worker-")) return base.ends_with(".err") ? "worker_err" : "worker_out";
  if (base.starts_with("narke-node") || base.starts_with("node.")) return "raylet";
  if (base.starts_with("gateway")) return "dashboard";
  return "internal";
}

static std::vector<std::string> files_in(const std::string& dir) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::recursive_directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    if (at->is_regular_file(error) && !at->is_symlink(error)) out.push_back(fs::relative(at->path(), dir, error));
    if (out.size() >= kMostFiles) break;
  }
  std::sort(out.begin(), out.end());
  return out;
}

void LogRoutes::names(Call call) {
  const std::string glob = call.request.has_argument("glob") ? call.request.argument("glob") : "*";
  json::object groups;
  for (const std::string& name : files_in(dir_)) {
    if (!matches_glob(glob, name)) continue;
    json::value& group = groups[log_group(name)];
    if (!group.is_array()) group.emplace_array();
    group.get_array().push_back(json::string(name));
  }
  call.reply(json_response(200, enveloped(true, "", {{"result", std::move(groups)}})));
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
                      return found("worker-" + worker.substr(0, kShortId) + "." + suffix);
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
    return found(name);
  }
  if (request.has_argument("submission_id")) {
    const std::string& id = request.argument("submission_id");
    if (jobs_.find(id) == nullptr) return call.reply(text_response(404, "Job " + id + " does not exist"));
    return found(fs::path(jobs_.log_path(id)).filename());
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
  find_file(*shared, [this, shared, kind](const std::string& name) { serve(*shared, name, kind == "stream"); });
}

void LogRoutes::serve(const Call& call, const std::string& name, bool follow) {
  const std::string path = dir_ + "/" + name;
  const std::string& asked = call.request.argument("lines");
  int64_t lines = 1000;
  if (!asked.empty()) {
    const auto [end, error] = std::from_chars(asked.data(), asked.data() + asked.size(), lines);
    if (error != std::errc() || end != asked.data() + asked.size())
      return call.reply(text_response(400, "lines must be a whole number (-1 for all), got '" + asked + "'."));
  }
  const auto tail = offset_of_tail(path, lines < 0 ? UINT64_MAX : static_cast<uint64_t>(lines));
  if (!tail.ok()) return call.reply(text_response(404, "There is no log file " + name + "."));
  FileSourceOptions options;
  options.path = path;
  options.offset = lines == 0 ? fs::file_size(path) : tail.value();
  options.plain =
      call.request.argument("filter_ansi_code") == "True" || call.request.argument("filter_ansi_code") == "true";
  options.whole_lines = follow;
  if (follow) options.is_over = [] { return false; };
  Response out;
  out.source = follow_file(std::move(options), after_);
  if (const std::string& file = call.request.argument("download_filename");
      is_plain_name(file) && file.find('"') == file.npos)
    out.headers.emplace_back("Content-Disposition", "attachment; filename=\"" + file + "\"");
  call.reply(std::move(out));
}

// ---- search ------------------------------------------------------------------------------------------------

static std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

void LogRoutes::search(Call call) {
  const std::string wanted = lower(call.request.argument("query"));
  const std::string glob = call.request.has_argument("glob") ? call.request.argument("glob") : "*";
  if (wanted.empty()) return call.reply(text_response(400, "Say what to look for: query."));
  json::array matches;
  uint64_t searched = 0;
  bool complete = true;
  for (const std::string& name : files_in(dir_)) {
    if (!matches_glob(glob, name)) continue;
    std::ifstream file(dir_ + "/" + name, std::ios::binary);
    int64_t number = 0;
    for (std::string line; complete && std::getline(file, line);) {
      ++number;
      if (line.starts_with('\x01')) continue;
      searched += line.size() + 1;
      complete = searched < kMostSearched && matches.size() < kMostMatches;
      if (lower(line).find(wanted) != std::string::npos)
        matches.push_back(
            {{"file", name}, {"line", number}, {"text", valid_utf8(without_ansi(line.substr(0, kShownBytes)))}});
    }
  }
  call.reply(json_response(200, {{"matches", std::move(matches)}, {"complete", complete}}));
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
       {"actor_id"},
       {"task_id"},
       {"pid", "integer"},
       {"submission_id"},
       {"lines", "integer", "of its end; -1 for all"},
       {"suffix", "string", "out or err"},
       {"filter_ansi_code", "boolean"}});
  add("/api/narke/logs/search", "Lines of all logs that contain a text.", &LogRoutes::search, {{"query"}, {"glob"}});
}

}  // namespace narke::gateway
