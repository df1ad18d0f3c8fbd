#include "node/departed.h"

#include <gtest/gtest.h>

namespace narke::node {
namespace {

WorkerId numbered(int number) { return WorkerId::from_bytes(std::string(WorkerId::kSize, static_cast<char>(number))); }

TEST(Departed, KnowsThoseOfLateOnce) {
  Departed departed;
  departed.add(numbered(1), true, "left", 100);
  departed.add(numbered(1), false, "left", 150);
  departed.add(numbered(2), false, "", 200);
  EXPECT_TRUE(departed.contains(numbered(1)));
  ASSERT_EQ(departed.all().size(), 2u);
  EXPECT_TRUE(departed.all().front().own);
  departed.forget_before(200);
  EXPECT_FALSE(departed.contains(numbered(1)));
  EXPECT_TRUE(departed.contains(numbered(2)));
  EXPECT_EQ(departed.all().size(), 1u);
}

}  // namespace
}  // namespace narke::node
