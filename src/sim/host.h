// A simulated machine: the real service of a daemon over simulated streams, time and processes.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/service.h"
#include "sim/network.h"

namespace narke::sim {

class Host;

// What a host asks of the cluster it stands in.
class Stage {
 public:
  virtual ~Stage() = default;
  virtual Timeline& timeline() = 0;
  virtual Network& network() = 0;
  virtual Host* host_at(const std::string& endpoint) = 0;
  // A process begins, or is ended with SIGKILL.
  virtual void fork_worker(Host& host, const WorkerId& worker) = 0;
  virtual void kill_worker(Host& host, const WorkerId& worker) = 0;
  // The daemon has left by itself: it was expelled, or could not join.
  virtual void on_daemon_left(Host& host, const std::string& why) = 0;
  // After each step of a daemon.
  virtual void on_step(Host& host) = 0;
  // The head is about to keep changes: true: it dies now.
  virtual bool dies_at_journal(Host& host) = 0;
  virtual bool loses_records() = 0;
  virtual void note(const std::string& text) = 0;
  // What is of interest only to who looks at one run.
  virtual bool traces() const = 0;
  virtual void trace(const std::string& text) = 0;
};

using Records = std::map<std::pair<int, std::string>, std::string>;

class Host : private rpc::Surroundings, private node::WorkerProcesses, private store::ProgramStore {
 public:
  Host(Stage& stage, int index, sched::ResourceSet resources, sched::Labels labels);
  ~Host() override;

  int index() const { return index_; }
  const std::string& endpoint() const { return endpoint_; }
  bool is_up() const { return service_ != nullptr; }
  node::Service& service() { return *service_; }
  const NodeId& node() const { return node_; }
  uint64_t boots() const { return boots_; }
  Records& records() { return records_; }

  // A new daemon. head: where the cluster is; empty: it is the head, and goes on with the records if there are any.
  void boot(const std::string& head);
  // power: the others hear nothing of it.
  void crash(bool power);
  // A program's stream to its daemon: true when it was accepted.
  bool accept_program(const LinePtr& line);
  // What became of a process.
  void on_process_gone(const WorkerId& worker, const node::Fate& fate);
  void on_process_failed(const WorkerId& worker, bool postponed);
  // Runs what is due.
  void pump();
  // What was asked of the daemon is not written any more: it dies in the middle of a step.
  bool is_doomed() const { return doomed_; }

 private:
  class Stream;
  class Diary;

  // rpc::Surroundings
  std::chrono::steady_clock::time_point now() override;
  Result<rpc::ConnectionPtr> connect(rpc::Reactor& from, const std::string& host_port, const std::string& preface,
                                     rpc::Handler* handler) override;
  // node::WorkerProcesses
  void start_worker(const WorkerId& worker, node::ForkRequest) override { stage_.fork_worker(*this, worker); }
  void kill(const WorkerId& worker) override { stage_.kill_worker(*this, worker); }
  void kill_after(const WorkerId& worker, int delay_ms) override;
  void end_zygote(const node::Interpreter&) override {}
  void spare(int, bool) override {}
  // store::ProgramStore: nothing is stored
  int fd() const override { return -1; }
  uint64_t arena_bytes() const override { return 0; }
  bool on_frame(store::ClientKey, const rpc::Frame&, int64_t) override { return true; }
  void detach(store::ClientKey, int64_t) override {}
  void erase(const ObjectId&, int64_t) override {}
  void erase_owned(uint64_t, int64_t) override {}
  bool promote(const ObjectId&) override { return false; }
  store::Stats stats() const override { return {}; }
  std::vector<store::ObjectInfo> list(size_t) const override { return {}; }

  node::ServiceConfig config(bool is_head);
  rpc::ConnectionPtr join(const LinePtr& line, int end, rpc::Handler* handler, bool trusted);
  void schedule();
  void tick();

  Stage& stage_;
  int index_;
  std::string endpoint_;
  sched::ResourceSet resources_;
  sched::Labels labels_;
  NodeId node_;
  uint64_t boots_ = 0;
  bool doomed_ = false;
  std::string left_;  // not empty: why the daemon wants to end
  std::unique_ptr<rpc::Reactor> reactor_;
  std::unique_ptr<node::Service> service_;
  Records records_;
  std::vector<std::pair<std::weak_ptr<Line>, int>> lines_;
  int64_t timer_us_ = 0;  // 0: none is set
};

}  // namespace narke::sim
