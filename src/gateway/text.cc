#include "gateway/text.h"

#include <cstddef>
#include <cstdint>

namespace narke::gateway {

// Bytes of the valid sequence that begins at text[at]; 0 when there is none.
static size_t sequence_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto is_next = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(at), second = byte(at + 1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return is_next(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0, surrogate = first == 0xED && second >= 0xA0;
    return is_next(at + 1) && is_next(at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool out_of_range = (first == 0xF0 && second < 0x90) || (first == 0xF4 && second >= 0x90);
    return is_next(at + 1) && is_next(at + 2) && is_next(at + 3) && !out_of_range ? 4 : 0;
  }
  return 0;
}

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = sequence_at(bytes, at);
    if (size == 0)
      out += "\xEF\xBF\xBD";
    else
      out += bytes.substr(at, size);
    at += size == 0 ? 1 : size;
  }
  return out;
}

std::string without_marks(std::string text) {
  if (text.find('\x01') == text.npos) return text;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const size_t next = end == text.npos ? text.size() : end + 1;
    if (text[at] != '\x01') out += text.substr(at, next - at);
    at = next;
  }
  return out;
}

std::string without_ansi(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\x1b' || i + 1 >= text.size() || text[i + 1] != '[') {
      out += text[i];
      continue;
    }
    i += 2;
    while (i < text.size() && (text[i] < 0x40 || text[i] > 0x7e)) ++i;
  }
  return out;
}

}  // namespace narke::gateway
