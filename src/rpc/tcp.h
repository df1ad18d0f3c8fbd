// Links between hosts: one listening port per host, for its daemon and for all its programs.
//
// Whoever connects first writes a preface that names what it wants: the daemon, a program of that host, or a stream
// of object data. The daemon reads the preface and keeps the socket or hands it to the program named; TLS (tls.h) and
// the handshake of connection.h follow between the two ends. So a host opens one port, and no byte of a call passes
// through a third process.
//
// An endpoint is "HOST:PORT", or "HOST:PORT/NODE" for a node that cannot be dialled itself: the one that listens there
// passes the link on (src/tunnel). Between hosts links are encrypted; what stays on this host need not be (TlsUse).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/id.h"
#include "base/result.h"
#include "rpc/reactor.h"

namespace narke::rpc {

inline constexpr size_t kPrefaceBytes = 64;

enum class LinkKind : char { kNode = 'N', kProgram = 'P', kData = 'D', kTunnel = 'T' };

struct Preface {
  LinkKind kind = LinkKind::kNode;
  WorkerId target = {};  // kProgram: whom the link is for
  NodeId node = {};      // whose link it is; nil: the node's that listens
  bool tls = false;      // TLS follows
};
// Stands for the head in a preface or endpoint while its id is not known; it is not nil.
NodeId head_alias();
std::string write_preface(const Preface& preface);
// Nothing when the bytes are not a preface.
std::optional<Preface> read_preface(Bytes bytes);

// "10.0.0.1:6379", "[fd00::1]:6379" or "10.0.0.1:6379/<hex of a node's id>" taken apart. Fails when the port is missing
// or not a number.
struct Endpoint {
  std::string host;
  int port = 0;
  NodeId node;  // nil: the node that listens there
};
Result<Endpoint> parse_endpoint(const std::string& text);
std::string host_port_text(const std::string& host, int port);
// The endpoint of a node that is reached through the one at `host_port`.
std::string routed_endpoint(const std::string& host_port, const NodeId& node);

// Whether a link to there is encrypted. A routed one leaves the host whatever the address says.
bool must_encrypt(wire::TlsUse use, const Endpoint& to);
bool is_loopback(const std::string& host);
// Whether the other end of a connected socket is this host's loopback, or no host's at all.
bool is_from_loopback(int fd);

// A socket that begins to connect and does not wait; failures show when it is read or written. host: a numeric
// address or a name.
Result<int> begin_connect(const std::string& host, int port);
// Options of every stream between hosts: no delay, keep-alive, an end after 10 s without an acknowledgement.
void prepare_stream(int fd);

// Listens for others and reads their prefaces.
class Door {
 public:
  // The descriptor is the callee's from then on.
  using Arrival = std::function<void(const Preface& preface, int fd)>;
  // A sentence about somebody who was turned away.
  using Log = std::function<void(const std::string&)>;

  // port 0: any free one. Fails when the address or port cannot be had.
  static Result<std::unique_ptr<Door>> open(Reactor& reactor, const std::string& host, int port, Arrival arrival,
                                            Log log = {});
  ~Door();
  int port() const { return port_; }

 private:
  struct Guest {
    std::string bytes;
    Reactor::TimerId limit = 0;
  };
  Door(Reactor& reactor, int fd, Arrival arrival, Log log)
      : reactor_(reactor), fd_(fd), arrival_(std::move(arrival)), log_(std::move(log)) {}
  void accept_some();
  void make_room();
  // Why this preface is not let in; empty: it is.
  std::string objection(const std::optional<Preface>& preface, int fd) const;
  void turn_away(int fd, const std::string& why);
  void read_some(int fd);
  // Forgets the guest; closes its socket unless it arrived.
  void dismiss(int fd, bool close_it);

  Reactor& reactor_;
  int fd_;
  int port_ = 0;
  Arrival arrival_;
  Log log_;
  std::map<int, Guest> guests_;
};

}  // namespace narke::rpc
