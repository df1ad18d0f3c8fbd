#include "node/peers.h"

#include <algorithm>

#include "rpc/tcp.h"

namespace narke::node {

Peers::~Peers() {
  for (auto& [node, link] : links_) link->set_handler(nullptr);
}

// Why a link is closed that another has taken the place of.
static constexpr char kOvertaken[] = "the other node has opened a new link";

void Peers::adopt(int fd, bool tls) { reactor_.adopt_guest(fd, tls, this); }

Status Peers::connect(const NodeId& alias, const std::string& endpoint) {
  // Another daemon may listen there by now: it turns away what is not for it.
  auto link = reactor_.connect_tcp(endpoint, {.kind = rpc::LinkKind::kNode, .node = alias}, this);
  if (!link) return link.error();
  link.value()->set_peer(as_program(alias));
  nodes_[link.value().get()] = alias;
  links_.emplace(alias, link.value());
  return ok_status();
}

void Peers::rename(const NodeId& alias, const NodeId& node) {
  const auto at = links_.find(alias);
  if (at == links_.end() || alias == node) return;
  rpc::ConnectionPtr link = at->second;
  links_.erase(at);
  nodes_[link.get()] = node;
  links_.emplace(node, std::move(link));
}

// What is written to one that is closed is lost, and that is noticed when its end is told; another may be open.
rpc::Connection* Peers::link_to(const NodeId& node) {
  if (!links_.contains(node)) {
    const std::string endpoint = out_.endpoint_of(node);
    if (endpoint.empty() || !connect(node, endpoint)) return nullptr;
  }
  const auto [begin, end] = links_.equal_range(node);
  const auto open = std::find_if(begin, end, [](const auto& entry) { return !entry.second->is_closed(); });
  return (open != end ? open : begin)->second.get();
}

bool Peers::send(const NodeId& to, wire::MessageType type, uint32_t call_id, const Builder& table, rpc::Bytes raw,
                 rpc::Bytes raw2) {
  rpc::Connection* link = link_to(to);
  if (link != nullptr) link->send(type, call_id, table, raw, raw2);
  return link != nullptr;
}

void Peers::forward(const NodeId& to, const rpc::Frame& frame) {
  if (rpc::Connection* link = link_to(to)) link->send_frame(frame.type, frame.call_id, frame.table, frame.raw);
}

void Peers::close(const NodeId& node, const std::string& why) {
  const auto [begin, end] = links_.equal_range(node);
  for (auto at = begin; at != end; ++at) at->second->close({ErrorCode::kDisconnected, why});
}

bool Peers::close_others(const NodeId& node) {
  bool any = false;
  const auto [begin, end] = links_.equal_range(node);
  for (auto at = begin; at != end; ++at) {
    if (at->second.get() == speaking_ || at->second->is_closed()) continue;
    at->second->close({ErrorCode::kDisconnected, kOvertaken});
    any = true;
  }
  return any;
}

void Peers::on_open(rpc::Connection& link) {
  if (nodes_.contains(&link)) return;
  const NodeId node = as_node(link.peer());
  nodes_[&link] = node;
  links_.emplace(node, link.shared_from_this());
}

void Peers::on_frame(rpc::Connection& link, const rpc::Frame& frame) {
  const auto at = nodes_.find(&link);
  if (at == nodes_.end()) return;
  speaking_ = &link;
  out_.on_node_frame(NodeId(at->second), frame);
  speaking_ = nullptr;
}

void Peers::on_closed(rpc::Connection& link, const Error& why) {
  const auto at = nodes_.find(&link);
  if (at == nodes_.end()) return;
  const NodeId node = at->second;
  nodes_.erase(at);
  const auto [begin, end] = links_.equal_range(node);
  for (auto each = begin; each != end; ++each)
    if (each->second.get() == &link) {
      links_.erase(each);
      break;
    }
  if (!links_.contains(node)) return out_.on_node_link_closed(node, why);
  if (why.message != kOvertaken) close(node, why.message);  // what one has lost the others do not tell
}

}  // namespace narke::node
