// The command line of narke-node.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sched/policy.h"
#include "sched/resources.h"
#include "schema/narke_generated.h"

namespace narke::node {

struct Options {
  std::string session_dir;
  sched::ResourceSet resources;
  uint64_t object_store_bytes = 0;  // 0: 30% of the memory
  std::string python = "python3";
  std::string python_path;
  std::vector<std::string> zygote;  // command; empty: the package's zygote under `python`
  std::string address = "127.0.0.1";
  sched::Labels labels;
  int owner_pid = 0;   // the node ends with this process
  int owner_fd = -1;   // the node ends when this descriptor's other end closes
  int ready_fd = -1;   // "ready <pid>\n" goes there once the socket listens
  bool head = false;
  int port = -1;     // of the door for other hosts; 0: any; -1: no door
  std::string bind;  // the address it listens on; empty: `address`
  std::string spill_dir;  // where objects go to when memory is short; empty: <session_dir>/spill
  std::string spill_storage;  // JSON for node/shared_spill.h; empty: objects go to spill_dir
  std::string journal;  // file or redis:// address where the head keeps its state; empty: it keeps none
  bool new_journal = false;  // what is there is not gone on with
  wire::TlsUse tls = wire::TlsUse::Auto;  // which links to other hosts are encrypted
  std::string join;  // HOST:PORT of the head; empty: this node is the head
  bool outside = false;         // with join: that port is all that can be reached, and nobody can reach this node
  int64_t grace_ms = 30'000;    // outside: how long the line to the head may be broken
  int client_port = -1;         // a second port for such nodes, when it is free; -1: none
  std::string python_version;   // of this node's workers, for instance "3.11.2"; empty: unknown
  std::string dashboard_host;  // "" for no gateway
  int dashboard_port = -1;     // -1: 8265 or the next free one
  int metrics_port = 0;        // 0: any
  int agent_port = -1;         // a second port for the REST interface; -1: none
  bool dashboard_eager = false;
  std::string tls_cert, tls_key;  // paths for HTTPS; empty: the gateway makes its own
  std::string gateway;  // path of narke-gateway; empty: beside this program
  double memory_threshold = 0.95;
  size_t max_workers = 0;  // 0: as many as the host holds
};

// arguments: without the program's name. environment: value of NARKE_MEMORY_THRESHOLD or null.
Result<Options> parse_options(const std::vector<std::string>& arguments, const char* memory_threshold);

// What --help prints.
std::string usage();

}  // namespace narke::node
