#include "worker/objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/testing/fake_objects.h"

namespace narke::worker {
namespace {

using ::testing::ElementsAre;
using testing::FakeLinks;
using ::testing::HasSubstr;
using testing::Mail;
using testing::Network;
using testing::numbered;
using testing::ObjectsProgram;
using testing::text_of;
using testing::value_of;

class ObjectsTest : public ::testing::Test {
 protected:
  // The borrower gets a reference to the owner's object, counted by the owner, with one use.
  ObjectPtr borrow(ObjectsProgram& borrower, const ObjectPtr& object, ObjectsProgram& from) {
    ObjectPtr borrowed = borrower.objects.receive(object->id, from.self(), false);
    Objects::add_use(*borrowed);
    network_.deliver_all();
    return borrowed;
  }
  static bool has(ObjectsProgram& program, const ObjectPtr& object) {
    return static_cast<bool>(program.objects.find(object->id));
  }

  Network network_;
  ObjectsProgram a_{network_, 1}, b_{network_, 2}, c_{network_, 3};
};

// ---- copies ----

TEST_F(ObjectsTest, a_copy_takes_the_place_of_one_that_is_gone_with_its_node) {
  const NodeId there = numbered<NodeId>(7);
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*object);
  a_.objects.set_stored(*object, there);
  ObjectPtr borrowed = borrow(b_, object, a_);
  b_.objects.fetch(*borrowed);
  network_.deliver_all();
  b_.objects.note_copy(*borrowed);
  network_.deliver_all();
  EXPECT_THAT(a_.objects.copies_of(*object), ElementsAre(b_.self().node));

  a_.objects.on_node_gone(there);
  EXPECT_EQ(object->state.load(), ObjectState::kStore);
  EXPECT_EQ(a_.objects.node_of(*object), b_.self().node);
  EXPECT_THAT(a_.out.promoted, ElementsAre(std::pair(object->id, b_.self().node)));
  EXPECT_TRUE(a_.out.recovered.empty());
  b_.objects.drop_use(*borrowed);
  network_.deliver_all();
  a_.objects.drop_use(*object);
  EXPECT_THAT(a_.out.erased_at, ElementsAre(b_.self().node));
}

TEST_F(ObjectsTest, without_a_copy_a_lost_object_is_made_again) {
  const NodeId there = numbered<NodeId>(7), also = numbered<NodeId>(8);
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*object);
  a_.objects.set_stored(*object, there);
  object->extra().copies = {also};
  a_.objects.on_node_gone(also);
  a_.objects.on_node_gone(there);
  EXPECT_TRUE(a_.out.promoted.empty());
  a_.objects.on_lost(*object);
  EXPECT_THAT(a_.out.recovered, ElementsAre(object->id));
}

TEST_F(ObjectsTest, each_copy_is_tried_before_an_object_is_made_again) {
  const NodeId one = numbered<NodeId>(7), two = numbered<NodeId>(8), three = numbered<NodeId>(9);
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*object);
  a_.objects.set_stored(*object, one);
  object->extra().copies = {two, three};
  a_.objects.on_lost(*object);
  EXPECT_EQ(a_.objects.node_of(*object), two);
  flatbuffers::FlatBufferBuilder b;
  auto id = object->id.to_wire<wire::ObjectId>();
  auto at = two.to_wire<wire::NodeId>();
  b.Finish(wire::CreateObjectsPromoted(b, &at, 0, b.CreateVectorOfStructs(&id, 1)));
  a_.objects.on_promoted({wire::MessageType::ObjectsPromoted, 0, {b.GetBufferPointer(), b.GetSize()}, {}});
  EXPECT_EQ(a_.objects.node_of(*object), three);
  EXPECT_THAT(a_.out.promoted, ElementsAre(std::pair(object->id, two), std::pair(object->id, three)));
  a_.objects.on_lost(*object);
  EXPECT_THAT(a_.out.recovered, ElementsAre(object->id));
}

