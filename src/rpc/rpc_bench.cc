// Links: what a frame costs to write, to check, and to send to another thread and back.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>
#include <sys/socket.h>

#include "rpc/reactor.h"

namespace narke::rpc {
namespace {

constexpr int kTimeoutMs = 1000;

Identity identity() {
  Identity id;
  id.self = WorkerId::from_bytes(std::string(WorkerId::kSize, 'w'));
  return id;
}

void build_reply(flatbuffers::FlatBufferBuilder& b) {
  b.Clear();
  wire::TaskReplyBuilder reply(b);
  reply.add_status(wire::TaskStatus::Done);
  reply.add_duration_ns(1000);
  b.Finish(reply.Finish());
}

// Counts frames, and answers each when told to.
struct Side : Handler {
  void on_frame(Connection& link, const Frame& frame) override {
    ++frames;
    if (!echoes) return;
    build_reply(builder);
    link.send(frame.type, frame.call_id, builder, frame.raw);
  }
  void on_closed(Connection&, const Error&) override { closed = true; }

  bool echoes = false;
  bool closed = false;
  int64_t frames = 0;
  flatbuffers::FlatBufferBuilder builder;
};

// Two reactors joined by a socket pair; the far one echoes on a thread of its own.
class Pair {
 public:
  Pair() : near_(identity()), far_(identity()) {
    int ends[2];
    NARKE_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    link = near_.adopt(ends[0], false, &side, true);
    far_side_.echoes = true;
    far_link_ = far_.adopt(ends[1], true, &far_side_, true);
    thread_ = std::thread([this] { serve(); });
  }
  ~Pair() {
    stopping_ = true;
    far_.wake();
    thread_.join();
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  void send(Bytes raw) {
    build_reply(side.builder);
    link->send(wire::MessageType::TaskReply, link->next_call_id(), side.builder, raw);
  }
  // Runs the near side until it has seen `count` frames in all.
  void receive(int64_t count) {
    near_.flush_all();
    while (side.frames < count) {
      NARKE_CHECK(near_.wait(kTimeoutMs) != 0 && !side.closed);
      near_.dispatch();
    }
  }

  Side side;
  ConnectionPtr link;

 private:
  void serve() {
    while (!stopping_) {
      far_.wait(kTimeoutMs);
      far_.dispatch();
    }
  }
  Side far_side_;
  ConnectionPtr far_link_;
  Reactor near_, far_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

void BM_PingPong(benchmark::State& state) {
  Pair pair;
  std::vector<uint8_t> raw(static_cast<size_t>(state.range(0)), 1);
  int64_t sent = 0;
  for (auto _ : state) {
    pair.send(raw);
    pair.receive(++sent);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PingPong)->Arg(16)->Arg(4 << 10)->Arg(256 << 10)->UseRealTime();

void BM_Batch(benchmark::State& state) {
  Pair pair;
  std::vector<uint8_t> raw(16, 1);
  int64_t sent = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < state.range(0); ++i) pair.send(raw);
    sent += state.range(0);
    pair.receive(sent);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Batch)->Arg(10)->Arg(1000)->UseRealTime();

void BM_EncodeReply(benchmark::State& state) {
  flatbuffers::FlatBufferBuilder b;
  for (auto _ : state) {
    build_reply(b);
    benchmark::DoNotOptimize(b.GetBufferPointer());
  }
}
BENCHMARK(BM_EncodeReply);

// Verifying is what decoding costs: the fields are then read in place.
void BM_DecodeReply(benchmark::State& state) {
  flatbuffers::FlatBufferBuilder b;
  build_reply(b);
  Frame frame{wire::MessageType::TaskReply, 1, {b.GetBufferPointer(), b.GetSize()}, {}};
  for (auto _ : state) {
    const auto* reply = frame.as<wire::TaskReply>();
    NARKE_CHECK(reply != nullptr);
    benchmark::DoNotOptimize(reply->duration_ns());
  }
}
BENCHMARK(BM_DecodeReply);

}  // namespace
}  // namespace narke::rpc
