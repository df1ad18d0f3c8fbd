// Between FlexBuffers, JSON values and text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <flatbuffers/flexbuffers.h>

#include "base/result.h"
#include "gateway/http.h"

namespace narke::gateway {

namespace json = boost::json;

// Blobs become lower-case hexadecimal text, numbers that JSON has no word for become null.
json::value json_of(const flexbuffers::Reference& value);
json::object json_of(const flexbuffers::Map& map);

// Nothing when it is not JSON, or is nested deeper than 64.
std::optional<json::value> parse_json(std::string_view text);

Response json_response(int status, const json::value& value);

// The text under a key; "" when it is absent or something else.
std::string text_at(const json::object& object, std::string_view key);
// The list under a key; an empty one when it is absent or something else.
json::array array_at(const json::object& object, std::string_view key);
bool flag_at(const json::object& object, std::string_view key);
int64_t number_at(const json::object& object, std::string_view key, int64_t otherwise);
// An integer or double; 0 otherwise.
double amount_of(const json::value& value);

}  // namespace narke::gateway
