// The last lines of other nodes' logs, so that they can be read when a node is gone.
//
// Every few seconds what the nodes have written since is fetched through this node and kept, bounded, in
// <session>/kept-logs/<node>. When a node has died, its folder becomes logs/gone-<node>: a log like the others, which
// is listed, read and searched with them, for a week.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "gateway/node_link.h"

namespace narke::gateway {

struct KeepLimits {
  int64_t every_ms = 2'000;
  int64_t file_bytes = 1 << 20;           // kept of one file: its end
  size_t files = 1'000;                   // of one node
  size_t nodes = 20;                      // that are gone; the latest
  int64_t keep_ms = int64_t{7} * 24 * 3600 * 1000;
};

// What folder of the logs holds those of a node that is gone.
std::string gone_folder(const std::string& node_id);

class LogKeeper {
 public:
  LogKeeper(Cluster& cluster, std::string session_dir, KeepLimits limits = {});
  // Looks when it is time to.
  void tick(int64_t now_ms);

 private:
  struct Wanted {
    std::string node, name;
    int64_t from = 0;
  };
  void look_at_nodes();
  void look_at_files();
  void fetch_next();
  void take(const Wanted& wanted, std::string_view bytes);
  void publish(const std::string& node);
  void prune() const;
  std::string kept(const std::string& node) const { return session_dir_ + "/kept-logs/" + node; }

  Cluster& cluster_;
  std::string session_dir_;
  KeepLimits limits_;
  int64_t next_ms_ = 0;
  bool busy_ = false;
  std::set<std::string> alive_;  // other nodes
  std::map<std::pair<std::string, std::string>, int64_t> kept_to_;  // node and file: how many bytes were seen
  std::vector<Wanted> wanted_;
};

}  // namespace narke::gateway
