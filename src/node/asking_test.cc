#include "node/asking.h"

#include <gtest/gtest.h>

namespace narke::node {
namespace {

class AskingTest : public ::testing::Test {
 protected:
  static WorkerId id(uint8_t number) {
    WorkerId id;
    id.data()[0] = number;
    return id;
  }
  uint32_t ask(const WorkerId& whom, int64_t deadline_ms) {
    return asking_.begin(whom, "stack", deadline_ms, [this](const Answer& answer) { got_.push_back(answer); });
  }
  Asking asking_;
  std::vector<Answer> got_;
};

TEST_F(AskingTest, an_answer_counts_once_and_only_from_whom_was_asked) {
  const uint32_t number = ask(id(1), 100);
  EXPECT_FALSE(asking_.on_answer(id(2), number, {}));
  EXPECT_TRUE(asking_.on_answer(id(1), number, {"", "", {1}}));
  EXPECT_FALSE(asking_.on_answer(id(1), number, {}));
  ASSERT_EQ(got_.size(), 1u);
  EXPECT_EQ(got_[0].body.size(), 1u);
  EXPECT_FALSE(asking_.is_waiting());
}

TEST_F(AskingTest, silence_and_death_are_errors) {
  ask(id(1), 100);
  ask(id(2), 200);
  asking_.tick(99);
  EXPECT_TRUE(got_.empty());
  asking_.tick(100);
  ASSERT_EQ(got_.size(), 1u);
  EXPECT_NE(got_[0].error.find("in time"), std::string::npos);
  asking_.on_gone(id(2));
  ASSERT_EQ(got_.size(), 2u);
  EXPECT_NE(got_[1].error.find("has ended"), std::string::npos);
}

TEST_F(AskingTest, who_is_told_of_silence_may_ask_again) {
  asking_.begin(id(1), "stack", 1, [this](const Answer&) { ask(id(3), 50); });
  asking_.tick(10);
  EXPECT_TRUE(asking_.is_waiting());
}

}  // namespace
}  // namespace narke::node
