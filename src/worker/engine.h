// The worker library: what a driver or a worker process is made of, without a word of Python.
//
// One lock guards everything; it is never held while user code runs. No thread owns the sockets: a thread that
// waits for something becomes the leader, waits on the reactor itself, and dispatches what came, so a
// synchronous call costs no thread hop; other waiting threads are followers that the leader wakes when their
// condition holds. A background thread leads only while nobody else does, and looks once a millisecond whether
// that is so while calls are being made.
//
// Lifecycle: connect() -> used by any thread -> disconnect(). Interrupts: set_interrupt_check() is called without
// the lock whenever a signal ended a wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "rpc/reactor.h"
#include "store/client.h"
#include "worker/actors.h"
#include "worker/executor.h"
#include "worker/objects.h"
#include "worker/raw_call.h"
#include "worker/spin.h"
#include "worker/submitter.h"
#include "worker/task_log.h"

namespace narke::worker {

using Lock = std::unique_lock<std::mutex>;
using Deadline = Clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

// Values above this travel by the store (bytes).
inline constexpr size_t kInlineLimit = 100 << 10;

struct EngineConfig {
  wire::ProgramKind kind = wire::ProgramKind::Driver;
  std::string node_socket;
  std::string token;
  std::string session_dir;
  WorkerId worker;       // nil: made up
  std::string job_config;  // drivers: FlexBuffers, see Register
};

struct LogLine {
  int pid = 0;
  WorkerId worker;
  std::string name, text;
  bool is_error = false;
  std::string notice;  // kind of a Notice; then text alone is set
};

enum class Waited { kReady, kTimeout, kInterrupted, kStopped };

// What runs on this thread.
struct Running {
  InboundPtr call;
  TaskId task;
  int depth = 0;
  bool awaits_reply = false;  // not other tasks' work: the call's CPU is lent only when it takes unusually long
};
Running& running_here();

// Says so for its scope. A CPU that is lent for a moment may go to an actor, which keeps it.
class AwaitsReply {
 public:
  AwaitsReply() : before_(std::exchange(running_here().awaits_reply, true)) {}
  ~AwaitsReply() { running_here().awaits_reply = before_; }
  AwaitsReply(const AwaitsReply&) = delete;
  AwaitsReply& operator=(const AwaitsReply&) = delete;

