// Nodes that take objects from each other: real sockets on loopback, real threads, one reactor.
#include "transfer/transfer.h"

#include <algorithm>

#include <gmock/gmock.h>

#include "transfer/testing/cluster.h"

namespace narke::transfer::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class TransferTest : public ClusterTest {};

TEST_F(TransferTest, AnObjectArrivesWhole) {
  Node &a = add(), &b = add();
  for (uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{100'000}, 4 * kMiB, 13 * kMiB + 5}) {
    auto id = object(static_cast<uint32_t>(size));
    a.put(id, size, 3);
    EXPECT_EQ(b.presence(id), store::ObjectPresence::kAbsent);
    auto answer = pull(b, id, {a.address()});
    ASSERT_TRUE(answer->ok()) << answer->message();
    EXPECT_TRUE(b.holds(id, size, 3)) << size;
  }
  EXPECT_EQ(b.stats().secondary_objects, 5u);
}

TEST_F(TransferTest, EncryptedObjectsArriveWhole) {
  config_.tls = wire::TlsUse::Always;
  Node &a = add(256 * kMiB), &b = add(256 * kMiB);
  for (uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{100'000}, 4 * kMiB, 60 * kMiB + 5}) {
    auto id = object(static_cast<uint32_t>(size));
    a.put(id, size, 3);
    auto answer = pull(b, id, {a.address()});
    ASSERT_TRUE(answer->ok()) << answer->message();
    EXPECT_TRUE(b.holds(id, size, 3)) << size;
  }
  std::vector<std::shared_ptr<Answer>> answers;
  for (uint32_t i = 1; i < 300; ++i) {
    a.put(object(i * 7), 1000 + i, static_cast<uint8_t>(i));
    answers.push_back(start(b, object(i * 7), {a.address()}));
  }
  ASSERT_TRUE(run([&] { return std::all_of(answers.begin(), answers.end(), [](auto& x) { return x->ok(); }); }));
}

TEST_F(TransferTest, AnotherClustersNodeFailsTheHandshake) {
  config_.tls = wire::TlsUse::Always;
  Node &a = add(64 * kMiB, "another"), &b = add();
  a.put(object(1), kMiB, 1);
  auto answer = pull(b, object(1), {a.address()});
  EXPECT_EQ(answer->code(), ErrorCode::kRefused);
  EXPECT_THAT(answer->message(), HasSubstr("token"));
}

TEST_F(TransferTest, ManySmallObjectsShareAConnection) {
  Node &a = add(), &b = add();
  std::vector<std::shared_ptr<Answer>> answers;
  for (uint32_t i = 0; i < 500; ++i) {
    a.put(object(i), 1000 + i, static_cast<uint8_t>(i));
    answers.push_back(start(b, object(i), {a.address()}));
  }
  ASSERT_TRUE(run([&] { return std::all_of(answers.begin(), answers.end(), [](auto& x) { return x->ok(); }); }));
  for (uint32_t i = 0; i < 500; ++i) ASSERT_TRUE(b.holds(object(i), 1000 + i, static_cast<uint8_t>(i))) << i;
  EXPECT_EQ(a.accepted, 1);
}

TEST_F(TransferTest, LargeObjectsUseSeveralConnections) {
  Node &a = add(256 * kMiB), &b = add(256 * kMiB);
  config_.connections = 4;
  a.put(object(1), 60 * kMiB, 1);
  ASSERT_TRUE(pull(b, object(1), {a.address()})->ok());
  EXPECT_TRUE(b.holds(object(1), 60 * kMiB, 1));
  EXPECT_EQ(a.accepted, 4);
}

TEST_F(TransferTest, ManyCallersShareOneTransfer) {
  Node &a = add(), &b = add();
  a.put(object(1), 9 * kMiB, 1);
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 20; ++i) answers.push_back(start(b, object(1), {a.address()}));
  ASSERT_TRUE(run([&] { return std::all_of(answers.begin(), answers.end(), [](auto& x) { return x->ok(); }); }));
  EXPECT_EQ(a.transfers->stats().given_bytes, 9 * kMiB);
  EXPECT_EQ(b.transfers->stats().taken_bytes, 9 * kMiB);
  EXPECT_EQ(b.transfers->stats().pulls, 0u);
}

TEST_F(TransferTest, WhatIsHereIsNotTransferred) {
  Node &a = add(), &b = add();
  a.put(object(1), kMiB, 1);
  b.put(object(1), kMiB, 1);
  EXPECT_TRUE(pull(b, object(1), {a.address()})->ok());
  EXPECT_EQ(a.accepted, 0);
}

TEST_F(TransferTest, AnObjectOnTheSourcesDiskIsBroughtBackFirst) {
  Node &a = add(32 * kMiB), &b = add();
  for (uint32_t i = 0; i < 5; ++i) a.put(object(i), 10 * kMiB, 1);
  ASSERT_EQ(a.presence(object(0)), store::ObjectPresence::kSpilled);
  auto answer = pull(b, object(0), {a.address()});
  ASSERT_TRUE(answer->ok()) << answer->message();
  EXPECT_TRUE(b.holds(object(0), 10 * kMiB, 1));
}

// ---- sources that do not have it, or fail

TEST_F(TransferTest, NobodyHasIt) {
  Node &a = add(), &b = add(), &c = add();
  auto answer = pull(c, object(1), {a.address(), b.address()});
  ASSERT_FALSE(answer->ok());
  EXPECT_EQ(answer->code(), ErrorCode::kNotFound);
  EXPECT_THAT(answer->message(), HasSubstr(object(1).hex()));
  EXPECT_THAT(answer->message(), HasSubstr(a.address()));
  EXPECT_THAT(answer->message(), HasSubstr(b.address()));
  EXPECT_EQ(pull(c, object(2), {})->code(), ErrorCode::kNotFound);
  EXPECT_EQ(pull(c, object(2), {c.address()})->code(), ErrorCode::kNotFound);
}

TEST_F(TransferTest, TheNextSourceIsTriedWhenOneIsGone) {
  Node &gone = add(), &a = add(), &b = add();
  std::string address = gone.address();
  gone.die();
  a.put(object(1), 5 * kMiB, 1);
  auto answer = pull(b, object(1), {address, "no port", a.address()});
  ASSERT_TRUE(answer->ok()) << answer->message();
  EXPECT_TRUE(b.holds(object(1), 5 * kMiB, 1));
  answer = pull(b, object(2), {address});
  EXPECT_EQ(answer->code(), ErrorCode::kDisconnected);
  EXPECT_THAT(answer->message(), HasSubstr(address));
}

TEST_F(TransferTest, ASourceThatDiesHalfWayIsReplaced) {
  Node &a = add(), &b = add(), &c = add();
  a.put(object(1), 40 * kMiB, 1);
  b.put(object(1), 40 * kMiB, 1);
  a.gate.bytes = 20 << 20;
  auto answer = start(c, object(1), {a.address(), b.address()});
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  a.die();
  ASSERT_TRUE(run([&] { return answer->status.has_value(); }));
  ASSERT_TRUE(answer->ok()) << answer->message();
  EXPECT_TRUE(c.holds(object(1), 40 * kMiB, 1));
  EXPECT_EQ(c.stats().used_bytes, 40 * kMiB);
}

TEST_F(TransferTest, PullsThatWaitForALinkGoOnWhenItBreaks) {
  config_.connections = 1;
  config_.window_bytes = 2 * kMiB;
  config_.pull_bytes = 60 * kMiB;
  Node &a = add(), &b = add(), &c = add();
  for (uint32_t i = 0; i < 4; ++i) {
    a.put(object(i), 4 * kMiB, 1);
    b.put(object(i), 4 * kMiB, 1);
  }
  a.shut();
  std::vector<std::shared_ptr<Answer>> answers;
  for (uint32_t i = 0; i < 4; ++i) answers.push_back(start(c, object(i), {a.address(), b.address()}));
  ASSERT_TRUE(run([&] { return c.stats().used_bytes == 16 * kMiB; }));
  a.die();
  ASSERT_TRUE(run([&] { return std::all_of(answers.begin(), answers.end(), [](auto& x) { return x->ok(); }); }));
}

TEST_F(TransferTest, ASourceThatIsKnownToBeDeadIsNotWaitedFor) {
  config_.stall_ms = 100'000;
  Node &a = add(), &b = add(), &c = add();
  a.put(object(1), 20 * kMiB, 1);
  a.put(object(2), 20 * kMiB, 1);
  b.put(object(1), 20 * kMiB, 1);
  a.shut();
  auto first = start(c, object(1), {a.address(), b.address()}), second = start(c, object(2), {a.address()});
  ASSERT_TRUE(run([&] { return a.transfers->stats().given_bytes > 0 && c.stats().used_bytes > 0; }));
  c.transfers->node_gone(a.address(), "no sign of life");
  ASSERT_TRUE(run([&] { return first->status && second->status; }));
  EXPECT_TRUE(first->ok()) << first->message();
  EXPECT_TRUE(c.holds(object(1), 20 * kMiB, 1));
  EXPECT_THAT(second->message(), HasSubstr(a.address() + ": its node is gone: no sign of life"));
  a.transfers->node_gone(c.address(), "no sign of life");
  ASSERT_TRUE(run([&] { return a.stats().pinned_objects == 0; })) << "nothing is kept for the dead";
}

TEST_F(TransferTest, ASilentSourceIsGivenUp) {
  config_.stall_ms = 200;
  Node &a = add(), &b = add();
  a.put(object(1), 20 * kMiB, 1);
  a.gate.bytes = 6 << 20;
  auto answer = pull(b, object(1), {a.address()});
  ASSERT_FALSE(answer->ok());
  EXPECT_EQ(answer->code(), ErrorCode::kTimeout);
  EXPECT_THAT(answer->message(), HasSubstr(object(1).hex()));
  EXPECT_THAT(answer->message(), HasSubstr(a.address() + ": no byte moved for 200 ms"));
  EXPECT_EQ(b.stats().used_bytes, 0u) << "nothing is left of it";
  a.open();
  EXPECT_TRUE(pull(b, object(1), {a.address()})->ok());
}

TEST_F(TransferTest, AnotherClustersNodeIsRefused) {
  Node &a = add(64 * kMiB, "secret"), &b = add(64 * kMiB, "other");
  a.put(object(1), kMiB, 1);
  auto answer = pull(b, object(1), {a.address()});
  ASSERT_FALSE(answer->ok());
  EXPECT_EQ(answer->code(), ErrorCode::kRefused);
  EXPECT_THAT(answer->message(), HasSubstr("does not hold this cluster's token"));
}

TEST_F(TransferTest, StrangersAreClosedAndTheClusterGoesOn) {
  Node &a = add(), &b = add();
  a.put(object(1), kMiB, 1);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  a.transfers->serve(ends[0], false);
  std::string noise(500, 'n');
  ASSERT_EQ(send(ends[1], noise.data(), noise.size(), 0), 500);
  char byte;
  ASSERT_TRUE(run([&] { return recv(ends[1], &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET; }));
  close(ends[1]);
  ASSERT_TRUE(run([&] { return !a.logs.empty(); }));
  EXPECT_THAT(a.logs.at(0), HasSubstr("does not speak"));
  EXPECT_TRUE(pull(b, object(1), {a.address()})->ok());
}

// ---- memory

TEST_F(TransferTest, AFullStoreIsAnError) {
  Node &a = add(), &b = add(32 * kMiB);
  a.put(object(1), 20 * kMiB, 1);
  b.put(object(2), 30 * kMiB, 1);
  auto pinned = b.store.get(b.program, object(2));
  auto answer = pull(b, object(1), {a.address()});
  ASSERT_FALSE(answer->ok());
  EXPECT_EQ(answer->code(), ErrorCode::kOverloaded);
  EXPECT_THAT(answer->message(), HasSubstr("are in use"));
  b.program->mapping()->unpin(pinned.view.slot);
  EXPECT_TRUE(pull(b, object(1), {a.address()})->ok());
}

TEST_F(TransferTest, PullsAreBoundedInBytes) {
  config_.pull_bytes = 10 * kMiB;
  Node &a = add(), &b = add();
  std::vector<std::shared_ptr<Answer>> answers;
  for (uint32_t i = 0; i < 12; ++i) a.put(object(i), 4 * kMiB, 1);
  a.put(object(50), 12 * kMiB, 1);
  a.gate.bytes = 1 << 20;
  for (uint32_t i = 0; i < 12; ++i) answers.push_back(start(b, object(i), {a.address()}));
  answers.push_back(start(b, object(50), {a.address()}));
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  run([&, end = clock_ms() + 50] { return clock_ms() > end; });
  EXPECT_EQ(b.stats().used_bytes, 8 * kMiB);
  a.open();
  ASSERT_TRUE(run([&] { return std::all_of(answers.begin(), answers.end(), [](auto& x) { return x->ok(); }); }))
      << "also one that is larger than the bound";
}

TEST_F(TransferTest, ForgottenPullsEndWithoutATrace) {
  Node &a = add(), &b = add();
  a.put(object(1), 20 * kMiB, 1);
  a.gate.bytes = 5 << 20;
  auto answer = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  auto never = start(b, object(2), {a.address()});
  b.transfers->forget(object(1));
  b.transfers->forget(object(2));
  b.transfers->forget(object(3));
  a.open();
  ASSERT_TRUE(run([&] { return b.transfers->stats().pulls == 0; }));
  EXPECT_FALSE(answer->status || never->status);
  EXPECT_EQ(b.stats().used_bytes, 0u);
  EXPECT_TRUE(pull(b, object(1), {a.address()})->ok());
}

TEST_F(TransferTest, AForgottenPullCanBeWantedAgain) {
  Node &a = add(), &b = add();
  a.put(object(1), 20 * kMiB, 1);
  a.gate.bytes = 5 << 20;
  start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  b.transfers->forget(object(1));
  auto answer = start(b, object(1), {a.address()});
  a.open();
  ASSERT_TRUE(run([&] { return answer->status.has_value(); }));
  EXPECT_TRUE(answer->ok()) << answer->message();
  EXPECT_TRUE(b.holds(object(1), 20 * kMiB, 1));
}

TEST_F(TransferTest, WhatCameIsPinnedForAWhileAndThenMayGo) {
  config_.keep_ms = 50;
  Node &a = add(), &b = add(32 * kMiB);
  a.put(object(1), 20 * kMiB, 1);
  ASSERT_TRUE(pull(b, object(1), {a.address()})->ok());
  EXPECT_EQ(b.stats().pinned_objects, 1u);
  ASSERT_TRUE(run([&] { return b.stats().pinned_objects == 0; }));
  b.put(object(2), 20 * kMiB, 1);
  EXPECT_EQ(b.presence(object(1)), store::ObjectPresence::kAbsent);
}

TEST_F(TransferTest, AnObjectThatAProgramHereIsWritingIsWaitedFor) {
  config_.stall_ms = 300;
  Node &a = add(), &b = add();
  a.put(object(1), kMiB, 1);
  ASSERT_EQ(b.store.create(b.program, object(1), kMiB).status, store::testing::kCreated);
  auto late = pull(b, object(1), {a.address()});
  EXPECT_EQ(late->code(), ErrorCode::kTimeout);
  EXPECT_THAT(late->message(), HasSubstr("is writing it"));
  auto answer = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return b.transfers->stats().pulls == 1 && a.accepted == 1; }));
  b.program->seal(object(1));
  ASSERT_TRUE(run([&] { return answer->status.has_value(); }));
  EXPECT_TRUE(answer->ok());
}