// A node has answered what was sought among what others have spilled.
static rpc::Frame sought(flatbuffers::FlatBufferBuilder& b, const NodeId& node, const ObjectId& id, bool found) {
  auto wire_id = id.to_wire<wire::ObjectId>();
  auto at = node.to_wire<wire::NodeId>();
  auto some = b.CreateVectorOfStructs(&wire_id, 1), none = b.CreateVectorOfStructs(&wire_id, 0);
  b.Finish(wire::CreateObjectsPromoted(b, &at, found ? some : none, found ? none : some, true));
  return {wire::MessageType::ObjectsPromoted, 0, {b.GetBufferPointer(), b.GetSize()}, {}};
}

TEST_F(ObjectsTest, what_lost_nodes_have_spilled_is_sought_before_an_object_is_made_again) {
  const NodeId one = numbered<NodeId>(7), two = numbered<NodeId>(8), here = a_.self().node;
  a_.out.is_spill_shared = true;
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*object);
  a_.objects.set_stored(*object, one);
  object->extra().copies = {two};
  a_.objects.on_node_gone(one);
  a_.objects.on_lost(*object);
  ASSERT_EQ(a_.out.sought.size(), 1u);
  EXPECT_THAT(a_.out.sought[0].second, ElementsAre(one, two));
  EXPECT_EQ(object->state.load(), ObjectState::kPending);

  flatbuffers::FlatBufferBuilder b, c;
  a_.objects.on_promoted(sought(b, here, object->id, true));
  EXPECT_EQ(object->state.load(), ObjectState::kStore);
  EXPECT_EQ(a_.objects.node_of(*object), here);
  EXPECT_TRUE(a_.out.recovered.empty());

  a_.objects.on_lost(*object);
  EXPECT_THAT(a_.out.sought.at(1).second, ElementsAre(one, two, here));
  a_.objects.on_promoted(sought(c, here, object->id, false));
  EXPECT_THAT(a_.out.recovered, ElementsAre(object->id));
}

TEST_F(ObjectsTest, what_is_found_after_it_was_given_up_is_erased) {
  a_.out.is_spill_shared = true;
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*object);
  a_.objects.set_stored(*object, numbered<NodeId>(7));
  a_.objects.on_lost(*object);
  const ObjectId id = object->id;
  a_.objects.drop_use(*object);
  object.reset();
  flatbuffers::FlatBufferBuilder b;
  a_.objects.on_promoted(sought(b, a_.self().node, id, true));
  EXPECT_THAT(a_.out.erased, ElementsAre(id));
}

// ---- uses ----

TEST_F(ObjectsTest, the_last_use_gives_an_owned_object_up) {
  ObjectPtr object = a_.put(1, "x");
  Objects::add_use(*object);
  a_.objects.drop_use(*object);
  EXPECT_TRUE(has(a_, object));
  a_.objects.drop_use(*object);
  EXPECT_FALSE(has(a_, object));
  EXPECT_TRUE(a_.out.erased.empty());  // it was not in the store
}

TEST_F(ObjectsTest, a_stored_value_is_erased_from_the_store) {
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*object);
  a_.objects.set_stored(*object, NodeId());
  a_.objects.drop_use(*object);
  EXPECT_THAT(a_.out.erased, ElementsAre(object->id));
}

TEST_F(ObjectsTest, a_result_nobody_wants_is_erased_when_it_is_stored) {
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  a_.objects.set_stored(*object, NodeId());
  EXPECT_THAT(a_.out.erased, ElementsAre(object->id));
}

TEST_F(ObjectsTest, an_actors_handle_going_ends_its_scope) {
  ObjectPtr handle = a_.put(1, "");
  handle->extra().is_actor = true;
  a_.objects.drop_use(*handle);
  EXPECT_THAT(a_.out.out_of_scope, ElementsAre(handle->id));
}

TEST_F(ObjectsTest, a_container_holds_what_it_contains) {
  ObjectPtr inner = a_.put(1, "inner");
  ObjectPtr outer = a_.put(2, "outer");
  a_.objects.set_contained(*outer, {inner});
  a_.objects.drop_use(*inner);
  EXPECT_TRUE(has(a_, inner));
  a_.objects.drop_use(*outer);
  EXPECT_FALSE(has(a_, inner));
  EXPECT_FALSE(has(a_, outer));
}

