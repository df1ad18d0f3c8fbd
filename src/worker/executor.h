// Calls that arrived here to be run: queues by concurrency group, answers, streams.
//
// Threads: the engine's lock for everything but the fields of an Inbound that a running thread has taken: those
// belong to that thread, except `consumed` (under the lock) and the atomic ones.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/objects.h"
#include "worker/peer.h"

namespace narke::worker {

class TaskLog;

// What the lease or the actor's start said that running code may ask for.
struct Lent {
  uint64_t lease = 0;
  JobId job;
  std::vector<std::pair<std::string, int64_t>> resources;
  std::vector<std::pair<std::string, std::vector<int>>> instances;
  PgId pg;
  int bundle = -1;
  bool capture = false;
};

// One call to run. `bytes` holds the frame; push, start and raw point into it.
struct Inbound : std::enable_shared_from_this<Inbound> {
  rpc::ConnectionPtr link;
  uint32_t call_id = 0;
  ByteBuffer bytes;
  const wire::PushTask* push = nullptr;
  const wire::StartActor* start = nullptr;  // the call is the actor's constructor
  rpc::Bytes raw;
  TaskId task;
  Clock::time_point began, ended;  // ended: not set while it runs
  std::atomic<bool> cancelled{false};  // set under the lock, read by the running thread without
  bool is_last = false;  // the worker leaves when it is answered (max_calls)
  bool told = false;     // the node was told that it runs
  std::string failure;   // what it raised, for people
  // streaming
  uint64_t produced = 0, consumed = 0;
  std::atomic<bool> stopped{false};  // as above

  bool is_actor_call() const { return push != nullptr && push->method() != nullptr; }
};
using InboundPtr = std::shared_ptr<Inbound>;

// One result, already encoded: inline bytes, or sealed in the store.
struct Outcome {
  wire::ResultKind kind = wire::ResultKind::Value;
  std::string bytes;
  uint64_t size = 0;
  std::vector<ObjectPtr> contained;
};

class Executor {
 public:
  // nobody_flushes: whether what is buffered now would lie there until something else happens.
  Executor(Objects& objects, std::function<bool()> nobody_flushes)
      : objects_(objects), nobody_flushes_(std::move(nobody_flushes)) {}

  void on_begin_lease(const rpc::Frame& frame);
  void on_define_function(const rpc::Frame& frame);
  // Queues the call; false: this program is busy or leaving and the call goes back unstarted.
  void on_push(rpc::Connection& from, const rpc::Frame& frame);
  void on_start_actor(rpc::Connection& node, const rpc::Frame& frame);
  void on_stream_ack(const rpc::Frame& frame);
  void on_link_closed(rpc::Connection& link);

  // The next call of a group ("" is the default one), or null.
  InboundPtr take(const std::string& group);
  InboundPtr take_any();
  // The concurrency group a call belongs to; valid until the next call of this.
  const std::string& group_of(const Inbound& call) const;
  bool has_queued() const { return queued_ != 0; }
  // Answers. `outcomes` are the returns, or one Error.
  void reply(Inbound& call, wire::TaskStatus status, std::vector<Outcome> outcomes, bool retriable = false);
  void reply_started(Inbound& start, rpc::Connection& node, const Outcome* error);
  void send_item(Inbound& call, Outcome item);
  // Sends queued plain tasks back to where they came from.
  void give_back_queued();
  // Sends every queued call back, an actor's too.
  void give_back_all();

  // Finds a call that is queued or running here by its task id.
  InboundPtr find_running(const TaskId& task);
  InboundPtr remove_queued(const TaskId& task);

  const std::string* function(const FunctionId& id, std::string* name) const;
  // What people read: the function, or Class.method.
  std::string function_of(const Inbound& call) const;
  const ActorId& actor() const { return actor_; }
  const std::string& actor_class() const { return actor_class_; }
  // When the next call has ended; once.
  void at_next_end(std::function<void()> then) { at_end_ = std::move(then); }
  // Whether answers of this thread may lie in the buffer a while, because somebody will flush.
  void set_gathers(std::function<bool()> gathers) { gathers_ = std::move(gathers); }
  // Ended calls are told to it.
  void set_log(TaskLog* log) { log_ = log; }
  Lent& lent() { return lent_; }
  const Lent& lent() const { return lent_; }
  void set_actor(bool is_actor) { is_actor_ = is_actor; }
  void set_blocked(bool blocked) { blocked_ = blocked; }
  void set_leaving() { leaving_ = true; }
  size_t running() const { return running_.size(); }
  Clock::time_point last_began() const { return last_began_; }
  void set_group_of(std::unordered_map<std::string, std::string> group_of_method) {
    group_of_method_ = std::move(group_of_method);
  }
  std::vector<InboundPtr> all_running() const;
  // What runs and what waits here, a line each, for people.
  std::string describe() const;
  // One of them; null when there is none.
  InboundPtr any_running() const { return running_.empty() ? nullptr : running_.begin()->second; }

 private:
  void queue(InboundPtr call);
  void send_reply(Inbound& call, wire::TaskStatus status, const std::vector<Outcome>& outcomes, bool retriable);
  // The receiver of an outcome becomes a borrower of the references in it.
  void lend(const Outcome& outcome, const rpc::Connection& receiver);
  flatbuffers::Offset<wire::Result> describe(flatbuffers::FlatBufferBuilder& b, const Outcome& outcome);
  void maybe_flush(Inbound& call);
  void tell(const Inbound& call, wire::TaskStatus status) const;

  Objects& objects_;
  std::function<bool()> nobody_flushes_, gathers_;
  std::unordered_map<std::string, std::deque<InboundPtr>> queues_;
  std::unordered_map<TaskId, InboundPtr> running_;
  std::unordered_map<FunctionId, std::pair<std::string, std::string>> functions_;  // pickled, name
  std::unordered_map<std::string, std::string> group_of_method_;
  Lent lent_;
  ActorId actor_;  // that this program has become
  std::string actor_class_;
  TaskLog* log_ = nullptr;
  std::function<void()> at_end_;
  size_t queued_ = 0;
  bool is_actor_ = false, blocked_ = false, leaving_ = false;
  Clock::time_point last_began_, last_flush_;
};

}  // namespace narke::worker
