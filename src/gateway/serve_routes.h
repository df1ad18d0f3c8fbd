// Serve's REST interface. What is shown is the record that Serve's controller keeps in the cluster; what changes
// something is done by a program of python/narke/serve, as only Python can read its config files' applications.
#pragma once

#include <string>
#include <vector>

#include "gateway/app.h"
#include "gateway/commands.h"
#include "gateway/node_link.h"

namespace narke::gateway {

struct ServeConfig {
  std::string python, python_path;  // of the cluster
  std::string session_dir;
};

class ServeRoutes {
 public:
  ServeRoutes(Cluster& cluster, Commands& commands, ServeConfig config)
      : cluster_(cluster), commands_(commands), config_(std::move(config)) {}
  void add_to(Router& router);

 private:
  void show(Call call);
  void change(Call call);

  Cluster& cluster_;
  Commands& commands_;
  const ServeConfig config_;
};

// What a program answered: a line with the status, then the body. who: for the error that it did not.
Response program_response(const CommandOutcome& outcome, const std::string& who);

}  // namespace narke::gateway
