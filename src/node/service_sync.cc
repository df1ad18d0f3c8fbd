// Two nodes that go on after a link between them broke.
//
// Frames about leases come in order and once; a link that breaks loses some. The side that asked says over the next
// link what it still counts on (LeaseSync), and both sides let go of the rest, so that no lease and no request is left
// where nobody knows of it.
#include <algorithm>

#include "node/service.h"

namespace narke::node {

using std::chrono::milliseconds;

// The first of two nodes that finds the link gone opens the next; the other would cross it.
static constexpr milliseconds kFirstPause{20}, kSecondPause{150};

// ---- leases after a broken link ----------------------------------------------------------------------------

void Service::on_peer_lost(const NodeId& node) {
  for (auto& [id, program] : programs_)
    if (program->known_to.erase(node) == 1) broken_with_.insert(node);
  if (cluster_.controller().nodes.find(node) == nullptr) {
    for (const WorkerId& id : programs_of(node)) forget_program(id);  // it was given up before it could be known
    return;
  }
  const milliseconds pause = cluster_.self() < node ? kFirstPause : kSecondPause;
  reactor_.after(pause, [this, node] { sync_leases(node); });
}

void Service::sync_leases(const NodeId& node) {
  const std::map<WorkerId, Cluster::Ties> ties = cluster_.ties_to(node);
  if ((ties.empty() && !broken_with_.contains(node)) || cluster_.controller().nodes.find(node) == nullptr) return;
  Builder b(256);
  std::vector<flatbuffers::Offset<wire::ProgramLeases>> packed;
  for (const auto& [id, each] : ties) {
    if (Program* program = find(id)) introduce(node, *program);
    const auto worker = wired<wire::WorkerId>(id);
    const auto held = b.CreateVector(std::vector<uint64_t>(each.held.begin(), each.held.end()));
    const auto calls = b.CreateVector(each.calls);
    packed.push_back(wire::CreateProgramLeases(b, &worker, held, calls));
  }
  const auto programs = b.CreateVector(packed);
  b.Finish(wire::CreateLeaseSync(b, programs));
  if (peers_.send(node, MessageType::LeaseSync, 0, b)) return;
  reactor_.after(kSecondPause, [this, node] { sync_leases(node); });
}

// The sender has no other link: whatever this node wrote to another one it will never read.
void Service::on_lease_sync(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::LeaseSync>();
  if (table == nullptr || table->programs() == nullptr) return;
  if (peers_.close_others(from)) on_peer_lost(from);
  std::set<WorkerId> named;
  for (const wire::ProgramLeases* each : *table->programs()) {
    if (each->worker() == nullptr) continue;
    const WorkerId id = WorkerId::from_wire(each->worker());
    const Program* program = find(id);
    if (program == nullptr || program->node != from) continue;
    named.insert(id);
    Cluster::Ties ties;
    if (each->held() != nullptr) ties.held.insert(each->held()->begin(), each->held()->end());
    if (each->calls() != nullptr) ties.calls.assign(each->calls()->begin(), each->calls()->end());
    cluster_.on_ties(id, ties);
  }
  for (const auto& [id, program] : programs_)
    if (program->node == from && !named.contains(id)) cluster_.on_ties(id, {});
}

}  // namespace narke::node