TEST_F(TransferTest, AnObjectThatIsErasedMeanwhile) {
  Node &a = add(), &b = add();
  a.put(object(1), 20 * kMiB, 1);
  a.gate.bytes = 5 << 20;
  auto answer = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  a.store.server->erase(object(1), clock_ns());
  b.store.server->erase(object(1), clock_ns());
  a.open();
  ASSERT_TRUE(run([&] { return answer->status.has_value(); }));
  EXPECT_EQ(answer->code(), ErrorCode::kNotFound);
  EXPECT_THAT(answer->message(), HasSubstr("was deleted"));
  ASSERT_TRUE(run([&] { return a.stats().used_bytes == 0 && b.stats().pinned_objects == 0; }));
}

// ---- who has what

TEST_F(TransferTest, TakersAreRememberedOnce) {
  Node &a = add(), &b = add(), &c = add();
  a.put(object(1), kMiB, 1);
  ASSERT_TRUE(pull(b, object(1), {a.address()})->ok());
  ASSERT_TRUE(pull(c, object(1), {a.address()})->ok());
  EXPECT_THAT(a.transfers->given(object(1)), UnorderedElementsAre(b.address(), c.address()));
  EXPECT_THAT(a.transfers->given(object(1)), IsEmpty());
  a.put(object(2), kMiB, 1, 99);
  ASSERT_TRUE(pull(b, object(2), {a.address()})->ok());
  a.transfers->forget_owner(99);
  EXPECT_THAT(a.transfers->given(object(2)), IsEmpty());
}

