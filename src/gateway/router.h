// From method and path to a handler, and the OpenAPI document of all of them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gateway/http.h"
#include "gateway/json.h"

namespace narke::gateway {

struct Call {
  Request request;
  std::vector<std::string> parts;  // what the pattern's {names} matched, decoded and without '/'
  Reply reply;
};

struct Parameter {
  const char* name;
  const char* type = "string";  // of OpenAPI
  const char* description = "";
};

struct Route {
  using Handler = std::function<void(Call)>;
  // method: "GET", ...; a GET route serves HEAD, too. pattern: "/api/jobs/{id}"; a slash at the end is optional when
  // matching.
  std::string method, pattern, summary;
  Handler handler;
  std::vector<Parameter> query = {};
  uint64_t body_limit_bytes = 0;
  bool is_upload = false;         // the body goes to a file
  const char* body_schema = "";   // JSON Schema of the body
  bool is_on_open_port = false;   // also served, without a token, where metrics are
  bool is_stream = false;         // takes a WebSocket
};

class Router {
 public:
  void add(Route route);

  enum class Miss { kNoPath, kWrongMethod };
  struct Match {
    const Route* route = nullptr;  // null: see miss
    Miss miss = Miss::kNoPath;
    std::vector<std::string> parts;
    std::string allowed;  // methods of the path, for the Allow header
  };
  Match match(const std::string& method, const std::string& path) const;
  json::value openapi() const;

 private:
  struct Entry {
    Route route;
    std::vector<std::string> segments;
  };
  std::vector<Entry> entries_;
};

}  // namespace narke::gateway
