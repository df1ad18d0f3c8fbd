// Objects that leave memory go to storage that all nodes reach: S3, or any filesystem that Python's fsspec knows.
//
// The libraries for such storage are Python's, so a process of its own moves the bytes (narke._private.spiller): it
// maps the store's memory, so that none of them pass through this daemon. It is started by the first job, and again
// when it ends: what it had not done is asked for again.
//
// Each object is a file of its own, "<storage>/<node>/<object>", so that a node can find what another has spilled
// without being told: when a node dies, the owner names it, and the owner's node takes the file over (seek).
// A file begins with a header (size, CRC-32): one that a killed node left half written is not taken for an object.
// Threads: the daemon's.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "rpc/reactor.h"
#include "store/server.h"
#include "store/spill_io.h"

namespace narke::node {

struct SharedSpillConfig {
  std::string storage;  // JSON for the process, of one line
  NodeId self;
  std::vector<std::string> command;  // the numbers of its socket and of the store's memory are appended
  std::string error_path;
  bool is_head = false;         // the cluster's files are removed at its end
  bool clears_on_crash = false;  // also when it crashes, since nobody can go on with the cluster
  std::function<void(int pid, bool on)> spare;  // a process is, or is no longer, this daemon's
};

class SharedSpill : public store::SpillIo {
 public:
  SharedSpill(rpc::Reactor& reactor, SharedSpillConfig config, std::function<void(const std::string&)> log);
  ~SharedSpill() override;
  SharedSpill(const SharedSpill&) = delete;
  SharedSpill& operator=(const SharedSpill&) = delete;

  // The store whose objects these are. Before anything else.
  void attach(store::Server& store);

  void start(store::SpillJob job) override;
  void remove(uint64_t file) override;
  std::vector<store::SpillJob> take_done() override;
  int event_fd() const override { return event_fd_; }

  // The store takes over what the first of these nodes that has spilled the object left; done(false): none did.
  void seek(const ObjectId& id, uint64_t owner, const std::vector<NodeId>& lost_at, std::function<void(bool)> done);
  // Nobody needs what a node that is gone may have spilled of this object.
  void forget(const ObjectId& id, const NodeId& node);

 private:
  using Answer = std::function<void(bool ok, const std::string& text)>;
  struct Request {
    std::string line;  // without its number
    Answer answer;
    int tries = 0;
    rpc::Reactor::Clock::time_point since{};
  };

  static std::string path_of(const NodeId& node, const ObjectId& id);
  void ask(std::string line, Answer answer);
  void finish(store::SpillJob job);
  void launch();
  void write(const std::string& text);
  void flush();
  void on_socket();
  void on_line(const std::string& line);
  void on_gone();
  void try_again(const std::string& what);
  void watch_over();
  void end_process(std::chrono::milliseconds limit);

  rpc::Reactor& reactor_;
  SharedSpillConfig config_;
  std::function<void(const std::string&)> log_;
  store::Server* store_ = nullptr;
  int event_fd_ = -1;
  int socket_ = -1, pid_ = 0, pidfd_ = -1;
  int failures_ = 0;  // in a row
  bool stopping_ = false;
  rpc::Reactor::TimerId relaunch_ = 0, watcher_ = 0;
  std::string outbox_, inbox_;
  std::map<uint64_t, Request> requests_;
  uint64_t next_request_ = 1;
  uint64_t next_found_;  // numbers of files that were found; the store's own are below
  std::unordered_map<uint64_t, std::string> paths_;  // of files
  std::vector<store::SpillJob> done_;
};

}  // namespace narke::node
