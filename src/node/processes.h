// The worker processes of this host: started through the zygote, watched by pidfd, ended with all they started.
//
// Every process is watched from the moment its pid is known; its exit status comes from the zygote, its parent,
// or from waitpid once the zygote is gone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "controller/fate.h"
#include "node/zygote.h"

namespace narke::node {

class ProcessesOut {
 public:
  virtual ~ProcessesOut() = default;
  virtual void on_process_started(const WorkerId& worker, int pid) = 0;
  virtual void on_process_failed(const WorkerId& worker, const std::string& message, bool postponed) = 0;
  virtual void on_process_gone(const WorkerId& worker, const controller::Fate& fate) = 0;
  virtual void log(const std::string& message) = 0;
};

// Starts and ends the processes of this host's workers.
class WorkerProcesses {
 public:
  virtual ~WorkerProcesses() = default;
  // Answered by on_process_failed or, in the end, on_process_gone.
  virtual void start_worker(const WorkerId& worker, ForkRequest request) = 0;
  virtual void kill(const WorkerId& worker) = 0;
  virtual void kill_after(const WorkerId& worker, int delay_ms) = 0;
};

class Processes : public WorkerProcesses, private ZygoteOut {
 public:
  Processes(rpc::Reactor& reactor, ZygoteConfig config, ProcessesOut& out);
  ~Processes() override;

  Status start();
  void start_worker(const WorkerId& worker, ForkRequest request) override;
  void kill(const WorkerId& worker) override;
  void kill_after(const WorkerId& worker, int delay_ms) override;
  void kill_all();
  // SIGCHLD came.
  void reap();
  int pid_of(const WorkerId& worker) const;
  size_t size() const { return workers_.size(); }
  // No more zygotes are started.
  void stop();

 private:
  struct Process {
    int pid = 0;  // 0: not forked yet
    int pidfd = -1;
    bool kill_when_forked = false;
    bool dead = false;  // seen to be dead; its status may still come
  };

  void on_forked(const WorkerId& worker, int pid) override;
  void on_fork_failed(const WorkerId& worker, const std::string& message, bool postponed) override;
  void on_fork_lost(const WorkerId& worker, ForkRequest request) override;
  void on_child_exited(int pid, int status) override;
  void on_zygote_gone(const std::string& why) override;

  void on_dead(const WorkerId& worker);
  void gone(const WorkerId& worker, const controller::Fate& fate);
  void sweep_strays();
  void schedule_sweep();

  rpc::Reactor& reactor_;
  ProcessesOut& out_;
  Zygote zygote_;
  std::unordered_map<WorkerId, Process> workers_;
  std::unordered_map<int, WorkerId> by_pid_;
  int zygote_failures_ = 0;  // in a row, without a fork between
  bool stopping_ = false;
  bool sweep_scheduled_ = false;
  std::vector<std::pair<WorkerId, ForkRequest>> waiting_;  // for a zygote
};

}  // namespace narke::node
