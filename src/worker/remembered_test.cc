#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/testing/fake_objects.h"

namespace narke::worker {
namespace {

using ::testing::ElementsAre;
using testing::Network;
using testing::numbered;
using testing::ObjectsProgram;

// Values that ended tasks may need again.
class RememberedTest : public ::testing::Test {
 protected:
  // A value in the store that a task made, with one use.
  ObjectPtr made(uint32_t number, int retries_left = 3) {
    TaskPtr task = new Task;
    task->retries_left = retries_left;
    ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(number));
    Objects::add_use(*object);
    object->extra().task = task;
    a_.objects.set_stored(*object, a_.self().node);
    return object;
  }
  bool has(const ObjectPtr& object) { return static_cast<bool>(a_.objects.find(object->id)); }

  Network network_;
  ObjectsProgram a_{network_, 1}, b_{network_, 2};
};

TEST_F(RememberedTest, the_value_goes_with_its_last_use_and_how_to_make_it_stays) {
  ObjectPtr object = made(1);
  Objects::add_use(*object);
  a_.objects.remember(*object);
  EXPECT_TRUE(a_.out.erased.empty());
  a_.objects.drop_use(*object);
  EXPECT_THAT(a_.out.erased, ElementsAre(object->id));
  EXPECT_FALSE(object->is_ready());
  EXPECT_TRUE(has(object));
  EXPECT_TRUE(a_.out.dropped_lineage.empty());

  a_.objects.recall(*object);
  EXPECT_TRUE(Objects::begin_remaking(*object));
  EXPECT_FALSE(Objects::begin_remaking(*object));
  a_.objects.set_stored(*object, a_.self().node);
  a_.objects.drop_use(*object);
  EXPECT_EQ(a_.out.erased.size(), 2u);
  EXPECT_EQ(a_.out.dropped_lineage.size(), 1u);
  EXPECT_FALSE(has(object));
}

// Its task ran again for another value: it would have to run once more for this one.
TEST_F(RememberedTest, a_value_that_comes_back_unasked_stays_until_it_is_needed) {
  ObjectPtr object = made(1);
  a_.objects.remember(*object);
  a_.objects.set_stored(*object, a_.self().node);
  EXPECT_EQ(a_.out.erased.size(), 1u);
  a_.objects.recall(*object);
  EXPECT_FALSE(Objects::begin_remaking(*object));
  a_.objects.remember(*object);
  EXPECT_EQ(a_.out.erased.size(), 2u);
  a_.objects.recall(*object);
  a_.objects.drop_use(*object);
}

TEST_F(RememberedTest, what_cannot_be_made_again_stays) {
  ObjectPtr object = made(1, 0);
  EXPECT_FALSE(Objects::can_be_remade(*object));
  a_.objects.remember(*object);
  EXPECT_EQ(object->state.load(), ObjectState::kStore);
  EXPECT_TRUE(a_.out.erased.empty());
  a_.objects.recall(*object);
  a_.objects.drop_use(*object);
  EXPECT_THAT(a_.out.erased, ElementsAre(object->id));
}

TEST_F(RememberedTest, what_is_inside_goes_with_it) {
  ObjectPtr inner = a_.put(1, "inner"), outer = made(2);
  a_.objects.set_contained(*outer, {inner});
  a_.objects.drop_use(*inner);
  a_.objects.remember(*outer);
  EXPECT_FALSE(has(inner));
  a_.objects.recall(*outer);
  a_.objects.drop_use(*outer);
}

TEST_F(RememberedTest, whoever_asks_for_it_after_all_has_it_made_again) {
  ObjectPtr object = made(1);
  a_.objects.remember(*object);
  ObjectPtr borrowed = b_.objects.receive(object->id, a_.self(), false);
  Objects::add_use(*borrowed);
  network_.deliver_all();
  b_.objects.fetch(*borrowed);
  network_.deliver_all();
  EXPECT_THAT(a_.out.recovered, ElementsAre(object->id));
  EXPECT_FALSE(borrowed->is_ready());
  a_.objects.set_stored(*object, a_.self().node);
  network_.deliver_all();
  EXPECT_EQ(borrowed->state.load(), ObjectState::kStore);
  b_.objects.drop_use(*borrowed);
  network_.deliver_all();
  EXPECT_EQ(a_.out.erased.size(), 2u);
  a_.objects.recall(*object);
  a_.objects.drop_use(*object);
}

}  // namespace
}  // namespace narke::worker
