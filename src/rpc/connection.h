// One stream of frames between two programs.
//
// Problem: a call on the hot path must cost one write and one read, made by the thread that wants the answer.
// So a connection has no thread: whoever holds the reactor's lock writes and dispatches.
//
// Between hosts a connection is encrypted (tls.h); nothing else differs.
//
// Lifecycle: made by Reactor::connect or Reactor::listen; handshaking -> open -> closed. Frames sent while
// handshaking are kept and leave when it is done. After on_closed the reactor drops its reference.
// Threads: every method needs the lock that guards the owning reactor (a daemon with one thread needs none).
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/byte_buffer.h"
#include "base/id.h"
#include "base/result.h"
#include "rpc/frame.h"
#include "rpc/tls.h"

namespace narke::rpc {

class Connection;
class Reactor;

class Handler {
 public:
  virtual ~Handler() = default;
  // The peer has proved itself. peer_id is what it calls itself (nil for the listening side of a node).
  virtual void on_open(Connection&) {}
  // The frame's bytes are valid until this returns.
  virtual void on_frame(Connection&, const Frame&) = 0;
  // Called once, from dispatch(), never from inside send(). No frame follows.
  virtual void on_closed(Connection&, const Error& why) = 0;
};

// Where a connection's bytes go when it is not a socket's (src/sim).
class Pipe {
 public:
  virtual ~Pipe() = default;
  // The other end gets them by Connection::deliver(), in this order.
  virtual void write(Bytes bytes) = 0;
  // After what was written: the other end ends.
  virtual void close() = 0;
};

// What both sides must agree on. token: the cluster's secret; never sent.
struct Identity {
  std::string token;
  std::string cluster;
  WorkerId self;
  wire::TlsUse tls = wire::TlsUse::Auto;
};

inline constexpr uint16_t kProtocolVersion = 2;

// The frame that ends a link before it begins, with the reason for whoever is at the other end.
std::string refusal_frame(const std::string& why);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Made by the reactor.
  Connection(Reactor& reactor, int fd, bool is_server, Handler* handler, const Identity& identity);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Appends a frame to the output; leaves at flush() (or at once when the output is large). The builder must be
  // finished. Bytes sent to a closed connection are dropped: on_closed tells.
  void send(wire::MessageType type, uint32_t call_id, const flatbuffers::FlatBufferBuilder& table, Bytes raw = {},
            Bytes raw2 = {});
  // A frame that came from elsewhere, as it is.
  void send_frame(wire::MessageType type, uint32_t call_id, Bytes table, Bytes raw);
  // Space for `size` raw bytes to fill in before anything else is called; saves a copy.
  uint8_t* send_with_room(wire::MessageType type, uint32_t call_id, const flatbuffers::FlatBufferBuilder& table,
                          size_t size);
  // A copy of the descriptor travels with the next bytes written. False: there are none left, or too many lie here
  // because the peer does not read.
  [[nodiscard]] bool send_fd(int fd);

  // For a connection over a pipe: what came, and that nothing more will.
  void deliver(Bytes bytes);
  void deliver_end(const std::string& why);

  // Writes what the kernel takes now; the rest leaves when it takes more.
  void flush();
  // Ends the link; on_closed follows from the next dispatch().
  void close(Error why);

  // Descriptor received with SCM_RIGHTS, or -1; the caller owns it.
  int take_fd();

  uint32_t next_call_id() { return ++call_id_ == 0 ? ++call_id_ : call_id_; }
  bool is_open() const { return state_ == State::kOpen; }
  bool is_closed() const { return state_ == State::kClosed; }
  size_t unsent_bytes() const { return out_.size() - out_sent_; }
  const WorkerId& peer() const { return peer_; }
  int peer_pid() const { return peer_pid_; }
  // Whom this side connected to, where the handshake does not tell.
  void set_peer(const WorkerId& peer) { peer_ = peer; }
  void set_handler(Handler* handler) { handler_ = handler; }

  void* context = nullptr;  // for the handler's use

 private:
  friend class Reactor;
  enum class State { kHandshaking, kOpen, kClosed };

  // Leaves before the handshake, as soon as the socket takes it.
  void begin_with(const std::string& preface);
  void encrypt(std::string preface);
  void on_writable();
  void on_readable();
  void read_plain();
  void read_encrypted();
  size_t room_to_read() const;
  void parse();
  void handle(const Frame& frame);
  void handle_handshake(const Frame& frame);
  void send_challenge();
  void refuse(const std::string& why);
  void answer_challenge(const Frame& frame);
  void check_hello(const Frame& frame);
  void become_open();
  uint8_t* room_for(wire::MessageType type, uint32_t call_id, Bytes table, size_t size);
  uint8_t* append(ByteBuffer& to, wire::MessageType type, uint32_t call_id, Bytes table, size_t raw_size);
  void after_append();
  void write_some();
  long write_once();
  long write_encrypted();
  void fail(ErrorCode code, const std::string& message);

  Reactor& reactor_;
  std::unique_ptr<Pipe> pipe_;  // null: a socket's
  int fd_;  // -1: a pipe's
  std::unique_ptr<TlsStream> tls_;  // null: plain
  bool is_server_;
  Handler* handler_;
  const Identity& identity_;
  State state_ = State::kHandshaking;
  bool closing_ = false;         // on_closed is due
  bool wants_write_ = false;     // registered for EPOLLOUT
  bool writes_after_read_ = false;  // TLS waits for the peer before more can be written
  bool dirty_ = false;           // in the reactor's flush list
  Error why_;
  WorkerId peer_;
  int peer_pid_ = 0;
  uint32_t call_id_ = 0;
  uint32_t slot_ = 0;
  std::string nonce_;
  ByteBuffer in_;
  ByteBuffer out_;
  size_t out_sent_ = 0;
  ByteBuffer held_;  // frames sent before the link is open
  std::vector<int> fds_out_;
  std::deque<int> fds_in_;
};

using ConnectionPtr = std::shared_ptr<Connection>;  // shared by the reactor and whoever talks over it

}  // namespace narke::rpc
