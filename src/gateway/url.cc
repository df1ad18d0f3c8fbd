#include "gateway/url.h"

#include <algorithm>
#include <cctype>

namespace narke::gateway {

static int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return {};
      const int high = digit_of(text[i + 1]), low = digit_of(text[i + 2]);
      if (high < 0 || low < 0) return {};
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

static bool has_bad_segment(std::string_view path) {
  if (path.find('\0') != path.npos || path.find('\\') != path.npos) return true;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    if (path.substr(at, end - at) == "..") return true;
    at = end + 1;
  }
  return false;
}

std::optional<Target> parse_target(std::string_view target) {
  target = target.substr(0, target.find('#'));
  const size_t mark = target.find('?');
  auto path = percent_decode(target.substr(0, mark), false);
  if (!path || path->empty() || path->front() != '/' || has_bad_segment(*path)) return {};
  Target out{std::move(*path), {}};
  if (mark == target.npos) return out;
  std::string_view rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest = rest.substr(std::min(rest.size(), pair.size() + 1));
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    auto key = percent_decode(pair.substr(0, equals), true);
    auto value = percent_decode(equals == pair.npos ? std::string_view() : pair.substr(equals + 1), true);
    if (!key || !value) return {};
    out.query.emplace_back(std::move(*key), std::move(*value));
  }
  return out;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.find('/') == name.npos && name.find('\0') == name.npos && name != "." && name != "..";
}

static bool is_port(std::string_view text) {
  return text.size() <= 5 && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<std::string> host_of(std::string_view header) {
  std::string_view name, rest;
  if (!header.empty() && header.front() == '[') {
    const size_t end = header.find(']');
    if (end == header.npos) return {};
    name = header.substr(1, end - 1);
    rest = header.substr(end + 1);
  } else {
    const size_t colon = header.find(':');
    name = header.substr(0, colon);
    rest = colon == header.npos ? std::string_view() : header.substr(colon);
  }
  if (name.empty() || (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1))))) return {};
  std::string out;
  for (const char c : name) {
    const auto letter = static_cast<unsigned char>(c);
    if (!std::isalnum(letter) && c != '.' && c != '-' && c != ':' && c != '_') return {};
    out += static_cast<char>(std::tolower(letter));
  }
  return out;
}

std::string cookie_of(std::string_view header, std::string_view name) {
  while (!header.empty()) {
    std::string_view pair = header.substr(0, header.find(';'));
    header = header.substr(std::min(header.size(), pair.size() + 1));
    while (!pair.empty() && pair.front() == ' ') pair.remove_prefix(1);
    const size_t equals = pair.find('=');
    if (equals != pair.npos && pair.substr(0, equals) == name) return std::string(pair.substr(equals + 1));
  }
  return {};
}

}  // namespace narke::gateway
