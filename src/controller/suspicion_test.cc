#include "controller/suspicion.h"

#include <gtest/gtest.h>

namespace narke::controller {
namespace {

const NodeId kNode = NodeId::from_bytes(std::string(NodeId::kSize, 'n'));

// Until the node is found silent, in looks as often as they are meant to be; returns how long that took.
int64_t found_after(Suspicion& suspicion, int64_t from_ms) {
  for (int64_t now = from_ms; now < from_ms + 60'000; now += Suspicion::kLookEveryMs)
    if (!suspicion.silent(now).empty()) return now - from_ms;
  return -1;
}

TEST(Suspicion, ANodeThatSpokeUpRegularlyIsFoundDeadWithinThreeSeconds) {
  Suspicion suspicion;
  int64_t now = 1'000;
  for (; now < 20'000; now += 500) {
    suspicion.heard(kNode, now);
    EXPECT_TRUE(suspicion.silent(now).empty());
  }
  const int64_t took = found_after(suspicion, now - 500);
  EXPECT_GE(took, 2'000);
  EXPECT_LT(took, 3'000);
}

TEST(Suspicion, ASlowNodeIsGivenMoreTimeAndThenLessAgain) {
  Suspicion suspicion;
  int64_t now = 0;
  for (int i = 0; i < 5; ++i) suspicion.heard(kNode, now += 2'000);
  EXPECT_EQ(suspicion.bound_ms(kNode), 5'000);
  for (int i = 0; i < 1'200; ++i) suspicion.heard(kNode, now += 500);
  EXPECT_EQ(suspicion.bound_ms(kNode), Suspicion::kLeastMs);
}

TEST(Suspicion, ManyMessagesAtOnceDoNotMakeItStricter) {
  Suspicion suspicion;
  suspicion.heard(kNode, 0);
  suspicion.heard(kNode, 2'000);
  for (int i = 0; i < 1'000; ++i) suspicion.heard(kNode, 2'000);
  EXPECT_EQ(suspicion.bound_ms(kNode), 5'000);
}

TEST(Suspicion, AStopOfThisProcessIsNobodysSilence) {
  Suspicion suspicion;
  suspicion.heard(kNode, 1'000);
  EXPECT_TRUE(suspicion.silent(1'100).empty());
  EXPECT_TRUE(suspicion.silent(60'000).empty());
  EXPECT_GE(found_after(suspicion, 60'250), 1'500);
}

TEST(Suspicion, OneThatIsGoneIsNotNamedAgain) {
  Suspicion suspicion;
  suspicion.heard(kNode, 0);
  EXPECT_GE(found_after(suspicion, 0), 0);
  suspicion.forget(kNode);
  EXPECT_EQ(found_after(suspicion, 100'000), -1);
}

}  // namespace
}  // namespace narke::controller
