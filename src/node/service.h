// The daemon's side of every program's connection: frames in, cluster calls, frames out.
//
// Lifecycle: made before the socket listens; programs come (Register) and go (closed link); destroyed after the
// reactor has stopped. One thread: the reactor's.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "controller/suspicion.h"
#include "node/cluster.h"
#include "node/control.h"
#include "node/departed.h"
#include "node/environments.h"
#include "node/errands.h"
#include "node/evacuation.h"
#include "node/log_follower.h"
#include "node/peers.h"
#include "node/processes.h"
#include "node/program.h"
#include "node/spread.h"
#include "node/task_history.h"
#include "node/wire.h"
#include "rpc/reactor.h"
#include "rpc/tcp.h"
#include "store/server.h"
#include "transfer/transfer.h"
#include "tunnel/tunnels.h"

namespace narke::node {

class SharedSpill;

struct ServiceConfig {
  NodeConfig node;
  // session_dir empty: nothing is written to disk, and no worker's output is followed.
  std::string session_dir, socket_path, token_path, address, hostname;
  bool is_head = true;
  std::string endpoint;  // HOST:PORT of this node's door; empty: it is a cluster of its own
  std::string python;    // version of Python of this node's workers; empty: unknown
  // A driver's node outside of the cluster's network: nothing runs on it, nobody can dial it.
  bool outside = false;
  std::string outside_of;  // HOST:PORT at which the head is dialled
  std::string door;        // HOST:PORT of this node's own door, through which its programs reach the cluster
  int64_t grace_ms = 0;    // how long the line may be broken
  int64_t head_wait_ms = 300'000;  // a node whose head is away goes on for so long
  std::function<WorkerId()> new_worker_id;  // empty: ids that nobody can guess
  std::string spill_storage;  // of the head: what it tells nodes that join; empty: nothing
  std::vector<std::string> setup_command;  // makes what runtime environments name (environments.h)
};

int64_t steady_now_ns();
// Ids that nobody can guess.
WorkerId random_worker_id();
NodeId random_node_id();

using wire::MessageType;

class Service : public rpc::Handler,
                public ProcessesOut,
                public store::ServerOut,
                private ClusterOut,
                private ControlOut,
                private LogOut,
                private PeersOut,
                private tunnel::TunnelsOut {
 public:
  Service(rpc::Reactor& reactor, ServiceConfig config, std::function<void(const std::string&)> log);
  ~Service() override;

  // Wires the parts that call back into the service; before anything is dispatched.
  void attach(WorkerProcesses& processes, store::ProgramStore& store);
  Cluster& cluster() { return cluster_; }
  const Cluster& cluster() const { return cluster_; }
  // ---- with other hosts (service_cluster.cc)
  // See Control::set_metrics_target.
  void set_metrics_target(std::string target) { control_.set_metrics_target(std::move(target)); }
  void attach_transfers(transfer::Transfers& transfers) { transfers_ = &transfers; }
  // storage: what the head said when this node joined.
  void on_spill_storage(std::function<void(const std::string& storage)> told) { spill_told_ = std::move(told); }
  void attach_spill(SharedSpill& spill) { spill_ = &spill; }
  tunnel::TunnelsOut& tunnels_out() { return *this; }
  void attach_tunnels(tunnel::Tunnels& tunnels) { tunnels_ = &tunnels; }
  // HOST:PORT by which other hosts reach this one; of a node outside of the cluster's network: once it has joined.
  const std::string& endpoint() const { return config_.endpoint; }
  // Somebody has come through the door.
  void on_arrival(const rpc::Preface& preface, int fd);
  // Of the links that come from other daemons.
  rpc::Handler& node_links() { return peers_; }
  // Joins the cluster of the head at HOST:PORT; joined(error) is told how it went.
  void join(const std::string& head_endpoint, std::function<void(const std::string& error)> joined);
  // Begins what is done again and again where there are other hosts.
  void begin_rounds();
  // The head: goes on where the journal's last keeper stopped, and keeps what changes from now on.
  Status resume(std::unique_ptr<journal::Journal> journal);
  // This node is told to stop. True: it says so to the head and is drained, which takes seconds at most, then it is
  // expelled; false: there is nothing to wait for.
  bool ask_to_leave(const std::string& why);
  // Called when the cluster goes on without this node, also on a head that another has taken over from.
  void on_expelled(std::function<void(const std::string& why)> callback) { expelled_ = std::move(callback); }
  // Called when a driver's link ends.
  void on_driver_gone(std::function<void(int pid)> callback) { driver_gone_ = std::move(callback); }
  // What is kept for programs that are under way, in words; empty: nothing. lives: whether a program of another node
  // has not ended: that it is known is no leftover.
  std::string leftovers(const std::function<bool(const WorkerId&)>& lives) const;
  // Upkeep, a few times a second.
  void tick();
  // Memory is nearly short: many workers are not made more.
  void hold_starts(const std::string& figures, int64_t for_ms);
  void relieve_memory(const std::string& figures);
  // The head was stopped on purpose: nobody is to go on with what it has kept, unless that is meant for another head.
  void drop_journal();
  // Every program is told to leave.
  void stop();

  // rpc::Handler
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection& link, const Error& why) override;

