// Starts a program: its descriptors, folder and session said in one place.
#pragma once

#include <string>
#include <vector>

namespace narke::node {

struct SpawnOrder {
  std::vector<std::string> command;      // looked for in PATH when it has no slash
  std::vector<std::string> environment;  // NAME=VALUE; empty: this process' own
  std::string cwd;                       // empty: this process' own
  std::vector<int> keep;                 // stay open in it under their numbers
  int input = -1;                        // its descriptor 0; negative: /dev/null
  int output = -1;                       // its descriptor 1; negative: `output_path`
  std::string output_path = "/dev/null";
  std::string error_path = "/dev/null";
  bool new_session = false;  // it leads one
};

// Returns 0 and the pid, or an errno. No signal is blocked in it, and SIGPIPE is not ignored.
int spawn(const SpawnOrder& order, int* pid);

}  // namespace narke::node
