// A request's target taken apart. Pure.
#pragma once

#include <string>
#include <string_view>

namespace narke::proxy {

struct Target {
  std::string path;            // percent-decoded; bytes, maybe not UTF-8
  std::string_view raw_path;   // as it came, without the query
  std::string_view query;      // without '?'
};

// Takes both forms, "/path?query" and "http://host/path?query". False for anything else but "*".
// The views point into `target`.
bool read_target(std::string_view target, Target& out);

// 32 hex digits in the grouping of a UUID.
std::string make_request_id(uint64_t high, uint64_t low);

}  // namespace narke::proxy
