// narke-node: the daemon of one host. See --help.
#include <cstdio>
#include <cstdlib>

#include "node/daemon.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const std::string& argument : arguments)
    if (argument == "--help") {
      std::fputs(narke::node::usage().c_str(), stdout);
      return 0;
    }
  auto options = narke::node::parse_options(arguments, std::getenv("NARKE_MEMORY_THRESHOLD"));
  if (!options.ok()) {
    std::fprintf(stderr, "narke-node: %s\n", options.error().message.c_str());
    return 2;
  }
  if (const char* journal = std::getenv("NARKE_JOURNAL")) {
    options.value().journal = journal;
    unsetenv("NARKE_JOURNAL");  // it may hold a password, and workers inherit what is left
  }
  if (const char* storage = std::getenv("NARKE_SPILL_STORAGE")) {
    options.value().spill_storage = storage;
    unsetenv("NARKE_SPILL_STORAGE");  // the same
  }
  auto daemon = narke::node::Daemon::make(options.value());
  if (!daemon.ok()) {
    std::fprintf(stderr, "narke-node: %s\n", daemon.error().message.c_str());
    return 1;
  }
  return daemon.value()->run();
}