TEST_F(TransferTest, CopiesCarryTheirOwner) {
  Node &a = add(), &b = add();
  a.put(object(1), kMiB, 1, 42);
  bool done = false;
  b.transfers->pull(object(1), {a.address()}, 0, [&](const Status&) { done = true; });
  ASSERT_TRUE(run([&] { return done; }));
  b.store.server->erase_owned(42, clock_ns());
  EXPECT_EQ(b.presence(object(1)), store::ObjectPresence::kAbsent);
}

// ---- broadcast

TEST_F(TransferTest, ManyNodesTakeAnObjectFromEachOther) {
  Node& a = add();
  a.put(object(1), 40 * kMiB, 1);
  a.gate.bytes = 2 << 20;
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 6; ++i) answers.push_back(start(add(), object(1), {a.address()}));
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  run([&, end = clock_ms() + 100] { return clock_ms() > end; });  // all have asked
  a.open();
  ASSERT_TRUE(run([&] { return std::all_of(answers.begin(), answers.end(), [](auto& x) { return x->ok(); }); }));
  for (size_t i = 1; i < nodes_.size(); ++i) EXPECT_TRUE(nodes_[i]->holds(object(1), 40 * kMiB, 1)) << i;
  EXPECT_EQ(a.transfers->stats().given_bytes, 40 * kMiB);
  EXPECT_EQ(a.transfers->given(object(1)).size(), 6u);
}

