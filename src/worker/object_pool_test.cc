#include "worker/object_pool.h"

#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "worker/testing/fake_links.h"

namespace narke::worker {
namespace {

using testing::numbered;

std::set<std::string> held() {
  std::set<std::string> out;
  for_each_object([&](Object& object) {
    out.insert(object.id.hex());
    return true;
  });
  return out;
}

TEST(ObjectPoolTest, objects_that_are_held_are_found_and_others_not) {
  ObjectPtr kept(new Object(numbered<ObjectId>(900'001), true));
  const std::string gone = [] {
    ObjectPtr dropped(new Object(numbered<ObjectId>(900'002), true));
    return dropped->id.hex();
  }();
  const std::set<std::string> found = held();
  EXPECT_TRUE(found.contains(kept->id.hex()));
  EXPECT_FALSE(found.contains(gone));
}

TEST(ObjectPoolTest, looking_stops_when_it_is_told_to) {
  ObjectPtr a(new Object(numbered<ObjectId>(1), true)), b(new Object(numbered<ObjectId>(2), true));
  int seen = 0;
  for_each_object([&](Object&) { return ++seen < 1; });
  EXPECT_EQ(seen, 1);
}

TEST(ObjectPoolTest, memory_is_used_again) {
  const size_t before = held().size();
  for (int round = 0; round < 3; ++round) {
    std::vector<ObjectPtr> many;
    for (uint32_t i = 0; i < 20'000; ++i) many.emplace_back(new Object(numbered<ObjectId>(i), true));
    EXPECT_EQ(held().size(), 20'000 + before);
  }
  EXPECT_EQ(held().size(), before);
}

TEST(ObjectPoolTest, threads_make_and_drop_objects_while_one_looks) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> makers;
  for (uint32_t t = 0; t < 3; ++t)
    makers.emplace_back([&, t] {
      for (uint32_t i = 0; !stop; ++i) ObjectPtr object(new Object(numbered<ObjectId>(t * 1'000'000 + i), true));
    });
  for (int i = 0; i < 200; ++i) held();
  stop = true;
  for (std::thread& maker : makers) maker.join();
  SUCCEED();
}

}  // namespace
}  // namespace narke::worker
