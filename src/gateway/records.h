// Records that programs and libraries keep as JSON in the cluster's key-value table.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "gateway/json.h"
#include "gateway/node_link.h"

namespace narke::gateway {

using Records = std::map<std::string, json::object>;  // by key

// `done` is called once with the objects of a namespace whose keys begin with `prefix`, a thousand at most; values that
// are no JSON objects are left out. error: why there is no answer; empty otherwise.
void read_records(Cluster& cluster, const std::string& space, const std::string& prefix,
                  std::function<void(const std::string& error, Records)> done);

}  // namespace narke::gateway
