#include "gateway/guard.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <arpa/inet.h>

#include "gateway/url.h"
#include "rpc/auth.h"

namespace narke::gateway {

static std::string hex_of(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

Guard::Guard(GuardConfig config) : config_(std::move(config)) {
  cookie_ = hex_of(rpc::prove(config_.token, "narke dashboard cookie"));
}

bool is_public_path(const std::string& path) {
  static constexpr std::array kExact = {"/",
                                        "/index.html",
                                        "/favicon.ico",
                                        "/favicon.svg",
                                        "/healthz",
                                        "/-/healthz",
                                        "/api/healthz",
                                        "/api/gcs_healthz",
                                        "/api/local_raylet_healthz",
                                        "/api/authentication_mode",
                                        "/api/authenticate"};
  if (std::find(kExact.begin(), kExact.end(), path) != kExact.end()) return true;
  return path.starts_with("/static/") || path.starts_with("/assets/");
}

bool is_from_browser(const Request& request) {
  if (request.header("user-agent").starts_with("Mozilla")) return true;
  for (const char* name : {"origin", "referer", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-dest"})
    if (request.headers.contains(name)) return true;
  return false;
}

static bool is_literal_address(const std::string& host) {
  in6_addr buffer;
  return inet_pton(AF_INET, host.c_str(), &buffer) == 1 || inet_pton(AF_INET6, host.c_str(), &buffer) == 1;
}

bool Guard::is_own_host(const std::string& host) const {
  if (host == "localhost" || host.ends_with(".localhost") || is_literal_address(host)) return true;
  if (config_.hosts.contains(host)) return true;
  return std::any_of(config_.hosts.begin(), config_.hosts.end(),
                     [&](const std::string& each) { return each.starts_with('.') && host.ends_with(each); });
}

// A page may only talk to the server that it came from.
std::optional<Response> Guard::check_origin(const Request& request) const {
  const std::string& origin = request.header("origin");
  if (request.headers.contains("origin")) {
    const size_t scheme = origin.find("://");
    if (scheme == origin.npos || origin.substr(scheme + 3) != request.header("host"))
      return text_response(403, "Forbidden: requests from pages of another origin are refused.");
  }
  const std::string& site = request.header("sec-fetch-site");
  const bool is_navigation = request.header("sec-fetch-mode") == "navigate" && request.method == "GET";
  if (!site.empty() && site != "same-origin" && site != "none" && !is_navigation)
    return text_response(403, "Forbidden: requests from pages of another site are refused.");
  return {};
}

bool Guard::is_token(const std::string& given) const {
  // Equal lengths and a comparison in constant time: of digests, so that the token's length does not show either.
  return rpc::is_same_proof(rpc::prove("compare", given), rpc::prove("compare", config_.token));
}

bool Guard::is_cookie(const std::string& given) const {
  return rpc::is_same_proof(rpc::prove("compare", given), rpc::prove("compare", cookie_));
}

static std::string bearer_of(const Request& request) {
  std::string value = request.header("authorization");
  if (value.empty()) value = request.header("x-ray-authorization");
  static constexpr std::string_view kScheme = "bearer ";
  if (value.size() < kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(value[i])) != kScheme[i]) return {};
  return value.substr(kScheme.size());
}

static bool has_credentials_header(const Request& request) {
  return request.headers.contains("authorization") || request.headers.contains("x-ray-authorization");
}

std::optional<Response> Guard::refusal(const Request& request, bool is_page) const {
  const auto host = host_of(request.header("host"));
  if (!host) return text_response(400, "Bad Request: the Host header is missing or malformed.");
  if (!is_own_host(*host))
    return text_response(403, "Forbidden: the Host header names '" + *host +
                                  "', which is not this server. Use an address of the machine, or allow the name with "
                                  "NARKE_DASHBOARD_ALLOWED_HOSTS.");
  if (auto refused = check_origin(request)) return refused;
  if (is_page || is_public_path(request.path)) return {};
  if (has_credentials_header(request)) {
    if (is_token(bearer_of(request))) return {};
    return text_response(403, "Forbidden: Invalid authentication token");
  }
  const std::string cookie = cookie_of(request.header("cookie"), kCookieName);
  if (cookie.empty()) {
    Response missing = text_response(401, "Unauthorized: Missing authentication token");
    missing.headers.emplace_back("WWW-Authenticate", "Bearer");
    return missing;
  }
  if (is_cookie(cookie)) return {};
  if (is_token(cookie) && !is_from_browser(request)) return {};  // programs that carry the token as Ray's cookie
  return text_response(403, "Forbidden: Invalid authentication token");
}

Response Guard::login(const Request& request) const {
  if (!has_credentials_header(request)) return text_response(401, "Unauthorized: Missing authentication token");
  if (!is_token(bearer_of(request))) return text_response(403, "Forbidden: Invalid authentication token");
  Response out;
  out.content_type = "application/json";
  out.body = R"({"status":"authenticated","message":"Token is valid"})";
  out.headers.emplace_back("Set-Cookie", std::string(kCookieName) + "=" + cookie_ +
                                             "; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict" +
                                             (request.is_secure ? "; Secure" : ""));
  return out;
}

bool Guard::may_see_secrets(const Request& request) const {
  return has_credentials_header(request) && !is_from_browser(request);
}

}  // namespace narke::gateway
