// A zygote and workers without Python, for tests of the daemon: the test program runs itself as the zygote.
#pragma once

namespace narke::node::testing {

// Serves a node over the descriptor until the link closes; forked workers do not return from it.
int run_fake_zygote(int fd);

}  // namespace narke::node::testing
