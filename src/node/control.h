// The control methods: what programs ask in words. Body and answer are FlexBuffers maps.
//
// A method answers at once, or later (waits) through the reply function. Unknown methods and malformed bodies are
// errors, never crashes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <flatbuffers/flexbuffers.h>

#include "base/host_stats.h"
#include "history/query.h"
#include "node/asking.h"
#include "node/cluster.h"
#include "node/history.h"
#include "node/package_files.h"
#include "node/program.h"
#include "node/rows.h"

namespace narke::node {

using MapBuilder = flexbuffers::Builder;

// In front of a method's name: this node is asked, whichever knows all. It tells of its own host.
inline constexpr std::string_view kHereMark = "here:";

// A program as people name it.
struct ProgramName {
  WorkerId worker;  // nil: by its process
  int pid = 0;
};

// What the methods ask of those who hold the links.
class ControlOut {
 public:
  virtual ~ControlOut() = default;
  // A question in words; `then` is called once, with an error after `limit_ms`.
  virtual void ask_program(const WorkerId& program, const std::string& method, const std::vector<uint8_t>& body,
                           int64_t limit_ms, Asking::Then then) = 0;
  virtual void ask_node(const NodeId& node, const std::string& method, const std::vector<uint8_t>& body,
                        int64_t limit_ms, Asking::Then then) = 0;
  // Programs of this node that can be asked; null when it is none of them.
  virtual const Program* program_of(const ProgramName& target) = 0;
  virtual std::vector<WorkerId> programs() = 0;
  // Work that waits for the disk, beside the reactor's thread.
  virtual void run_aside(std::function<Answer()> work, Asking::Then then) = 0;
};

struct ControlConfig {
  std::string session_dir, socket_path, address, hostname;
  // Has a node go; returns why it is not to, or nothing.
  std::function<std::string(const NodeId& node, controller::Drain drain)> drain_node;
};

class Control {
 public:
  using Reply = std::function<void(const WorkerId& program, uint32_t call_id, Answer answer)>;
  using StoreOf = std::function<const store::ProgramStore*()>;

  Control(Cluster& cluster, ControlConfig config, const History& history, const history::TaskTable& tasks,
          PackageFiles& packages, StoreOf store, ControlOut& out, Reply reply);

  void handle(const Program& caller, uint32_t call_id, const std::string& method, const flexbuffers::Map& body);
  // Those who wait for it are answered.
  void on_group_changed(const controller::PlacementGroup& group);
  void on_worker_gone(const WorkerId& worker);
  void tick();
  // Where others find this node's metrics, HOST:PORT; "" when the head tells of this node.
  void set_metrics_target(std::string target) { metrics_target_ = std::move(target); }
  bool has_waiters() const { return !group_waiters_.empty() || !fate_waiters_.empty(); }

 private:
  struct Failure {
    std::string kind, message;
  };
  struct Call {
    const Program& caller;
    uint32_t id;
    const flexbuffers::Map& body;
    MapBuilder& out;
    bool later = false;

    std::string text(const char* key) const;
    std::string bytes(const char* key) const;
    bool flag(const char* key, bool otherwise = false) const;
    int64_t number(const char* key, int64_t otherwise) const;
    std::string name_space() const;  // the body's, else the caller's
  };
  // A call that is answered later: its body is kept.
  struct Question {
    WorkerId program;
    uint32_t call_id;
    std::vector<uint8_t> body;
    flexbuffers::Map map() const;
  };
  struct Waiter {
    WorkerId program;
    uint32_t call_id;
    int64_t deadline_ms;
  };
  using Method = Failure (Control::*)(Call&);
  static const std::unordered_map<std::string, Method>& methods();

