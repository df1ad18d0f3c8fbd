// One client's connection: bytes in, requests out, one after another; their answers in the same order.
//
// An idle connection holds no buffers and no parser. A request whose body is small is read whole before it is sent on;
// a larger one is sent on at its head, and its parts follow as the replica takes them.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proxy/answer.h"
#include "proxy/request_parser.h"
#include "proxy/server.h"
#include "proxy/target.h"
#include "proxy/websocket.h"

namespace narke::proxy {

class Exchange;

class Session final : public Watcher, public std::enable_shared_from_this<Session> {
 public:
  Session(Server& server, int fd, std::string client_host, int client_port, const TlsContext* tls);
  ~Session() override;

  void start();
  void on_events(uint32_t events) override;
  // Goes on with bytes that came earlier.
  void resume();
  void check_deadlines(int64_t now_ms);
  // Writes what the socket takes; the rest leaves when it takes more.
  void flush_out();
  // No further request is read; closed once nothing is under way.
  void finish_up();
  void close();
  bool is_idle() const { return exchange_ == nullptr && out_.empty(); }

  // ---- what an exchange answers ----
  void answer_whole(int status, std::span<const Header> headers, std::string_view body);
  void answer_start(int status, std::span<const Header> headers);
  void answer_chunk(std::string_view body);
  void answer_end();
  void answer_error(int status, std::string_view text, std::span<const Header> headers = {});
  // The answer cannot be completed: the client sees a connection that breaks.
  void abort();
  void accept_websocket(std::span<const Header> headers);
  void send_message(Opcode opcode, std::string_view payload, uint16_t part);  // part: kMoreFollows, kContinues
  void send_close(uint16_t code, std::string_view reason);
  size_t unsent() const { return out_.size() - out_sent_; }
  const std::string& client_host() const { return client_host_; }
  int client_port() const { return client_port_; }
  bool is_tls() const { return tls_ != nullptr; }

 private:
  enum class Phase { kHead, kBody, kStreaming, kAnswering, kWebSocket, kLingering };

  void readable();
  bool step();
  size_t feed_parser();
  void on_head();
  bool answer_here(const Target& target);
  void begin_websocket(const Route& route, const Target& target);
  size_t feed_plain(std::string_view bytes);
  bool feed_body();
  bool feed_messages();
  void take_message(const FrameReader::Message& message);
  bool request_fault();
  std::string head_of(int status, std::span<const Header> headers, std::string_view framing);
  void write(std::string_view plain);
  size_t write_at_once(std::string_view plain);
  void flush_soon();
  void send_out();
  void want(uint32_t events);
  void answer_over();
  void linger();
  void linger_or_close();

  Server& server_;
  int fd_;
  const std::string client_host_;
  const int client_port_;
  std::unique_ptr<TlsFilter> tls_;
  std::unique_ptr<RequestParser> parser_;
  std::string in_;               // read and not used yet
  std::string out_;              // to be written from out_sent_ on
  size_t out_sent_ = 0;
  std::shared_ptr<Exchange> exchange_;
  std::unique_ptr<FrameReader> frames_;
  std::deque<FrameReader::Message> messages_;  // read and not fed yet
  Phase phase_ = Phase::kHead;
  uint32_t interest_ = 0;
  int64_t deadline_ms_ = -1;     // of the present phase's input
  int64_t stalled_since_ms_ = -1;
  bool closes_after_ = false;    // the connection ends with this answer
  bool ends_ = false;            // it ends as soon as everything is written
  bool is_chunked_ = false, is_head_ = false, is_close_delimited_ = false;
  uint64_t promised_ = 0;        // bytes of a body whose length was told, still to come
  bool has_promised_ = false;
  bool flush_due_ = false;       // the server will flush at the end of the turn
  bool in_step_ = false, close_sent_ = false, is_closed_ = false;
};

}  // namespace narke::proxy
