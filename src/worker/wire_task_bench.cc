// A task on its way to a worker: building PushTask with its arguments, without the socket.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/reactor.h"
#include "worker/wire_task.h"

namespace narke::worker {
namespace {

struct Silent : rpc::Handler {
  void on_frame(rpc::Connection&, const rpc::Frame&) override {}
  void on_closed(rpc::Connection&, const Error&) override {}
};

// A program without anybody to talk to.
struct Alone : Links {
  rpc::ConnectionPtr program(const Address&) override { return nullptr; }
  rpc::ConnectionPtr open_program(const WorkerId&) override { return nullptr; }
  Address address_of(const rpc::Connection&) override { return {}; }
  rpc::ConnectionPtr node() override { return nullptr; }
  const Address& self() override { return address; }
  Address address;
};

struct Unasked : Objects::Out {
  void erase_stored(const ObjectId&, const NodeId&, bool) override {}
  void actor_out_of_scope(const ObjectId&) override {}
  void recover(Object&) override {}
  bool is_stored(const ObjectId&) override { return false; }
  void drop_lineage(TaskPtr) override {}
  void promote(const NodeId&, const std::vector<ObjectId>&) override {}
  void became_ready() override {}
};

rpc::Identity identity() {
  rpc::Identity id;
  id.self = WorkerId::from_bytes(std::string(WorkerId::kSize, 'w'));
  return id;
}

// A peer whose other end nobody reads: tasks are pushed in rounds, and each round has a link of its own.
class Bench {
 public:
  Bench() : objects_(links_, out_), reactor_(identity()) {
    auto* spec = new CallSpec;
    spec->function = new Function(FunctionId::from_bytes(std::string(FunctionId::kSize, 'f')), "pickled", "work");
    spec_ = spec;
    connect();
  }
  ~Bench() { disconnect(); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // A fresh link, so that the frames of earlier rounds do not pile up.
  void reconnect() {
    disconnect();
    connect();
  }
  TaskPtr make_task(int args, size_t size) {
    TaskPtr task = new Task;
    task->spec = spec_;
    const std::string value(size, 'v');
    for (int i = 0; i < args; ++i) {
      task->args.emplace_back().size = static_cast<uint32_t>(size);
      task->values.append(value.data(), size);
    }
    return task;
  }
  void push(const TaskPtr& task) { push_task(peer_, task, objects_); }

 private:
  void connect() {
    int ends[2];
    NARKE_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    peer_.link = reactor_.adopt(ends[0], false, &silent_, true);
    far_fd_ = ends[1];
  }
  void disconnect() {
    peer_.calls.take_all();
    peer_.link->close({ErrorCode::kDisconnected, "the round is over"});
    reactor_.dispatch();
    peer_.link = nullptr;
    close(far_fd_);
  }
  Alone links_;
  Unasked out_;
  Silent silent_;
  Objects objects_;
  rpc::Reactor reactor_;
  CallSpecPtr spec_;
  Peer peer_;
  int far_fd_ = -1;
};

constexpr int64_t kRound = 64;  // below what a connection writes by itself

void BM_PushTask(benchmark::State& state) {
  Bench bench;
  TaskPtr task = bench.make_task(static_cast<int>(state.range(0)), static_cast<size_t>(state.range(1)));
  for (auto _ : state) {
    for (int64_t i = 0; i < kRound; ++i) bench.push(task);
    state.PauseTiming();
    bench.reconnect();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kRound);
}
BENCHMARK(BM_PushTask)->ArgNames({"args", "size"})->Args({0, 0})->Args({1, 16})->Args({4, 16})->Args({1, 1024});

void BM_CallsAddAndTake(benchmark::State& state) {
  Bench bench;
  std::vector<TaskPtr> tasks;
  for (int64_t i = 0; i < state.range(0); ++i) tasks.push_back(bench.make_task(0, 0));
  uint32_t id = 0;
  for (auto _ : state) {
    const uint32_t first = id;
    Calls calls;
    for (TaskPtr& task : tasks) {
      task->call_id = id++;
      calls.add(task);
    }
    for (uint32_t taken = first; taken != id; ++taken) benchmark::DoNotOptimize(calls.take(taken));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_CallsAddAndTake)->Arg(256)->Arg(1000);

}  // namespace
}  // namespace narke::worker
