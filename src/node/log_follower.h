// Reads what workers write to their output files and hands it over line by line.
//
// Files are watched by inotify; a burst of writes is read once per kPause. A line longer than kMaxLine is cut in
// pieces, so a worker that never ends its line cannot fill the daemon's memory.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/id.h"
#include "base/own_log.h"
#include "rpc/reactor.h"

namespace narke::node {

struct LogText {
  WorkerId worker;
  bool is_error;
  std::string text;
  std::string speaker;  // the function or class that wrote it; empty when the worker did not say
};

// A worker's line that begins so is no output: the rest of it names who writes what follows.
inline constexpr std::string_view kSpeakerMark = "\x01narke-speaker:";

class LogOut {
 public:
  virtual ~LogOut() = default;
  virtual void on_lines(const std::vector<LogText>& lines) = 0;
  // A file has grown too large and has another name now: the worker shall open one of the old name.
  virtual void on_rotated(const WorkerId& worker) = 0;
};

class LogFollower {
 public:
  // log_dir empty: nothing is read.
  LogFollower(rpc::Reactor& reactor, std::string log_dir, LogOut& out, LogLimits limits = {});
  ~LogFollower();
  LogFollower(const LogFollower&) = delete;
  LogFollower& operator=(const LogFollower&) = delete;

  static std::string path(const std::string& log_dir, const WorkerId& worker, bool is_error);
  // The files need not exist yet.
  void follow(const WorkerId& worker);
  // Reads what is left, the unfinished line too, and lets go of the files.
  void finish(const WorkerId& worker);
  // Names in log_dir that somebody writes to.
  std::set<std::string> names() const;
  // Reads everything that was written so far.
  void drain();
  // The last bytes of a worker's error output, for messages.
  static std::string tail(const std::string& log_dir, const WorkerId& worker, size_t most_bytes);

 private:
  struct File {
    WorkerId worker;
    bool is_error;
    std::string path;
    int64_t read_to = 0;  // bytes of it; it is open only while it is read: there may be thousands of workers
    int64_t rotated_to = -1;  // not -1: its worker may still write to name.1, which was read so far
    std::string partial;  // of the line that is not ended yet
    std::string speaker;
  };
  void on_events();
  void collect_events();
  void schedule();
  void read_dirty();
  void read(File& file, std::vector<LogText>& lines);
  bool read_on(File& file, const std::string& path, int64_t& read_to, std::vector<LogText>& lines);
  void rotate(File& file);
  static void take_line(File& file, std::vector<LogText>& lines);
  static void cut(File& file, std::string_view bytes, std::vector<LogText>& lines);

  rpc::Reactor& reactor_;
  std::string log_dir_;
  LogOut& out_;
  LogLimits limits_;
  int inotify_ = -1;
  std::unordered_map<std::string, File> files_;  // by name in log_dir
  std::set<std::string> dirty_;  // written to since they were read
  bool scheduled_ = false;
};

}  // namespace narke::node
