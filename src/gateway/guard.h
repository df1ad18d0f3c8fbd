// Who may come in: the token, the Host and Origin checks, the login cookie.
//
// Threats: a web page that the user's browser shows (cross-site requests, DNS rebinding: CVE-2025-62593,
// CVE-2026-27482), anybody on the network (CVE-2023-48022), guessing the token by timing.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "gateway/http.h"

namespace narke::gateway {

inline constexpr char kCookieName[] = "ray-authentication-token";

struct GuardConfig {
  std::string token;
  // Names under which this host is reached, besides localhost and every literal IP address (a page cannot be served
  // from a literal address that is not its own). A name that begins with '.' allows all names below it.
  std::set<std::string> hosts;
};

class Guard {
 public:
  explicit Guard(GuardConfig config);

  // Why the request is turned away, or nothing. is_page: it asks for the dashboard's page, which is open to all.
  std::optional<Response> refusal(const Request& request, bool is_page = false) const;
  // What POST /api/authenticate answers: the login cookie for whoever brings the token.
  Response login(const Request& request) const;
  bool may_see_secrets(const Request& request) const;

 private:
  bool is_own_host(const std::string& host) const;
  std::optional<Response> check_origin(const Request& request) const;
  bool is_token(const std::string& given) const;
  bool is_cookie(const std::string& given) const;

  GuardConfig config_;
  std::string cookie_;  // derived from the token, so that a stolen cookie is not the token
};

// Paths that answer without a token: the page itself, health, and logging in.
bool is_public_path(const std::string& path);
// Sent by a browser on behalf of a page.
bool is_from_browser(const Request& request);

}  // namespace narke::gateway
