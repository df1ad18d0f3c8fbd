// Programs and their node's store together, in one thread, with a fake disk.
#include <random>

#include <gmock/gmock.h>

#include "store/testing/fakes.h"

namespace narke::store::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StoreTest : public ::testing::Test {
 protected:
  void make(uint64_t capacity, bool spills = true, uint64_t quota = 0) {
    auto io = spills ? std::make_unique<FakeIo>() : nullptr;
    io_ = io.get();
    ServerConfig config;
    config.capacity_bytes = capacity;
    config.spill_quota_bytes = quota;
    node_ = std::make_unique<TestNode>(config, std::move(io));
  }
  void TearDown() override {
    if (node_) EXPECT_TRUE(node_->server->is_consistent());
  }
  Stats stats() { return node_->server->stats(); }

  FakeIo* io_ = nullptr;
  std::unique_ptr<TestNode> node_;
};

TEST_F(StoreTest, WhatOneSealsAllRead) {
  make(64 * kMiB);
  Program &writer = node_->add(), &reader = node_->add();
  auto created = node_->create(writer, object(1), 3 * kMiB);
  ASSERT_EQ(created.status, kCreated);
  EXPECT_EQ(node_->get(reader, object(1)).status, kAbsent) << "not sealed yet";
  EXPECT_EQ(reader->state(object(1)), ObjectState::kWriting);
  std::memset(created.data, 'x', 3 * kMiB);
  ASSERT_TRUE(writer->seal(object(1)));
  EXPECT_FALSE(writer->seal(object(1)));
  EXPECT_EQ(reader->state(object(1)), ObjectState::kSealed);
  EXPECT_EQ(reader->size_of(object(1)), 3 * kMiB);
  EXPECT_TRUE(node_->holds(reader, object(1), 3 * kMiB, 'x'));
  EXPECT_EQ(writer->try_create(object(1), 5).status, kExists);
}

TEST_F(StoreTest, EmptyObjects) {
  make(8 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 0, 'x'), kCreated);
  EXPECT_TRUE(node_->holds(program, object(1), 0, 'x'));
}

TEST_F(StoreTest, RepeatedPutsNeedNoMessage) {
  make(64 * kMiB);
  Program& program = node_->add();
  uint8_t* first = nullptr;
  for (uint32_t i = 0; i < 20; ++i) {
    if (i == 1) program.sent = 0;
    auto created = node_->create(program, object(i), 9 * kMiB);
    ASSERT_EQ(created.status, kCreated);
    if (first == nullptr) first = created.data;
    EXPECT_EQ(created.data, first) << "warm pages are used again";
    program->seal(object(i));
    program->erase(object(i));
  }
  EXPECT_EQ(program.sent, 0u);
  EXPECT_EQ(program->cached_bytes(), 9 * kMiB);
}

