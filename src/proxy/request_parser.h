// HTTP/1.x requests out of a stream of bytes. Pure; Boost.Beast's parser does the reading and decides what is
// malformed (a length beside chunks, bad characters); what it lets pass and others may read differently is refused
// here.
//
// feed() takes as much as it can use; the rest must be offered again, with more behind it. One request at a time:
// after is_done() nothing is taken until reset().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace narke::proxy {

struct RequestHead {
  std::string method;
  std::string target;                 // as it came
  int minor_version = 1;              // HTTP/1.<this>
  // name (in lower case), value
  std::vector<std::pair<std::string, std::string>> headers;
  uint64_t content_length = 0;        // 0 without the header
  bool has_length = false;
  bool is_chunked = false;
  bool keeps_alive = true;
  bool wants_upgrade = false;         // Upgrade is among the Connection header's words
  bool expects_continue = false;
  bool expects_other = false;         // Expect names something else than 100-continue

  const std::string* find(std::string_view lower_name) const;
};

class RequestParser {
 public:
  struct Limits {
    uint32_t head_bytes = 64 << 10;
    uint64_t body_bytes = uint64_t{1} << 40;
  };
  enum class Fault { kNone, kMalformed, kHeadTooLarge, kBodyTooLarge };

  explicit RequestParser(const Limits& limits);
  ~RequestParser();

  // Bytes used up. Stops after the head, so that its owner can decide what to do with the body.
  size_t feed(std::string_view bytes);
  // For a body of known length, after its head and in place of feed(): the part of the bytes that belongs to it.
  std::string_view take_plain(std::string_view bytes);
  // Ready for the next request.
  void reset();

  bool has_head() const;
  bool is_done() const;
  Fault fault() const { return fault_; }
  const std::string& reason() const { return reason_; }
  RequestHead& head() { return head_; }
  // What was read of the body and not taken yet.
  std::string& body() { return body_; }
  void set_body_limit(uint64_t bytes);
  // Whether something of a request has been read.
  bool has_begun() const { return begun_; }

 private:
  class Reader;
  size_t skip_blank_lines(std::string_view bytes);
  void take_head();
  Limits limits_;
  std::unique_ptr<Reader> reader_;
  RequestHead head_;
  std::string body_;
  Fault fault_ = Fault::kNone;
  std::string reason_;
  bool begun_ = false;
  int blank_lines_ = 0;  // before the request line
  uint64_t plain_ = 0;  // bytes that take_plain() gave
};

}  // namespace narke::proxy
