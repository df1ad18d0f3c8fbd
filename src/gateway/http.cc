#include "gateway/http.h"

namespace narke::gateway {

static const std::string kNothing;

const std::string& Request::header(const std::string& name) const {
  const auto at = headers.find(name);
  return at == headers.end() ? kNothing : at->second;
}

const std::string& Request::argument(const std::string& name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return kNothing;
}

bool Request::has_argument(const std::string& name) const {
  for (const auto& [key, value] : query)
    if (key == name) return true;
  return false;
}

std::vector<std::string> Request::arguments(const std::string& name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : query)
    if (key == name) out.push_back(value);
  return out;
}

Response text_response(int status, std::string text) {
  Response out;
  out.status = status;
  out.body = std::move(text);
  return out;
}

}  // namespace narke::gateway