TEST_F(StoreTest, SmallObjectsShareAChunk) {
  make(64 * kMiB);
  Program& program = node_->add();
  for (uint32_t i = 0; i < 9; ++i) ASSERT_EQ(node_->put(program, object(i), 100'000, 'a'), kCreated);
  EXPECT_EQ(program.sent, 2u) << "one Attach, one Acquire";
}

TEST_F(StoreTest, ViewsOutliveEraseAndClient) {
  make(16 * kMiB);
  Program &writer = node_->add(), &reader = node_->add();
  ASSERT_EQ(node_->put(writer, object(1), 4 * kMiB, 'v'), kCreated);
  auto got = node_->get(reader, object(1));
  ASSERT_EQ(got.status, kRead);
  auto mapping = reader->mapping();
  writer->erase(object(1));
  EXPECT_EQ(writer->state(object(1)), ObjectState::kAbsent) << "at once";
  node_->deliver();
  reader.client.reset();
  for (uint32_t i = 2; i < 10; ++i) node_->put(writer, object(i), 4 * kMiB, 'w');
  EXPECT_EQ(got.view.data[0], 'v');
  EXPECT_EQ(got.view.data[4 * kMiB - 1], 'v');
  EXPECT_EQ(stats().pinned_objects, 1u);
  mapping->unpin(got.view.slot);
  EXPECT_EQ(stats().pinned_objects, 0u);
  node_->run(100, [] { return false; });
  EXPECT_EQ(node_->create(writer, object(20), 13 * kMiB).status, kCreated) << "its memory is free again";
}

TEST_F(StoreTest, WhatIsWrittenIntoAPrivateViewStaysThere) {
  make(16 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 3 * kMiB, 'v'), kCreated);
  auto got = program->get(object(1));
  ASSERT_EQ(got.status, kRead);
  const uint64_t size = 2 * kMiB;
  auto view = program->mapping()->view_privately(got.view.data + 100, size);
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(std::count(view->data(), view->data() + size, 'v'), static_cast<long>(size));
  std::fill_n(view->data() + kMiB, 1000, 'w');
  EXPECT_EQ(std::count(view->data(), view->data() + size, 'w'), 1000);
  EXPECT_EQ(std::count(got.view.data, got.view.data + 3 * kMiB, 'v'), static_cast<long>(3 * kMiB));
  program->mapping()->unpin(got.view.slot);
}

TEST_F(StoreTest, PrivateViewsAreOfTheArenaOnly) {
  make(16 * kMiB);
  auto mapping = node_->add()->mapping();
  const uint8_t* begin = mapping->arena().base();
  const uint64_t bytes = mapping->arena().bytes();
  uint8_t elsewhere = 0;
  EXPECT_EQ(mapping->view_privately(&elsewhere, 1), nullptr);
  EXPECT_EQ(mapping->view_privately(begin, 0), nullptr);
  EXPECT_EQ(mapping->view_privately(begin, bytes + 1), nullptr);
  EXPECT_EQ(mapping->view_privately(begin + bytes - 1, 2), nullptr);
  EXPECT_NE(mapping->view_privately(begin + bytes - 1, 1), nullptr);
}

TEST_F(StoreTest, TwoPinsOfOneProgramCountTwice) {
  make(16 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 1000, 'v'), kCreated);
  auto a = program->get(object(1)), b = program->get(object(1));
  program->mapping()->unpin(a.view.slot);
  EXPECT_EQ(stats().pinned_objects, 1u);
  program->mapping()->unpin(b.view.slot);
  EXPECT_EQ(stats().pinned_objects, 0u);
}

TEST_F(StoreTest, AnyProgramMayErase) {
  make(16 * kMiB);
  Program &maker = node_->add(), &owner = node_->add();
  ASSERT_EQ(node_->put(maker, object(1), 2 * kMiB, 'v'), kCreated);
  owner->erase(object(1));
  node_->deliver();
  EXPECT_EQ(maker->state(object(1)), ObjectState::kAbsent);
  EXPECT_EQ(stats().objects, 0u);
  maker->erase(object(1));
  node_->server->erase(object(1), node_->now);
}

TEST_F(StoreTest, AbortLeavesNothing) {
  make(16 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->create(program, object(1), 2 * kMiB).status, kCreated);
  program->abort(object(1));
  EXPECT_EQ(program->state(object(1)), ObjectState::kAbsent);
  EXPECT_EQ(program->cached_bytes(), 2 * kMiB);
  EXPECT_EQ(node_->put(program, object(1), 2 * kMiB, 'v'), kCreated);
}

// ---- full store
// --------------------------------------------------------------------------------------------

TEST_F(StoreTest, LargerThanTheStoreIsRefusedAtOnce) {
  make(8 * kMiB);
  Program& program = node_->add();
  int64_t start = node_->now;
  auto result = node_->create(program, object(1), 9 * kMiB);
  EXPECT_EQ(result.status, kFull);
  EXPECT_THAT(result.error, HasSubstr("larger than the whole store"));
  EXPECT_THAT(result.error, HasSubstr(object(1).hex()));
  EXPECT_LT(node_->now - start, 100'000'000);
  EXPECT_EQ(node_->create(program, object(1), ~uint64_t{0}).status, kFull);
}