  // ProcessesOut
  void on_process_started(const WorkerId& worker, int pid) override;
  void on_process_failed(const WorkerId& worker, const std::string& message, bool postponed) override;
  void on_process_gone(const WorkerId& worker, const Fate& fate) override;
  void log(const std::string& message) override { log_(message); }

  // store::ServerOut
  void send(store::ClientKey client, wire::MessageType type, const Builder& table) override;

 private:
  // frames
  void on_register(rpc::Connection& link, const rpc::Frame& frame);
  Program* admit(rpc::Connection& link, const wire::Register& request);
  void read_config(Program& program, const std::string& config);
  void admit_observer(rpc::Connection& link, const wire::Register& request, uint32_t call_id);
  void refuse(rpc::Connection& link, uint32_t call_id, const std::string& why);
  void registered(Program& program, uint32_t call_id);
  bool dispatch(Program& program, const rpc::Frame& frame);
  void serve(Program& program, const rpc::Frame& frame);  // its link is closed when that is malformed
  bool dispatch_actor(Program& program, const rpc::Frame& frame);
  bool on_request_lease(Program& program, const rpc::Frame& frame);
  bool on_create_actor(Program& program, const rpc::Frame& frame);
  bool on_actor_started(Program& program, const rpc::Frame& frame);
  bool on_watch_actor(Program& program, const rpc::Frame& frame);
  void watch_actor(const WorkerId& watcher, const ActorId& id, int tries);
  bool on_kill_actor(const rpc::Frame& frame);
  bool on_control(Program& program, const rpc::Frame& frame);
  // questions (service_asking.cc)
  void reply_control(const WorkerId& program, uint32_t call_id, const Answer& answer);
  bool on_answer(const WorkerId& from, const rpc::Frame& frame);
  void on_node_question(const NodeId& from, const rpc::Frame& frame);
  bool is_member(const NodeId& node) const;
  static bool is_asked(const Program& program);
  void on_goodbye(Program& program, uint32_t call_id);
  void say_goodbye(Program& program, uint32_t call_id);
  void finish_goodbyes();
  void hurry();
  bool has_ending_workers(const JobId& job) const;
  void bury(WorkerId id);
  void detach_when_ended(store::ClientKey key, int pid);
  void driver_gone(Program& program, const std::string& why);

  // ControlOut
  void ask_program(const WorkerId& program, const std::string& method, const std::vector<uint8_t>& body,
                   int64_t limit_ms, Asking::Then then) override;
  void ask_node(const NodeId& node, const std::string& method, const std::vector<uint8_t>& body, int64_t limit_ms,
                Asking::Then then) override;
  const Program* program_of(const ProgramName& target) override;
  std::vector<WorkerId> programs() override;
  void on_rotated(const WorkerId& worker) override;
  void prune_old_logs();
  void run_aside(std::function<Answer()> work, Asking::Then then) override {
    errands_.run(std::move(work), std::move(then));
  }

  // ClusterOut
  int64_t now_ms() override;
  WorkerId new_worker_id() override { return config_.new_worker_id ? config_.new_worker_id() : random_worker_id(); }
  void grant(const Grant& grant) override;
  void deny(const WorkerId& holder, uint32_t call_id, wire::LeaseStatus status, wire::FailureKind failure,
            const std::string& message) override;
  void reclaim(const WorkerId& holder, uint64_t lease) override;
  void notice(const JobId& job, const std::string& kind, const std::string& text) override;
  void actor_changed(const WorkerId& watcher, const controller::Actor& actor) override;
  void group_changed(const controller::PlacementGroup& group) override;
  void start_worker(const Worker& worker) override;
  EnvironmentState environment(const JobId& job, const std::string& runtime_env) override;
  void stop_worker(const Worker& worker, StopKind kind, const std::string& reason) override;
  void start_actor(const Worker& worker, const controller::Actor& actor) override;
  void lease_ended(const Worker&) override {}
  void worker_gone(const WorkerId& worker, const JobId& job, const Fate& fate) override;

