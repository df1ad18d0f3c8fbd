#include "bindings/value_form.h"

#include <algorithm>
#include <cstring>

namespace narke::py {

std::string encode_engine_error(std::string_view kind, std::string_view message, std::string_view id_hex) {
  kind = kind.substr(0, 255);
  message = message.substr(0, UINT32_MAX);
  const uint32_t message_size = uint32_t(message.size());
  std::string bytes;
  bytes.reserve(6 + kind.size() + message.size() + id_hex.size());
  bytes.push_back(char(Form::kEngineError));
  bytes.push_back(char(kind.size()));
  bytes.append(kind);
  bytes.append(reinterpret_cast<const char*>(&message_size), sizeof(message_size));
  bytes.append(message);
  bytes.append(id_hex);
  return bytes;
}

std::string encode_pickled_error(std::string_view pickled) {
  const PickleHeader header = {Form::kError, {}, 0, pickled.size()};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(pickled);
  return bytes;
}

bool read_engine_error(const uint8_t* data, size_t size, EngineError* out) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  if (size < 2 || data[0] != uint8_t(Form::kEngineError)) return false;
  const size_t kind_size = data[1];
  rest.remove_prefix(2);
  uint32_t message_size = 0;
  if (rest.size() < kind_size + sizeof(message_size)) return false;
  out->kind = rest.substr(0, kind_size);
  rest.remove_prefix(kind_size);
  std::memcpy(&message_size, rest.data(), sizeof(message_size));
  rest.remove_prefix(sizeof(message_size));
  if (rest.size() < message_size) return false;
  out->message = rest.substr(0, message_size);
  out->id_hex = rest.substr(message_size);
  return true;
}

}  // namespace narke::py