TEST_F(TransferTest, WhoIsSentToANodeThatDiesComesBack) {
  Node &a = add(), &b = add(), &c = add();
  a.put(object(1), 40 * kMiB, 1);
  b.gate.bytes = 10 << 20;
  a.gate.bytes = 30 << 20;
  auto first = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return a.transfers->stats().given_bytes > 0; }));
  auto second = start(c, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return b.transfers->stats().given_bytes > 0 && a.gate.bytes <= 0; }));
  b.die();
  a.open();
  ASSERT_TRUE(run([&] { return second->status.has_value(); }));
  ASSERT_TRUE(second->ok()) << second->message();
  EXPECT_TRUE(c.holds(object(1), 40 * kMiB, 1));
}

TEST_F(TransferTest, WhoIsSentToASlowNodeStaysThere) {
  config_.stall_ms = 1000;
  config_.redirect_bytes = kMiB;
  Node &a = add(), &b = add(), &c = add();
  a.put(object(1), 4 * kMiB, 1);
  a.shut();
  auto first = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return a.transfers->stats().given_bytes > 0; }));
  auto second = start(c, object(1), {a.address()});
  // Its four chunks come side by side and are complete only at the end, after about 2.5 s.
  ASSERT_TRUE(run([&, last = clock_ms()]() mutable {
    int64_t passed = clock_ms() - std::exchange(last, clock_ms());
    a.gate.bytes += passed * 1700;
    return second->status.has_value();
  }));
  ASSERT_TRUE(second->ok()) << second->message();
  EXPECT_EQ(a.transfers->stats().given_bytes, 4 * kMiB);
  EXPECT_EQ(b.transfers->stats().given_bytes, 4 * kMiB);
}