TEST_F(ObjectsTest, new_contents_replace_the_old) {
  ObjectPtr first = a_.put(1, ""), second = a_.put(2, ""), outer = a_.put(3, "");
  a_.objects.set_contained(*outer, {first});
  a_.objects.set_contained(*outer, {second});
  a_.objects.drop_use(*first);
  EXPECT_FALSE(has(a_, first));
}

TEST_F(ObjectsTest, lineage_goes_with_the_object) {
  ObjectPtr object = a_.put(1, "");
  object->extra().task = new Task;
  Task* task = object->extra().task.get();
  a_.objects.drop_use(*object);
  ASSERT_EQ(a_.out.dropped_lineage.size(), 1u);
  EXPECT_EQ(a_.out.dropped_lineage[0].get(), task);
}

// ---- becoming ready ----

struct Told : ReadyListener {
  int times = 0;
  void on_ready(Object&) override { ++times; }
};

TEST_F(ObjectsTest, listeners_are_told_once) {
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Told told, gone, late;
  a_.objects.listen(*object, &told);
  a_.objects.listen(*object, &gone);
  a_.objects.unlisten(*object, &gone);
  a_.objects.set_value(*object, value_of("x"));
  a_.objects.set_value(*object, value_of("y"));
  a_.objects.listen(*object, &late);
  EXPECT_EQ(told.times, 1);
  EXPECT_EQ(gone.times, 0);
  EXPECT_EQ(late.times, 1);
  EXPECT_EQ(text_of(object->value), "x");
}

TEST_F(ObjectsTest, a_lost_value_is_made_again_by_its_owner) {
  ObjectPtr object = a_.put(1, "");
  object->state.store(ObjectState::kStore);
  a_.objects.on_lost(*object);
  EXPECT_FALSE(object->is_ready());
  EXPECT_THAT(a_.out.recovered, ElementsAre(object->id));
  a_.objects.on_lost(*object);
  EXPECT_EQ(a_.out.recovered.size(), 1u);
}

// ---- borrowing ----

TEST_F(ObjectsTest, a_borrower_keeps_the_object_alive) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr borrowed = borrow(b_, object, a_);
  a_.objects.drop_use(*object);
  EXPECT_TRUE(has(a_, object));
  EXPECT_TRUE(a_.objects.has_borrowers());
  b_.objects.drop_use(*borrowed);
  network_.deliver_all();
  EXPECT_FALSE(has(a_, object));
  EXPECT_EQ(b_.objects.size(), 0u);
}

TEST_F(ObjectsTest, a_reference_that_returns_to_its_owner_is_the_same_object) {
  ObjectPtr object = a_.put(1, "x");
  EXPECT_EQ(a_.objects.receive(object->id, a_.self(), true), object);
}

TEST_F(ObjectsTest, a_reference_given_up_by_this_program_is_an_error) {
  ObjectPtr object = a_.objects.receive(numbered<ObjectId>(9), a_.self(), false);
  EXPECT_EQ(object->state.load(), ObjectState::kError);
  EXPECT_THAT(text_of(object->value), HasSubstr("already given up"));
}

TEST_F(ObjectsTest, removing_may_overtake_adding) {
  ObjectPtr object = a_.put(1, "x");
  // b has lent c the object; c's RemoveBorrow comes before b's AddBorrow.
  ObjectPtr at_b = borrow(b_, object, a_);
  b_.objects.lend(*at_b, c_.self());
  flatbuffers::FlatBufferBuilder refs;
  refs.Finish(wire::CreateObjectReply(refs, nullptr, wire::ObjectStatus::Value,
                                      refs.CreateVector({b_.objects.describe(refs, *at_b)})));
  const auto* reply = flatbuffers::GetRoot<wire::ObjectReply>(refs.GetBufferPointer());
  ObjectPtr at_c = c_.objects.receive_contained(reply->contained())[0];
  Objects::add_use(*at_c);
  c_.objects.drop_use(*at_c);
  network_.deliver(c_.id(), a_.id());
  EXPECT_EQ(object->extra().borrowers.at(c_.id()), -1);
  a_.objects.drop_use(*object);
  EXPECT_TRUE(has(a_, object));
  network_.deliver(b_.id(), a_.id());
  EXPECT_FALSE(object->extra().borrowers.contains(c_.id()));
  b_.objects.drop_use(*at_b);
  network_.deliver_all();
  EXPECT_FALSE(has(a_, object));
}

