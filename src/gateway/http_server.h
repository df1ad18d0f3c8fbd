// HTTP/1.1 and WebSocket around an App. The only unit that knows the HTTP library.
//
// One thread. Every wait has a deadline, every size a bound: heads 16 KiB, bodies as the App plans, connections
// 512. Connections above that wait in the socket's backlog.
#pragma once

#include <chrono>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "gateway/http.h"

namespace narke::gateway {

struct ServerLimits {
  size_t connections = 512;
  std::chrono::seconds head{20};       // for a request's head to come, also between requests
  std::chrono::seconds body{30};       // for a body in memory
  std::chrono::seconds upload{600};    // for a body that goes to a file
  std::chrono::seconds write{60};      // for each piece of an answer
};

class TlsFront;

class HttpServer {
 public:
  HttpServer(boost::asio::io_context& io, App& app, ServerLimits limits = {});
  ~HttpServer();
  // Serves a socket that listens already; takes it over. is_open: see Request::is_open_port; its clients talk in the
  // clear. front: for all others; null: they do, too. Outlives the server.
  void serve(int listening_fd, bool is_open, TlsFront* front = nullptr);
  // No further connections are taken and the open ones end.
  void stop();

  struct State;  // known to the implementation only

 private:
  std::shared_ptr<State> state_;  // shared with the connections
};

}  // namespace narke::gateway
