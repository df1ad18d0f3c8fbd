// The process that forks workers: a Python interpreter with the package loaded, talking frames over a socketpair.
//
// Lifecycle: start() -> forks are asked and answered -> its link breaks -> start() again. Workers it has forked
// live on: they become this process' children (subreaper).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "rpc/reactor.h"

namespace narke::node {

struct ZygoteConfig {
  std::vector<std::string> command;  // the descriptor's number is appended
  std::string python_path;           // goes in front of PYTHONPATH
  std::string log_dir;
  std::string name = "zygote";  // of its files in log_dir
  std::string cwd;              // empty: the node's
};

// An environment's own interpreter: the words in front of the zygote's arguments, and where it runs.
struct Interpreter {
  std::vector<std::string> command;
  std::string cwd;
  bool operator==(const Interpreter&) const = default;
  auto operator<=>(const Interpreter&) const = default;
};

struct ForkRequest {
  std::shared_ptr<const std::vector<uint8_t>> config;  // FlexBuffers map, see ForkWorker
  std::string stdout_path, stderr_path;
  Interpreter interpreter;  // no words: the node's
};

class ZygoteOut {
 public:
  virtual ~ZygoteOut() = default;
  virtual void on_forked(const WorkerId& worker, int pid) = 0;
  // postponed: for want of something the host has too little of now.
  virtual void on_fork_failed(const WorkerId& worker, const std::string& message, bool postponed) = 0;
  virtual void on_child_exited(int pid, int status) = 0;
  // It ended before it answered; reported for each such fork before on_zygote_gone.
  virtual void on_fork_lost(const WorkerId& worker, ForkRequest request) = 0;
  virtual void on_zygote_gone(const std::string& why) = 0;
};

class Zygote : private rpc::Handler {
 public:
  Zygote(rpc::Reactor& reactor, ZygoteConfig config, ZygoteOut& out)
      : reactor_(reactor), config_(std::move(config)), out_(out) {}
  ~Zygote() override;

  Status start();
  bool is_running() const { return link_ != nullptr; }
  int pid() const { return pid_; }
  void fork(const WorkerId& worker, const ForkRequest& request);
  void flush() {
    if (link_) link_->flush();
  }

 private:
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection& link, const Error& why) override;
  void on_forked(const rpc::Frame& frame);

  rpc::Reactor& reactor_;
  ZygoteConfig config_;
  ZygoteOut& out_;
  rpc::ConnectionPtr link_;  // shared with the reactor
  int pid_ = 0;
  std::unordered_map<WorkerId, ForkRequest> asked_;
};

}  // namespace narke::node
