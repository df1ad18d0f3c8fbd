// Links between the daemons of a cluster: one to each node that this one has to do with, opened when it is needed.
//
// One thread: the reactor's.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/id.h"
#include "node/wire.h"
#include "rpc/reactor.h"

namespace narke::node {

class PeersOut {
 public:
  virtual ~PeersOut() = default;
  virtual void on_node_frame(const NodeId& from, const rpc::Frame& frame) = 0;
  virtual void on_node_link_closed(const NodeId& node, const Error& why) = 0;
  // HOST:PORT of a node; empty when it is not known.
  virtual std::string endpoint_of(const NodeId& node) = 0;
};

// A daemon is called by its node's id, also where a handshake asks for a program's.
inline WorkerId as_program(const NodeId& node) { return WorkerId::from_bytes(std::string(node.view())); }
inline NodeId as_node(const WorkerId& id) { return NodeId::from_bytes(std::string(id.view())); }

class Peers : public rpc::Handler {
 public:
  Peers(rpc::Reactor& reactor, PeersOut& out) : reactor_(reactor), out_(out) {}
  ~Peers() override;

  // A daemon has come through the door.
  void adopt(int fd, bool tls);
  // Opens the link to a node whose id is not known yet: the answer to what is sent over it comes from `alias`, until
  // rename() says who it is.
  Status connect(const NodeId& alias, const std::string& endpoint);
  void rename(const NodeId& alias, const NodeId& node);
  // False: it is not known how to reach the node.
  bool send(const NodeId& to, wire::MessageType type, uint32_t call_id, const Builder& table, rpc::Bytes raw = {},
            rpc::Bytes raw2 = {});
  bool is_linked(const NodeId& node) const { return links_.contains(node); }
  // A frame as it came.
  void forward(const NodeId& to, const rpc::Frame& frame);
  void close(const NodeId& node, const std::string& why);
  // Those but the one whose frame is being handled. Returns whether there were any.
  bool close_others(const NodeId& node);

  // rpc::Handler
  void on_open(rpc::Connection& link) override;
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection& link, const Error& why) override;

 private:
  rpc::Connection* link_to(const NodeId& node);

  rpc::Reactor& reactor_;
  PeersOut& out_;
  std::multimap<NodeId, rpc::ConnectionPtr> links_;  // both ends may have opened one; the first is written to
  std::map<rpc::Connection*, NodeId> nodes_;
  rpc::Connection* speaking_ = nullptr;  // whose frame is being handled
};

}  // namespace narke::node
