// Many streams over one line that may break and be replaced: pure, without a socket or a clock.
//
// Problem: a driver outside of the cluster's network can reach one port of one host, and nobody can reach it; its line
// may break for some seconds. So everything it has to do with the cluster goes over one line, both ways, as numbered
// messages that are kept until the other side has them, and are sent again over the next line.
//
//   u32 size     bytes after the header
//   u32 stream   who opened it tells: odd numbers are those of the side that dials
//   u8 kind, u8 zero[3]
//
// Open, Data, Close and Credit are numbered by counting, and kept; Ack, Ping and Bye are about the line and are not.
// A stream has a window: so many bytes may be under way to the other side's socket. Little-endian.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>

#include "base/byte_buffer.h"
#include "base/result.h"
#include "rpc/frame.h"
#include "rpc/tcp.h"

namespace narke::tunnel {

using rpc::Bytes;
using StreamId = uint32_t;

enum class Kind : uint8_t {
  kOpen = 1,    // a preface (rpc/tcp.h): what the stream is for
  kData = 2,
  kClose = 3,   // nothing follows, either way
  kCredit = 4,  // u32: so many more bytes may be sent
  kAck = 5,     // u64: messages that have arrived
  kPing = 6,    // the line lives
  kBye = 7,     // text: the session is over
};

// What comes out of a feed(). Calls may use the mux.
class MuxOut {
 public:
  virtual ~MuxOut() = default;
  virtual void on_open(StreamId stream, const rpc::Preface& preface) = 0;
  virtual void on_data(StreamId stream, Bytes bytes) = 0;
  virtual void on_credit(StreamId stream) = 0;
  virtual void on_close(StreamId stream) = 0;
  virtual void on_bye(const std::string& why) = 0;
};

class Mux {
 public:
  static constexpr size_t kHeaderBytes = 12;
  static constexpr size_t kWindowBytes = 1 << 20;
  static constexpr size_t kMostData = 64 << 10;  // bytes of one message
  static constexpr size_t kMostStreams = 4096;   // opened by the other side

  Mux(bool dials, MuxOut& out) : out_(out), next_id_(dials ? 1 : 2) {}
  Mux(const Mux&) = delete;
  Mux& operator=(const Mux&) = delete;

  // ---- streams
  StreamId open(const rpc::Preface& preface);
  // Bytes that may be sent now; 0 for a stream that is closed.
  size_t room(StreamId stream) const;
  // At most room(stream) bytes.
  void send(StreamId stream, Bytes bytes);
  // So many bytes that came are used up.
  void used(StreamId stream, size_t bytes);
  void close(StreamId stream);

  // ---- the line
  // Bytes as they come. An error: the other side broke the rules, and the session is over.
  Status feed(Bytes bytes);
  // Appends what is due, whole messages, until `to` holds about `most` bytes.
  void fill(ByteBuffer& to, size_t most);
  bool has_output() const;
  void ping();
  // What arrived is acknowledged with the next fill(), however little it is.
  void acknowledge() { ack_due_ = received_ != told_; }
  void bye(const std::string& why);
  // Messages that have arrived, for the handshake of the next line.
  uint64_t received() const { return received_; }
  // The line is replaced by one whose other end has `received` messages; what it lacks is sent again.
  Status resume(uint64_t received);
  size_t kept_bytes() const { return kept_bytes_; }

 private:
  struct Flow {
    size_t may_send = kWindowBytes;
    size_t may_come = kWindowBytes;
    size_t to_return = 0;  // used up, and not told yet
  };
  uint8_t* keep(Kind kind, StreamId stream, size_t size);
  void tell(Kind kind, Bytes bytes);
  Status take(Kind kind, StreamId stream, Bytes body);
  Status take_open(StreamId stream, Bytes body);
  Status take_data(StreamId stream, Bytes body);
  Status take_credit(StreamId stream, Bytes body);
  Status take_ack(uint64_t count);

  MuxOut& out_;
  StreamId next_id_;
  StreamId last_peers_id_ = 0;
  size_t peers_streams_ = 0;
  std::unordered_map<StreamId, Flow> flows_;
  std::deque<ByteBuffer> kept_;  // messages that the other side may not have
  size_t kept_bytes_ = 0;
  uint64_t acked_ = 0;           // messages before the first kept one
  size_t next_ = 0;              // of kept_: the next to be written to this line
  ByteBuffer control_;           // not numbered
  ByteBuffer in_;                // the beginning of a message
  uint64_t received_ = 0, told_ = 0;
  bool ack_due_ = false;
};

}  // namespace narke::tunnel
