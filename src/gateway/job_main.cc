// narke-job: supervises one submitted job; started by narke-gateway.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "gateway/supervisor.h"

int main(int argc, char** argv) {
  narke::gateway::SupervisorOptions options;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--dir=", 6) == 0) options.dir = argv[i] + 6;
    if (std::strncmp(argv[i], "--node-pid=", 11) == 0) options.node_pid = std::atoi(argv[i] + 11);
  }
  if (options.dir.empty() || options.node_pid <= 0) {
    std::fputs("narke-job is started by narke-gateway: narke-job --dir=DIR --node-pid=PID\n", stderr);
    return 2;
  }
  return narke::gateway::supervise(options);
}
