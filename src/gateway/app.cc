#include "gateway/app.h"

#include <unistd.h>

namespace narke::gateway {

Gateway::Gateway(GuardConfig guard, std::string upload_dir)
    : guard_(std::move(guard)), upload_dir_(std::move(upload_dir)) {}

static bool is_json(const Request& request) {
  const std::string& type = request.header("content-type");
  return type.empty() || type.starts_with("application/json");
}

// A place within the dashboard: its one page is served there, and routes by itself.
static bool is_page(const Request& head, const Router::Match& match) {
  return match.route == nullptr && match.miss == Router::Miss::kNoPath && head.method == "GET" &&
         head.path.find('.') == head.path.npos && !head.path.starts_with("/api/");
}

std::optional<Response> Gateway::refusal(const Request& head, const Router::Match& match) const {
  if (head.is_open_port) {
    if (match.route && match.route->is_on_open_port && head.method == "GET") return {};
    return text_response(404, "Only /metrics and health are served here.");
  }
  if (auto refused = guard_.refusal(head, is_page(head, match))) return refused;
  if (match.route == nullptr && match.miss == Router::Miss::kWrongMethod) {
    Response wrong = text_response(405, "The method " + head.method + " is not one of this path's.");
    wrong.headers.emplace_back("Allow", match.allowed);
    return wrong;
  }
  if (match.route == nullptr && head.method != "GET" && head.method != "HEAD")
    return text_response(404, "There is nothing at " + head.path + ".");
  if (match.route && match.route->body_schema[0] != '\0' && !is_json(head))
    return text_response(415, "The body must be JSON, with Content-Type: application/json.");
  return {};
}

Plan Gateway::plan(const Request& head) {
  const Router::Match match = router_.match(head.method, head.path);
  Plan out;
  out.refusal = refusal(head, match);
  if (out.refusal || match.route == nullptr) return out;
  out.body_limit_bytes = match.route->body_limit_bytes;
  if (match.route->is_upload)
    out.body_file = upload_dir_ + "/upload." + std::to_string(getpid()) + "." + std::to_string(++uploads_);
  return out;
}

void Gateway::handle(Request request, Reply reply) {
  Router::Match match = router_.match(request.method, request.path);
  if (match.route == nullptr) {
    reply(fallback_ ? fallback_(request) : text_response(404, "There is nothing at " + request.path + "."));
    return;
  }
  match.route->handler({std::move(request), std::move(match.parts), std::move(reply)});
}

}  // namespace narke::gateway