TEST_F(TransferTest, TwoNodesThatTakeFromEachOtherGiveUp) {
  config_.stall_ms = 300;
  Node &a = add(), &b = add();
  auto first = start(a, object(1), {b.address()}), second = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return first->status && second->status; }));
  EXPECT_FALSE(first->ok() || second->ok());
}

TEST_F(TransferTest, SmallObjectsDoNotWaitForLargeOnes) {
  config_.connections = 1;
  Node &a = add(256 * kMiB), &b = add(256 * kMiB);
  a.put(object(1), 50 * kMiB, 1);
  a.put(object(2), 1000, 2);
  a.gate.bytes = 2 << 20;
  auto large = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  auto small = start(b, object(2), {a.address()});
  a.gate.bytes = 20 << 20;
  ASSERT_TRUE(run([&] { return small->ok(); }));
  EXPECT_FALSE(large->status);
  a.open();
  ASSERT_TRUE(run([&] { return large->ok(); }));
}

TEST_F(TransferTest, WhoIsSentToASilentNodeComesBack) {
  config_.stall_ms = 300;
  Node &a = add(), &b = add(), &c = add();
  a.put(object(1), 40 * kMiB, 1);
  a.gate.bytes = 5 << 20;
  auto first = start(b, object(1), {a.address()});
  ASSERT_TRUE(run([&] { return a.gate.bytes <= 0; }));
  b.shut();
  auto second = start(c, object(1), {a.address()});
  a.open();
  ASSERT_TRUE(run([&] { return second->status.has_value(); }));
  EXPECT_TRUE(second->ok()) << second->message();
  EXPECT_TRUE(c.holds(object(1), 40 * kMiB, 1));
}

}  // namespace
}  // namespace narke::transfer::testing
