// What a replica answers a request with: the bytes inside encoded `bytes` values. python/narke/serve/_private/wire.py
// writes them.
//
//   u8 kind, u8 zero, u16 status, u32 load, u32 head size, head, body
//
// load: requests the replica is busy with at that moment. head: name NUL value NUL ... of the response's headers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "rpc/frame.h"

namespace narke::proxy {

enum class AnswerKind : uint8_t {
  kWhole = 1,     // status, headers, the whole body; the end of the call
  kStart = 2,     // status and headers; the body follows
  kChunk = 3,     // a part of the body
  kEnd = 4,       // nothing follows; the end of the call. A body: its last part
  kBusy = 5,      // refused: the replica runs as much as it may; ask another, or later
  kLeaving = 6,   // refused: the replica drains; ask another
  kTaken = 7,     // the request runs: parts of its body may be fed
  kAccept = 8,    // WebSocket: the handshake is accepted; headers may be added
  kText = 9,      // WebSocket: a message of text, or a part of one: status is of kContinues and kMoreFollows
  kBinary = 10,   // WebSocket: the same of bytes
  kClose = 11,    // WebSocket: close with the code `status` and the reason in the body
  kFailed = 12,   // the handler raised; the end of the call
  kChunks = 13,   // parts of the body, each after its size (u32)
};

// A large message comes in parts, each an answer: all but the first continue, all but the last have more to follow.
inline constexpr uint16_t kMoreFollows = 1, kContinues = 2;

struct Header {
  std::string_view name, value;
};

// Views into the bytes that were read.
struct Answer {
  AnswerKind kind = AnswerKind::kFailed;
  uint16_t status = 0;
  uint32_t load = 0;
  std::vector<Header> headers;
  std::string_view body;
};

// The next of the parts in a body of kChunks, taken off its front; empty when the body is damaged.
std::optional<std::string_view> next_chunk(std::string_view& body);

// Empty when the bytes are no answer, or a header would break the response apart.
std::optional<Answer> read_answer(rpc::Bytes value);

// The exception class's name in an encoded engine error; empty for anything else.
std::string_view engine_error_kind(rpc::Bytes value);

bool is_header_name(std::string_view name);
bool is_header_value(std::string_view value);
bool same_name(std::string_view a, std::string_view b);  // without regard to case

}  // namespace narke::proxy
