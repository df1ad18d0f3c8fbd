#include "proxy/answer.h"

#include <algorithm>
#include <cctype>
#include <cstring>

namespace narke::proxy {
namespace {

constexpr uint8_t kBytesForm = 0x07;        // bindings/value_form.h
constexpr uint8_t kEngineErrorForm = 0x20;
constexpr size_t kFixed = 12;

bool read_headers(std::string_view head, std::vector<Header>& out) {
  while (!head.empty()) {
    size_t name_end = head.find('\0');
    if (name_end == std::string_view::npos) return false;
    size_t value_end = head.find('\0', name_end + 1);
    if (value_end == std::string_view::npos) return false;
    Header header{head.substr(0, name_end), head.substr(name_end + 1, value_end - name_end - 1)};
    if (!is_header_name(header.name) || !is_header_value(header.value)) return false;
    out.push_back(header);
    head.remove_prefix(value_end + 1);
  }
  return true;
}

}  // namespace

bool is_header_name(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || kMarks.find(c) != std::string_view::npos;
  });
}

bool is_header_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
         });
}

std::optional<Answer> read_answer(rpc::Bytes value) {
  if (value.size() < 1 + kFixed || value[0] != kBytesForm) return std::nullopt;
  std::string_view rest(reinterpret_cast<const char*>(value.data()) + 1, value.size() - 1);
  Answer answer;
  uint32_t head_size = 0;
  auto kind = static_cast<uint8_t>(rest[0]);
  if (kind < 1 || kind > static_cast<uint8_t>(AnswerKind::kChunks)) return std::nullopt;
  answer.kind = static_cast<AnswerKind>(kind);
  std::memcpy(&answer.status, rest.data() + 2, 2);
  std::memcpy(&answer.load, rest.data() + 4, 4);
  std::memcpy(&head_size, rest.data() + 8, 4);
  rest.remove_prefix(kFixed);
  if (head_size > rest.size() || !read_headers(rest.substr(0, head_size), answer.headers)) return std::nullopt;
  answer.body = rest.substr(head_size);
  return answer;
}

std::optional<std::string_view> next_chunk(std::string_view& body) {
  uint32_t size = 0;
  if (body.size() < sizeof(size)) return std::nullopt;
  std::memcpy(&size, body.data(), sizeof(size));
  body.remove_prefix(sizeof(size));
  if (size > body.size()) return std::nullopt;
  std::string_view chunk = body.substr(0, size);
  body.remove_prefix(size);
  return chunk;
}

std::string_view engine_error_kind(rpc::Bytes value) {
  if (value.size() < 2 || value[0] != kEngineErrorForm || value.size() < size_t{2} + value[1]) return {};
  return {reinterpret_cast<const char*>(value.data()) + 2, value[1]};
}

}  // namespace narke::proxy