 private:
  bool before_;
};

class Engine final : public Links,
                     public Objects::Out,
                     public Submitter::Out,
                     public Actors::Out,
                     public rpc::Handler,
                     public store::Transport {
 public:
  static Result<std::unique_ptr<Engine>> connect(const EngineConfig& config);
  ~Engine() override;
  // Tells the node and leaves; waits at most `grace` for the last output of workers.
  void disconnect(std::chrono::milliseconds grace);

  // ---- waiting ----
  Lock lock() { return Lock(mutex_); }
  // Until ready() (called under the lock; it may take something for the caller) or the deadline.
  Waited wait(Lock& lock, const std::function<bool()>& ready, Deadline deadline);
  void set_interrupt_check(std::function<bool()> check) { interrupt_check_ = std::move(check); }
  // For event loops: handles what has arrived without waiting.
  void poll();
  int poll_fd() const { return reactor_.epoll_fd(); }
  // The same for who takes the tokens right after it: those that become due meanwhile are not signalled.
  void poll_and_take();
  // While an event loop polls, the background thread leaves the sockets to it.
  void set_polled(bool polled);
  // An event loop tells when it has woken and when it is about to sleep. In between, what its thread sends is gathered:
  // it leaves when the turn ends, or when it has lain for a few ms because the turn is long.
  void begin_turn();
  void end_turn();

  // ---- objects ----
  ObjectPtr put_value(ValuePtr value, std::vector<ObjectPtr> contained);
  struct Room {
    uint8_t* data = nullptr;
    Error error;
    Waited waited = Waited::kReady;
  };
  // Space in the store for an object; waits while the store makes room.
  Room make_room(const ObjectId& id, uint64_t size, const WorkerId& owner, Deadline deadline);
  void seal(const ObjectId& id);
  ObjectPtr put_stored(const ObjectId& id, uint64_t size, std::vector<ObjectPtr> contained);
  ObjectId new_object_id();
  // Where an actor is; waits until it is anywhere. Its worker is nil when it is dead.
  Address actor_address(const ActorId& id, Waited* waited);
  // Another program becomes the owner of a value of this one: of `value`, or, when that is null, of what this node's
  // store has as `id`. Null: the other program is gone.
  ObjectPtr hand_over(const ObjectId& id, const Address& owner, ValuePtr value, uint64_t size,
                      std::vector<ObjectPtr> contained, Waited* waited);
  struct Viewed {
    Waited waited = Waited::kReady;
    std::shared_ptr<store::Mapping> mapping;
    store::View view;
    bool changed = false;  // the object is not in the store (any more): look at its state again
    std::string full;  // no memory for an object on disk
  };
  Viewed view(Object& object, Deadline deadline);
  // The same without waiting: kTimeout when view() would wait.
  Viewed try_view(Object& object);
  Waited wait_ready(Object& object, Deadline deadline);
  void drop_use(Object& object);
  // Until `count` of the objects are ready; `objects` may be reordered.
  Waited wait_some(std::vector<Object*>& objects, size_t count, Deadline deadline);
  void on_ready_token(Object& object, uint64_t token);
  std::vector<uint64_t> take_tokens();
  int token_fd() const { return token_fd_; }
  void drop_from_store(Object& object);  // tests of recovery

  // ---- tasks and actors ----
  TaskPtr new_task(CallSpecPtr spec, size_t return_count);
  void submit(TaskPtr task);
  struct SubmitResult {
    bool ok = true;
    std::string error;
  };
  SubmitResult submit_call(const ActorId& actor, TaskPtr task, int max_pending);
  // A call whose one argument and whose answers are encoded values (raw_call.h). Large results are errors: the
  // method sends them in pieces of at most kInlineLimit. The call may lie in a buffer until flush().
  // `argument`: the value's bytes, in pieces that follow each other.
  TaskPtr submit_raw(const ActorId& actor, CallSpecPtr spec, std::span<const rpc::Bytes> argument, RawSink& sink);
  void flush();
  // The call shall stop; its sink still hears the end.
  void cancel_raw(Task& task);
  // How many items of a raw call were used up, for spec.backpressure. Leaves with flush().
  void consumed_raw(Task& task, uint64_t count);
  void cancel(Object& object, bool force, bool recursive);
  // Whether the object is still being made, by a call to an actor.
  bool is_actor_call(Object& object);
  struct StreamNext {
    Waited waited = Waited::kReady;
    ObjectPtr item;  // null: the end
  };
  StreamNext stream_next(Task& task, Deadline deadline);
  bool stream_ready(Task& task);
  bool stream_token(Task& task, uint64_t token);
  void abandon_stream(Task& task);
  struct Created {
    wire::CreateActorStatus status = wire::CreateActorStatus::Created;
    ActorId existing;
    std::string methods, message, class_name;
    Waited waited = Waited::kReady;
  };
  // Sends CreateActor; waits for the answer when the actor has a name.
  Created create_actor(const ActorId& id, const flatbuffers::FlatBufferBuilder& create, rpc::Bytes raw, bool wait_for,
                       bool detached, std::vector<ObjectPtr> pinned, bool out_of_order);
  ActorId new_actor_id();
  static ObjectId handle_object(const ActorId& actor);
  ObjectPtr actor_handle(const ActorId& actor, const Address& owner, bool covered);
  void kill_actor(const ActorId& actor, bool no_restart);

  // ---- the node ----
  struct Answer {
    Waited waited = Waited::kReady;
    std::string error, error_kind, body;
  };
  Answer control(const std::string& method, const std::string& body, Deadline deadline);
  // The same without waiting: what is asked later by this program finds it done.
  void tell(const std::string& method, const std::string& body);
  // Where a reference was made, for those who ask what holds memory.
  void note_call_site(Object& object, std::string site);
  std::string call_site(Object& object);
  // Lines and notices for the driver's terminal; waits at most `limit`. Needs no lock.
  std::vector<LogLine> take_logs(std::chrono::milliseconds limit);

  // ---- running what others sent (workers) ----
  // The next call of a group; null when the program shall leave or on timeout.
  InboundPtr next_call(const std::string& group, Deadline deadline, Waited* waited);
  InboundPtr try_next_call(const std::string& group);
  Executor& executor() { return executor_; }
  Objects& objects() { return objects_; }
  Actors& actors() { return actors_; }
  Submitter& submitter() { return submitter_; }
  void reply_started(Inbound& start, const Outcome* error);
  // Something that user code measured, told to the node. Times in microseconds since 1970.
  void profile(const std::string& name, const std::string& extra, int64_t began_us, int64_t ended_us);
  void actor_exits(const ActorId& actor);
  Waited wait_stream_room(Inbound& call);
  // Waits, before a worker ends, until nobody borrows an object it owns.
  void drain();
  bool is_leaving() const { return leaving_; }
  void leave();
  // The same, and what is queued is not run any more.
  void leave_at_once();
  // Called under the lock when a running call shall stop: (task, force).
  void set_cancel_hook(std::function<void(const TaskId&, bool)> hook) { cancel_hook_ = std::move(hook); }
  // Called under the lock, at most ten times a second, when what runs here may have changed: what runs, "" for nothing.
  void set_title_hook(std::function<void(const std::string&)> hook) { title_hook_ = std::move(hook); }
  // Answers the node's questions about what this program does; called on a thread of its own without the lock, until
  // `stop`: (question, FlexBuffers body, stop).
  using Prober = std::function<Answer(const std::string&, const std::string&, const std::atomic<bool>& stop)>;
  void set_prober(Prober prober) { prober_ = std::move(prober); }
  void set_node_lost_hook(std::function<void()> hook) { node_lost_hook_ = std::move(hook); }

  // ---- Links, and facts ----
  rpc::ConnectionPtr program(const Address& address) override;
  rpc::ConnectionPtr open_program(const WorkerId& worker) override;
  Address address_of(const rpc::Connection& link) override;
  rpc::ConnectionPtr node() override { return node_ && !node_->is_closed() ? node_ : nullptr; }
  const Address& self() override { return self_; }
  JobId job() override { return job_; }
  const std::string& job_config() const { return job_config_; }
  const std::string& session_dir() const { return session_dir_; }
  bool is_stopped() const { return stopped_; }
  // Why the node is gone; empty while it is there.
  const std::string& stop_reason() const { return stop_reason_; }
  bool is_worker() const { return kind_ == wire::ProgramKind::Worker; }
  store::Client* store() { return store_.get(); }

  // ---- what the parts ask of the engine ----
  void erase_stored(const ObjectId& id, const NodeId& node, bool spread) override;
  void actor_out_of_scope(const ObjectId& id) override;
  void recover(Object& object) override;
  // The value is lost for good: the object becomes an error.
  void give_up(Object& object, const char* kind, const std::string& why);
  bool is_stored(const ObjectId& id) override;
  void promote(const NodeId& node, const std::vector<ObjectId>& ids) override;
  bool seek_spilled(const ObjectId& id, const std::vector<NodeId>& lost_at) override;
  void drop_lineage(TaskPtr task) override;
  void became_ready() override;
  Peer* peer(const Address& address) override;
  void fail(Task& task, ValuePtr error) override;
  void fail_worker_died(TaskPtr task, const Address& worker) override;
  void on_open(rpc::Connection& link) override;
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection& link, const Error& why) override;
  void send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override;

