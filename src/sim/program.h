// A simulated driver or worker: speaks to its daemon in the real frames, to other programs in words of its own.
//
// As a submitter (program.cc) it asks for leases by class, pushes one task at a time to each leased worker, runs again
// what a lost worker had begun as long as retries are left, and returns what it does not need. As a worker
// (program_worker.cc) it runs tasks or becomes an actor. As a driver (program_driver.cc) it makes actors and placement
// groups, uses them, and lets them go.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "node/wire.h"
#include "rpc/reactor.h"
#include "sim/host.h"
#include "sim/ledger.h"

namespace narke::sim {

class Program;

// What programs ask of the cluster they run in.
class Cast {
 public:
  virtual ~Cast() = default;
  virtual Stage& stage() = 0;
  virtual Ledger& ledger() = 0;
  virtual rpc::Reactor& programs() = 0;  // of all programs' ends of their links
  virtual Program* find(const WorkerId& id) = 0;
  virtual Host& host(int index) = 0;
  // It has ended: by itself with this exit code, or with its daemon's link (lost).
  virtual void on_exit(Program& program, int exit_code, bool lost) = 0;
  virtual void note(const std::string& text) = 0;
  // Of the trouble that programs make: in a thousand.
  virtual int trouble() = 0;
  virtual bool loses_answers() = 0;
};

struct Errand {  // what a driver is to do
  int tasks = 0, actors = 0, groups = 0;
  int64_t over_us = 0;  // spread over so long
  bool leaves_detached = false;
};

class Program : private rpc::Handler {
 public:
  Program(Cast& cast, const WorkerId& id, int host, wire::ProgramKind kind);
  ~Program() override;

  const WorkerId& id() const { return id_; }
  int host() const { return host_; }
  bool is_driver() const { return kind_ == wire::ProgramKind::Driver; }
  const ActorId& actor() const { return actor_; }
  int incarnation() const { return incarnation_; }
  // Connects and registers; a driver then runs its errand.
  void begin(Errand errand = {});
  // Its process is gone: every stream of its ends, what it ran is not finished.
  void die();
  bool is_dead() const { return dead_; }
  // A driver: everything it was to do has ended.
  bool is_done() const { return left_; }
  // What it still waits for, for messages.
  std::string waits_for() const;
  // Another program's stream reaches this one.
  bool accept(const LinePtr& line);

 private:
  enum class Word : uint8_t { kHello = 1, kRun, kDone, kCall, kAnswer };
  struct Message {  // between programs
    Word word;
    uint8_t pad[3] = {};
    uint32_t subject = 0;  // task or call
    int32_t incarnation = 0;
    uint32_t spare = 0;
  };
  struct Pool {  // of one class
    std::deque<uint32_t> waiting;
    std::set<uint32_t> asked;  // call ids
  };
  struct Held {
    uint64_t lease = 0;
    uint64_t cls = 0;
    WorkerId worker;
    NodeId node;
    LinePtr line;
    std::vector<uint8_t> in;
    int64_t task = -1;
    bool ready = false, reclaimed = false, used = false;
  };
  struct Handle {  // of an actor
    uint32_t index = 0;
    wire::ActorState state = wire::ActorState::Pending;
    int incarnation = -1;
    WorkerId worker;
    NodeId node;
    LinePtr line;
    std::vector<uint8_t> in;
    bool ready = false;
    std::deque<uint32_t> queue;
    std::set<uint32_t> in_flight;
    bool let_go = false;
    uint64_t streams = 0;  // dialled so far
  };
  enum class Stage_ : uint8_t { kCreating, kWaiting, kUsing, kRemoving, kGone };
  struct Group {
    PgId id;
    uint32_t number = 0;  // from 1
    size_t bundles = 1;
    Stage_ stage = Stage_::kCreating;
    std::vector<uint32_t> tasks;
  };

  // rpc::Handler
  void on_frame(rpc::Connection&, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection&, const Error&) override;

