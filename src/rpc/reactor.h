// Waits for sockets, descriptors and timers and dispatches what happened.
//
// wait() needs no lock and touches no state; dispatch() must run under the lock that guards everything this
// reactor's connections touch. So a thread can wait without stopping others, and any thread may be the one that
// waits (see worker/engine.h for leader and followers). One thread at a time in wait().
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/epoll.h>

#include "base/result.h"
#include "rpc/connection.h"

namespace narke::rpc {

class Reactor;
struct Preface;

// Time and other hosts as a reactor sees them, when they are not the system's (src/sim). Such a reactor has no
// descriptor: nobody waits for it, whoever owns it calls dispatch() when next_due() has come or bytes were delivered.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual std::chrono::steady_clock::time_point now() = 0;
  virtual Result<ConnectionPtr> connect(Reactor& from, const std::string& host_port, const std::string& preface,
                                        Handler* handler) = 0;
};

class Reactor {
 public:
  using Clock = std::chrono::steady_clock;
  using TimerId = uint64_t;

  // surroundings: null for the system's.
  explicit Reactor(Identity identity, Surroundings* surroundings = nullptr);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Paths that begin with '@' name sockets without a file, reachable for this user only.
  // Connects to a Unix socket. Fails at once when nobody listens.
  Result<ConnectionPtr> connect(const std::string& path, Handler* handler);
  // Connects to another host's door (see tcp.h) and asks for what the preface says. Does not wait: what is sent is
  // kept until the link is open, and on_closed tells when nobody answers.
  // The link is encrypted as identity().tls says.
  Result<ConnectionPtr> connect_tcp(const std::string& endpoint, Preface preface, Handler* handler);
  // Listens on a Unix socket (made 0600; a stale file is replaced). on_accept may set the handler's context.
  Status listen(const std::string& path, std::function<Handler*(Connection&)> on_accept);
  // Talks over an already connected descriptor (socketpair); takes it over. trusted: no handshake.
  ConnectionPtr adopt(int fd, bool is_server, Handler* handler, bool trusted = false);
  // Serves somebody who came through a door; tls: as its preface says.
  ConnectionPtr adopt_guest(int fd, bool tls, Handler* handler);

  // Talks over a pipe.
  ConnectionPtr adopt(std::unique_ptr<Pipe> pipe, bool is_server, Handler* handler, bool trusted = false);

  // Any other descriptor: callback from dispatch() whenever it is readable.
  void watch(int fd, std::function<void()> on_readable);
  void unwatch(int fd);
  // What a watched descriptor is watched for from now on; the callback runs for either. Neither: not even for its end.
  void watch_for(int fd, bool reading, bool writing);

  TimerId after(std::chrono::milliseconds delay, std::function<void()> callback);
  void cancel(TimerId timer);

  // Waits until something happened, a timer is due, wake() was called, or timeout_ms passed (-1: no limit).
  // Returns the number of events; negative when a signal interrupted it.
  int wait(int timeout_ms);
  // A link whose ends have not proved themselves to each other by then is closed. For those made from now on.
  void set_handshake_limit(std::chrono::milliseconds limit) { handshake_limit_ = limit; }

  // Handles what wait() saw, runs due timers, delivers on_closed, flushes every connection written to.
  void dispatch();
  // Flushes every connection with unsent frames.
  void flush_all();
  bool has_unsent() const { return !dirty_.empty(); }
  // Ends a wait() of another thread. Any thread.
  void wake();

  Clock::time_point now() const { return surroundings_ ? surroundings_->now() : Clock::now(); }
  // When the first timer is due; nothing: there is none.
  std::optional<Clock::time_point> next_due() const;

  int epoll_fd() const { return epoll_; }  // readable when dispatch() has work: for asyncio loops
  const Identity& identity() const { return identity_; }
  void set_tls_use(wire::TlsUse use) { identity_.tls = use; }
  const TlsKey& tls_key();  // of this cluster; made when it is first needed

 private:
  friend class Connection;
  struct Slot {
    uint32_t generation = 0;
    ConnectionPtr connection;
    std::function<void()> callback;
    int fd = -1;
    uint32_t events = EPOLLIN;  // of a watched descriptor
  };
  ConnectionPtr add(ConnectionPtr connection, bool trusted);
  uint32_t add_slot(int fd);
  void free_slot(uint32_t slot);
  void arm(uint32_t slot, uint32_t events, int op);
  void limit_handshake(const ConnectionPtr& connection);
  void mark_dirty(Connection& connection);
  void mark_closing(Connection& connection);
  // Its next bytes are in memory already.
  void read_again(Connection& connection);
  void read_rest();
  void deliver_closed();
  void run_timers();
  int clamp_to_timers(int timeout_ms) const;
  void handle_event(const epoll_event& event);

  Identity identity_;
  Surroundings* surroundings_;
  int epoll_ = -1, wake_fd_ = -1;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  std::unordered_map<int, uint32_t> watched_;
  std::vector<ConnectionPtr> closing_;
  std::vector<ConnectionPtr> dirty_;
  std::vector<ConnectionPtr> unread_;
  std::unique_ptr<TlsKey> tls_key_;
  std::multimap<Clock::time_point, std::pair<TimerId, std::function<void()>>> timers_;
  TimerId next_timer_ = 1;
  std::chrono::milliseconds handshake_limit_{30'000};
  std::atomic<int64_t> next_due_ns_;
  epoll_event events_[64];
  int event_count_ = 0;
  std::string listen_path_;
};

}  // namespace narke::rpc
