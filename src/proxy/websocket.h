// WebSocket frames (RFC 6455), the server's side. Pure: bytes in, messages out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace narke::proxy {

// The value of Sec-WebSocket-Accept for a client's key.
std::string accept_key(std::string_view key);

enum class Opcode : uint8_t { kContinue = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

// Whether it is 16 bytes in base64, as a client's Sec-WebSocket-Key must be.
bool is_websocket_key(std::string_view key);

// A frame from the server: never masked. Close: `payload` from close_payload(). is_last: it ends its message.
std::string make_frame(Opcode opcode, std::string_view payload, bool is_last = true);
std::string close_payload(uint16_t code, std::string_view reason);

class FrameReader {
 public:
  struct Message {
    Opcode opcode = Opcode::kText;  // kText, kBinary, kPing, kPong or kClose
    std::string payload;            // kClose: the reason
    uint16_t code = 1005;           // kClose
  };
  explicit FrameReader(size_t most_bytes) : most_bytes_(most_bytes) {}

  // Appends the messages that are complete. False: the stream is broken, fault() is the code to close with.
  bool feed(std::string_view bytes, std::vector<Message>& out);
  uint16_t fault() const { return fault_; }

 private:
  bool take_frame(std::vector<Message>& out, bool& more);
  bool take_control(Opcode opcode, std::string payload, std::vector<Message>& out);
  bool take_data(Opcode opcode, bool is_last, std::string payload, std::vector<Message>& out);
  bool fail(uint16_t code);

  const size_t most_bytes_;
  std::string held_;     // bytes of frames, up to one that is not complete
  size_t taken_ = 0;     // of held_: its frames are read
  std::string message_;  // fragments so far
  Opcode message_opcode_ = Opcode::kText;
  bool in_message_ = false;
  bool is_over_ = false;  // a close frame has come: nothing after it counts
  uint16_t fault_ = 0;
};

}  // namespace narke::proxy
