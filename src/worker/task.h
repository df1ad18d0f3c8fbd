// A task or actor call as its submitter keeps it: what to run, with what, and what became of it.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/byte_buffer.h"
#include "base/id.h"
#include "worker/object.h"

namespace narke::worker {

using Clock = std::chrono::steady_clock;

struct Actor;
struct Lease;
struct LeaseClass;
class RawSink;

// A pickled function or class, sent once over each link that needs it.
class Function {
 public:
  Function(const FunctionId& function_id, std::string pickled_bytes, std::string function_name)
      : id(function_id), pickled(std::move(pickled_bytes)), name(std::move(function_name)) {}
  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  const FunctionId id;
  const std::string pickled;
  const std::string name;

 private:
  std::atomic<int> refs_{0};
};
using FunctionPtr = Ptr<Function>;

// What stands behind the last dot: people know the function by it.
inline std::string short_name(const std::string& qualified) { return qualified.substr(qualified.rfind('.') + 1); }

inline constexpr int kStreaming = -1;

// What is the same for all calls of one remote function with one set of options, or of one actor method.
// Immutable once a task was made with it.
class CallSpec {
 public:
  int refs() const { return refs_.load(std::memory_order_relaxed); }
  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  FunctionPtr function;        // tasks
  std::string method;          // actor calls
  std::string name;            // shown to people
  int num_returns = 1;         // kStreaming
  int max_retries = 0;         // -1: no end
  bool retry_exceptions = false;
  std::string retry_types;     // pickled tuple of exception types; empty: all
  int max_calls = 0;
  int backpressure = -1;
  std::string concurrency_group;
  LeaseClass* lease_class = nullptr;  // tasks

 private:
  std::atomic<int> refs_{0};
};
using CallSpecPtr = Ptr<CallSpec>;

struct Arg {
  uint32_t size = 0;        // bytes in Task::values; 0 with a ref
  ObjectPtr ref;            // a top-level reference: replaced by its value where the task runs
  std::string keyword;
};

struct Task {
  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  enum class State : uint8_t { kWaiting, kQueued, kSent, kDone };

  TaskId id;
  CallSpecPtr spec;
  std::vector<Arg> args;
  ByteBuffer values;               // the encoded arguments, one after another
  std::vector<ObjectPtr> nested;   // references inside `values`; each counts as a use until the reply
  ObjectPtr first_return;          // most tasks have one
  std::vector<ObjectPtr> more_returns;
  Actor* actor = nullptr;
  ActorId actor_id;                // of an actor's call, even when the actor is forgotten
  RawSink* sink = nullptr;         // a raw call (raw_call.h): answers go there, and there are no returns
  Lease* lease = nullptr;          // kSent
  TaskId parent;
  NodeId near;                     // whose store has most of the arguments' bytes; nil: none to speak of
  uint32_t call_id = 0;            // kSent
  int unresolved = 0;              // references in args that are not ready
  int attempt = 0;
  int retries_left = 0;
  int depth = 0;
  int64_t created_us = 0, ready_us = 0, pushed_us = 0;  // since 1970; ready: where it had to wait for references
  State state = State::kWaiting;
  bool cancelled = false;
  bool not_started = false;        // a call that its actor gave back
  bool args_pinned = false;
  bool told = false;               // the node was told of its present state
  bool told_once = false;          // of any state: it must be told of the end
  int lineage_holders = 0;         // stored returns that may need the task again
  bool forgotten = false;          // too many others came after it: it may not run again
  uint64_t remembering = 0;        // its number among those that remember
  std::vector<ObjectPtr> remembered;  // ended: arguments that are made again if it is to run again

  // Streaming: items in order, as they arrive.
  struct Stream {
    std::deque<ObjectPtr> items;   // from `first`
    uint64_t first = 0;            // index of items.front(): how many were taken
    uint64_t received = 0;
    std::optional<uint64_t> total;
    bool abandoned = false;        // the generator object is gone
    std::vector<ObjectPtr> lost;    // items to be made again, in the next run
    std::vector<ObjectPtr> remade;  // those that the present run is for
    std::vector<uint64_t> tokens;  // asked to be told of the next item or the end
  };
  std::unique_ptr<Stream> stream;

  ObjectPtr& returned(size_t i) { return i == 0 ? first_return : more_returns[i - 1]; }
  size_t return_count() const { return first_return ? 1 + more_returns.size() : 0; }

 private:
  std::atomic<int> refs_{0};
};
using TaskPtr = Ptr<Task>;

}  // namespace narke::worker