TEST_F(StoreTest, SpaceThatOthersKeepIsReclaimed) {
  make(32 * kMiB, false);
  Program &idle = node_->add(), &busy = node_->add();
  ASSERT_EQ(node_->put(idle, object(1), 16 * kMiB, 'a'), kCreated);
  idle->erase(object(1));
  EXPECT_EQ(idle->cached_bytes(), 16 * kMiB);
  EXPECT_EQ(stats().cached_bytes, 16 * kMiB);
  EXPECT_EQ(node_->put(busy, object(2), 30 * kMiB, 'b'), kCreated);
  EXPECT_EQ(idle->cached_bytes(), 0u);
}

TEST_F(StoreTest, CacheIsBounded) {
  make(32 * kMiB, false);
  Program& program = node_->add();
  for (uint32_t i = 0; i < 6; ++i) ASSERT_EQ(node_->put(program, object(i), 5 * kMiB, 'a'), kCreated);
  for (uint32_t i = 0; i < 6; ++i) program->erase(object(i));
  EXPECT_EQ(program->cached_bytes(), 16 * kMiB) << "half of the store";
}

TEST_F(StoreTest, LeastRecentlyUsedGoToDiskAndComeBack) {
  make(32 * kMiB);
  Program& program = node_->add();
  for (uint32_t i = 0; i < 6; ++i) {
    ASSERT_EQ(node_->put(program, object(i), 5 * kMiB, static_cast<char>('a' + i)), kCreated);
    usleep(5000);  // the index tells uses apart by the kernel's coarse clock
  }
  ASSERT_TRUE(node_->holds(program, object(0), 5 * kMiB, 'a'));
  ASSERT_EQ(node_->put(program, object(6), 5 * kMiB, 'g'), kCreated);
  EXPECT_EQ(program->state(object(0)), ObjectState::kSealed) << "just used";
  EXPECT_EQ(program->state(object(1)), ObjectState::kSpilled);
  EXPECT_EQ(program->size_of(object(1)), 5 * kMiB);
  for (uint32_t i = 0; i < 7; ++i)
    EXPECT_TRUE(node_->holds(program, object(i), 5 * kMiB, static_cast<char>('a' + i))) << i;
  EXPECT_GT(stats().restored_bytes, 0u);
  for (uint32_t i = 0; i < 7; ++i) program->erase(object(i));
  node_->deliver();
  EXPECT_TRUE(io_->files.empty()) << "files without live objects are removed";
  EXPECT_EQ(stats().disk_bytes, 0u);
}

TEST_F(StoreTest, ObjectsOnDiskAlreadyAreNotWrittenAgain) {
  make(32 * kMiB);
  Program& program = node_->add();
  for (uint32_t i = 0; i < 12; ++i) ASSERT_EQ(node_->put(program, object(i), 5 * kMiB, 'a'), kCreated);
  for (int round = 0; round < 2; ++round)
    for (uint32_t i = 0; i < 12; ++i) ASSERT_TRUE(node_->holds(program, object(i), 5 * kMiB, 'a'));
  uint64_t written = stats().written_bytes;
  for (uint32_t i = 0; i < 12; ++i) ASSERT_TRUE(node_->holds(program, object(i), 5 * kMiB, 'a'));
  EXPECT_EQ(stats().written_bytes, written);
}

