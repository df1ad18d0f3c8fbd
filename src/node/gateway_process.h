// The process that serves HTTP for this node: the REST interface, the dashboard, metrics.
//
// It is a process of its own, so that what strangers send is never parsed where leases are granted. Its sockets are
// bound here: the addresses are known before it runs, and connections wait while it starts, or starts again. It is
// started by the first connection, or at once when `eager`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "rpc/reactor.h"

namespace narke::node {

struct GatewayConfig {
  std::string host;  // "" for no gateway
  int port = -1;     // -1: 8265 or the next free one; 0: any
  int metrics_port = 0;
  int agent_port = -1;  // a second port like `port`; -1: none
  bool is_member = false;  // of a node that is not the head: it tells of this node alone
  bool eager = false;
  std::string program;  // path of narke-gateway
  std::string session_dir, address, python, python_path;
  std::string tls;                 // auto, on, off
  std::string tls_cert, tls_key;   // paths; empty: the gateway makes its own
};

class GatewayProcess {
 public:
  GatewayProcess(rpc::Reactor& reactor, GatewayConfig config, std::function<void(const std::string&)> log);
  ~GatewayProcess();
  GatewayProcess(const GatewayProcess&) = delete;
  GatewayProcess& operator=(const GatewayProcess&) = delete;

  // Binds the sockets.
  Status start();
  // Ends the process; no other is started.
  void stop();

  int port() const { return port_; }  // 0 without a gateway
  int metrics_port() const { return metrics_port_; }
  int agent_port() const { return agent_port_; }
  int pid() const { return pid_; }  // 0 while none runs

 private:
  Status bind_web();
  Status bind_one(int port, const char* what, const char* option, int* fd, int* bound);
  std::vector<int> sockets() const;
  void wait_for_client();
  void on_client();
  void launch();
  void on_gone();

  rpc::Reactor& reactor_;
  GatewayConfig config_;
  std::function<void(const std::string&)> log_;
  int web_ = -1, metrics_ = -1, agent_ = -1;  // listening sockets
  int port_ = 0, metrics_port_ = 0, agent_port_ = 0;
  int pid_ = 0, pidfd_ = -1;
  int failures_ = 0;  // in a row, each soon after its start
  rpc::Reactor::Clock::time_point started_;
  bool waiting_ = false, stopping_ = false;
};

}  // namespace narke::node
