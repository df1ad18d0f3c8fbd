#include "gateway/pages.h"

#include <array>
#include <filesystem>

#include "gateway/job_record.h"

namespace narke::gateway {

namespace fs = std::filesystem;

static constexpr char kRayVersion[] = "2.60.0";  // whose interface this is

static const char* type_of(const std::string& path) {
  static constexpr std::array<std::array<const char*, 2>, 9> kTypes = {{{".html", "text/html; charset=utf-8"},
                                                                        {".js", "text/javascript; charset=utf-8"},
                                                                        {".css", "text/css; charset=utf-8"},
                                                                        {".svg", "image/svg+xml"},
                                                                        {".json", "application/json"},
                                                                        {".png", "image/png"},
                                                                        {".ico", "image/x-icon"},
                                                                        {".woff2", "font/woff2"},
                                                                        {".map", "application/json"}}};
  for (const auto& [ending, type] : kTypes)
    if (path.ends_with(ending)) return type;
  return "application/octet-stream";
}

static const char kPlainPage[] =
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Narke</title></head><body><h1>Narke</h1>"
    "<p>The dashboard's files are not built in this tree; the REST interface is served. See /api/openapi.json.</p>"
    "</body></html>";

// What browsers ask for by themselves (dashboard/public/favicon.svg), also where no dashboard is built.
static const char kIcon[] =
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='8' fill='#2563eb'/>"
    "<path d='M18 4 8 18h7l-2 10 11-15h-8z' fill='#fff'/></svg>";

// A file of the dashboard. Every path that is no file and has no extension is the page itself: it routes by itself.
Response Pages::file(const Request& request) const {
  std::error_code error;
  const bool is_page = request.path.find('.') == std::string::npos;
  if (is_page && request.path.starts_with("/api/"))
    return text_response(404, "There is nothing at " + request.path + ".");
  const fs::path root = fs::weakly_canonical(config_.files_dir, error);
  const fs::path path = is_page ? root / "index.html" : fs::weakly_canonical(root / request.path.substr(1), error);
  const bool inside = path.string().starts_with(root.string() + "/");
  const auto text = inside && fs::is_regular_file(path, error) ? read_file(path) : std::nullopt;
  if (!text && !is_page) return text_response(404, "There is nothing at " + request.path + ".");
  Response out;
  out.content_type = type_of(text ? path.string() : ".html");
  out.body = text ? *text : kPlainPage;
  if (request.path.starts_with("/assets/"))
    out.headers.emplace_back("Cache-Control", "public, max-age=31536000, immutable");
  if (out.content_type.starts_with("text/html"))
    out.headers.emplace_back("Content-Security-Policy",
                             "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
                             "frame-ancestors 'none'; base-uri 'none'; form-action 'self'");
  return out;
}

Response Pages::version() const {
  return json_response(200, {{"version", "4"},
                             {"ray_version", kRayVersion},
                             {"ray_commit", "narke"},
                             {"narke_version", NARKE_VERSION},
                             {"session_name", config_.session_name}});
}

void Pages::health(Call call, const char* answer) {
  cluster_.call(
      "session_info", map_body([](auto&) {}), [reply = std::move(call.reply), answer](const ControlAnswer& got) {
        reply(got.ok() ? text_response(200, answer) : text_response(503, "The node does not answer: " + got.error));
      });
}

void Pages::add_to(Gateway& gateway) {
  Router& router = gateway.router();
  const auto add = [&](const char* method, const char* pattern, const char* summary, Route::Handler handler,
                       bool open = false) {
    Route route;
    route.method = method;
    route.pattern = pattern;
    route.summary = summary;
    route.handler = std::move(handler);
    route.is_on_open_port = open;
    router.add(std::move(route));
  };
  for (const char* path : {"/api/version", "/api/ray/version"})
    add("GET", path, "Versions of the interface and the cluster.", [this](Call call) { call.reply(version()); });
  for (const char* path : {"/healthz", "/-/healthz", "/api/gcs_healthz", "/api/local_raylet_healthz"})
    add("GET", path, "Whether the node answers.", [this](Call call) { health(std::move(call), "success"); }, true);
  add(
      "GET", "/api/healthz", "Whether node and controller answer.",
      [this](Call call) { health(std::move(call), "raylet: success\ngcs: success"); }, true);
  add("GET", "/api/authentication_mode", "How clients prove themselves.",
      [](Call call) { call.reply(json_response(200, {{"authentication_mode", "token"}})); });
  add("POST", "/api/authenticate", "Exchange the token for a cookie.",
      [this](Call call) { call.reply(guard_.login(call.request)); });
  add("GET", "/favicon.ico", "The page's icon.", [](Call call) {
    Response icon = text_response(200, kIcon);
    icon.content_type = "image/svg+xml";
    call.reply(std::move(icon));
  });
  add("GET", "/api/openapi.json", "This interface, described.",
      [&router](Call call) { call.reply(json_response(200, router.openapi())); });
  if (config_.is_member)
    gateway.set_fallback([](const Request& request) {
      return text_response(404, "There is nothing at " + request.path + ": the dashboard is on the head.");
    });
  else
    gateway.set_fallback([this](const Request& request) { return file(request); });
}

}  // namespace narke::gateway
