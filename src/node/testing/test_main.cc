// Runs the tests, or, as `<program> --fd N`, the fake zygote that the tests of the daemon use.
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "node/testing/fake_zygote.h"

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--fd") return narke::node::testing::run_fake_zygote(std::atoi(argv[2]));
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
