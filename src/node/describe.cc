// What a node is doing and what waits there, in words: for whoever wants to know why something does not go on.
#include <algorithm>
#include <array>

#include "node/cluster.h"

namespace narke::node {

static std::string short_hex(const auto& id) { return id.is_nil() ? "nobody" : id.hex().substr(0, 8); }

static const char* name_of(WorkerState state) {
  static constexpr std::array kNames = {"starting", "idle", "leased", "an actor", "leaving"};
  return kNames.at(static_cast<size_t>(state));
}

static std::string line_of(const Worker& worker, int64_t now_ms) {
  std::string out = "worker " + short_hex(worker.id) + " (pid " + std::to_string(worker.pid) + ") " +
                    name_of(worker.state) + " for " + std::to_string(now_ms - worker.since_ms) + " ms";
  if (worker.lease)
    out += ", lease " + std::to_string(worker.lease->id) + " of " + short_hex(worker.lease->holder) + " '" +
           worker.lease->task_name + "' " + class_text(*worker.lease->cls) +
           (worker.lease->reclaim_asked ? ", called back" : "");
  if (!worker.actor.is_nil()) out += ", actor " + short_hex(worker.actor) + (worker.actor_started ? "" : " begins");
  return out + (worker.blocked ? ", blocked" : "") + (worker.killed ? ", killed" : "") + "\n";
}

static std::string line_of(const Request& request, int64_t now_ms) {
  const std::string whose = request.actor.is_nil()
                                ? short_hex(request.holder) + " call " + std::to_string(request.call_id)
                                : "actor " + short_hex(request.actor);
  const char* where = request.line == nullptr ? "a worker" : request.parked ? "other resources" : "free resources";
  return "request of " + whose + " '" + request.task_name + "' " + class_text(*request.cls) + " waits for " + where +
         " since " + std::to_string(now_ms - request.asked_ms) + " ms\n";
}

std::string Core::describe() const {
  const int64_t now = out_.now_ms();
  std::string out = "available " + pool_.available().text() + " of " + pool_.total().text() + "; " +
                    std::to_string(starting_) + " workers start" + (draining_ ? ", draining" : "") +
                    (wanting_.empty() ? "" : ", workers wanted") + (dirty_ ? ", unsettled" : "") +
                    (now < paused_until_ms_ ? ", starts pause: " + pause_reason_ : "") + "\n";
  for (const auto& [id, worker] : workers_) out += line_of(worker, now);
  for_each_request([&](const Request& request) { out += line_of(request, now); });
  return out;
}

std::string Cluster::describe() const {
  std::string out = "node " + short_hex(self()) + (is_head_ ? ", the head" : "") + "\n" + core_.describe();
  for (const auto& [call, sent] : forwarded_)
    out += "request of " + short_hex(call.first) + " call " + std::to_string(call.second) + " is at node " +
           short_hex(sent.node) + (sent.stay ? ", to wait there" : "") + ", asked again in " +
           std::to_string(sent.again_ms - out_.now_ms()) + " ms\n";
  for (const auto& [lease, held] : remote_leases_)
    out += "lease " + std::to_string(lease) + " of " + short_hex(held.holder) + " is at node " + short_hex(held.node) +
           "\n";
  for (const auto& [group, waiting] : for_group_)
    out += std::to_string(waiting.size()) + " requests wait for group " + short_hex(group) + "\n";
  for (const controller::Node& node : controller_.nodes.all())
    out += "knows node " + short_hex(node.id) + " at " + node.endpoint + (node.alive ? "" : ", gone") +
           (node.pool != nullptr ? ", available " + node.pool->available().text() : std::string()) + "\n";
  return out;
}

}  // namespace narke::node
