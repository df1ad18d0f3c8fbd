// The worker processes of this host: started through a zygote (one for each interpreter), watched by pidfd, ended with
// all they started.
//
// Every process is watched from the moment its pid is known; its exit status comes from the zygote, its parent,
// or from waitpid once the zygote is gone.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
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
  // Ends the zygote of an interpreter; its workers live on.
  virtual void end_zygote(const Interpreter& interpreter) = 0;
  // Whether a child that is no worker is looked after elsewhere.
  virtual void spare(int pid, bool on) = 0;
};

class Processes : public WorkerProcesses {
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
  void end_zygote(const Interpreter& interpreter) override;
  void spare(int pid, bool on) override;

 private:
  struct Process {
    int pid = 0;  // 0: not forked yet
    int pidfd = -1;
    bool kill_when_forked = false;
    bool dead = false;  // seen to be dead; its status may still come
  };

  // An interpreter's zygote, started again when it ends, and the forks that wait for it.
  class Source : private ZygoteOut {
   public:
    Source(Processes& owner, rpc::Reactor& reactor, ZygoteConfig config);
    ~Source() override;
    Status start() { return zygote_.start(); }
    void fork(const WorkerId& worker, ForkRequest request);
    int pid() const { return zygote_.pid(); }
    void stop();

   private:
    void on_forked(const WorkerId& worker, int pid) override;
    void on_fork_failed(const WorkerId& worker, const std::string& message, bool postponed) override;
    void on_fork_lost(const WorkerId& worker, ForkRequest request) override;
    void on_child_exited(int pid, int status) override { owner_.on_child_exited(pid, status); }
    void on_zygote_gone(const std::string& why) override;
    void start_again();
    std::string last_words() const;

    Processes& owner_;
    rpc::Reactor& reactor_;
    const std::string errors_;  // the file
    const bool is_kept_;        // started again even when nobody waits for it
    Zygote zygote_;
    int failures_ = 0;  // in a row, without a fork between
    bool stopping_ = false;
    rpc::Reactor::TimerId retry_ = 0;
    std::vector<std::pair<WorkerId, ForkRequest>> waiting_;
  };

  Source& source(const Interpreter& interpreter);
  void on_forked(const WorkerId& worker, int pid);
  void on_fork_failed(const WorkerId& worker, const std::string& message, bool postponed);
  bool on_fork_lost(const WorkerId& worker);
  void on_child_exited(int pid, int status);
  bool is_zygote(int pid) const;

  void on_dead(const WorkerId& worker);
  void gone(const WorkerId& worker, const controller::Fate& fate);
  void sweep_strays();
  void schedule_sweep();

  rpc::Reactor& reactor_;
  const ZygoteConfig config_;
  ProcessesOut& out_;
  std::map<Interpreter, std::unique_ptr<Source>> sources_;  // the node's own has no words
  std::set<int> ended_zygotes_;                             // not reaped yet
  std::set<int> spared_;
  int last_source_ = 0;
  std::unordered_map<WorkerId, Process> workers_;
  std::unordered_map<int, WorkerId> by_pid_;
  bool stopping_ = false;
  bool sweep_scheduled_ = false;
};

}  // namespace narke::node
