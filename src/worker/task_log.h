// What this program tells its node about tasks: records in a bounded buffer, sent in batches.
//
// Problem: telling must cost next to nothing, so a task that begins and ends between two batches makes one record, at
// its end; what waits or runs longer is told of when a batch leaves (Engine::send_task_events). Names travel once.
// Threads: the engine's lock.
#pragma once

#include <chrono>
#include <ctime>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "history/batch.h"
#include "rpc/connection.h"
#include "worker/task.h"

namespace narke::worker {

class Executor;
struct Inbound;

// Microseconds since 1970.
inline int64_t epoch_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// The same as of the last tick of the system (1 to 4 ms): a fifth of the cost.
inline int64_t coarse_epoch_us() {
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

class TaskLog {
 public:
  static constexpr size_t kBatch = 8192;          // records that leave without waiting for the time
  static constexpr size_t kMostRecords = 32'768;  // kept for a node that does not read; then they are given up
  static constexpr size_t kMostNames = 10'000;    // then the names are forgotten and begin anew
  static constexpr size_t kMostText = 2'000;      // bytes of a failure's message

  void set_job(const JobId& job) { job_ = job; }

  // A call that runs here, or has ended here. failure: what to say of it; type "": nothing.
  void call(const Inbound& call, const Executor& executor, history::State state, const std::string& type = "",
            const std::string& message = "");
  // A task of this program that waits, was sent away, or failed without an answer of a worker.
  void task(const Task& task, history::State state, const std::string& type = "", const std::string& message = "");
  // A task that the node was told of has its answer: what is to be said of it says the worker.
  void answered(const Task& task);
  // What user code measured. Times in microseconds since 1970.
  void profile(const TaskId& task, const ActorId& actor, const std::string& name, const std::string& extra,
               int64_t began_us, int64_t ended_us);

  bool empty() const { return batch_.size() == 0 && dropped_ == 0; }
  bool is_due() const { return batch_.size() >= kBatch || batch_.is_full(); }
  size_t size() const { return batch_.size(); }
  uint64_t dropped() const { return dropped_; }
  // Sends everything, unless the node is far behind with reading.
  void send(rpc::Connection& node);

 private:
  using Resources = std::vector<std::pair<std::string, int64_t>>;
  struct NewName {
    uint32_t index;
    std::string name, function;
    Resources resources;
  };
  // The call met last: the next one is mostly like it.
  struct LastCall {
    FunctionId function;
    std::string method, name;
    uint64_t lease = 0;
    uint32_t index = 0;
    // The place in the batch of what calls like it have in common, and of whom that is said.
    uint32_t place = 0;
    bool has_place = false;
    int32_t attempt = 0;
    TaskId task, parent;
  };

  void make_room();
  void forget_batch();
  bool add_like_last(const Inbound& call, const TaskId& parent);
  uint32_t name_of(const std::string& name, const std::string& function, const Resources& resources);
  uint32_t name_of_call(const Inbound& call, const Executor& executor);
  uint32_t failure_of(const std::string& type, const std::string& message);
  int64_t epoch_of(Clock::time_point time) const;
  void put_parent(history::Record& record, const TaskId& parent) const;
  void forget_names();

  JobId job_;
  history::BatchWriter batch_;
  std::unordered_map<std::string, uint32_t> names_;
  std::vector<NewName> new_names_;
  std::vector<std::pair<std::string, std::string>> failures_;
  LastCall last_;
  bool reset_ = false;
  uint64_t dropped_ = 0;
  int64_t offset_us_ = epoch_us() - steady_us();  // from the steady clock to the time of day

  static int64_t steady_us() {
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch()).count();
  }
};

// The word of Ray's state API for an exception of the engine.
std::string error_type_of(const std::string& exception);

}  // namespace narke::worker
