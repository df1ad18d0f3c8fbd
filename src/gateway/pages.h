// The dashboard's files, and the small routes that belong to no part: version, health, login.
#pragma once

#include <string>

#include "gateway/app.h"
#include "gateway/node_link.h"

namespace narke::gateway {

struct PagesConfig {
  std::string files_dir;     // of the built dashboard
  std::string session_name;  // shown by /api/version
  bool is_member = false;    // of a node that is not the head: there is no dashboard
};

class Pages {
 public:
  Pages(PagesConfig config, const Guard& guard, Cluster& cluster)
      : config_(std::move(config)), guard_(guard), cluster_(cluster) {}
  void add_to(Gateway& gateway);

 private:
  Response file(const Request& request) const;
  Response version() const;
  void health(Call call, const char* answer);

  PagesConfig config_;
  const Guard& guard_;
  Cluster& cluster_;
};

}  // namespace narke::gateway
