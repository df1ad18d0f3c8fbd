// What the history costs: taking records in, and questions about a million ended tasks.
#include <benchmark/benchmark.h>

#include "history/query.h"
#include "history/table.h"

namespace narke::history {
namespace {

struct Source {
  Source() {
    Origin who;
    who.pid = 7;
    for (auto& origin : origins) {
      who.worker.data()[0] = static_cast<uint8_t>(&origin - origins);
      origin = std::make_shared<Origin>(who);
    }
    for (auto& name : names) {
      Name each;
      each.name = each.function = "function_" + std::to_string(&name - names);
      each.resources = {{"CPU", 10'000}};
      name = std::make_shared<Name>(each);
    }
  }
  // Tasks come in runs of one function from one worker, as batches do.
  void add_to(TaskTable& table, uint64_t number) {
    Record record = blank_record();
    std::memcpy(record.task, &number, sizeof(number));
    record.created_us = record.pushed_us = 1'000'000 + static_cast<int64_t>(number);
    record.began_us = record.created_us + 10;
    record.ended_us = record.began_us + 5;
    record.state = number % 100 == 0 ? State::kFailed : State::kFinished;
    table.add(origins[number / 2048 % 4], record, names[number / 256 % 16], nullptr);
  }
  OriginPtr origins[4];
  NamePtr names[16];
};

void add_record(benchmark::State& state) {
  Source source;
  TaskTable table;
  uint64_t number = 0;
  for (auto _ : state) source.add_to(table, ++number);
}
BENCHMARK(add_record);

void add_record_and_encode(benchmark::State& state) {
  Source source;
  TaskTable table;
  uint64_t number = 0;
  for (auto _ : state) {
    source.add_to(table, ++number);
    if (number % 20'000 == 0) benchmark::DoNotOptimize(table.take_unwritten());
  }
}
BENCHMARK(add_record_and_encode);

// As a worker tells of short tasks of one function; time a task.
BatchWriter batch_of(uint64_t first, uint64_t count) {
  BatchWriter batch;
  Record common = blank_record();
  common.state = State::kFinished;
  const uint32_t place = batch.place_of(common);
  for (uint64_t number = first; number < first + count; ++number) {
    const auto now = 1'700'000'000'000'000 + static_cast<int64_t>(number) * 3;
    batch.add(Row{number, place, now, now - 1, now - 2'000, now - 2'000, 0});
  }
  return batch;
}

void write_rows(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(batch_of(0, 8192).encoded_bytes());
  state.SetItemsProcessed(state.iterations() * 8192);
}
BENCHMARK(write_rows);

void take_batches_and_encode(benchmark::State& state) {
  Source source;
  TaskTable table;
  const BatchWriter batch = batch_of(0, 8192);
  std::vector<uint8_t> bytes(batch.encoded_bytes());
  batch.encode(bytes.data());
  Batch taken;
  for (auto _ : state) {
    if (!Batch::decode(bytes, &taken)) state.SkipWithError("no batch");
    table.add(source.origins[0], taken, {source.names[0]}, {nullptr});
    benchmark::DoNotOptimize(table.take_unwritten());
  }
  state.SetItemsProcessed(state.iterations() * 8192);
}
BENCHMARK(take_batches_and_encode);

constexpr uint64_t kMillion = 1'000'000;

Query query_of(const char* column, const char* value) {
  flexbuffers::Builder body;
  body.Map([&] {
    body.Int("limit", 100);
    body.Vector("filters", [&] {
      if (column != nullptr) body.Vector([&] { body.String(column), body.String("="), body.String(value); });
    });
  });
  body.Finish();
  const std::vector<uint8_t> bytes = body.GetBuffer();
  return Query::parse(flexbuffers::GetRoot(bytes).AsMap()).value();
}

using Ask = void (*)(const TaskTable&, const Query&, flexbuffers::Builder&);

void ask_a_million(benchmark::State& state, Ask ask, const char* column, const char* value) {
  Source source;
  TaskTable table;
  for (uint64_t number = 0; number < kMillion; ++number) source.add_to(table, number);
  const Query query = query_of(column, value);
  for (auto _ : state) {
    flexbuffers::Builder out;
    out.Map([&] { ask(table, query, out); });
    out.Finish();
    benchmark::DoNotOptimize(out.GetBuffer().data());
  }
  state.counters["table_MB"] = static_cast<double>(table.bytes()) / 1e6;
}
BENCHMARK_CAPTURE(ask_a_million, list, list_tasks, nullptr, nullptr)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask_a_million, list_by_state, list_tasks, "state", "FAILED")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask_a_million, list_by_name, list_tasks, "name", "function_3")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask_a_million, get, list_tasks, "task_id", "40420f0000000000ffffffffffffffffffffffffffffffff")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask_a_million, summarize, summarize_tasks, nullptr, nullptr)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace narke::history
