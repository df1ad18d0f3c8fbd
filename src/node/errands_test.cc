#include "node/errands.h"

#include <gtest/gtest.h>

namespace narke::node {
namespace {

TEST(ErrandsTest, work_runs_elsewhere_and_answers_here_in_order) {
  rpc::Reactor reactor(rpc::Identity{});
  Errands errands(reactor);
  const std::thread::id here = std::this_thread::get_id();
  std::vector<std::string> got;
  for (const char* each : {"a", "b", "c"})
    errands.run(
        [each, here] {
          EXPECT_NE(std::this_thread::get_id(), here);
          return Answer{"", each, {}};
        },
        [&got, here](const Answer& answer) {
          EXPECT_EQ(std::this_thread::get_id(), here);
          got.push_back(answer.error);
        });
  const auto until = rpc::Reactor::Clock::now() + std::chrono::seconds(20);
  while (got.size() < 3 && rpc::Reactor::Clock::now() < until) {
    reactor.wait(100);
    reactor.dispatch();
  }
  EXPECT_EQ(got, (std::vector<std::string>{"a", "b", "c"}));
}

TEST(ErrandsTest, what_waits_is_bounded_and_its_end_is_waited_for) {
  rpc::Reactor reactor(rpc::Identity{});
  std::mutex gate;
  gate.lock();
  int refused = 0;
  Errands errands(reactor);
  for (int i = 0; i < 100; ++i)
    errands.run(
        [&gate] {
          const std::lock_guard<std::mutex> held(gate);
          return Answer{};
        },
        [&refused](const Answer& answer) { refused += answer.error_kind == "RaySystemError"; });
  EXPECT_GE(refused, 35);
  gate.unlock();
}

}  // namespace
}  // namespace narke::node
