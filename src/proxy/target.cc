#include "proxy/target.h"

namespace narke::proxy {
namespace {

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decoded(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    bool escape = raw[i] == '%' && i + 2 < raw.size() && digit(raw[i + 1]) >= 0 && digit(raw[i + 2]) >= 0;
    if (!escape) {
      out.push_back(raw[i]);
      continue;
    }
    out.push_back(static_cast<char>(digit(raw[i + 1]) * 16 + digit(raw[i + 2])));
    i += 2;
  }
  return out;
}

}  // namespace

bool read_target(std::string_view target, Target& out) {
  if (!target.starts_with('/') && target != "*") {
    size_t scheme = target.find("://");
    if (scheme == std::string_view::npos || scheme == 0) return false;
    size_t slash = target.find_first_of("/?", scheme + 3);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  target = target.substr(0, target.find('#'));
  size_t question = target.find('?');
  out.raw_path = target.substr(0, question);
  if (out.raw_path.empty()) out.raw_path = "/";
  out.query = question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  out.path = decoded(out.raw_path);
  return true;
}

std::string make_request_id(uint64_t high, uint64_t low) {
  static constexpr char kDigits[] = "0123456789abcdef";
  high = (high & ~uint64_t{0xf000}) | 0x4000;                               // version 4
  low = (low & ~(uint64_t{3} << 62)) | uint64_t{2} << 62;                   // variant 1
  std::string out;
  out.reserve(36);
  for (int i = 0; i < 32; ++i) {
    if (i == 8 || i == 12 || i == 16 || i == 20) out.push_back('-');
    uint64_t word = i < 16 ? high : low;
    out.push_back(kDigits[word >> (60 - 4 * (i % 16)) & 15]);
  }
  return out;
}

}  // namespace narke::proxy
