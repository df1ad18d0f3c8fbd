#include "proxy/pickle_writer.h"

#include <cstring>

namespace narke::proxy {
namespace {

// bindings/value_form.h: PickleHeader {form, 3 zero bytes, u32 buffers, u64 size of the pickle}.
constexpr char kPickleForm = 0x08;
constexpr size_t kHeaderSize = 16;

// Bytes of the UTF-8 sequence that begins here; 0 when it is malformed.
size_t sequence_size(std::string_view at) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(at[i]); };
  auto continues = [&](size_t i) { return i < at.size() && (byte(i) & 0xc0) == 0x80; };
  uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    if (!continues(1) || !continues(2)) return 0;
    bool overlong = first == 0xe0 && byte(1) < 0xa0;
    bool surrogate = first == 0xed && byte(1) >= 0xa0;
    return overlong || surrogate ? 0 : 3;
  }
  if (first >= 0xf0 && first < 0xf5) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    bool overlong = first == 0xf0 && byte(1) < 0x90;
    bool beyond = first == 0xf4 && byte(1) >= 0x90;
    return overlong || beyond ? 0 : 4;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    size_t size = sequence_size(bytes.substr(at));
    if (size == 0) return false;
    at += size;
  }
  return true;
}

std::string to_utf8(std::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size();) {
    size_t size = sequence_size(bytes.substr(at));
    if (size == 0)
      out += "\xef\xbf\xbd", at += 1;
    else
      out.append(bytes.substr(at, size)), at += size;
  }
  return out;
}

PickleWriter::PickleWriter() : bytes_(kHeaderSize, '\0') {
  bytes_[0] = kPickleForm;
  bytes_ += "\x80\x04";
}

void PickleWriter::integer(int64_t value) {
  bytes_ += "\x8a\x08";  // LONG1, 8 bytes
  bytes_.append(reinterpret_cast<const char*>(&value), 8);
}

void PickleWriter::length(char short_code, char long_code, std::string_view value) {
  if (value.size() < 256) {
    bytes_.push_back(short_code);
    bytes_.push_back(static_cast<char>(value.size()));
  } else {
    uint32_t size = static_cast<uint32_t>(value.size());
    bytes_.push_back(long_code);
    bytes_.append(reinterpret_cast<const char*>(&size), 4);
  }
  bytes_.append(value);
}

void PickleWriter::bytes(std::string_view value) { length('C', 'B', value); }

void PickleWriter::bytes_apart(size_t size) {
  const auto wire_size = static_cast<uint32_t>(size);
  bytes_.push_back('B');
  bytes_.append(reinterpret_cast<const char*>(&wire_size), 4);
  apart_ = bytes_.size();
  apart_size_ = size;
}

void PickleWriter::text(std::string_view value) {
  if (is_utf8(value)) return length('\x8c', 'X', value);
  length('\x8c', 'X', to_utf8(value));
}

std::string PickleWriter::finish() {
  bytes_.push_back('.');
  uint64_t size = bytes_.size() - kHeaderSize + apart_size_;
  std::memcpy(bytes_.data() + 8, &size, 8);
  return std::move(bytes_);
}

}  // namespace narke::proxy