TEST_F(StoreTest, SmallObjectsShareAFile) {
  make(64 * kMiB);
  Program& program = node_->add();
  for (uint32_t i = 0; i < 300; ++i) ASSERT_EQ(node_->put(program, object(i), 200'000, 'a'), kCreated);
  ASSERT_EQ(node_->put(program, object(1000), 15 * kMiB, 'b'), kCreated);
  EXPECT_GT(stats().spilled_objects, 50u);
  EXPECT_LE(io_->files.size(), 3u);
  for (uint32_t i = 0; i < 300; ++i) ASSERT_TRUE(node_->holds(program, object(i), 200'000, 'a')) << i;
}

TEST_F(StoreTest, PinnedObjectsStayAndTheErrorSaysSo) {
  make(16 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 10 * kMiB, 'p'), kCreated);
  auto pinned = node_->get(program, object(1));
  int64_t start = node_->now;
  auto refused = node_->create(program, object(2), 10 * kMiB);
  EXPECT_EQ(refused.status, kFull);
  EXPECT_THAT(refused.error, HasSubstr("10.0 MiB of them by readers"));
  EXPECT_GE(node_->now - start, 10'000'000'000) << "creators wait before they fail";
  EXPECT_LT(node_->now - start, 11'000'000'000);
  EXPECT_EQ(pinned.view.data[5], 'p');
  program->mapping()->unpin(pinned.view.slot);
  EXPECT_EQ(node_->put(program, object(2), 10 * kMiB, 'q'), kCreated);
  EXPECT_TRUE(node_->holds(program, object(1), 10 * kMiB, 'p'));
}

TEST_F(StoreTest, CreatorsAreServedWhenAReaderLetsGo) {
  make(16 * kMiB, false);
  Program &a = node_->add(), &b = node_->add();
  ASSERT_EQ(node_->put(a, object(1), 10 * kMiB, 'p'), kCreated);
  auto pinned = node_->get(b, object(1));
  a->erase(object(1));
  EXPECT_EQ(node_->create(a, object(2), 10 * kMiB, 500).status, CreateResult::Status::kWait);
  EXPECT_EQ(stats().waiting, 1u);
  b->mapping()->unpin(pinned.view.slot);
  EXPECT_EQ(node_->create(a, object(2), 10 * kMiB, 500).status, kCreated);
}

TEST_F(StoreTest, ForgottenCreatorsDoNotWait) {
  make(16 * kMiB, false);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 10 * kMiB, 'p'), kCreated);
  EXPECT_EQ(node_->create(program, object(2), 10 * kMiB, 100).status, CreateResult::Status::kWait);
  program->forget(object(2));
  node_->deliver();
  EXPECT_EQ(stats().waiting, 0u);
}

TEST_F(StoreTest, AGrantThatNobodyWaitsForIsKept) {
  make(32 * kMiB);
  Program& program = node_->add();
  EXPECT_EQ(program->try_create(object(1), 4 * kMiB).status, CreateResult::Status::kWait);
  node_->deliver();
  EXPECT_EQ(program->try_create(object(1), 4 * kMiB).status, CreateResult::Status::kWait);
  node_->deliver();
  program->forget(object(1));
  EXPECT_EQ(program->cached_bytes(), 4 * kMiB);
}

// ---- the disk fails
// ----------------------------------------------------------------------------------------

TEST_F(StoreTest, AFullDiskLosesNothingAndIsReportedOnce) {
  make(16 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 10 * kMiB, 'p'), kCreated);
  io_->fail = "cannot write /spill/1.tmp: No space left on device";
  auto refused = node_->create(program, object(2), 10 * kMiB);
  EXPECT_EQ(refused.status, kFull);
  EXPECT_THAT(refused.error, HasSubstr("No space left on device"));
  EXPECT_THAT(node_->logs, ElementsAre(HasSubstr("No space left on device")));
  EXPECT_TRUE(node_->holds(program, object(1), 10 * kMiB, 'p'));
  io_->fail.clear();
  EXPECT_EQ(node_->put(program, object(2), 10 * kMiB, 'q'), kCreated) << "it is tried again later";
  EXPECT_TRUE(node_->holds(program, object(1), 10 * kMiB, 'p'));
}

TEST_F(StoreTest, TheQuotaIsKept) {
  make(16 * kMiB, true, 12 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 10 * kMiB, 'p'), kCreated);
  ASSERT_EQ(node_->put(program, object(2), 10 * kMiB, 'q'), kCreated);
  auto refused = node_->create(program, object(3), 10 * kMiB);
  EXPECT_EQ(refused.status, kFull);
  EXPECT_THAT(refused.error, HasSubstr("quota"));
  EXPECT_LE(stats().disk_bytes, 12 * kMiB);
  program->erase(object(1));
  EXPECT_EQ(node_->put(program, object(3), 10 * kMiB, 'r'), kCreated) << "a deleted object's file is gone";
  program->erase(object(3));
  EXPECT_TRUE(node_->holds(program, object(2), 10 * kMiB, 'q'));
}

TEST_F(StoreTest, TheQuotaIsNotSpentOnWhatReadersKeepInMemory) {
  make(32 * kMiB, true, 12 * kMiB);
  Program& program = node_->add();
  for (uint32_t i = 1; i <= 4; ++i) {
    ASSERT_EQ(node_->put(program, object(i), 10 * kMiB, static_cast<char>('a' + i)), kCreated);
    usleep(5000);
  }
  ASSERT_EQ(program->state(object(1)), ObjectState::kSpilled);
  program->erase(object(4));
  auto pinned = node_->get(program, object(1));
  ASSERT_EQ(pinned.status, kRead);
  ASSERT_EQ(program->state(object(2)), ObjectState::kSealed);
  EXPECT_EQ(node_->put(program, object(5), 10 * kMiB, 'f'), kCreated) << "2 goes to disk in place of 1";
  EXPECT_EQ(program->state(object(2)), ObjectState::kSpilled);
  EXPECT_EQ(pinned.view.data[0], 'b');
}

TEST_F(StoreTest, ObjectsEndWithTheirOwner) {
  make(16 * kMiB);
  Program &worker = node_->add(), &reader = node_->add();
  for (uint32_t i = 1; i <= 3; ++i) {
    CreateResult created;
    node_->run(100, [&] { return (created = worker->try_create(object(i), 6 * kMiB, i % 2 + 7)).status == kCreated; });
    ASSERT_TRUE(worker->seal(object(i)));
  }
  ASSERT_EQ(stats().spilled_objects, 1u);
  auto pinned = node_->get(reader, object(3));
  node_->server->erase_owned(8, node_->now);
  EXPECT_EQ(worker->state(object(1)), ObjectState::kAbsent);
  EXPECT_NE(worker->state(object(2)), ObjectState::kAbsent);
  EXPECT_EQ(worker->state(object(3)), ObjectState::kAbsent);
  EXPECT_EQ(stats().pinned_bytes, 6 * kMiB) << "readers keep what they have";
  reader->mapping()->unpin(pinned.view.slot);
}

TEST_F(StoreTest, ASilentProgramDelaysOthersOnce) {
  make(16 * kMiB);
  Program &silent = node_->add(), &program = node_->add();
  ASSERT_EQ(node_->put(silent, object(1), 2 * kMiB, 's'), kCreated);
  silent->erase(object(1));
  silent.deaf = true;
  ASSERT_EQ(node_->put(program, object(2), 10 * kMiB, 'p'), kCreated);
  int64_t start = node_->now;
  ASSERT_EQ(node_->put(program, object(3), 10 * kMiB, 'q'), kCreated);
  EXPECT_GE(node_->now - start, 50'000'000);
  start = node_->now;
  ASSERT_EQ(node_->put(program, object(4), 10 * kMiB, 'r'), kCreated);
  EXPECT_LT(node_->now - start, 50'000'000);
}

TEST_F(StoreTest, AnUnreadableObjectIsAbsent) {
  make(16 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 10 * kMiB, 'p'), kCreated);
  ASSERT_EQ(node_->put(program, object(2), 10 * kMiB, 'q'), kCreated);
  program->erase(object(2));
  io_->fail = "cannot read";
  EXPECT_EQ(node_->get(program, object(1)).status, kAbsent);
  EXPECT_THAT(node_->logs, ElementsAre(HasSubstr("lost")));
  EXPECT_EQ(program->state(object(1)), ObjectState::kAbsent);
}

