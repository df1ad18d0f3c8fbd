// Whatever a client, a replica or the controller sends, the readers end in a value or a fault.
//
// The first byte chooses the reader and how the rest is cut. Invariants: cutting changes nothing about a request; what
// is read of a frame stays within the limit; a table is taken whole or not at all.
#include "proxy/answer.h"
#include "proxy/pickle_writer.h"
#include "proxy/request_parser.h"
#include "proxy/router.h"
#include "proxy/target.h"
#include "proxy/websocket.h"

namespace {

using namespace narke::proxy;

struct Read {
  bool done = false;
  RequestParser::Fault fault = RequestParser::Fault::kNone;
  std::string method, target, body;
  bool operator==(const Read&) const = default;
};

Read read_request(std::string_view text, size_t step) {
  RequestParser parser({.head_bytes = 512, .body_bytes = 512});
  std::string held;
  for (size_t at = 0; at < text.size() && !parser.is_done(); at += step) {
    held.append(text.substr(at, step));
    while (!held.empty() && !parser.is_done() && parser.fault() == RequestParser::Fault::kNone) {
      size_t used = parser.feed(held);
      held.erase(0, used);
      if (used == 0) break;
    }
  }
  NARKE_CHECK(parser.body().size() <= 512);
  if (parser.fault() != RequestParser::Fault::kNone) return {false, parser.fault(), "", "", ""};
  if (!parser.is_done()) return {};
  return {true, parser.fault(), parser.head().method, parser.head().target, parser.body()};
}

void fuzz_request(std::string_view text, size_t step) {
  Read whole = read_request(text, text.size() + 1), cut = read_request(text, step);
  NARKE_CHECK(whole.done == cut.done || whole.fault != RequestParser::Fault::kNone ||
              cut.fault != RequestParser::Fault::kNone);
  if (whole.done && cut.done) NARKE_CHECK(whole == cut);
  Target target;
  if (read_target(text, target)) NARKE_CHECK(target.path.size() <= text.size() + 1);
}

void fuzz_frames(std::string_view text, size_t step) {
  FrameReader reader(256);
  std::vector<FrameReader::Message> messages;
  for (size_t at = 0; at < text.size(); at += step)
    if (!reader.feed(text.substr(at, step), messages)) break;
  for (const FrameReader::Message& message : messages) {
    NARKE_CHECK(message.payload.size() <= 256);
    if (message.opcode == Opcode::kText) NARKE_CHECK(is_utf8(message.payload));
  }
}

void fuzz_values(std::string_view text) {
  narke::rpc::Bytes bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  if (auto answer = read_answer(bytes)) {
    NARKE_CHECK(answer->body.size() <= text.size());
    for (const Header& header : answer->headers)
      NARKE_CHECK(is_header_name(header.name) && is_header_value(header.value));
    std::string_view chunks = answer->body;
    while (!chunks.empty() && next_chunk(chunks)) {
    }
  }
  NARKE_CHECK(engine_error_kind(bytes).size() <= text.size());
  NARKE_CHECK(is_utf8(to_utf8(text)));
  Router router(1);
  if (!router.apply(bytes).ok()) NARKE_CHECK(router.version() == -1 && router.routes().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t step = 1 + data[0] / 8 % 16;
  switch (data[0] % 3) {
    case 0: fuzz_request(text, step); break;
    case 1: fuzz_frames(text, step); break;
    default: fuzz_values(text); break;
  }
  return 0;
}
