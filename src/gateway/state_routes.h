// The state interface over HTTP: tables, summaries, nodes, actors, the timeline, and what Ray's dashboard asks besides.
#pragma once

#include <functional>
#include <string>

#include "gateway/app.h"
#include "gateway/job_routes.h"
#include "gateway/tables.h"

namespace narke::gateway {

class StateRoutes {
 public:
  StateRoutes(Cluster& cluster, JobRoutes& jobs, const Guard& guard) : cluster_(cluster), jobs_(jobs), guard_(guard) {}
  void add_to(Router& router);

 private:
  using Rows = std::function<void(Selection)>;
  void add_facts(Router& router);
  void list(Call call);
  void summarize(Call call);
  void nodes(Call call);
  void node(Call call);
  void logical_actors(Call call);
  void logical_actor(Call call);
  void cluster_status(Call call);
  void timeline(Call call);
  void overview(Call call);
  void events(Call call);
  void activities(Call call);
  void cluster_id(Call call);
  void kv(Call call);
  // The chosen rows of a table, or an answer that says why there are none.
  void fetch(const Table& table, const Query& query, const Request& request, Reply reply, Rows then);
  void ask(const std::string& method, Reply reply, std::function<void(const json::object&)> then);
  // What the nodes are doing, dead ones too: what the head knows of each with what its host says of itself.
  void node_summaries(Reply reply, std::function<void(json::array)> then);

  Cluster& cluster_;
  JobRoutes& jobs_;
  const Guard& guard_;
};

// Chrome's trace events of finished tasks (the rows of the control method task_events).
json::array trace_events(const json::array& records, const std::string& job_id);
// What `ray status` prints.
std::string status_text(const json::object& total, const json::object& free, const json::array& nodes,
                        const json::array& demand, const std::string& now);

}  // namespace narke::gateway