  void send_place_actor(const NodeId& node, const controller::Actor& actor) override;
  void send_end_actor(const NodeId& node, const ActorId& actor, wire::EndKind kind) override;
  void send_reserve(const NodeId& node, const controller::PlacementGroup& group,
                    const std::vector<size_t>& which) override;
  void send_unreserve(const NodeId& node, const PgId& group, const std::vector<size_t>& which) override;
  void send_lease_request(const NodeId& node, const LeaseRequest& request, bool stay) override;
  void send_cancel_lease(const NodeId& node, const WorkerId& holder, uint32_t call_id) override;
  void send_return_lease(const NodeId& node, const WorkerId& holder, uint64_t lease, bool worker_failed,
                         bool worker_exiting) override;
  void send_actor_news(const ActorNews& news) override;
  void send_watch_group(const PgId& group) override;

  // PeersOut
  void on_node_frame(const NodeId& from, const rpc::Frame& frame) override;
  void on_node_link_closed(const NodeId& node, const Error& why) override;
  std::string endpoint_of(const NodeId& node) override;

  // nodes outside of the cluster's network (service_outside.cc)
  int on_stream(const rpc::Preface& preface, std::string* first) override;
  void on_session_over(const NodeId& node, const std::string& why) override;
  bool is_meant(const NodeId& node) const;
  bool is_outside(const NodeId& node) const;
  void pass_on(const rpc::Preface& preface, int fd);
  std::string objection_to_python(const std::string& theirs) const;