TEST_F(ObjectsTest, being_lent_the_same_twice_gives_both_back_at_the_end) {
  ObjectPtr inner = a_.put(1, "inner");
  ObjectPtr outer = a_.put(2, "outer");
  a_.objects.set_contained(*outer, {inner});
  ObjectPtr at_b = borrow(b_, outer, a_);
  ObjectPtr inner_at_b = borrow(b_, inner, a_);
  b_.objects.fetch(*at_b);
  network_.deliver_all();
  EXPECT_EQ(inner->extra().borrowers.at(b_.id()), 2);
  b_.objects.drop_use(*at_b);
  network_.deliver_all();
  EXPECT_EQ(inner->extra().borrowers.at(b_.id()), 2);  // giving one back now could overtake the one it stands for
  b_.objects.drop_use(*inner_at_b);
  network_.deliver_all();
  EXPECT_FALSE(inner->extra().borrowers.contains(b_.id()));
}

TEST_F(ObjectsTest, a_borrower_without_a_link_to_the_owner_opens_one_to_give_back) {
  ObjectPtr inner = a_.put(1, "inner");
  ObjectPtr at_b = borrow(b_, inner, a_);
  ObjectPtr outer = b_.put(2, "outer");
  b_.objects.set_contained(*outer, {at_b});
  ObjectPtr outer_at_c = borrow(c_, outer, b_);
  c_.objects.fetch(*outer_at_c);
  network_.deliver_all();
  b_.objects.drop_use(*at_b), b_.objects.drop_use(*outer);
  a_.objects.drop_use(*inner);
  network_.deliver_all();
  EXPECT_TRUE(has(a_, inner));
  c_.objects.drop_use(*outer_at_c);
  network_.deliver_all();
  EXPECT_FALSE(has(a_, inner));
}

// ---- asking for values ----

TEST_F(ObjectsTest, a_value_is_fetched_from_its_owner) {
  ObjectPtr borrowed = borrow(b_, a_.put(1, "hello"), a_);
  b_.objects.fetch(*borrowed);
  b_.objects.fetch(*borrowed);
  network_.collect();
  EXPECT_EQ(network_.waiting(b_.id(), a_.id()), 1u);
  network_.deliver_all();
  EXPECT_EQ(borrowed->state.load(), ObjectState::kValue);
  EXPECT_EQ(text_of(borrowed->value), "hello");
}

TEST_F(ObjectsTest, an_owner_answers_when_the_value_is_there) {
  ObjectPtr object = a_.objects.make_owned(numbered<ObjectId>(1));
  Objects::add_use(*object);
  a_.objects.add_to_table(*object);
  ObjectPtr borrowed = borrow(b_, object, a_);
  b_.objects.fetch(*borrowed);
  network_.deliver_all();
  EXPECT_FALSE(borrowed->is_ready());
  a_.objects.set_value(*object, value_of("late"), ObjectState::kError);
  network_.deliver_all();
  EXPECT_EQ(borrowed->state.load(), ObjectState::kError);
  EXPECT_EQ(text_of(borrowed->value), "late");
}

TEST_F(ObjectsTest, an_owner_that_gave_the_object_up_says_so) {
  ObjectPtr borrowed = borrow(b_, a_.objects.make_owned(numbered<ObjectId>(77)), a_);
  b_.objects.fetch(*borrowed);
  network_.deliver_all();
  EXPECT_EQ(borrowed->state.load(), ObjectState::kError);
  EXPECT_THAT(text_of(borrowed->value), HasSubstr("ObjectFreedError"));
}

