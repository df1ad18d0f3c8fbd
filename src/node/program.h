// A driver or worker that this node has to do with: its own, over a link, or another node's, by relay.
#pragma once

#include <set>
#include <string>

#include "base/id.h"
#include "rpc/connection.h"
#include "store/server.h"

namespace narke::node {

struct Program {
  rpc::Connection* link = nullptr;  // valid until on_closed; null: a program of another node
  NodeId node;                      // whose program it is
  std::set<NodeId> known_to;        // nodes that were told of it
  uint32_t register_call = 0;       // not 0: its registration waits for the head
  WorkerId id;
  wire::ProgramKind kind = wire::ProgramKind::Driver;
  JobId job;
  int pid = 0;
  std::string endpoint;
  std::string name_space;  // drivers: of their job
  bool log_to_driver = true;
  store::ClientKey key = 0;
  bool leaving = false;  // Goodbye was said
  uint32_t goodbye_call = 0;
  int64_t goodbye_deadline_ms = 0;
};

}  // namespace narke::node
