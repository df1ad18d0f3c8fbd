// A text as JSON writes it.
#pragma once

#include <string>
#include <string_view>

namespace narke {

// A JSON string (RFC 8259, section 7), quotes included; bytes beyond ASCII stay as they are. REQUIRES: UTF-8.
std::string json_text(std::string_view text);

}  // namespace narke