TEST_F(StoreTest, ReadersOfSpilledObjectsLearnThatThereIsNoMemory) {
  make(16 * kMiB);
  Program& program = node_->add();
  ASSERT_EQ(node_->put(program, object(1), 10 * kMiB, 'p'), kCreated);
  ASSERT_EQ(node_->put(program, object(2), 10 * kMiB, 'q'), kCreated);
  auto pinned = node_->get(program, object(2));
  auto refused = node_->get(program, object(1));
  EXPECT_EQ(refused.status, GetResult::Status::kFull);
  EXPECT_THAT(refused.error, HasSubstr("object_store_memory"));
  program->mapping()->unpin(pinned.view.slot);
  EXPECT_TRUE(node_->holds(program, object(1), 10 * kMiB, 'p'));
}

// ---- races with the disk
// -----------------------------------------------------------------------------------

class SlowDiskTest : public StoreTest {
 protected:
  // Object 1 is being written to disk for object 2.
  void SetUp() override {
    make(16 * kMiB);
    program_ = &node_->add();
    ASSERT_EQ(node_->put(*program_, object(1), 10 * kMiB, 'p'), kCreated);
    io_->hold = true;
    ASSERT_EQ(node_->create(*program_, object(2), 10 * kMiB, 200).status, CreateResult::Status::kWait);
    ASSERT_EQ(io_->started.size(), 1u);
  }
  Program* program_ = nullptr;
};

