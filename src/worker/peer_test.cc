#include "worker/peer.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace narke::worker {
namespace {

TaskPtr call(uint32_t id) {
  TaskPtr task = new Task;
  task->call_id = id;
  return task;
}

Calls calls_of(std::initializer_list<uint32_t> ids) {
  Calls calls;
  for (uint32_t id : ids) calls.add(call(id));
  return calls;
}

std::vector<uint32_t> ids_of(const std::vector<TaskPtr>& tasks) {
  std::vector<uint32_t> ids;
  for (const TaskPtr& task : tasks) ids.push_back(task->call_id);
  return ids;
}

TEST(Calls, replies_in_order_find_their_calls) {
  Calls calls = calls_of({1, 2, 3});
  for (uint32_t id : {1u, 2u, 3u}) {
    TaskPtr task = calls.take(id);
    ASSERT_TRUE(task);
    EXPECT_EQ(task->call_id, id);
  }
  EXPECT_EQ(calls.size(), 0u);
}

TEST(Calls, replies_in_reverse_order_find_their_calls) {
  Calls calls = calls_of({5, 6, 9, 10});
  for (uint32_t id : {10u, 9u, 6u, 5u}) ASSERT_TRUE(calls.take(id)) << id;
  EXPECT_EQ(calls.size(), 0u);
}

TEST(Calls, an_id_is_answered_once) {
  Calls calls = calls_of({1, 2, 3});
  ASSERT_TRUE(calls.take(2));
  EXPECT_FALSE(calls.take(2));
  EXPECT_EQ(calls.size(), 2u);
}

TEST(Calls, ids_between_and_outside_find_nothing) {
  Calls calls = calls_of({10, 20, 30});
  for (uint32_t id : {0u, 9u, 15u, 31u}) EXPECT_FALSE(calls.take(id)) << id;
  EXPECT_EQ(calls.size(), 3u);
}

TEST(Calls, take_all_leaves_out_holes_and_keeps_order) {
  Calls calls = calls_of({1, 2, 3, 4});
  ASSERT_TRUE(calls.take(3));
  EXPECT_EQ(ids_of(calls.take_all()), (std::vector<uint32_t>{1, 2, 4}));
  EXPECT_EQ(calls.size(), 0u);
  calls.add(call(7));
  EXPECT_TRUE(calls.take(7));
}

TEST(Calls, for_each_visits_the_unanswered) {
  Calls calls = calls_of({1, 2, 3});
  ASSERT_TRUE(calls.take(2));
  uint32_t sum = 0;
  calls.for_each([&](Task& task) { sum += task.call_id; });
  EXPECT_EQ(sum, 4u);
}

TEST(Calls, ids_may_wrap_around) {
  Calls calls = calls_of({0xfffffffe, 0xffffffff, 1, 2});
  ASSERT_TRUE(calls.take(1));
  ASSERT_TRUE(calls.take(0xffffffff));
  ASSERT_TRUE(calls.take(0xfffffffe));
  EXPECT_EQ(ids_of(calls.take_all()), (std::vector<uint32_t>{2}));
}

// Replies come nearly in order, from a window that the seed sets; the model is a map by position.
TEST(Calls, behaves_like_a_map_under_random_replies) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    Calls calls;
    std::map<uint64_t, uint32_t> model;
    uint64_t position = 0;
    auto next_id = static_cast<uint32_t>(0u - random() % 400);
    for (int step = 0; step < 600; ++step) {
      uint32_t choice = random() % 100;
      if (choice < 50) {
        next_id += 1 + random() % 3;
        calls.add(call(next_id));
        model[position++] = next_id;
      } else if (choice < 97 && !model.empty()) {
        auto at = model.begin();
        std::advance(at, random() % std::min<size_t>(model.size(), 1 + seed));
        TaskPtr task = calls.take(at->second);
        ASSERT_TRUE(task) << "seed " << seed << ", step " << step;
        ASSERT_EQ(task->call_id, at->second);
        ASSERT_FALSE(calls.take(at->second));
        model.erase(at);
      } else if (choice == 99) {
        std::vector<uint32_t> left;
        for (const auto& [at, id] : model) left.push_back(id);
        ASSERT_EQ(ids_of(calls.take_all()), left) << "seed " << seed;
        model.clear();
      }
      ASSERT_EQ(calls.size(), model.size()) << "seed " << seed << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace narke::worker