 private:
  enum class Leader { kNone, kThread, kBackground, kLoop };
  struct Waiter {
    std::condition_variable cv;
    const std::function<bool()>* ready;
    bool done = false;
  };
  struct Dependent;  // waits for a task's references
  struct TokenListener;
  using NodeCallback = std::function<void(const rpc::Frame*)>;

  explicit Engine(const EngineConfig& config);
  Status start(const EngineConfig& config);
  Status listen();
  Status register_here(const EngineConfig& config);
  Result<rpc::ConnectionPtr> connect(const Address& address);
  Status start_background();

  int lead(Lock& lock, int timeout_ms);
  void dispatch_arrived();
  void serve_waiters();
  void flush_if_needed();
  bool may_gather();
  void send_gathered();
  void leave_wait(Lock& lock);
  void background_loop();
  void background_tick();
  void help_event_loop(Lock& lock);
  bool interrupted(Lock& lock);
  void send_blocked(bool blocked);

  void after_submission();
  static std::vector<ObjectPtr> count_unready(Task& task);
  void await(const TaskPtr& task, const std::vector<ObjectPtr>& unready);
  void resolve(const TaskPtr& task);
  bool send_promotion(const NodeId& where, const std::vector<ObjectId>& ids, const std::vector<NodeId>& lost_at);
  void dispatch_task(TaskPtr task);
  void fail_for_argument(TaskPtr task, ValuePtr error);
  // An actor's call waits its turn, and for its references.
  void queue_call(Actor& actor, TaskPtr task);
  NodeId nearest(const Task& task);
  void pin(Task& task);
  void unpin(Task& task);
  void on_task_reply(rpc::Connection& link, const rpc::Frame& frame);
  // node: where what is in a store is.
  void finish(Task& task, const wire::TaskReply& reply, rpc::Bytes raw, const NodeId& node);
  void finish_failed(Task& task, const wire::TaskReply& reply, rpc::Bytes raw);
  void finish_stream(Task& task);
  void open_stream(Task& task);
  // What is still lost at the end of a run is made in another, or, after that, ends in an error.
  void settle_lost_items(Task& task);
  void end_raw(Task& task, bool is_error, rpc::Bytes value);
  void finish_raw(Task& task, const wire::TaskReply& reply, rpc::Bytes raw);
  void send_ack(Task& task, uint64_t consumed, bool stop);
  void settled(Task& task);
  void maybe_end_actor(Actor& actor);
  void on_stream_item(rpc::Connection& link, const rpc::Frame& frame);
  void add_stream_item(Task& task, ObjectPtr item);
  void drop_surplus_item(const ObjectId& id, const ObjectPtr& known, const wire::Result& result, const NodeId& node);
  void keep_lineage_of(Task& task, Object& object);
  void settle_lineage(Task& task);
  void remember(Task& task);
  void recall(Task& task);
  void forget_how(Task& task);
  std::vector<ObjectPtr> recover_one(Object& object);
  std::pair<const char*, const char*> why_not_again(const Object& object, const Task* task);
  void wake_stream(Task& task);
  void ack_stream(Task& task, bool stop);
  void on_cancel(rpc::Connection& link, const rpc::Frame& frame);
  void cancel_task(Task& task, bool force, bool recursive);
  void cancel_children(const TaskId& parent, bool force);
  void on_node_frame(rpc::Connection& link, const rpc::Frame& frame);
  void on_node_closed(const Error& why);
  void on_incoming_link(const rpc::Frame& frame);
  void on_node_gone(const rpc::Frame& frame);
  // An object of another node's store comes to this node's. False: it is on its way; otherwise how it ended.
  struct Pull;
  bool pull(Object& object, Pull* ended);
  void on_pulled(const rpc::Frame& frame);
  void on_adopted(const rpc::Frame& frame);
  // The daemon reaches other hosts.
  bool has_neighbours() const { return !self_.endpoint.empty() && self_.endpoint[0] != '@'; }
  void on_peer_closed(Peer& peer, const Error& why);
  void on_actor_link_lost(const ActorId& id, std::vector<TaskPtr> calls);
  void introduce(rpc::Connection& link);
  void on_introduce(rpc::Connection& link, const rpc::Frame& frame);
  void end_everything();
  struct Question {
    uint32_t call_id;
    std::string method, body;
  };
  // Uses of objects by tasks under way, and inside the values of other objects.
  struct UseCounts {
    std::unordered_map<const Object*, int> by_tasks, in_objects;
  };
  void on_question(const rpc::Frame& frame);
  void answer_questions();
  void answer_node(uint32_t call_id, const Answer& answer);
  void end_probing();
  Answer reopen_logs(const std::string& body);
  UseCounts count_uses();
  static const char* reference_type(const Object& object, const Object::Extra* extra, const UseCounts& counts);
  std::string references();
  std::string describe();
  static bool records_events();
  void arm_events_timer();
  void show_running();
  void send_task_events();
  bool tell_waiting();
  void tell_failed(const Task& task, const ValuePtr& error);
  void end_in_error(Task& task, ValuePtr error);
  void on_log_lines(const rpc::Frame& frame);
  void on_notice(const rpc::Frame& frame);
  void add_logs(std::vector<LogLine> lines);
  uint32_t call_node(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table, rpc::Bytes raw,
                     NodeCallback callback);
  void arm_idle_timer();
  void arm_doubt_timer();
  void await_last_answers(const ActorId& id);
  TaskId new_task_id();
  void add_token(uint64_t token);

