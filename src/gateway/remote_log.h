// A log of any node, piece by piece, through the node's control methods.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gateway/file_source.h"
#include "gateway/node_link.h"

namespace narke::gateway {

struct RemoteLog {
  std::string node_id;  // "": the gateway's own node
  std::string name;
  int64_t tail_lines = 1000;  // begins so many lines before the end; -1: at the start
  bool follow = false;
  bool plain = false;  // without ANSI escapes
};

// Opens the log: calls back with its source, or with an error message.
void open_remote_log(Cluster& cluster, RemoteLog log, After after,
                     std::function<void(std::shared_ptr<Source>, const std::string& error)> then);

}  // namespace narke::gateway