TEST_F(ObjectsTest, contents_of_a_fetched_value_are_lent) {
  ObjectPtr inner = a_.put(1, "inner");
  ObjectPtr outer = a_.put(2, "outer");
  a_.objects.set_contained(*outer, {inner});
  ObjectPtr outer_at_b = borrow(b_, outer, a_);
  b_.objects.fetch(*outer_at_b);
  network_.deliver_all();
  a_.objects.drop_use(*inner), a_.objects.drop_use(*outer);
  ObjectPtr inner_at_b = b_.objects.find(inner->id);
  ASSERT_TRUE(inner_at_b);
  EXPECT_TRUE(has(a_, inner));
  b_.objects.drop_use(*outer_at_b);
  network_.deliver_all();
  EXPECT_FALSE(has(a_, inner));
  EXPECT_FALSE(has(a_, outer));
}

TEST_F(ObjectsTest, contents_nobody_waits_for_any_more_are_given_back) {
  ObjectPtr inner = a_.put(1, "inner");
  ObjectPtr outer = a_.put(2, "outer");
  a_.objects.set_contained(*outer, {inner});
  ObjectPtr outer_at_b = borrow(b_, outer, a_);
  b_.objects.fetch(*outer_at_b);
  b_.objects.drop_use(*outer_at_b);
  network_.deliver_all();
  EXPECT_FALSE(inner->extra().borrowers.contains(b_.id()));
  EXPECT_EQ(b_.objects.size(), 0u);
}

TEST_F(ObjectsTest, the_owner_recovers_a_value_that_a_borrower_misses) {
  ObjectPtr object = a_.put(1, "");
  object->state.store(ObjectState::kStore);
  ObjectPtr borrowed = borrow(b_, object, a_);
  b_.objects.fetch(*borrowed);
  network_.deliver_all();
  ASSERT_EQ(borrowed->state.load(), ObjectState::kStore);
  a_.out.stored = false;
  b_.objects.on_lost(*borrowed);
  network_.deliver_all();
  EXPECT_THAT(a_.out.recovered, ElementsAre(object->id));
  EXPECT_FALSE(borrowed->is_ready());
  a_.objects.set_stored(*object, NodeId());
  network_.deliver_all();
  EXPECT_EQ(borrowed->state.load(), ObjectState::kStore);
}

// ---- the end of a program ----

TEST_F(ObjectsTest, the_owners_death_is_an_error_for_who_waits) {
  ObjectPtr borrowed = borrow(b_, a_.put(1, "x"), a_);
  b_.objects.fetch(*borrowed);
  network_.end_program(a_.id());
  b_.objects.on_program_gone(a_.id(), "it was killed");
  EXPECT_EQ(borrowed->state.load(), ObjectState::kError);
  EXPECT_THAT(text_of(borrowed->value), HasSubstr("OwnerDiedError"));
  EXPECT_THAT(text_of(borrowed->value), HasSubstr("it was killed"));
  b_.objects.drop_use(*borrowed);
  EXPECT_EQ(b_.objects.size(), 0u);
}

TEST_F(ObjectsTest, a_reference_of_a_program_that_is_gone_is_an_error) {
  network_.end_program(a_.id());
  ObjectPtr now = b_.objects.receive(numbered<ObjectId>(1), a_.self(), false);
  EXPECT_THAT(text_of(now->value), HasSubstr("OwnerDiedError"));
  ObjectPtr later = b_.objects.receive(numbered<ObjectId>(2), a_.self(), true);
  EXPECT_FALSE(later->is_ready());
  b_.objects.fetch(*later);
  EXPECT_THAT(text_of(later->value), HasSubstr("OwnerDiedError"));
}

TEST_F(ObjectsTest, a_borrowers_death_ends_its_borrowing) {
  ObjectPtr object = a_.put(1, "x");
  borrow(b_, object, a_);
  a_.objects.drop_use(*object);
  EXPECT_TRUE(has(a_, object));
  network_.end_program(b_.id());
  a_.objects.on_program_gone(b_.id(), "gone");
  EXPECT_FALSE(has(a_, object));
}

TEST_F(ObjectsTest, a_borrower_that_is_gone_before_it_is_counted_does_not_count) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr at_b = borrow(b_, object, a_);
  b_.objects.lend(*at_b, c_.self());
  network_.end_program(c_.id());
  b_.objects.drop_use(*at_b);
  network_.deliver_all();
  EXPECT_FALSE(a_.objects.has_borrowers());
}