  std::mutex mutex_;
  rpc::Reactor reactor_;
  wire::ProgramKind kind_;
  std::string session_dir_, job_config_;
  Address self_;
  std::string door_;  // through which other hosts are reached; empty: through their own
  JobId job_;
  rpc::ConnectionPtr node_;
  std::unique_ptr<store::Client> store_;
  Objects objects_;
  Submitter submitter_;
  Actors actors_;
  Executor executor_;
  TaskLog task_log_;
  const bool records_events_ = records_events();
  std::deque<TaskPtr> unneeded_;  // nothing that they made needs them any more
  std::deque<std::pair<TaskPtr, ValuePtr>> failing_;
  std::map<uint64_t, Task*> remembering_;  // ended tasks that may run again, the oldest first
  uint64_t last_remembering_ = 0;
  std::vector<TaskPtr> waiting_;  // for references, since the last batch of task events

  std::map<rpc::Connection*, std::unique_ptr<Peer>> links_;
  std::unordered_map<WorkerId, Peer*> peers_;
  std::unordered_map<uint32_t, NodeCallback> node_calls_;
  std::unordered_map<TaskId, Task*> streams_;
  struct Pull {
    bool done = false;
    std::string why;  // not empty: it failed
    bool full = false;  // for want of space here
  };
  std::unordered_map<ObjectId, Pull> pulls_;
  std::unordered_set<ObjectId> adopted_;  // values handed over, until who waits for that has seen it

