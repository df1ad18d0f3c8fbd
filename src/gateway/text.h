// Text that others wrote, made fit for JSON and WebSocket frames.
#pragma once

#include <string>
#include <string_view>

namespace narke::gateway {

// Every byte that is not part of valid UTF-8 (RFC 3629) becomes U+FFFD.
std::string valid_utf8(std::string_view bytes);

// Without the lines by which workers tell whose output follows (they begin with the byte 1).
std::string without_marks(std::string text);

// Without ANSI escape sequences (ECMA-48 CSI).
std::string without_ansi(std::string_view text);

}  // namespace narke::gateway
