#include "gateway/router.h"

#include <algorithm>

namespace narke::gateway {

static std::vector<std::string> split(const std::string& path) {
  std::vector<std::string> out;
  for (size_t at = 1; at < path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    out.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

static bool is_name(const std::string& segment) { return segment.starts_with('{'); }

void Router::add(Route route) {
  std::vector<std::string> segments = split(route.pattern);
  entries_.push_back({std::move(route), std::move(segments)});
}

static bool fits(const std::vector<std::string>& pattern, const std::vector<std::string>& path,
                 std::vector<std::string>* parts) {
  if (pattern.size() != path.size()) return false;
  parts->clear();
  for (size_t i = 0; i < path.size(); ++i) {
    if (is_name(pattern[i])) {
      if (path[i].empty()) return false;
      parts->push_back(path[i]);
    } else if (pattern[i] != path[i]) {
      return false;
    }
  }
  return true;
}

Router::Match Router::match(const std::string& method, const std::string& path) const {
  const std::vector<std::string> segments = split(path);
  Match out;
  for (const Entry& entry : entries_) {
    std::vector<std::string> parts;
    if (!fits(entry.segments, segments, &parts)) continue;
    out.allowed += (out.allowed.empty() ? "" : ", ") + entry.route.method;
    if (entry.route.method == method || (method == "HEAD" && entry.route.method == "GET")) {
      out.route = &entry.route;
      out.parts = std::move(parts);
      return out;
    }
  }
  if (!out.allowed.empty()) out.miss = Miss::kWrongMethod;
  return out;
}

static json::object text_answer(const char* description) {
  return {{"description", description}, {"content", {{"text/plain", {{"schema", {{"type", "string"}}}}}}}};
}

static json::array parameters_of(const Route& route) {
  json::array out;
  for (const std::string& segment : split(route.pattern))
    if (is_name(segment))
      out.push_back({{"name", segment.substr(1, segment.size() - 2)},
                     {"in", "path"},
                     {"required", true},
                     {"schema", {{"type", "string"}, {"minLength", 1}, {"pattern", "^[A-Za-z0-9_.-]+$"}}}});
  for (const Parameter& each : route.query)
    out.push_back({{"name", each.name},
                   {"in", "query"},
                   {"required", false},
                   {"description", each.description},
                   {"schema", {{"type", each.type}}}});
  return out;
}

static json::object operation_of(const Route& route) {
  json::object answers = {{"200", {{"description", "The answer."}}},
                          {"302", text_answer("The answer is elsewhere.")},
                          {"400", text_answer("The request is wrong; the text says how.")},
                          {"401", text_answer("No token was given.")},
                          {"403", text_answer("The token, host or origin is wrong.")},
                          {"404", text_answer("There is no such thing.")},
                          {"405", text_answer("The method is not one of this path's.")},
                          {"413", text_answer("The body is too large.")},
                          {"415", text_answer("The body is not JSON.")},
                          {"500", text_answer("The cluster did not answer, or not in time.")}};
  json::object out = {
      {"summary", route.summary}, {"parameters", parameters_of(route)}, {"responses", std::move(answers)}};
  if (route.body_schema[0] != '\0') {
    const auto schema = parse_json(route.body_schema);
    NARKE_CHECK(schema.has_value());
    out["requestBody"] = {{"required", true}, {"content", {{"application/json", {{"schema", *schema}}}}}};
  } else if (route.is_upload) {
    out["requestBody"] = {
        {"required", true},
        {"content", {{"application/octet-stream", {{"schema", {{"type", "string"}, {"format", "binary"}}}}}}}};
  }
  return out;
}

json::value Router::openapi() const {
  json::object paths;
  for (const Entry& entry : entries_) {
    std::string method = entry.route.method;
    std::transform(method.begin(), method.end(), method.begin(), [](unsigned char c) { return std::tolower(c); });
    json::value& path = paths[entry.route.pattern];
    if (!path.is_object()) path.emplace_object();
    path.get_object()[method] = operation_of(entry.route);
  }
  json::object scheme = {{"token", {{"type", "http"}, {"scheme", "bearer"}}}};
  return json::object{{"openapi", "3.0.3"},
                      {"info", {{"title", "Narke"}, {"version", NARKE_VERSION}}},
                      {"components", {{"securitySchemes", std::move(scheme)}}},
                      {"security", json::array{json::object{{"token", json::array()}}}},
                      {"paths", std::move(paths)}};
}

}  // namespace narke::gateway