  Leader leader_ = Leader::kNone;
  Spin spin_;  // the leading thread's
  uint64_t lead_count_ = 0;
  std::vector<Waiter*> waiters_;
  bool dispatching_ = false;
  bool background_asked_ = false, background_deep_ = false;
  bool polled_ = false;
  uint64_t polls_ = 0;
  bool gathers_ = false, gathered_ = false;  // the background thread looks after what turns gather; something was since
  Clock::time_point last_sent_;  // by a turn
  bool takes_tokens_ = false, tokens_signalled_ = false;
  bool interrupt_due_ = false;  // a call of this process is being cancelled: signals are to be looked at
  bool idle_timer_armed_ = false, doubt_timer_armed_ = false, events_timer_armed_ = false;
  int blocked_ = 0;
  int submitted_since_poll_ = 0;
  std::condition_variable background_cv_;
  std::thread background_;
  std::atomic<bool> stopped_{false};
  std::atomic<bool> leaving_{false};
  bool stopping_ = false, goodbye_ = false;
  std::string stop_reason_;
  std::function<bool()> interrupt_check_;
  std::function<void(const TaskId&, bool)> cancel_hook_;
  std::function<void()> node_lost_hook_;
  std::function<void(const std::string&)> title_hook_;

  Prober prober_;
  std::deque<Question> questions_;
  std::thread probing_;
  bool is_probing_ = false;
  std::atomic<bool> probe_stops_{false};

  std::string process_unique_;  // 12 random bytes
  std::atomic<uint64_t> next_id_{1};
  std::vector<uint64_t> tokens_;
  int token_fd_ = -1;

  std::mutex log_mutex_;
  std::condition_variable log_cv_;
  std::deque<LogLine> logs_;
};

}  // namespace narke::worker
