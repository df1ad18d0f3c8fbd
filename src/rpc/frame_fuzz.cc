// Random bytes from a peer, before and after the handshake, never do more than close the link.
// The first input byte chooses whether the link is trusted (frames are dispatched) or must shake hands first.
#include <sys/socket.h>
#include <unistd.h>

#include "base/result.h"
#include "rpc/reactor.h"

namespace {

struct Reader : narke::rpc::Handler {
  void on_frame(narke::rpc::Connection&, const narke::rpc::Frame& frame) override {
    using namespace narke;
    // Every table a program or a node reads; what passes the verifier must be readable to the end.
    if (const auto* push = frame.as<wire::PushTask>(); push != nullptr && push->args() != nullptr)
      for (const wire::Arg* arg : *push->args()) seen += arg->size();
    if (const auto* reply = frame.as<wire::TaskReply>(); reply != nullptr && reply->results() != nullptr)
      for (const wire::Result* result : *reply->results()) seen += result->size();
    if (const auto* create = frame.as<wire::CreateActor>(); create != nullptr && create->spec() != nullptr)
      seen += create->spec()->class_size();
    if (const auto* lease = frame.as<wire::RequestLease>(); lease != nullptr) seen += lease->backlog();
    seen += frame.raw.size();
  }
  void on_closed(narke::rpc::Connection&, const narke::Error&) override { closed = true; }
  uint64_t seen = 0;
  bool closed = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  int ends[2];
  NARKE_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  narke::rpc::Identity identity;
  identity.token = "t";
  narke::rpc::Reactor reactor(identity);
  Reader reader;
  reactor.adopt(ends[0], true, &reader, (data[0] & 1) != 0);
  [[maybe_unused]] ssize_t n = write(ends[1], data + 1, size - 1);
  close(ends[1]);
  for (int i = 0; i < 64 && !reader.closed; ++i) {
    reactor.wait(10);
    reactor.dispatch();
  }
  NARKE_CHECK(reader.closed);
  return 0;
}
