// The whole daemon: wires the reactor, the service, the processes and the object store, and runs them.
#pragma once

#include <csignal>
#include <memory>
#include <string>

#include "base/own_log.h"
#include "node/gateway_process.h"
#include "node/options.h"
#include "node/processes.h"
#include "node/service.h"
#include "rpc/reactor.h"
#include "rpc/tcp.h"
#include "store/server.h"
#include "transfer/transfer.h"
#include "tunnel/tunnels.h"

namespace narke::node {

class Daemon {
 public:
  // Listens, and has told `ready_fd`, when it returns a daemon.
  static Result<std::unique_ptr<Daemon>> make(const Options& options);
  ~Daemon();

  // Until told to stop; returns the exit status.
  int run();

 private:
  explicit Daemon(const Options& options) : options_(options) {}
  Status start();
  Status prepare_session();
  Status make_store();
  void share_spill(const std::string& storage);
  Status start_gateway();
  // Where others find this node's metrics; "" when they are served to this host alone, or not at all.
  std::string metrics_target() const;
  ServiceConfig service_config();
  std::string service_endpoint() const;  // HOST:PORT of the door
  void log(const std::string& message);
  void watch_signals();
  Status watch_owner();
  Status open_door();
  Status open_client_door();
  Status make_transfers();
  Status join_cluster();
  // "ready PID" or "error TEXT".
  void say_ready(const std::string& error = "");
  void on_signal();
  void tick();
  void store_tick();
  void guard_memory();
  void on_told_to_stop(const std::string& why);
  void begin_stop(const std::string& why);
  void shut_down();
  std::string path(const std::string& name) const { return options_.session_dir + "/" + name; }

  Options options_;
  std::string token_, cluster_id_;
  NodeId node_;
  std::unique_ptr<rpc::Door> door_, client_door_;
  OwnLog log_;
  std::unique_ptr<rpc::Reactor> reactor_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Processes> processes_;
  std::unique_ptr<store::Server> store_;
  std::unique_ptr<tunnel::Tunnels> tunnels_;
  std::unique_ptr<transfer::Transfers> transfers_;
  std::unique_ptr<GatewayProcess> gateway_;
  rpc::Reactor::TimerId store_timer_ = 0;
  int signals_ = -1;
  int owner_ = -1;
  bool stopping_ = false;
  int status_ = 0;
};

}  // namespace narke::node
