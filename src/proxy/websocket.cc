#include "proxy/websocket.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "proxy/pickle_writer.h"

namespace narke::proxy {
namespace {

constexpr std::string_view kMagic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr uint16_t kProtocolError = 1002, kNotText = 1007, kTooLarge = 1009;

bool is_close_code(uint16_t code) {
  if (code >= 3000 && code < 5000) return true;
  return code >= 1000 && code < 1015 && code != 1004 && code != 1005 && code != 1006;
}

bool is_known(uint8_t opcode) { return opcode <= 2 || (opcode >= 8 && opcode <= 10); }

}  // namespace

std::string accept_key(std::string_view key) {
  std::string text(key);
  text += kMagic;
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  std::string out(29, '\0');
  int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), digest, SHA_DIGEST_LENGTH);
  out.resize(static_cast<size_t>(size));
  return out;
}

bool is_websocket_key(std::string_view key) {
  constexpr size_t kChars = 22;
  auto is_base64 = [](unsigned char c) { return (c < 0x80 && std::isalnum(c)) || c == '+' || c == '/'; };
  return key.size() == kChars + 2 && key.ends_with("==") && std::all_of(key.begin(), key.begin() + kChars, is_base64);
}

std::string make_frame(Opcode opcode, std::string_view payload, bool is_last) {
  std::string out;
  out.push_back(static_cast<char>((is_last ? 0x80 : 0) | static_cast<uint8_t>(opcode)));
  size_t size = payload.size();
  int size_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
  out.push_back(static_cast<char>(size_bytes == 0 ? size : size_bytes == 2 ? 126 : 127));
  for (int i = size_bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(size >> (8 * i)));
  out.append(payload);
  return out;
}

std::string close_payload(uint16_t code, std::string_view reason) {
  std::string out{static_cast<char>(code >> 8), static_cast<char>(code)};
  out.append(reason.substr(0, 123));
  return out;
}

bool FrameReader::fail(uint16_t code) {
  fault_ = code;
  return false;
}

bool FrameReader::feed(std::string_view bytes, std::vector<Message>& out) {
  if (fault_ != 0) return false;
  if (is_over_) return true;
  held_.append(bytes);
  bool more = true;
  while (more && !is_over_)
    if (!take_frame(out, more)) return false;
  held_.erase(0, std::exchange(taken_, 0));
  return true;
}

bool FrameReader::take_frame(std::vector<Message>& out, bool& more) {
  more = false;
  const std::string_view held = std::string_view(held_).substr(taken_);
  auto byte = [&](size_t i) { return static_cast<uint8_t>(held[i]); };
  if (held.size() < 2) return true;
  uint8_t opcode = byte(0) & 0x0f;
  bool is_last = byte(0) & 0x80, is_masked = byte(1) & 0x80;
  if ((byte(0) & 0x70) != 0 || !is_masked || !is_known(opcode)) return fail(kProtocolError);
  uint64_t size = byte(1) & 0x7f;
  bool is_control = opcode >= 8;
  if (is_control && (!is_last || size > 125)) return fail(kProtocolError);
  size_t size_bytes = size < 126 ? 0 : size == 126 ? 2 : 8;
  size_t head = 2 + size_bytes + 4;
  if (held.size() < head) return true;
  if (size_bytes > 0) {
    size = 0;
    for (size_t i = 0; i < size_bytes; ++i) size = size << 8 | byte(2 + i);
    if (size < (size_bytes == 2 ? 126u : 65536u)) return fail(kProtocolError);
  }
  if (size > most_bytes_ || message_.size() + size > most_bytes_) return fail(kTooLarge);
  if (held.size() - head < size) return true;
  std::string payload(held.substr(head, size));
  for (size_t i = 0; i < size; ++i) payload[i] = static_cast<char>(payload[i] ^ held[head - 4 + i % 4]);
  taken_ += head + size;
  more = true;
  if (is_control) return take_control(static_cast<Opcode>(opcode), std::move(payload), out);
  return take_data(static_cast<Opcode>(opcode), is_last, std::move(payload), out);
}

bool FrameReader::take_control(Opcode opcode, std::string payload, std::vector<Message>& out) {
  Message message;
  message.opcode = opcode;
  if (opcode == Opcode::kClose) {
    if (payload.size() == 1) return fail(kProtocolError);
    if (payload.size() >= 2) {
      message.code = static_cast<uint16_t>(static_cast<uint8_t>(payload[0]) << 8 | static_cast<uint8_t>(payload[1]));
      payload.erase(0, 2);
      if (!is_close_code(message.code)) return fail(kProtocolError);
      if (!is_utf8(payload)) return fail(kNotText);
    }
  }
  is_over_ = opcode == Opcode::kClose;
  message.payload = std::move(payload);
  out.push_back(std::move(message));
  return true;
}

bool FrameReader::take_data(Opcode opcode, bool is_last, std::string payload, std::vector<Message>& out) {
  if ((opcode == Opcode::kContinue) != in_message_) return fail(kProtocolError);
  if (!in_message_) message_opcode_ = opcode;
  message_ += payload;
  in_message_ = !is_last;
  if (!is_last) return true;
  if (message_opcode_ == Opcode::kText && !is_utf8(message_)) return fail(kNotText);
  Message message;
  message.opcode = message_opcode_;
  message.payload = std::move(message_);
  message_.clear();
  out.push_back(std::move(message));
  return true;
}

}  // namespace narke::proxy
