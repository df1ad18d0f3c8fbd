#include "base/byte_buffer.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

namespace narke {
namespace {

std::string text_of(const ByteBuffer& buffer) { return {reinterpret_cast<const char*>(buffer.data()), buffer.size()}; }

ByteBuffer buffer_of(const std::string& text) {
  ByteBuffer buffer;
  buffer.append(text.data(), text.size());
  return buffer;
}

TEST(ByteBuffer, begins_empty_without_memory) {
  ByteBuffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.capacity(), 0u);
  buffer.append(nullptr, 0);
  EXPECT_TRUE(buffer.empty());
}

TEST(ByteBuffer, growing_keeps_what_was_written) {
  ByteBuffer buffer = buffer_of("abc");
  buffer.resize(100'000);
  buffer.resize(3);
  EXPECT_EQ(text_of(buffer), "abc");
}

TEST(ByteBuffer, capacity_at_least_doubles) {
  ByteBuffer buffer;
  buffer.reserve(100);
  EXPECT_EQ(buffer.capacity(), 100u);
  buffer.reserve(101);
  EXPECT_GE(buffer.capacity(), 200u);
  EXPECT_EQ(buffer.size(), 0u);
}

TEST(ByteBuffer, drops_from_the_front) {
  ByteBuffer buffer = buffer_of("abcdef");
  buffer.drop_front(4);
  EXPECT_EQ(text_of(buffer), "ef");
  buffer.drop_front(2);
  EXPECT_TRUE(buffer.empty());
}

TEST(ByteBuffer, gives_memory_back_only_when_empty_and_large) {
  ByteBuffer buffer = buffer_of(std::string(1000, 'x'));
  buffer.shrink_above(10);
  EXPECT_EQ(buffer.size(), 1000u);
  buffer.clear();
  buffer.shrink_above(5000);
  EXPECT_GT(buffer.capacity(), 0u);
  buffer.shrink_above(10);
  EXPECT_EQ(buffer.capacity(), 0u);
  buffer.append("yz", 2);
  EXPECT_EQ(text_of(buffer), "yz");
}

TEST(ByteBuffer, moves_without_copying) {
  ByteBuffer first = buffer_of("abc");
  const uint8_t* at = first.data();
  ByteBuffer second(std::move(first));
  EXPECT_EQ(second.data(), at);
  ByteBuffer third = buffer_of("old");
  third = std::move(second);
  EXPECT_EQ(text_of(third), "abc");
}

TEST(ByteBuffer, behaves_like_a_string_under_random_edits) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    ByteBuffer buffer;
    std::string model;
    for (int step = 0; step < 300; ++step) {
      std::string piece(random() % 50, static_cast<char>('a' + random() % 26));
      switch (random() % 4) {
        case 0: buffer.append(piece.data(), piece.size()), model += piece; break;
        case 1: {
          size_t count = random() % (model.size() + 1);
          buffer.drop_front(count), model.erase(0, count);
          break;
        }
        case 2: {
          size_t size = random() % (model.size() + 1);
          buffer.resize(size), model.resize(size);
          break;
        }
        default:
          if (random() % 8 == 0) buffer.clear(), model.clear();
          buffer.shrink_above(random() % 64);
      }
      ASSERT_EQ(text_of(buffer), model) << "seed " << seed << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace narke
