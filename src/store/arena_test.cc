#include "store/arena.h"

#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "store/testing/fakes.h"

namespace narke::store {
namespace {

using testing::object;

class ArenaTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kCapacity = 1 << 20;
  void SetUp() override {
    bytes_ = Arena::bytes_for(kCapacity);
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(base_, MAP_FAILED);
    arena_.emplace(Arena::format(base_, kCapacity));
  }
  void TearDown() override { munmap(base_, bytes_); }

  uint32_t put(const ObjectId& id, uint16_t maker, uint64_t offset = 0) {
    auto claim = arena_->claim(id, maker, offset, 100);
    EXPECT_EQ(claim.outcome, Arena::Claim::kClaimed);
    Control seen = arena_->control(claim.slot);
    EXPECT_TRUE(arena_->change(claim.slot, seen, {SlotState::kSealed, maker, seen.generation}));
    return claim.slot;
  }

  uint64_t bytes_ = 0;
  void* base_ = nullptr;
  std::optional<Arena> arena_;
};

TEST_F(ArenaTest, AnotherMappingOpensTheSame) {
  uint32_t slot = put(object(1), 7, 640);
  auto other = Arena::open(base_, bytes_);
  ASSERT_TRUE(other.ok());
  auto found = other.value().find(object(1));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->slot, slot);
  EXPECT_EQ(found->control.maker, 7);
  EXPECT_EQ(other.value().id_of(slot), object(1));
  EXPECT_EQ(other.value().at(slot).offset.load(), 640u);
}

TEST_F(ArenaTest, UsedSlotsAreThoseThatWereClaimed) {
  std::set<uint32_t> claimed, visited;
  for (uint32_t i = 0; i < 100; ++i) claimed.insert(put(object(i), 1));
  arena_->each_used([&](uint32_t slot) { visited.insert(slot); });
  EXPECT_EQ(visited, claimed);
}

TEST_F(ArenaTest, OpenRefusesOtherMemory) {
  EXPECT_FALSE(Arena::open(base_, bytes_ - 4096).ok());
  std::memset(base_, 0, 64);
  EXPECT_FALSE(Arena::open(base_, bytes_).ok());
}

TEST_F(ArenaTest, SlotsAreReusedWithANewGeneration) {
  for (uint32_t round = 0; round < 3 * arena_->slot_count(); ++round) {
    uint32_t slot = put(object(round), 1);
    uint64_t generation = arena_->control(slot).generation;
    EXPECT_EQ(arena_->claim(object(round), 2, 0, 1).outcome, Arena::Claim::kExists);
    arena_->free_slot(slot);
    EXPECT_GT(arena_->control(slot).generation, generation);
    ASSERT_FALSE(arena_->find(object(round)));
  }
}

TEST_F(ArenaTest, TakesManyObjectsBeforeItIsFull) {
  uint32_t stored = 0;
  while (arena_->claim(object(stored), 1, 0, 1).outcome == Arena::Claim::kClaimed) ++stored;
  EXPECT_GT(stored, arena_->slot_count() * 3 / 4);
  for (uint32_t i = 0; i < stored; ++i) ASSERT_TRUE(arena_->find(object(i)));
}

TEST_F(ArenaTest, ReaderBitsAreSeparate) {
  uint32_t slot = put(object(1), 1);
  for (uint16_t bit : {0, 63, 64, 200, 255}) arena_->set_reader(slot, bit);
  arena_->clear_reader(slot, 64);
  EXPECT_TRUE(arena_->is_reader(slot, 63));
  EXPECT_FALSE(arena_->is_reader(slot, 64));
  for (uint16_t bit : {0, 63, 200, 255}) {
    EXPECT_TRUE(arena_->has_readers(slot));
    arena_->clear_reader(slot, bit);
  }
  EXPECT_FALSE(arena_->has_readers(slot));
}

TEST_F(ArenaTest, OneOfManyClaimsOfAnIdWins) {
  constexpr int kThreads = 4, kRounds = 2000;
  std::vector<std::atomic<int>> winners(kRounds);
  std::atomic<int> arrived[kRounds] = {};
  std::vector<std::thread> threads;
  for (uint16_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < kRounds; ++round) {
        arrived[round].fetch_add(1);
        while (arrived[round].load() < kThreads) std::this_thread::yield();
        if (arena_->claim(object(static_cast<uint32_t>(round)), t, 0, 1).outcome == Arena::Claim::kClaimed)
          winners[static_cast<size_t>(round)].fetch_add(1);
      }
    });
  for (auto& thread : threads) thread.join();
  // A duel may have no winner only if everybody withdrew; then nobody would ever write the object.
  for (int round = 0; round < kRounds; ++round) ASSERT_EQ(winners[static_cast<size_t>(round)].load(), 1) << round;
}

// Writers fill an object's words with one number, readers pin and compare, a deleter reuses the memory at
// once.
TEST_F(ArenaTest, ReadersNeverSeeReusedMemory) {
  constexpr uint32_t kObjects = 8, kWords = 16;
  constexpr uint64_t kDeletes = 4000;
  std::atomic<bool> done{false};
  std::atomic<uint64_t> reads{0}, wrong{0};
  auto word = [&](uint64_t offset, uint32_t i) {
    return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(arena_->data(offset + 8 * i)));
  };
  auto reader = [&](uint16_t bit) {
    for (uint32_t n = 0; !done; n = (n + 1) % kObjects) {
      auto found = arena_->find(object(n));
      if (!found || found->control.state != SlotState::kSealed) continue;
      arena_->set_reader(found->slot, bit);
      Control now = arena_->control(found->slot);
      if (now.state == SlotState::kSealed && now.generation == found->control.generation) {
        uint64_t offset = arena_->at(found->slot).offset.load(), first = word(offset, 0).load();
        for (uint32_t i = 0; i < kWords; ++i) wrong += word(offset, i).load() != first;
        wrong += first % kObjects != n;
        ++reads;
      }
      arena_->clear_reader(found->slot, bit);
    }
  };
  std::thread a(reader, 1), b(reader, 2);
  std::vector<uint64_t> space;
  for (uint64_t i = 0; i < kObjects; ++i) space.push_back(i * 1024);
  std::vector<uint32_t> deleting;
  for (uint64_t round = 0; round < kDeletes || reads < 1000; ++round) {
    std::erase_if(deleting, [&](uint32_t slot) {
      if (arena_->has_readers(slot)) return false;
      space.push_back(arena_->at(slot).offset.load());
      arena_->free_slot(slot);
      return true;
    });
    uint32_t n = static_cast<uint32_t>(round % kObjects);
    if (auto found = arena_->find(object(n))) {
      ASSERT_TRUE(arena_->change(found->slot, found->control, {SlotState::kDeleting, 0, found->control.generation}));
      deleting.push_back(found->slot);
    } else if (!space.empty()) {
      for (uint32_t i = 0; i < kWords; ++i) word(space.back(), i).store(round, std::memory_order_relaxed);
      put(object(n), 0, space.back());
      space.pop_back();
    }
  }
  done = true;
  a.join();
  b.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace narke::store
