// What is asked again: after a broken link, and whenever an answer is late. No request waits for an answer that was
// lost.
#include <algorithm>

#include "node/cluster.h"

namespace narke::node {

using controller::PlacementGroup;

std::map<WorkerId, Cluster::Ties> Cluster::ties_to(const NodeId& node) const {
  std::map<WorkerId, Ties> out;
  for (const auto& [lease, remote] : remote_leases_)
    if (remote.node == node) out[remote.holder].held.insert(lease);
  for (const auto& [call, forwarded] : forwarded_)
    if (forwarded.node == node) out[call.first].calls.push_back(call.second);
  return out;
}

void Cluster::on_ties(const WorkerId& program, const Ties& ties) {
  for (const uint32_t call_id : core_.reconcile(program, ties.held, ties.calls))
    out_.deny(program, call_id, wire::LeaseStatus::Bounced, wire::FailureKind::None, "");
}

// ---- groups that have moved --------------------------------------------------------------------------------

void Cluster::wait_for_moved_group(LeaseRequest request) {
  const CallKey call{request.holder, request.call_id};
  groups_.erase(request.pg);
  moved_groups_.insert(request.pg);
  for_group_[request.pg].try_emplace(call, std::move(request));
}

// Where their bundles are now the head says.
void Cluster::look_for_moved_groups() {
  for (const PgId& id : std::exchange(moved_groups_, {})) {
    if (const PlacementGroup* known = group(id))
      release_waiting(PlacementGroup(*known));
    else if (!is_head_)
      out_.send_watch_group(id);
  }
}

// ---- late answers ------------------------------------------------------------------------------------------

// Another node that has the request ignores that it is asked again; one that has answered lately may grant twice, and
// gets the second lease back. A node that is not known to live is not waited for.
void Cluster::ask_again() {
  constexpr int64_t kRarestMs = 15'000;
  constexpr int kMostAtOnce = 256;
  const int64_t now = out_.now_ms();
  std::vector<LeaseRequest> astray;
  int asked = 0;
  for (auto at = forwarded_.begin(); at != forwarded_.end() && asked < kMostAtOnce;) {
    Forwarded& late = (at++)->second;
    if (now < late.again_ms) continue;
    ++asked;
    late.pause_ms = std::min(2 * late.pause_ms, kRarestMs);
    late.again_ms = now + late.pause_ms;
    if (controller_.nodes.find(late.node) != nullptr) {
      out_.send_lease_request(late.node, late.request, late.stay);
      continue;
    }
    astray.push_back(std::move(late.request));
    forwarded_.erase(std::prev(at));
  }
  for (LeaseRequest& request : astray) {
    if (request.pg.is_nil())
      request_lease(std::move(request));
    else
      wait_for_moved_group(std::move(request));
  }
}

}  // namespace narke::node
