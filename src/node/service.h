// The daemon's side of every program's connection: frames in, cluster calls, frames out.
//
// Lifecycle: made before the socket listens; programs come (Register) and go (closed link); destroyed after the
// reactor has stopped. One thread: the reactor's.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "node/cluster.h"
#include "node/control.h"
#include "node/log_follower.h"
#include "node/processes.h"
#include "node/program.h"
#include "node/wire.h"
#include "rpc/reactor.h"
#include "store/server.h"

namespace narke::node {

struct ServiceConfig {
  NodeConfig node;
  std::string session_dir, socket_path, token_path, address, hostname;
};

// Ids that nobody can guess.
WorkerId random_worker_id();
NodeId random_node_id();

class Service : public rpc::Handler, public ProcessesOut, public store::ServerOut, private ClusterOut, private LogOut {
 public:
  Service(rpc::Reactor& reactor, ServiceConfig config, std::function<void(const std::string&)> log);
  ~Service() override;

  // Wires the parts that call back into the service; before anything is dispatched.
  void attach(Processes& processes, store::Server& store);
  Cluster& cluster() { return cluster_; }
  const Cluster& cluster() const { return cluster_; }
  // Called when a driver's link ends.
  void on_driver_gone(std::function<void(int pid)> callback) { driver_gone_ = std::move(callback); }
  // Upkeep, a few times a second.
  void tick();
  void relieve_memory(const std::string& figures);
  // Every program is told to leave.
  void stop();

  // rpc::Handler
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection& link, const Error& why) override;

  // ProcessesOut
  void on_process_started(const WorkerId& worker, int pid) override;
  void on_process_failed(const WorkerId& worker, const std::string& message) override;
  void on_process_gone(const WorkerId& worker, const Fate& fate) override;
  void log(const std::string& message) override { log_(message); }

  // store::ServerOut
  void send(store::ClientKey client, wire::MessageType type, const Builder& table) override;

 private:
  // frames
  void on_register(rpc::Connection& link, const rpc::Frame& frame);
  Program* admit(rpc::Connection& link, const wire::Register& request);
  void refuse(rpc::Connection& link, uint32_t call_id, const std::string& why);
  void registered(Program& program, uint32_t call_id);
  bool dispatch(Program& program, const rpc::Frame& frame);
  bool dispatch_actor(Program& program, const rpc::Frame& frame);
  bool on_request_lease(Program& program, const rpc::Frame& frame);
  bool on_create_actor(Program& program, const rpc::Frame& frame);
  bool on_actor_started(Program& program, const rpc::Frame& frame);
  bool on_watch_actor(Program& program, const rpc::Frame& frame);
  void watch_actor(const WorkerId& watcher, const ActorId& id, int tries);
  bool on_kill_actor(const rpc::Frame& frame);
  bool on_control(Program& program, const rpc::Frame& frame);
  void on_goodbye(Program& program, uint32_t call_id);
  void say_goodbye(Program& program, uint32_t call_id);
  void finish_goodbyes();
  void hurry();
  bool has_ending_workers(const JobId& job) const;
  void bury(WorkerId id);
  void detach_when_ended(store::ClientKey key, int pid);
  void driver_gone(Program& program, const std::string& why);

  // ClusterOut
  int64_t now_ms() override;
  WorkerId new_worker_id() override { return random_worker_id(); }
  void grant(const Grant& grant) override;
  void deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind failure,
            const std::string& message) override;
  void reclaim(const WorkerId& holder, uint64_t lease) override;
  void notice(const JobId& job, const std::string& kind, const std::string& text) override;
  void actor_changed(const WorkerId& watcher, const controller::Actor& actor) override;
  void group_changed(const controller::PlacementGroup& group) override { control_.on_group_changed(group); }
  void start_worker(const Worker& worker) override;
  void stop_worker(const Worker& worker, StopKind kind, const std::string& reason) override;
  void start_actor(const Worker& worker, const controller::Actor& actor) override;
  void lease_ended(const Worker& worker) override;
  void worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) override;

  // LogOut
  void on_lines(const std::vector<LogText>& lines) override;

  std::shared_ptr<const std::vector<uint8_t>> fork_config(const Worker& worker);
  Program* find(const WorkerId& id);
  Program* driver_of(const JobId& job);
  Builder& fresh();

  rpc::Reactor& reactor_;
  ServiceConfig config_;
  std::function<void(const std::string&)> log_;
  std::function<void(int)> driver_gone_;
  Processes* processes_ = nullptr;
  store::Server* store_ = nullptr;
  Cluster cluster_;
  LogFollower logs_;
  History history_;
  Control control_;
  struct LastFork {
    JobId job;
    std::string runtime_env;
    std::shared_ptr<const std::vector<uint8_t>> config;
  };
  LastFork last_fork_;
  std::unordered_map<WorkerId, std::unique_ptr<Program>> programs_;
  std::unordered_map<store::ClientKey, WorkerId> by_key_;
  std::unordered_map<WorkerId, store::ClientKey> key_of_gone_;  // its link is closed, its process not ended yet
  std::unordered_map<WorkerId, Fate> ended_;  // the process is gone, its link may still hold something
  bool hurrying_ = false;
  std::set<int> left_;  // processes of drivers that have left, by pidfd
  store::ClientKey last_key_ = 0;
  Builder builder_;
};

}  // namespace narke::node