  // the cluster
  Failure cluster_resources(Call& call);
  Failure available_resources(Call& call);
  Failure nodes(Call& call);
  Failure session_info(Call& call);
  Failure set_resource(Call& call);
  Failure drain_node(Call& call);
  Failure store_stats(Call& call);
  // actors and workers
  Failure get_actor(Call& call);
  Failure named_actors(Call& call);
  Failure worker_fate(Call& call);
  Failure prestart(Call& call);
  Failure job_info(Call& call);
  // tables
  Failure list_actors(Call& call);
  Failure summarize_actors(Call& call);
  Failure list_workers(Call& call);
  Failure list_jobs(Call& call);
  Failure list_groups(Call& call);
  Failure list_objects(Call& call);
  Failure probe(Call& call);
  Failure describe_nodes(Call& call);
  Failure list_hosts(Call& call);
  Failure list_logs(Call& call);
  Failure read_log(Call& call);
  Failure search_logs(Call& call);
  Failure list_tasks(Call& call);
  Failure summarize_tasks(Call& call);
  Failure task_events(Call& call);
  Failure list_events(Call& call);
  Failure pending_demand(Call& call);
  // placement groups
  Failure create_group(Call& call);
  Failure remove_group(Call& call);
  Failure wait_group(Call& call);
  Failure group_table(Call& call);
  Failure get_group(Call& call);
  // keys
  Failure kv_put(Call& call);
  Failure kv_get(Call& call);
  Failure kv_del(Call& call);
  Failure kv_keys(Call& call);
  Failure kv_exists(Call& call);
  // packages
  Failure package_size(Call& call);
  Failure package_put(Call& call);
  Failure package_get(Call& call);

  static std::shared_ptr<Question> later(Call& call);
  void answer(const Question& question, Answer answer);
  void probe_elsewhere(std::shared_ptr<Question> question, ProgramName target, std::vector<NodeId> nodes,
                       int64_t limit_ms);
  // On the head: the nodes but this one.
  std::vector<NodeId> other_nodes() const;
  static std::vector<uint8_t> here_only(const flexbuffers::Map& body, int64_t rows);
  using Own = std::function<void(const std::vector<uint8_t>& body, const Asking::Then& then)>;
  void everywhere(std::shared_ptr<Question> question, const std::string& method, const std::string& key, Own own);
  void combine(const Question& question, const std::string& method, const std::string& key,
               const std::vector<Answer>& answers);
  void own_objects(const std::vector<uint8_t>& body, const Asking::Then& then);
  using AddRow = std::function<void(const Rows::Put&)>;
  static Answer page_of(const std::vector<uint8_t>& body, const char* key,
                        const std::function<void(const AddRow&)>& each);
  // The answer `key`: those of the rows that `each` adds which the body's filters and page ask for.
  Failure list_rows(Call& call, const char* key, const std::function<void(const AddRow&)>& each);
  void put_resources(MapBuilder& out, const ResourceSet& resources);
  void put_node(MapBuilder& out, const controller::Node& node);
  void put_actor(MapBuilder& out, const controller::Actor& actor);
  void put_group(MapBuilder& out, const controller::PlacementGroup& group);
  void put_job(MapBuilder& out, const controller::Job& job);
  void put_worker(MapBuilder& out, const Worker& worker, const char* type = "WORKER");
  void put_host(MapBuilder& out);
  void put_store(MapBuilder& out);
  std::string logs() const { return config_.session_dir + "/logs"; }
  bool is_elsewhere(const std::vector<uint8_t>& body) const;
  void put_driver(MapBuilder& out, const Program& driver);
  void put_object(MapBuilder& out, const std::string& id, const store::ObjectInfo* stored);
  void put_reference(MapBuilder& out, const Program& program, const flexbuffers::Map& row,
                     const store::ObjectInfo* stored);
  void put_unreferenced(MapBuilder& out, const store::ObjectInfo& object);
  void put_fate(MapBuilder& out, const Fate& fate);
  void answer_group(const Waiter& waiter, const char* state);
  void answer_fate(const Waiter& waiter, const Fate& fate);
  using Answerer = void (*)(const history::TaskTable&, const history::Query&, MapBuilder&);
  Failure ask_tasks(Call& call, Answerer answer);
  int64_t now_ms() const;
  int64_t epoch_ms(int64_t own_ms) const;  // a time of the node's clock, since 1970

  Cluster& cluster_;
  ControlConfig config_;
  const History& history_;
  const history::TaskTable& tasks_;
  PackageFiles& packages_;
  StoreOf store_;
  ControlOut& out_;
  HostWatch host_{config_.session_dir};
  std::string metrics_target_;
  Reply reply_;
  std::unordered_multimap<PgId, Waiter> group_waiters_;
  std::unordered_multimap<WorkerId, Waiter> fate_waiters_;
};

}  // namespace narke::node