TEST_F(SlowDiskTest, AnObjectStaysReadableWhileItIsWritten) {
  auto got = node_->get(*program_, object(1));
  ASSERT_EQ(got.status, kRead);
  io_->hold = false;
  node_->run(100, [] { return false; });
  EXPECT_EQ(program_->client->state(object(1)), ObjectState::kSealed) << "its reader keeps it";
  program_->client->mapping()->unpin(got.view.slot);
  EXPECT_EQ(node_->put(*program_, object(2), 10 * kMiB, 'q'), kCreated);
  EXPECT_TRUE(node_->holds(*program_, object(1), 10 * kMiB, 'p'));
}

TEST_F(SlowDiskTest, ErasedWhileItIsWritten) {
  program_->client->erase(object(1));
  node_->deliver();
  EXPECT_EQ(program_->client->state(object(1)), ObjectState::kAbsent);
  io_->hold = false;
  EXPECT_EQ(node_->put(*program_, object(2), 10 * kMiB, 'q'), kCreated);
  EXPECT_TRUE(io_->files.empty());
}

TEST_F(SlowDiskTest, ErasedWhileItIsReadBack) {
  io_->hold = false;
  ASSERT_EQ(node_->put(*program_, object(2), 10 * kMiB, 'q'), kCreated);
  program_->client->erase(object(2));
  io_->hold = true;
  EXPECT_EQ(program_->client->get(object(1)).status, GetResult::Status::kWait);
  node_->run(200, [] { return false; });
  ASSERT_EQ(io_->started.size(), 1u);
  program_->client->erase(object(1));
  node_->deliver();
  io_->hold = false;
  EXPECT_EQ(node_->get(*program_, object(1)).status, kAbsent);
  EXPECT_EQ(node_->put(*program_, object(3), 15 * kMiB, 'r'), kCreated);
  EXPECT_TRUE(io_->files.empty());
}

TEST_F(SlowDiskTest, ManyReadersOneRestore) {
  io_->hold = false;
  ASSERT_EQ(node_->put(*program_, object(2), 10 * kMiB, 'q'), kCreated);
  program_->client->erase(object(2));
  io_->hold = true;
  Program &second = node_->add(), &gone = node_->add();
  for (Program* p : {program_, &second, &gone})
    EXPECT_FALSE(node_->run(100, [&] { return p->client->get(object(1)).status == kRead; }));
  EXPECT_EQ(io_->started.size(), 1u);
  node_->kill(gone);
  second->forget(object(1));
  io_->hold = false;
  EXPECT_TRUE(node_->holds(*program_, object(1), 10 * kMiB, 'p'));
  node_->deliver();
  EXPECT_EQ(stats().pinned_objects, 0u);
}

// ---- programs beyond the 255th
// -----------------------------------------------------------------------------

class ManyProgramsTest : public StoreTest {
 protected:
  void SetUp() override {
    make(32 * kMiB);
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateStoreAttach(builder));
    Letter attach = letter(static_cast<wire::MessageType>(wire::StoreMessage::Attach), builder);
    for (ClientKey key = 10'000; key < 10'000 + kReaderBits; ++key)
      ASSERT_TRUE(node_->server->on_frame(key, attach.frame(), node_->now));
    late_ = &node_->add();
  }
  Program* late_ = nullptr;
};

TEST_F(ManyProgramsTest, WriteAndRead) {
  ASSERT_EQ(node_->put(*late_, object(1), 2 * kMiB, 'x'), kCreated);
  EXPECT_FALSE(late_->client->mapping()->has_bit());
  EXPECT_TRUE(node_->holds(*late_, object(1), 2 * kMiB, 'x'));
}

