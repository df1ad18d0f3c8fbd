#include "worker/spin.h"

#include <thread>

#include <gtest/gtest.h>

namespace narke::worker {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

class SpinTest : public ::testing::Test {
 protected:
  void sleep_short(int times, Spin::Clock::time_point at = Spin::Clock::now()) {
    for (int i = 0; i < times; ++i) spin_.slept(at, at + microseconds(10));
  }
  int look_in_vain() {
    return spin_.look([] { return 0; }, [] {});
  }

  Spin spin_;
};

TEST_F(SpinTest, pays_after_short_sleeps) {
  EXPECT_FALSE(spin_.pays());
  sleep_short(2);
  spin_.slept(Spin::Clock::now(), Spin::Clock::now() + milliseconds(5));
  sleep_short(2);
  EXPECT_FALSE(spin_.pays());
  sleep_short(1);
  EXPECT_TRUE(spin_.pays());
}

TEST_F(SpinTest, gives_what_is_found_and_goes_on) {
  sleep_short(3);
  for (int round = 0; round < 100; ++round) {
    int looks = 0;
    EXPECT_EQ(spin_.look([&] { return ++looks == 3 ? 7 : 0; }, [] {}), 7);
  }
  EXPECT_TRUE(spin_.pays());
}

TEST_F(SpinTest, ends_when_nothing_comes) {
  sleep_short(3);
  int looks = 0;
  for (; spin_.pays() && looks < 100; ++looks) EXPECT_EQ(look_in_vain(), 0);
  EXPECT_LT(looks, 20);
  sleep_short(3);
  EXPECT_TRUE(spin_.pays());
}

TEST_F(SpinTest, leaves_a_core_that_is_wanted_for_longer_and_longer) {
  const auto lose_core = [] { std::this_thread::sleep_for(milliseconds(1)); };
  const auto off = [&] {
    sleep_short(3, Spin::Clock::now() + seconds(10));
    EXPECT_TRUE(spin_.pays());
    EXPECT_EQ(spin_.look([] { return 0; }, lose_core), 0);
    EXPECT_FALSE(spin_.pays());
    const auto since = Spin::Clock::now();
    auto at = since;
    for (; !spin_.pays() && at < since + seconds(10); at += milliseconds(1)) sleep_short(1, at);
    return at - since;
  };
  const auto first = off(), second = off();
  EXPECT_GE(first, milliseconds(10));
  EXPECT_GE(second, 2 * first - milliseconds(15));
}

}  // namespace
}  // namespace narke::worker
