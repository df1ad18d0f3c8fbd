// What the gateway's parts know of HTTP: a request, an answer, and who gives one for the other. No library inside.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace narke::gateway {

// Names in lower case.
using Headers = std::map<std::string, std::string>;

struct Request {
  std::string method;  // GET, POST, ...
  std::string target;  // as it was sent, with the query
  std::string path;    // decoded
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
  Headers headers;
  bool wants_websocket = false;
  std::string body;       // unless it went into a file
  std::string body_file;  // path of that file; the handler moves it away or it is removed
  bool is_secure = false;     // came in TLS
  bool is_open_port = false;  // came in where only metrics and health are served

  const std::string& header(const std::string& name) const;
  // The first value of a query parameter; "" when it is absent.
  const std::string& argument(const std::string& name) const;
  bool has_argument(const std::string& name) const;
  std::vector<std::string> arguments(const std::string& name) const;
};

// A long answer, asked for piece by piece. Destroyed early when the client goes away.
class Source {
 public:
  using Next = std::function<void(std::optional<std::string>)>;
  virtual ~Source() = default;
  // Calls back once: with bytes, with "" when there is nothing yet (the client's presence is checked then), or with
  // nothing at the end. Not called again before it has called back.
  virtual void next(Next next) = 0;
};

struct Response {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::shared_ptr<Source> source;  // instead of body; shared with the callback that is under way
  std::vector<std::pair<std::string, std::string>> headers;
  bool close = false;  // the connection ends after it
};
using Reply = std::function<void(Response)>;

Response text_response(int status, std::string text);

// Decided when the head of a request has come, before its body is read.
struct Plan {
  std::optional<Response> refusal;
  uint64_t body_limit_bytes = 0;
  std::string body_file;  // where the body goes; "" for memory
};

class App {
 public:
  virtual ~App() = default;
  virtual Plan plan(const Request& head) = 0;
  // `reply` is called exactly once, now or later, on the same thread.
  virtual void handle(Request request, Reply reply) = 0;
};

}  // namespace narke::gateway