TEST_F(ManyProgramsTest, TheNodePinsForThem) {
  Program& other = node_->add();
  ASSERT_EQ(node_->put(other, object(1), 20 * kMiB, 'x'), kCreated);
  auto a = node_->get(*late_, object(1)), b = node_->get(*late_, object(1));
  ASSERT_EQ(b.status, kRead);
  other->erase(object(1));
  node_->deliver();
  auto refused = node_->create(other, object(2), 20 * kMiB);
  EXPECT_EQ(refused.status, kFull);
  EXPECT_EQ(a.view.data[77], 'x');
  late_->client->mapping()->unpin(a.view.slot);
  late_->client->flush();
  node_->deliver();
  EXPECT_EQ(stats().pinned_objects, 1u);
  late_->client->mapping()->unpin(b.view.slot);
  late_->client->flush();
  node_->deliver();
  EXPECT_EQ(node_->put(other, object(2), 20 * kMiB, 'y'), kCreated);
}

TEST_F(ManyProgramsTest, TheirPinsEndWithThem) {
  Program& other = node_->add();
  ASSERT_EQ(node_->put(other, object(1), 20 * kMiB, 'x'), kCreated);
  ASSERT_EQ(node_->get(*late_, object(1)).status, kRead);
  EXPECT_EQ(stats().pinned_objects, 1u);
  node_->kill(*late_);
  EXPECT_EQ(stats().pinned_objects, 0u);
}

// ---- programs that die
// -------------------------------------------------------------------------------------

class DeathTest : public StoreTest {
 protected:
  void SetUp() override {
    make(32 * kMiB);
    victim_ = &node_->add();
    other_ = &node_->add();
    ASSERT_EQ(node_->put(*victim_, object(1), 5 * kMiB, 'v'), kCreated);
    ASSERT_EQ(node_->put(*other_, object(2), 5 * kMiB, 'o'), kCreated);
  }
  // After the death: what was sealed lives, and all other memory can be used.
  void kill_and_check(bool first_lives) {
    node_->kill(*victim_);
    EXPECT_TRUE(node_->server->is_consistent());
    EXPECT_EQ(node_->holds(*other_, object(1), 5 * kMiB, 'v'), first_lives);
    EXPECT_TRUE(node_->holds(*other_, object(2), 5 * kMiB, 'o'));
    EXPECT_EQ(stats().pinned_objects, 0u);
    other_->client->erase(object(1));
    other_->client->erase(object(2));
    EXPECT_EQ(node_->put(*other_, object(3), 32 * kMiB, 'x'), kCreated);
  }
  Arena& arena() { return victim_->client->mapping()->arena(); }
  Program *victim_ = nullptr, *other_ = nullptr;
};

TEST_F(DeathTest, Idle) { kill_and_check(true); }

TEST_F(DeathTest, HoldingViews) {
  ASSERT_EQ(node_->get(*victim_, object(2)).status, kRead);
  kill_and_check(true);
}

TEST_F(DeathTest, HoldingFreeSpace) {
  ASSERT_EQ(node_->put(*victim_, object(4), 6 * kMiB, 'f'), kCreated);
  victim_->client->erase(object(4));
  kill_and_check(true);
}

TEST_F(DeathTest, WaitingForSpace) {
  auto pinned = node_->get(*other_, object(2));
  EXPECT_EQ(node_->create(*victim_, object(4), 30 * kMiB, 300).status, CreateResult::Status::kWait);
  other_->client->mapping()->unpin(pinned.view.slot);
  kill_and_check(true);
}

TEST_F(DeathTest, Writing) {
  ASSERT_EQ(node_->create(*victim_, object(4), 6 * kMiB).status, kCreated);
  EXPECT_EQ(other_->client->try_create(object(4), 5).status, kExists);
  node_->kill(*victim_);
  EXPECT_EQ(other_->client->state(object(4)), ObjectState::kAbsent);
  EXPECT_EQ(node_->put(*other_, object(4), 6 * kMiB, 'n'), kCreated) << "someone else may write it";
  other_->client->erase(object(4));
}