  // submitting (program.cc)
  void submit(uint32_t task);
  void serve(uint64_t cls);
  void ask(uint64_t cls);
  void on_lease_reply(const rpc::Frame& frame);
  void on_granted(uint64_t cls, const wire::LeaseReply& reply);
  void on_refused(uint64_t cls, const wire::LeaseReply& reply);
  void dial_worker(Held& held);
  void on_worker_word(uint64_t lease, const Message& message);
  void on_worker_lost(uint64_t lease);
  void give(Held& held);
  void give_back(uint64_t lease, bool failed);
  void end_task(uint32_t task, Outcome outcome);
  void fail_attempt(uint32_t task);
  void on_node_gone(const NodeId& node);
  bool has_ended_for_head() const;
  node::LeaseRequest request_of(uint64_t cls);

  // working (program_worker.cc)
  struct Guest {
    LinePtr line;
    std::vector<uint8_t> in;
  };
  void on_guest_word(const std::shared_ptr<Guest>& guest, const Message& message);
  void run(const std::shared_ptr<Guest>& guest, uint32_t task);
  void finish(const std::shared_ptr<Guest>& guest, uint32_t task);
  void call(const std::shared_ptr<Guest>& guest, const Message& message);
  void become(const rpc::Frame& frame);
  void started(bool ok);
  void leave(int exit_code);

  // driving (program_driver.cc)
  void run_errand();
  uint64_t some_class(size_t shape);
  void make_actor(const Group* group);
  void on_actor_update(const rpc::Frame& frame);
  void dial_actor(Handle& handle);
  void send_calls(Handle& handle);
  void on_actor_word(uint32_t index, const Message& message);
  void on_actor_lost(uint32_t index);
  void settle_calls(Handle& handle, bool dead);
  void let_go(Handle& handle);
  void make_group();
  void control(uint32_t group, const char* method);
  void on_control_reply(const rpc::Frame& frame);
  void use_group(Group& group);
  void look_at_groups();
  void look_at_end();

  template <class Table>
  void send(wire::MessageType type, uint32_t call_id, const Table& table) {
    if (link_) link_->send(type, call_id, table);
  }
  void flush() { cast_.programs().flush_all(); }
  static void say(const LinePtr& line, int end, Word word, uint32_t subject, int incarnation = 0);
  // The whole messages among what has come.
  static std::vector<Message> heard(std::vector<uint8_t>& in, rpc::Bytes bytes);
  Timeline& timeline() { return cast_.stage().timeline(); }
  // What happens after a while, if the program still lives.
  void later(int64_t us, std::function<void()> what);

  Cast& cast_;
  WorkerId id_;
  int host_;
  wire::ProgramKind kind_;
  std::shared_ptr<bool> lives_ = std::make_shared<bool>(true);
  bool dead_ = false;
  rpc::ConnectionPtr link_;
  bool registered_ = false;
  JobId job_;
  uint32_t last_call_ = 0;

  std::map<uint64_t, Pool> pools_;
  std::map<uint32_t, uint64_t> calls_;  // RequestLease without an answer
  std::map<uint64_t, Held> held_;
  size_t open_tasks_ = 0;

  std::vector<std::weak_ptr<Guest>> guests_;
  int64_t running_ = -1;
  std::map<uint32_t, uint32_t> children_;  // open ones, by task that waits for them
  std::map<uint32_t, uint32_t> parent_of_;
  std::shared_ptr<Guest> asker_;
  bool asked_to_leave_ = false;
  ActorId actor_;
  int incarnation_ = -1;
  bool actor_runs_ = false;

  Errand errand_;
  bool errand_over_ = false, leaving_ = false, left_ = false;
  std::map<uint32_t, Handle> handles_;  // by the ledger's number
  std::deque<Group> groups_;
  std::map<uint32_t, uint32_t> controls_;  // group by call id
};

// Classes of tasks: shapes, strategies, and the placement group they run in (0: none).
const std::vector<sched::ResourceSet>& shapes();
uint64_t class_of(size_t shape, size_t strategy, uint32_t group);

}  // namespace narke::sim
