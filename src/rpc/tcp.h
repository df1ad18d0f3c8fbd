// Links between hosts: one listening port per host, for its daemon and for all its programs.
//
// Whoever connects first writes a preface that names what it wants: the daemon, a program of that host, or a stream
// of object data. The daemon reads the preface and keeps the socket or hands it to the program named; the handshake
// of connection.h follows between the two ends. So a host opens one port, and no byte of a call passes through a
// third process.
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

enum class LinkKind : char { kNode = 'N', kProgram = 'P', kData = 'D' };

struct Preface {
  LinkKind kind = LinkKind::kNode;
  WorkerId target;  // kProgram: whom the link is for
};
std::string write_preface(const Preface& preface);
// Nothing when the bytes are not a preface.
std::optional<Preface> read_preface(Bytes bytes);

// "10.0.0.1:6379" or "[fd00::1]:6379" taken apart. Fails when the port is missing or not a number.
struct HostPort {
  std::string host;
  int port = 0;
};
Result<HostPort> parse_host_port(const std::string& text);
std::string host_port_text(const std::string& host, int port);

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

  // port 0: any free one. Fails when the address or port cannot be had.
  static Result<std::unique_ptr<Door>> open(Reactor& reactor, const std::string& host, int port, Arrival arrival);
  ~Door();
  int port() const { return port_; }

 private:
  struct Guest {
    std::string bytes;
    Reactor::TimerId limit = 0;
  };
  Door(Reactor& reactor, int fd, Arrival arrival) : reactor_(reactor), fd_(fd), arrival_(std::move(arrival)) {}
  void accept_all();
  void read_some(int fd);
  // Forgets the guest; closes its socket unless it arrived.
  void dismiss(int fd, bool close_it);

  Reactor& reactor_;
  int fd_;
  int port_ = 0;
  Arrival arrival_;
  std::map<int, Guest> guests_;
};

}  // namespace narke::rpc
