// The lines between this host and those that cannot be dialled, or that can be reached in no other way.
//
// Problem: a program outside of the cluster's network reaches one port of the head and is reached by nobody. Its node
// dials that port once and keeps the line; every link that goes in or out is a stream of it (mux.h). Here streams are
// joined to descriptors: what somebody writes into one end comes out of a socket at the other host, unread and, being a
// link between hosts, in TLS of its own. A line that breaks is replaced within the session's grace; whoever talks over
// its streams sees a pause.
//
// Lifecycle: made -> serve() or dial() -> destroyed, which tells the other sides. Threads: the reactor's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "rpc/reactor.h"
#include "rpc/tcp.h"
#include "tunnel/mux.h"

namespace narke::tunnel {

class TunnelsOut {
 public:
  virtual ~TunnelsOut() = default;
  // The other side of a session wants this link: a descriptor, connected or connecting, that becomes the tunnel's;
  // negative when there is nobody to link to. first: bytes to write into it ahead of all others.
  virtual int on_stream(const rpc::Preface& preface, std::string* first) = 0;
  // The session of this node has ended, with everything that went over it.
  virtual void on_session_over(const NodeId& node, const std::string& why) = 0;
};

class Tunnels {
 public:
  using Log = std::function<void(const std::string&)>;
  Tunnels(rpc::Reactor& reactor, TunnelsOut& out, Log log);
  ~Tunnels();
  Tunnels(const Tunnels&) = delete;
  Tunnels& operator=(const Tunnels&) = delete;

  // Somebody came through the door for a tunnel; its node's id is the session's. Takes the descriptor over.
  void serve(int fd);
  // Begins the session with the host that listens at HOST:PORT, called head_alias() here. up(error) is told once how
  // that went; when the line breaks later it is dialled again for grace_ms.
  void dial(const std::string& host_port, const NodeId& self, int64_t grace_ms,
            std::function<void(const std::string& error)> up);
  bool has(const NodeId& node) const { return sessions_.contains(node); }
  // A link for the other side of that session: `fd` is its end here, and becomes the tunnel's.
  void open(const NodeId& node, const rpc::Preface& preface, int fd);
  void end(const NodeId& node, const std::string& why);

 private:
  struct Line;
  struct Session;
  struct Hello;

  void add_line(std::unique_ptr<Line> line, Session* session);
  void on_line(int fd);
  Status read_line(Line& line);
  Status write_line(Line& line);
  Status take_bytes(Line& line, Bytes bytes);
  Status take_hello(Line& line);
  Status take_answer(Line& line);
  void answer(Line& line, const Session* session, const std::string& refusal);
  void lose_line(Line& line, const Error& why);
  void close_line(Line& line);
  void try_dial(Session& session);
  void flush(Session& session);
  void tick();
  void tick_session(Session& session, int64_t now);
  void arm();
  void settle();

  rpc::Reactor& reactor_;
  TunnelsOut& out_;
  Log log_;
  std::map<int, std::unique_ptr<Line>> lines_;  // by descriptor; those of sessions and those that have not said hello
  std::map<NodeId, std::unique_ptr<Session>> sessions_;
  rpc::Reactor::TimerId timer_ = 0;
  int depth_ = 0;  // of calls that may be inside a session; sessions end outside of all
};

}  // namespace narke::tunnel