TEST_F(DeathTest, Claiming) {
  auto claim = arena().claim(object(4), victim_->client->mapping()->client(), 0, 100);
  Control seen = arena().control(claim.slot);
  ASSERT_TRUE(arena().change(claim.slot, seen, {SlotState::kClaiming, seen.maker, seen.generation}));
  kill_and_check(true);
  EXPECT_EQ(node_->put(*other_, object(4), 100, 'n'), kCreated);
}

TEST_F(DeathTest, Erasing) {
  auto found = arena().find(object(1));
  Control deleting{SlotState::kDeleting, found->control.maker, found->control.generation};
  ASSERT_TRUE(arena().change(found->slot, found->control, deleting));
  kill_and_check(false);
}

TEST_F(DeathTest, ErasingWhatOthersRead) {
  auto got = node_->get(*other_, object(1));
  victim_->client->erase(object(1));
  node_->kill(*victim_);
  EXPECT_TRUE(node_->server->is_consistent());
  EXPECT_EQ(got.view.data[0], 'v');
  EXPECT_EQ(stats().pinned_objects, 1u);
  other_->client->mapping()->unpin(got.view.slot);
  other_->client->erase(object(2));
  EXPECT_EQ(node_->put(*other_, object(3), 32 * kMiB, 'x'), kCreated);
}

TEST_F(DeathTest, BetweenPinAndSecondLook) {
  auto found = arena().find(object(2));
  arena().set_reader(found->slot, victim_->client->mapping()->client());
  kill_and_check(true);
}

TEST_F(DeathTest, LeavingABitInAFreeSlot) {
  uint32_t slot = arena().find(object(1))->slot;
  victim_->client->erase(object(1));
  arena().set_reader(slot, victim_->client->mapping()->client());
  kill_and_check(false);
  EXPECT_FALSE(arena().has_readers(slot));
}

TEST_F(DeathTest, PublishedWhatItDoesNotHold) {
  auto claim = arena().claim(object(4), victim_->client->mapping()->client(), 31 * kMiB, kMiB);
  Control seen = arena().control(claim.slot);
  ASSERT_TRUE(arena().change(claim.slot, seen, {SlotState::kSealed, seen.maker, seen.generation}));
  kill_and_check(true);
  EXPECT_THAT(node_->logs, ElementsAre(HasSubstr(object(4).hex())));
}

// ---- everything at once
// ------------------------------------------------------------------------------------

// Programs come, go, put, get and erase at random against a model of what must be readable.
TEST_F(StoreTest, RandomLives) {
  for (uint32_t seed = 0; seed < 5; ++seed) {
    std::mt19937 random(seed);
    make(24 * kMiB);
    std::map<uint32_t, std::pair<uint64_t, char>> model;
    std::vector<Program*> programs = {&node_->add(), &node_->add(), &node_->add()};
    uint32_t next = 0;
    for (int step = 0; step < 400; ++step) {
      Program*& program = programs[random() % programs.size()];
      uint32_t choice = random() % 10;
      if (choice < 4) {
        uint64_t size = random() % 3 ? random() % 200'000 : random() % (5 * kMiB);
        char fill = static_cast<char>('a' + random() % 26);
        ASSERT_EQ(node_->put(*program, object(next), size, fill), kCreated) << "seed " << seed << " step " << step;
        model[next++] = {size, fill};
      } else if (model.empty()) {
        continue;
      } else if (choice < 9) {
        auto it = std::next(model.begin(), static_cast<long>(random() % model.size()));
        ASSERT_TRUE(node_->holds(*program, object(it->first), it->second.first, it->second.second))
            << "seed " << seed << " step " << step << " object " << it->first;
        if (choice < 7) continue;
        (*program)->erase(object(it->first));
        node_->deliver();
        ASSERT_EQ((*program)->state(object(it->first)), ObjectState::kAbsent);
        model.erase(it);
      } else {
        node_->create(*program, object(1'000'000 + next), 1000);
        node_->kill(*program);
        program = &node_->add();
      }
      ASSERT_TRUE(node_->server->is_consistent()) << "seed " << seed << " step " << step;
    }
    for (auto& [n, content] : model) programs[0]->client->erase(object(n));
    node_->deliver();
    EXPECT_EQ(stats().objects + stats().spilled_objects, 0u) << "seed " << seed;
    EXPECT_TRUE(io_->files.empty()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace narke::store::testing