TEST_F(ObjectsTest, an_owner_links_to_borrowers_that_others_speak_for) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr at_b = borrow(b_, object, a_);
  b_.objects.lend(*at_b, c_.self());
  network_.deliver_all();
  EXPECT_NE(network_.link(a_.id(), c_.id(), false), nullptr);
}

// ---- references kept from a call ----

TEST_F(ObjectsTest, nothing_kept_means_nothing_to_wait_for) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr covered = b_.objects.receive(object->id, a_.self(), true);
  EXPECT_TRUE(b_.objects.register_kept(nullptr, [] { FAIL(); }));
  EXPECT_EQ(b_.objects.size(), 0u);
  EXPECT_EQ(network_.waiting(b_.id(), a_.id()), 0u);
}

TEST_F(ObjectsTest, what_the_submitter_owns_is_registered_ahead_of_the_reply) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr covered = b_.objects.receive(object->id, a_.self(), true);
  Objects::add_use(*covered);
  rpc::ConnectionPtr to_submitter = network_.link(b_.id(), a_.id(), true);
  EXPECT_TRUE(b_.objects.register_kept(to_submitter.get(), [] { FAIL(); }));
  EXPECT_EQ(network_.waiting(b_.id(), a_.id()), 1u);
  network_.deliver_all();
  EXPECT_EQ(object->extra().borrowers.at(b_.id()), 1);
}

TEST_F(ObjectsTest, what_others_own_is_acknowledged_before_the_reply) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr covered = b_.objects.receive(object->id, a_.self(), true);
  Objects::add_use(*covered);
  int replies = 0;
  rpc::ConnectionPtr to_submitter = network_.link(b_.id(), c_.id(), true);
  EXPECT_FALSE(b_.objects.register_kept(to_submitter.get(), [&] { ++replies; }));
  network_.deliver(b_.id(), a_.id());
  EXPECT_EQ(replies, 0);
  network_.deliver(a_.id(), b_.id());
  EXPECT_EQ(replies, 1);
}

TEST_F(ObjectsTest, a_reply_waits_for_what_another_reply_has_registered) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr covered = b_.objects.receive(object->id, a_.self(), true);
  Objects::add_use(*covered);
  int replies = 0;
  EXPECT_FALSE(b_.objects.register_kept(nullptr, [&] { ++replies; }));
  EXPECT_FALSE(b_.objects.register_kept(nullptr, [&] { ++replies; }));  // its submitter may be the one who covers
  network_.deliver_all();
  EXPECT_EQ(replies, 2);
}

TEST_F(ObjectsTest, lending_a_covered_reference_holds_the_reply_back) {
  ObjectPtr object = a_.put(1, "x");
  ObjectPtr covered = b_.objects.receive(object->id, a_.self(), true);
  b_.objects.lend(*covered, c_.self());
  int replies = 0;
  EXPECT_FALSE(b_.objects.register_kept(network_.link(b_.id(), c_.id(), true).get(), [&] { ++replies; }));
  network_.deliver_all();
  EXPECT_EQ(replies, 1);
  EXPECT_EQ(object->extra().borrowers.at(c_.id()), 1);
}

TEST_F(ObjectsTest, an_owner_that_dies_is_not_waited_for) {
  ObjectPtr first = a_.put(1, "x"), second = c_.put(2, "y");
  for (auto& [object, owner] : {std::pair(first, &a_), std::pair(second, &c_)})
    Objects::add_use(*b_.objects.receive(object->id, owner->self(), true));
  int replies = 0;
  EXPECT_FALSE(b_.objects.register_kept(nullptr, [&] { ++replies; }));
  for (auto& [program, link] : network_.end_program(a_.id())) b_.objects.on_link_closed(*link);
  EXPECT_EQ(replies, 0);
  network_.deliver_all();
  EXPECT_EQ(replies, 1);
}

// ---- damaged messages ----

