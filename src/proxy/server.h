// The HTTP server: accepts connections, holds what their sessions share, reports to the controller.
//
// Lifecycle: make() listens -> attach() a table source -> run() until stop() or until drained. One thread.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/calls.h"
#include "proxy/loop.h"
#include "proxy/request_parser.h"
#include "proxy/router.h"
#include "proxy/stats.h"
#include "proxy/tls.h"

namespace narke::proxy {

struct ServerConfig {
  std::string host = "127.0.0.1";
  int port = 8000;                       // 0: any free one
  std::string root_path;                 // ASGI's root_path, before a route's prefix
  int64_t keep_alive_ms = 90'000;        // an idle connection is closed after this
  int64_t head_timeout_ms = 20'000;      // a request's head must be complete after this
  int64_t body_stall_ms = 60'000;        // nothing came of a body, or went of an answer, for so long
  int64_t drain_ms = 30'000;             // stop(): requests under way may take so long
  uint64_t body_limit = uint64_t{16} << 30;
  size_t most_connections = 100'000;
  size_t most_message_bytes = 16 << 20;  // of a WebSocket message
  TlsFiles tls;
  std::string access_log;                // path; empty: none
  std::string node;                      // hex, for labels and reports
};

class Session;

// {"/prefix": "app"}, as /-/routes answers.
std::string routes_json(const Router& router);

class Server final : public Watcher {
 public:
  static Result<std::unique_ptr<Server>> make(const ServerConfig& config, Loop& loop, Calls& calls, Router& router);
  ~Server() override;

  int port() const { return port_; }
  // Takes no new connections; run() of the loop ends when nothing is under way, or after drain_ms.
  void drain();
  bool is_draining() const { return drain_until_ms_ >= 0; }
  // At the end of each turn. Gives the longest wait until the next, ms.
  int turn();

  // ---- for sessions ----
  Loop& loop() { return loop_; }
  Calls& calls() { return calls_; }
  Router& router() { return router_; }
  Stats& stats() { return stats_; }
  AccessLog& log() { return log_; }
  const ServerConfig& config() const { return config_; }
  const std::string& date() const { return date_; }
  char* scratch() { return scratch_.data(); }
  size_t scratch_size() const { return scratch_.size(); }
  std::string new_request_id() { return make_id(); }
  // The session's socket is closed; it is destroyed at the end of the turn.
  void closed(Session& session);
  // Destroyed at the end of the turn: its own code may be running.
  void bury(std::shared_ptr<void> dead) { buried_.push_back(std::move(dead)); }
  // It has bytes to look at although its socket is not readable.
  void look_again(Session& session);
  // What it has written leaves at the end of the turn.
  void flush_later(Session& session);
  const worker::CallSpecPtr& request_method() const { return request_method_; }
  const worker::CallSpecPtr& feed_method() const { return feed_method_; }

  void on_events(uint32_t events) override;
  size_t connections() const { return sessions_.size(); }

 private:
  Server(const ServerConfig& config, Loop& loop, Calls& calls, Router& router);
  Status listen();
  bool accept_one();
  void tick();
  void settle();
  void set_date();
  std::string make_id();

  const ServerConfig config_;
  Loop& loop_;
  Calls& calls_;
  Router& router_;
  Stats stats_;
  AccessLog log_;
  std::shared_ptr<TlsContext> tls_;
  int listener_ = -1;
  int port_ = 0;
  bool accepts_ = true;
  std::unordered_map<Session*, std::shared_ptr<Session>> sessions_;
  std::vector<std::shared_ptr<void>> buried_;
  std::vector<std::shared_ptr<Session>> again_, unflushed_;
  std::string date_;
  std::vector<char> scratch_;
  std::mt19937_64 random_;
  int64_t next_tick_ms_ = 0, drain_until_ms_ = -1;
  worker::CallSpecPtr request_method_, feed_method_;
};

}  // namespace narke::proxy
