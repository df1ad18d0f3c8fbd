#include "gateway/json.h"

#include <cmath>

// The library is taken as headers; this is the unit that holds its code.
#include <boost/json/src.hpp>

namespace narke::gateway {

static constexpr size_t kMaxDepth = 64;

static std::string hex_of(const uint8_t* data, size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out(size * 2, '0');
  for (size_t i = 0; i < size; ++i) {
    out[i * 2] = kDigits[data[i] >> 4];
    out[i * 2 + 1] = kDigits[data[i] & 15];
  }
  return out;
}

static json::value value_of(const flexbuffers::Reference& value, size_t depth);

static json::object object_of(const flexbuffers::Map& map, size_t depth) {
  json::object out;
  const flexbuffers::TypedVector keys = map.Keys();
  const flexbuffers::Vector values = map.Values();
  for (size_t i = 0; i < map.size(); ++i) out[keys[i].AsKey()] = value_of(values[i], depth + 1);
  return out;
}

static json::value value_of(const flexbuffers::Reference& value, size_t depth) {
  if (depth > kMaxDepth || value.IsNull()) return nullptr;
  if (value.IsBool()) return value.AsBool();
  if (value.IsUInt()) return value.AsUInt64();
  if (value.IsIntOrUint()) return value.AsInt64();
  if (value.IsFloat()) return std::isfinite(value.AsDouble()) ? json::value(value.AsDouble()) : json::value(nullptr);
  if (value.IsString() || value.IsKey()) return json::string(value.AsString().c_str());
  if (value.IsBlob()) return json::string(hex_of(value.AsBlob().data(), value.AsBlob().size()));
  if (value.IsMap()) return object_of(value.AsMap(), depth);
  json::array out;
  if (value.IsTypedVector()) {
    const flexbuffers::TypedVector items = value.AsTypedVector();
    for (size_t i = 0; i < items.size(); ++i) out.push_back(value_of(items[i], depth + 1));
  } else if (value.IsVector()) {
    const flexbuffers::Vector items = value.AsVector();
    for (size_t i = 0; i < items.size(); ++i) out.push_back(value_of(items[i], depth + 1));
  }
  return out;
}

json::value json_of(const flexbuffers::Reference& value) { return value_of(value, 0); }
json::object json_of(const flexbuffers::Map& map) { return object_of(map, 0); }

std::optional<json::value> parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::error_code error;
  json::value out = json::parse(text, error, {}, options);
  if (error) return {};
  return out;
}

Response json_response(int status, const json::value& value) {
  Response out;
  out.status = status;
  out.content_type = "application/json; charset=utf-8";
  out.body = json::serialize(value);
  return out;
}

json::array array_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_array() ? value->get_array() : json::array();
}

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

bool flag_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_bool() && value->get_bool();
}

int64_t number_at(const json::object& object, std::string_view key, int64_t otherwise) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return otherwise;
  if (value->is_int64()) return value->get_int64();
  if (value->is_uint64()) return static_cast<int64_t>(value->get_uint64());
  return value->is_double() ? static_cast<int64_t>(value->get_double()) : otherwise;
}

double amount_of(const json::value& value) {
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return value.is_double() ? value.get_double() : 0;
}

}  // namespace narke::gateway