TEST_F(ObjectsTest, damaged_requests_close_the_link) {
  for (auto type : {wire::MessageType::GetObject, wire::MessageType::AddBorrow}) {
    WorkerId stranger = numbered<WorkerId>(static_cast<uint32_t>(type) + 100);
    rpc::ConnectionPtr link = network_.link(stranger, a_.id(), true);
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateGetObject(b));  // an AddBorrow without ids has the same bytes
    link->send(type, 1, b);
    network_.deliver(stranger, a_.id());
    EXPECT_TRUE(network_.link(a_.id(), stranger, false)->is_closed());
  }
}

// ---- all together ----

// Programs put objects, call each other with references among the arguments, keep some, return some, and drop what
// they have, while messages of different links overtake each other. Invariants: an object is not given up while
// somebody holds it or a message that carries it is under way; in the end all are given up.
class Crowd {
 public:
  explicit Crowd(uint32_t seed) : random_(seed) {
    for (uint32_t i = 0; i < 4; ++i) {
      programs_.push_back(std::make_unique<Member>(network_, i + 1));
      Member& member = *programs_.back();
      member.program.on_other = [this, &member](rpc::Connection& link, const rpc::Frame& frame) {
        frame.type == wire::MessageType::PushTask ? begin_call(member, link, frame) : end_call(member, frame);
      };
    }
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      check();
      if (::testing::Test::HasFatalFailure()) return;
    }
    finish();
  }

 private:
  struct Running {  // a call at the program that runs it
    rpc::ConnectionPtr link;
    uint32_t call_id;
    std::vector<ObjectPtr> held;
  };
  struct Member {
    Member(Network& network, uint32_t number) : program(network, number) {}
    ObjectsProgram program;
    std::vector<ObjectPtr> held;                          // each with a use
    std::map<uint64_t, std::vector<ObjectPtr>> pinned;    // by call, each with a use
    std::vector<Running> running;
  };

  template <class T>
  T take_any(std::vector<T>& from) {
    size_t at = random_() % from.size();
    T taken = std::move(from[at]);
    from.erase(from.begin() + static_cast<long>(at));
    return taken;
  }
  Member& any_member() { return *programs_[random_() % programs_.size()]; }

  void step() {
    Member& member = any_member();
    switch (random_() % 10) {
      case 0: return put(member);
      case 1:
      case 2: return call(member, any_member());
      case 3:
      case 4: return drop(member);
      case 5: return answer(member);
      default: network_.deliver_one(random_);
    }
  }

  void put(Member& member) {
    if (owners_.size() > 40) return;
    ObjectPtr object = member.program.objects.make_owned(numbered<ObjectId>(++last_object_));
    Objects::add_use(*object);
    member.program.objects.set_stored(*object, NodeId());  // the end of a stored object is reported
    owners_[object->id] = &member;
    member.held.push_back(object);
  }

  void drop(Member& member) {
    if (!member.held.empty()) member.program.objects.drop_use(*take_any(member.held));
  }

  void call(Member& from, Member& to) {
    if (from.held.empty() || &from == &to) return;
    rpc::ConnectionPtr link = from.program.links.program(to.program.self());
    flatbuffers::FlatBufferBuilder b;
    std::vector<flatbuffers::Offset<wire::Ref>> refs;
    uint64_t number = ++last_call_;
    for (uint32_t i = 0; i <= random_() % 3; ++i) {
      ObjectPtr object = from.held[random_() % from.held.size()];
      Objects::add_use(*object);
      from.pinned[number].push_back(object);
      refs.push_back(from.program.objects.describe(b, *object));
    }
    auto nested = b.CreateVector(refs);
    wire::PushTaskBuilder push(b);
    push.add_nested(nested);
    b.Finish(push.Finish());
    link->send(wire::MessageType::PushTask, static_cast<uint32_t>(number), b);
  }

  void begin_call(Member& at, rpc::Connection& link, const rpc::Frame& frame) {
    Running running{link.shared_from_this(), frame.call_id, {}};
    for (const wire::Ref* ref : *frame.as<wire::PushTask>()->nested()) {
      ObjectPtr object =
          at.program.objects.receive(ObjectId::from_wire(ref->id()), Address::from_wire(ref->owner()), true);
      Objects::add_use(*object);
      running.held.push_back(object);
      if (random_() % 4 == 0) Objects::add_use(*object), at.held.push_back(object);
    }
    at.running.push_back(std::move(running));
  }

  // As Executor::reply does it: lend what goes back, register what stays, answer when the owners know.
  void answer(Member& at) {
    if (at.running.empty()) return;
    auto call = std::make_shared<Running>(take_any(at.running));
    auto outcome = std::make_shared<std::vector<ObjectPtr>>();
    if (random_() % 2 == 0) outcome->push_back(call->held[0]);
    if (random_() % 2 == 0 && !at.held.empty()) outcome->push_back(at.held[random_() % at.held.size()]);
    Objects& objects = at.program.objects;
    Address receiver;
    receiver.worker = call->link->peer();
    for (ObjectPtr& object : *outcome) objects.lend(*object, receiver);
    for (ObjectPtr& object : std::exchange(call->held, {})) objects.drop_use(*object);
    auto send = [&objects, call, outcome] {
      flatbuffers::FlatBufferBuilder b;
      std::vector<flatbuffers::Offset<wire::Ref>> refs;
      for (ObjectPtr& object : *outcome) refs.push_back(objects.describe(b, *object));
      b.Finish(wire::CreateObjectReply(b, nullptr, wire::ObjectStatus::Value, b.CreateVector(refs)));
      call->link->send(wire::MessageType::TaskReply, call->call_id, b);
    };
    if (objects.register_kept(call->link.get(), send)) send();
  }

  void end_call(Member& at, const rpc::Frame& frame) {
    Objects& objects = at.program.objects;
    for (ObjectPtr& object : objects.receive_contained(frame.as<wire::ObjectReply>()->contained())) {
      Objects::add_use(*object);
      if (random_() % 3 != 0)
        at.held.push_back(object);
      else
        objects.drop_use(*object);
    }
    for (ObjectPtr& object : at.pinned[frame.call_id]) objects.drop_use(*object);
    at.pinned.erase(frame.call_id);
  }

  void check() {
    for (auto& member : programs_) {
      for (const ObjectId& id : std::exchange(member->program.out.erased, {})) {
        ASSERT_EQ(owners_.at(id), member.get());
        owners_.erase(id);
      }
      for (ObjectPtr& object : member->held) ASSERT_TRUE(owners_.contains(object->id)) << "given up while held";
      for (Running& running : member->running)
        for (ObjectPtr& object : running.held) ASSERT_TRUE(owners_.contains(object->id)) << "given up in a call";
      for (auto& [call, objects] : member->pinned)
        for (ObjectPtr& object : objects) ASSERT_TRUE(owners_.contains(object->id)) << "given up while covered";
    }
    network_.for_each_mail([&](const Mail& mail) {
      const auto* reply = mail.type == wire::MessageType::TaskReply ? mail.as<wire::ObjectReply>() : nullptr;
      if (reply == nullptr) return;
      for (const wire::Ref* ref : *reply->contained())
        ASSERT_TRUE(owners_.contains(ObjectId::from_wire(ref->id()))) << "given up on its way";
    });
  }

  void finish() {
    for (int round = 0; round < 1000; ++round) {
      network_.deliver_all();
      size_t left = 0;
      for (auto& member : programs_) {
        left += member->held.size() + member->running.size();
        drop(*member), answer(*member);
      }
      if (left == 0) break;
    }
    network_.deliver_all();
    check();
    EXPECT_TRUE(owners_.empty()) << owners_.size() << " objects are never given up";
    for (auto& member : programs_) EXPECT_EQ(member->program.objects.size(), 0u);
  }

  std::mt19937 random_;
  Network network_;
  std::vector<std::unique_ptr<Member>> programs_;
  std::map<ObjectId, Member*> owners_;  // objects not given up
  uint32_t last_object_ = 0;
  uint64_t last_call_ = 0;
};

TEST(ObjectsProperty, nothing_held_is_given_up_and_everything_is_in_the_end) {
  for (uint32_t seed = 0; seed < 60 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Crowd(seed).run(400);
  }
}

}  // namespace
}  // namespace narke::worker
