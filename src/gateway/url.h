// Taking request targets apart. Everything here is fed by strangers: no allocation beyond the input's size, no
// exceptions, nothing read twice.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace narke::gateway {

struct Target {
  std::string path;  // decoded; begins with '/'
  std::vector<std::pair<std::string, std::string>> query;
};

// RFC 3986 origin form. Nothing: a broken escape, a NUL, a path that does not begin with '/', or a ".." segment in it.
std::optional<Target> parse_target(std::string_view target);

// Nothing: a '%' without two hexadecimal digits. plus_is_space: as in queries.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

// A name that is one step of a path: not empty, no '/', no NUL, not "." or "..".
bool is_plain_name(std::string_view name);

// What a Host header names, in lower case, without the port: "[::1]:80" -> "::1". Nothing when it is malformed.
std::optional<std::string> host_of(std::string_view host_header);

// The value of a cookie in a Cookie header; "" when it is absent.
std::string cookie_of(std::string_view cookie_header, std::string_view name);

}  // namespace narke::gateway