  // objects of other nodes
  bool on_pull(Program& program, const rpc::Frame& frame);
  bool on_erase(const rpc::Frame& frame);
  void erase_at(const std::string& endpoint, const wire::ObjectId& id);
  struct Wanted {  // by a program: an object of other nodes
    WorkerId program;
    ObjectId id;
    uint64_t owner;
    std::vector<NodeId> nodes;
    int64_t deadline_ms;
  };
  void pull(Wanted wanted);
  void pulled(const WorkerId& program, const ObjectId& id, const Status& done);
  bool on_promote(Program& program, const rpc::Frame& frame);
  void seek_spilled(const WorkerId& owner, const wire::PromoteObjects& table);
  void answer_sought(const WorkerId& owner, const ObjectId& id, bool found);
  // from other nodes
  void on_head_frame(const NodeId& from, const rpc::Frame& frame);
  void on_member_frame(const NodeId& from, const rpc::Frame& frame);
  void on_join(const NodeId& from, const rpc::Frame& frame);
  void refuse_join(const NodeId& from, const rpc::Frame& frame, const std::string& why);
  void on_joined(const NodeId& from, const rpc::Frame& frame);
  void on_view(const rpc::Frame& frame);
  void on_report(const NodeId& from, const rpc::Frame& frame);
  void on_want_view(const NodeId& from);
  void on_lease_sync(const NodeId& from, const rpc::Frame& frame);
  void on_peer_lost(const NodeId& node);
  void sync_leases(const NodeId& node);
  // This node has to do with others: it is told of all of them from now on.
  void want_view();
  void ask_for_view();
  bool knows_others() const { return cluster_.is_head() || has_view_; }
  // A frame that concerns other nodes waits until this one knows them.
  void hold(Program& program, const rpc::Frame& frame);
  void hold(const NodeId& from, const rpc::Frame& frame);
  void when_viewed(std::function<void()> what);
  void on_node_state(const NodeId& id, const wire::NodeState& state);
  void on_whole_view(const std::set<NodeId>& named);
  void stranger_gone(const NodeId& node, const std::string& why, bool drained);
  void on_relay(const NodeId& from, const rpc::Frame& frame);
  void on_relayed_reply(const NodeId& from, Program& program, const rpc::Frame& frame);
  void on_relayed_request(const NodeId& from, Program& program, const rpc::Frame& frame, bool stay);
  void on_remote_driver(const NodeId& from, const WorkerId& id, const rpc::Frame& frame);
  void on_program_came(const NodeId& from, const rpc::Frame& frame);
  void on_program_gone_there(const rpc::Frame& frame);
  void on_job_news(const rpc::Frame& frame);
  void on_place_actor(const rpc::Frame& frame);
  void on_actor_news(const rpc::Frame& frame);
  void on_reserve(const NodeId& from, const rpc::Frame& frame);
  void on_return_bundles(const rpc::Frame& frame);
  void on_group_news(const rpc::Frame& frame);
  void on_watch_group(const NodeId& from, const rpc::Frame& frame);
  // to other nodes
  void send_to(Program& program, MessageType type, uint32_t call_id, const Builder& table, rpc::Bytes raw = {});
  void relay(const NodeId& node, Program& program, MessageType type, uint32_t call_id, rpc::Bytes table, rpc::Bytes raw,
             bool stay = false);
  void relay(const NodeId& node, const WorkerId& program, MessageType type, uint32_t call_id, rpc::Bytes table,
             rpc::Bytes raw, bool stay);
  void bounce(const NodeId& to, const WorkerId& stranger, uint32_t call_id);
  void introduce(const NodeId& node, Program& program);
  bool relay_to_head(Program& program, const rpc::Frame& frame);
  void tell_job(const NodeId& node, const controller::Job& job);
  void tell_jobs(const controller::Job& job);
  void tell_group(const NodeId& node, const controller::PlacementGroup& group);
  enum class Told { kAll, kChanges };  // all that is to be known of a node, or what may have changed
  flatbuffers::Offset<wire::NodeState> pack_node(Builder& b, const controller::Node& node, Told told);
  void tell_head(const NodeId& to);
  void tell_changes();
  void tell_busy();
  void tell_shares();
  void tell_shares(const NodeId& to, const std::map<JobId, ResourceSet>& all);
  void tell_whole_views();
  void tell_whole_view(const NodeId& to);
  void pack_whole_view();
  void tell_programs_gone(const NodeId& node, const std::string& why, bool drained);
  void serve_guest(LeaseRequest request, bool stay, int tries);
  void end_remote_program(const WorkerId& id, const std::string& message);
  void tell_job_of(const WorkerId& driver);
  void program_ended(const WorkerId& id, bool left, const std::string& message);
  void tell_program_gone(const WorkerId& id, bool left, const std::string& message);
  void forget_program(const WorkerId& id);
  std::vector<WorkerId> programs_of(const NodeId& node) const;
  void node_gone(const NodeId& node, const std::string& why);
  // nodes that are to go (service_drain.cc). drain: from the head; returns why not, or nothing.
  struct Leaving;
  std::string drain(const NodeId& node, controller::Drain drain);
  void begin_drain(const NodeId& node, controller::Drain drain);
  void tell_drain(const NodeId& node, const controller::Drain& drain);
  void on_leaving(const NodeId& from, const rpc::Frame& frame);
  void end_overdue(int64_t now_ms);
  void on_objects_moved(const NodeId& from, const rpc::Frame& frame);
  controller::Drain drain_of(const wire::NodeState& state);
  int64_t epoch_of(int64_t own_ms);  // a time of this process' clock, since 1970; 0 stays
  void on_drain(const rpc::Frame& frame);
  void drain_round();
  bool is_idle() const;
  bool is_let_go(int64_t now_ms) const;
  void part();
  void say_leaving();
  void leave_again();  // to a head that was away
  void on_shelter_gone(const NodeId& node);
  std::vector<Evacuation::Object> objects_to_move();
  std::vector<NodeId> shelters();
  void ask_to_take(const NodeId& shelter, const std::vector<Evacuation::Object>& objects);
  void tell_moved(const NodeId& shelter, const std::vector<Evacuation::Object>& objects);
  void on_take(const NodeId& from, const rpc::Frame& frame);
  void on_taken(const NodeId& from, const rpc::Frame& frame);
  void report();
  void report_soon();
  void report_again();
  void send_join(const NodeId& to, bool back);
  controller::Controller::Present present_of(const wire::JoinCluster& table);
  void on_head_lost(const std::string& why);
  void try_to_rejoin();
  void on_back();
  void welcome_back(const NodeId& from, const wire::JoinCluster& table);
  void note_update(const WorkerId& program, const rpc::Frame& frame);
  void track(const WorkerId& program, const rpc::Frame& frame);
  void save_changes();
  void settle();
  void spread_view();
  void on_free(const NodeId& id, const wire::NodeState& state);
  void note_shares(const NodeId& from, const flatbuffers::Vector<flatbuffers::Offset<wire::JobShare>>* shares);
  std::map<JobId, ResourceSet> shares_in_all() const;
  std::map<JobId, ResourceSet> shares_without(const NodeId& node, std::map<JobId, ResourceSet> all) const;
  void look_for_silence();
  Program& remote_program(const WorkerId& id, const NodeId& node);

