#include "base/id.h"

#include <unordered_set>

#include <gtest/gtest.h>

namespace narke {
namespace {

TaskId numbered(uint64_t number) {
  TaskId id;
  std::memcpy(id.data(), &number, sizeof(number));
  return id;
}

TEST(Id, a_fresh_one_is_nil_and_all_ones) {
  EXPECT_TRUE(JobId().is_nil());
  EXPECT_EQ(JobId().hex(), "ffffffff");
}

TEST(Id, one_other_byte_makes_it_not_nil) {
  for (size_t i = 0; i < WorkerId::kSize; ++i) {
    WorkerId id;
    id.data()[i] = 0;
    EXPECT_FALSE(id.is_nil()) << "byte " << i;
  }
}

TEST(Id, bytes_and_hex_say_the_same) {
  JobId id = JobId::from_bytes(std::string_view("\x00\x1f\xa0\xff", 4));
  EXPECT_EQ(id.hex(), "001fa0ff");
  EXPECT_EQ(id.view(), std::string_view("\x00\x1f\xa0\xff", 4));
  EXPECT_EQ(JobId::from_bytes(id.view()), id);
}

TEST(Id, sizes_are_those_that_programs_print) {
  EXPECT_EQ(JobId::kSize, 4u);
  EXPECT_EQ(ActorId::kSize, 16u);
  EXPECT_EQ(TaskId::kSize, 24u);
  EXPECT_EQ(ObjectId::kSize, 28u);
  EXPECT_EQ(PgId::kSize, 18u);
}

struct WireJob {
  uint8_t b[4];
};

TEST(Id, passes_through_a_wire_struct) {
  JobId id = JobId::from_bytes("abcd");
  WireJob wire = id.to_wire<WireJob>();
  EXPECT_EQ(JobId::from_wire(&wire), id);
  EXPECT_TRUE(JobId::from_wire<WireJob>(nullptr).is_nil());
}

TEST(Id, orders_by_bytes) {
  EXPECT_LT(JobId::from_bytes("aaaa"), JobId::from_bytes("aaab"));
  EXPECT_LT(JobId::from_bytes("aaaa"), JobId());
}

TEST(Id, an_object_knows_its_task_and_index) {
  TaskId task = numbered(7);
  ObjectId put = object_of(task, kPutBit | 3);
  EXPECT_EQ(task_of(put), task);
  EXPECT_EQ(index_of(put), kPutBit | 3);
  EXPECT_NE(put, object_of(task, 3));
}

TEST(Id, hashes_differ_for_ids_that_differ_at_either_end) {
  std::unordered_set<size_t> seen;
  for (uint64_t i = 0; i < 1000; ++i) seen.insert(std::hash<TaskId>()(numbered(i)));
  for (uint32_t i = 1; i < 1000; ++i) seen.insert(std::hash<ObjectId>()(object_of(numbered(0), i)));
  EXPECT_GT(seen.size(), 1990u);
}

}  // namespace
}  // namespace narke
