// The command line of narke-proxy. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "proxy/server.h"

namespace narke::proxy {

struct Options {
  ServerConfig server;
  std::string node_socket, token_file, session_dir, controller;  // controller: an actor's id in hex
};

Result<Options> parse_options(const std::vector<std::string>& arguments);
std::string usage();

}  // namespace narke::proxy