  // LogOut
  void on_lines(const std::vector<LogText>& lines) override;

  std::shared_ptr<const std::vector<uint8_t>> fork_config(const Worker& worker, const std::string& context);
  void make_environments();
  void end_unused_environments();
  std::string environment_text(const JobId& job, const std::string& runtime_env) const;
  Program* find(const WorkerId& id);
  const controller::Job& job_of(const JobId& job) const;
  Program* driver_of(const JobId& job);
  Builder& fresh();

  rpc::Reactor& reactor_;
  ServiceConfig config_;
  std::function<void(const std::string&)> log_;
  std::function<void(int)> driver_gone_;
  WorkerProcesses* processes_ = nullptr;
  store::ProgramStore* store_ = nullptr;
  tunnel::Tunnels* tunnels_ = nullptr;  // null: no other host can be reached
  transfer::Transfers* transfers_ = nullptr;  // null: no other host can be reached
  SharedSpill* spill_ = nullptr;  // null: what this node spills, others cannot read
  std::function<void(const std::string&)> spill_told_;
  Cluster cluster_;
  Peers peers_;
  NodeId head_;  // nil until it is known
  std::string head_endpoint_;
  std::shared_ptr<Leaving> leaving_;  // not null: this node is to go
  std::string leave_why_;  // not empty: this node was told to stop, and has said so to the head
  int64_t lost_ms_ = 0;  // not 0: the head is away since then
  // Questions to the head without an answer, and what was said and may not have been heard: said again when it is back.
  struct Said {
    WorkerId program;
    MessageType type;
    uint32_t call_id;
    int64_t at_ms;
    std::vector<uint8_t> table, raw;
  };
  std::list<Said> said_;
  std::vector<ActorNews> unheard_;  // of this node's actors, while the head is away
  std::unordered_map<WorkerId, std::set<ActorId>> watches_;  // of this node's programs, at the head
  std::unique_ptr<journal::Journal> journal_;  // the head's; null: nothing is kept
  int64_t journal_retry_ms_ = 0;  // not 0: it could not be written; when to try again
  std::function<void(const std::string&)> joined_, expelled_;
  controller::Suspicion suspicion_;  // the head's: who is silent for too long
  std::unordered_map<PgId, std::set<NodeId>> group_watchers_;
  std::map<NodeId, std::map<JobId, ResourceSet>> shares_;  // the head's: what jobs with a cap hold where
  bool shares_changed_ = false;
  Spread spread_;  // the head's: who is told what is free where
  std::vector<NodeId> came_, altered_;  // the head's: nodes to tell the others about; altered: they leave, or are gone
  Departed departed_;
  std::set<NodeId> broken_with_;  // nodes to which a link broke: what is held there is settled over each new one
  std::set<NodeId> wanting_;  // the head's: nodes that want to know of all others
  std::optional<Builder> whole_view_;  // what they are told, while it holds
  size_t told_whole_ = 0;  // since the last round
  int64_t view_asked_ms_ = 0;
  bool wants_view_ = false, has_view_ = false, report_due_ = false;
  std::vector<std::function<void()>> until_viewed_;
  std::vector<WorkerId> ended_programs_;  // likewise
  ResourceSet reported_;  // what the head was last told is free
  int64_t reported_ms_ = 0;
  LogFollower logs_;
  int64_t pruned_ms_ = 0;
  History history_;
  TaskHistory tasks_;
  PackageFiles packages_;
  Asking asking_;
  Errands errands_;
  Control control_;
  std::unique_ptr<Environments> environments_;
  struct LastFork {
    JobId job;
    std::string runtime_env, context;
    std::shared_ptr<const std::vector<uint8_t>> config;
  };
  LastFork last_fork_;
  std::unordered_map<WorkerId, std::unique_ptr<Program>> programs_;
  std::unordered_map<store::ClientKey, WorkerId> by_key_;
  std::unordered_map<WorkerId, store::ClientKey> key_of_gone_;  // its link is closed, its process not ended yet
  std::unordered_map<WorkerId, Fate> ended_;  // the process is gone, its link may still hold something
  bool hurrying_ = false;
  std::set<int> left_;  // processes of drivers that have left, by pidfd
  store::ClientKey last_key_ = 0;
  Builder builder_;
};

}  // namespace narke::node
