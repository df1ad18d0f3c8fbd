// The store against plain memcpy: put (create, write, seal, erase) and get (look-up, pin, unpin).
#include <cstring>
#include <deque>
#include <vector>

#include <benchmark/benchmark.h>
#include <unistd.h>

#include "store/client.h"
#include "store/server.h"

namespace narke::store {
namespace {

// A program and its node with nothing between them.
class Local : public ServerOut, public Transport {
 public:
  explicit Local(uint64_t capacity) {
    ServerConfig config;
    config.capacity_bytes = capacity;
    server_ = std::move(Server::make(config, *this)).value();
    client = std::move(Client::make(dup(server_->fd()), *this)).value();
  }
  void send(ClientKey, wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
    answers_.emplace_back(type,
                          std::vector<uint8_t>(table.GetBufferPointer(), table.GetBufferPointer() + table.GetSize()));
  }
  void log(const std::string&) override {}
  void send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
    server_->on_frame(1, {type, 0, {table.GetBufferPointer(), table.GetSize()}, {}}, 1);
  }
  uint8_t* create(const ObjectId& id, uint64_t size) {
    for (;;) {
      auto result = client->try_create(id, size);
      if (result.status == CreateResult::Status::kOk) return result.data;
      NARKE_CHECK(result.status == CreateResult::Status::kWait && !answers_.empty());
      auto answers = std::exchange(answers_, {});
      for (auto& [type, table] : answers) client->on_frame({type, 0, table, {}});
    }
  }

  std::unique_ptr<Client> client;

 private:
  std::unique_ptr<Server> server_;
  std::deque<std::pair<wire::MessageType, std::vector<uint8_t>>> answers_;
};

ObjectId object(uint32_t n) { return object_of(TaskId(), n); }

void put(Local& local, uint32_t n, const std::vector<uint8_t>& value) {
  uint8_t* data = local.create(object(n), value.size());
  local.client->mapping()->prepare(data, value.size());
  std::memcpy(data, value.data(), value.size());
  local.client->seal(object(n));
}

void BM_Put(benchmark::State& state) {
  uint64_t size = static_cast<uint64_t>(state.range(0));
  Local local(2ull << 30);
  std::vector<uint8_t> value(size, 1);
  put(local, 0, value);
  local.client->erase(object(0));
  uint32_t n = 0;
  for (auto _ : state) {
    put(local, ++n, value);
    local.client->erase(object(n));
  }
  state.SetBytesProcessed(static_cast<int64_t>(size) * state.iterations());
}
BENCHMARK(BM_Put)->Arg(1 << 10)->Arg(1 << 20)->Arg(800 << 20)->UseRealTime();

void BM_FirstPut(benchmark::State& state) {
  uint64_t size = static_cast<uint64_t>(state.range(0));
  std::vector<uint8_t> value(size, 1);
  for (auto _ : state) {
    state.PauseTiming();
    auto local = std::make_unique<Local>(2ull << 30);
    state.ResumeTiming();
    put(*local, 1, value);
    state.PauseTiming();
    local.reset();
    state.ResumeTiming();
  }
  state.SetBytesProcessed(static_cast<int64_t>(size) * state.iterations());
}
BENCHMARK(BM_FirstPut)->Arg(800 << 20)->Iterations(2)->UseRealTime();

void BM_Memcpy(benchmark::State& state) {
  uint64_t size = static_cast<uint64_t>(state.range(0));
  std::vector<uint8_t> from(size, 1), to(size, 2);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), size);
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(size) * state.iterations());
}
BENCHMARK(BM_Memcpy)->Arg(1 << 10)->Arg(1 << 20)->Arg(800 << 20)->UseRealTime();

void BM_Find(benchmark::State& state) {
  Local local(256ull << 20);
  std::vector<uint8_t> value(1000, 1);
  for (uint32_t n = 0; n < 1000; ++n) put(local, n, value);
  uint32_t n = 0;
  for (auto _ : state) benchmark::DoNotOptimize(local.client->state(object(n++ % 1000)));
}
BENCHMARK(BM_Find);

void BM_GetAndUnpin(benchmark::State& state) {
  Local local(256ull << 20);
  std::vector<uint8_t> value(1000, 1);
  for (uint32_t n = 0; n < 1000; ++n) put(local, n, value);
  uint32_t n = 0;
  for (auto _ : state) {
    auto got = local.client->get(object(n++ % 1000));
    benchmark::DoNotOptimize(got.view.data);
    local.client->mapping()->unpin(got.view.slot);
  }
}
BENCHMARK(BM_GetAndUnpin);

}  // namespace
}  // namespace narke::store
