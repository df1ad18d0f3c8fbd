#include "gateway/serve_routes.h"

#include <charconv>

namespace narke::gateway {

static constexpr uint64_t kConfigBytes = 4 << 20;
static constexpr std::chrono::seconds kChangeLimit{120};

static const char kConfigSchema[] = R"({"type": "object", "required": ["applications"], "properties": {
  "applications": {"type": "array", "items": {"type": "object", "required": ["import_path"],
    "properties": {"name": {"type": "string", "minLength": 1}, "import_path": {"type": "string", "minLength": 1}}}},
  "proxy_location": {"type": "string", "enum": ["Disabled", "HeadOnly", "EveryNode"]},
  "http_options": {"type": "object"}, "grpc_options": {"type": "object"},
  "target_capacity": {"type": "number", "nullable": true, "minimum": 0, "maximum": 100}
}})";
static const char kScaleSchema[] = R"({"type": "object", "required": ["target_num_replicas"], "properties": {
  "target_num_replicas": {"type": "integer", "minimum": 0}}})";

void ServeRoutes::add_to(Router& router) {
  const auto add = [&](const char* method, const char* pattern, const char* summary, const char* schema,
                       void (ServeRoutes::*handler)(Call)) {
    Route route;
    route.method = method;
    route.pattern = pattern;
    route.summary = summary;
    route.body_schema = schema;
    route.body_limit_bytes = schema[0] == '\0' ? 0 : kConfigBytes;
    route.handler = [this, handler](Call call) { (this->*handler)(std::move(call)); };
    router.add(std::move(route));
  };
  add("GET", "/api/serve/applications/", "Applications of Serve and their state.", "", &ServeRoutes::show);
  add("PUT", "/api/serve/applications/", "Deploy what a config says.", kConfigSchema, &ServeRoutes::change);
  add("DELETE", "/api/serve/applications/", "End Serve and all its applications.", "", &ServeRoutes::change);
  add("POST", "/api/v1/applications/{application_name}/deployments/{deployment_name}/scale",
      "Give a deployment another number of replicas.", kScaleSchema, &ServeRoutes::change);
}

// The JSON that Serve's controller keeps under the key "status" of the namespace "serve" (Ray's ServeInstanceDetails).
void ServeRoutes::show(Call call) {
  auto body = map_body([](flexbuffers::Builder& out) {
    out.String("namespace", "serve");
    out.String("key", "status");
  });
  cluster_.call("kv_get", std::move(body), [reply = call.reply](const ControlAnswer& answer) {
    const flexbuffers::Reference value = answer.map()["value"];
    if (answer.ok() && value.IsBlob()) {
      const flexbuffers::Blob bytes = value.AsBlob();
      if (auto status = parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}))
        return reply(json_response(200, *status));
    }
    reply(json_response(200, {{"controller_info", json::object()},
                              {"proxies", json::object()},
                              {"applications", json::object()},
                              {"target_capacity", nullptr}}));
  });
}

void ServeRoutes::change(Call call) {
  if (call.request.method != "DELETE" && !parse_json(call.request.body))
    return call.reply(text_response(400, "The body is not JSON."));
  std::vector<std::string> words = {
      config_.python,
      "-c",
      "import sys; sys.path.insert(0, sys.argv.pop(1)); from narke.serve._private import rest; "
      "sys.exit(rest.main(sys.argv[1:]))",
      config_.python_path,
      call.request.method,
      call.request.path,
      config_.session_dir};
  commands_.run(std::move(words), call.request.body, kChangeLimit,
                [reply = call.reply](CommandOutcome outcome) { reply(program_response(outcome, "Serve")); });
}

Response program_response(const CommandOutcome& outcome, const std::string& who) {
  const std::string& text = outcome.output;
  const size_t end = text.find('\n');
  int status = 0;
  if (end != text.npos) std::from_chars(text.data(), text.data() + end, status);
  if (!outcome.was_in_time || status < 200 || status > 599)
    return text_response(500, who + " could not be asked; the gateway's log (logs/gateway.err) says why.");
  Response response = text_response(status, text.substr(end + 1));
  if (response.body.starts_with('{')) response.content_type = "application/json";
  return response;
}

}  // namespace narke::gateway
