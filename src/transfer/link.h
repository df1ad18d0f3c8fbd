// One data connection's protocol: handshake, headers, and bytes straight from and into the arena.
//
// Lifecycle: made over a stream -> step() until it returns an error -> destroyed. Threads: one, its I/O thread's.
// Memory: an Outgoing's body is read until on_sent(), a request's `into` is written until on_answer(); both also
// end with the link. Bounds: what waits to be sent is bounded by its users (Puller asks for so much at a time, and
// a giver answers what it was asked, at most kMostRequests at a time).
// Time: now_ms is a monotonic clock's. A link is late when bytes are due and none have moved for stall_ms.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "transfer/stream.h"
#include "transfer/wire.h"

namespace narke::transfer {

struct Outgoing {
  Header header;
  std::string text;
  const uint8_t* body = nullptr;  // of Data: header.length bytes
  uint8_t* into = nullptr;        // of Get: where header.length bytes go
  std::atomic<uint64_t>* received = nullptr;  // of Get: grows with each byte that comes; lives as long as `into`
};

class LinkOut {
 public:
  virtual ~LinkOut() = default;
  virtual void on_up(const std::string& peer) = 0;        // giver: the asker has proved itself; its address
  virtual void on_request(const Header& header) = 0;      // giver
  virtual void on_sent(const Header& header) = 0;         // giver: a Data's bytes are in the socket
  virtual void on_answer(const Header& header, const std::string& text) = 0;  // asker; Data: the bytes have arrived
};

struct LinkConfig {
  std::string token;
  std::string address;  // this node's
  int64_t stall_ms = 10'000;
};

class Link {
 public:
  static constexpr size_t kMostRequests = 1024;

  Link(Side side, std::unique_ptr<Stream> stream, const LinkConfig& config, LinkOut& out, int64_t now_ms);

  void push(Outgoing outgoing, int64_t now_ms);
  // Moves bytes both ways as far as that goes now, but not for ever. An error means that the link is over.
  Status step(int64_t now_ms);
  bool wants_write() const { return stream_->waits_to_write() || (has_to_write() && !stream_->waits_to_read()); }
  bool has_more() const { return stream_->has_more(); }  // step() would find something to read
  bool is_busy() const;  // bytes are due
  int fd() const { return stream_->fd(); }

 private:
  enum class Stage { kHello, kProof, kUp };
  struct Incoming {  // the message that is being read
    bool has_header = false;
    Header header;
    std::string text;
    uint8_t* into = nullptr;
    std::atomic<uint64_t>* received = nullptr;
    uint64_t left = 0;  // bytes of its body

    void advance(uint64_t bytes);
  };

  bool is_up() const { return stage_ == Stage::kUp; }
  bool has_to_write() const { return is_up() ? !queue_.empty() : written_ < draft_.size(); }
  Status read(int64_t now_ms);
  Status write(int64_t now_ms);
  Result<size_t> read_once();
  Result<size_t> write_once();
  size_t buffered() const { return end_ - begin_; }
  Status consume();
  Result<bool> consume_hello();
  Result<bool> consume_message();
  Result<bool> begin_message();
  Status accept(const Header& header);
  void end_message();
  Status check_giver(std::string_view bytes);
  Status check_asker(std::string_view bytes);
  std::string_view take(size_t size);
  void draft_next();

  Side side_;
  std::unique_ptr<Stream> stream_;
  LinkConfig config_;
  LinkOut& out_;
  Stage stage_ = Stage::kHello;
  std::string hello_, nonce_, peer_;  // the asker's hello, the giver's nonce, the asker's address
  int64_t moved_ms_;                  // when bytes moved last, or became due

  std::array<uint8_t, 16384> buffer_;  // of headers and texts; a body's bytes that came along are copied out of it
  size_t begin_ = 0, end_ = 0;
  Incoming incoming_;
  std::unordered_map<uint32_t, Outgoing> asked_;  // asker: requests without an answer
  size_t unanswered_ = 0;                         // giver

  std::deque<Outgoing> queue_;  // the first is being written
  std::string draft_;           // its header and text
  uint64_t written_ = 0;        // bytes of draft and body
};

}  // namespace narke::transfer
