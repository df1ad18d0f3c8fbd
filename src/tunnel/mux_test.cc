// Two muxes joined by strings: what one fills is fed to the other, or lost.
#include "tunnel/mux.h"

#include <map>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narke::tunnel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const rpc::Preface kPreface{.kind = rpc::LinkKind::kProgram};

Bytes as_bytes(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

struct End : MuxOut {
  explicit End(bool dials) : mux(dials, *this) {}
  void on_open(StreamId stream, const rpc::Preface& preface) override {
    EXPECT_EQ(preface.kind, kPreface.kind);
    opened.push_back(stream);
  }
  void on_data(StreamId stream, Bytes bytes) override {
    got[stream].append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (consumes) mux.used(stream, bytes.size());
  }
  void on_credit(StreamId) override { ++credits; }
  void on_close(StreamId stream) override { closed.push_back(stream); }
  void on_bye(const std::string& why) override { bye = why; }

  std::string output(size_t most = 1 << 30) {
    ByteBuffer out;
    mux.fill(out, most);
    return {reinterpret_cast<const char*>(out.data()), out.size()};
  }

  Mux mux;
  std::vector<StreamId> opened, closed;
  std::map<StreamId, std::string> got;
  std::string bye;
  int credits = 0;
  bool consumes = true;
};

class MuxTest : public testing::Test {
 protected:
  // Both ways until nothing is due.
  void settle() {
    while (a_.mux.has_output() || b_.mux.has_output()) {
      ASSERT_TRUE(b_.mux.feed(as_bytes(a_.output())).ok());
      ASSERT_TRUE(a_.mux.feed(as_bytes(b_.output())).ok());
    }
  }
  // A new line: each side tells the other what it has.
  void reconnect() {
    const uint64_t at_a = a_.mux.received(), at_b = b_.mux.received();
    ASSERT_TRUE(a_.mux.resume(at_b).ok());
    ASSERT_TRUE(b_.mux.resume(at_a).ok());
  }
  End a_{true}, b_{false};
};

TEST_F(MuxTest, streams_of_both_sides_pass_bytes_both_ways) {
  const StreamId x = a_.mux.open(kPreface), y = b_.mux.open(kPreface);
  EXPECT_NE(x, y);
  a_.mux.send(x, as_bytes("from a"));
  b_.mux.send(y, as_bytes("from b"));
  settle();
  EXPECT_THAT(b_.opened, ElementsAre(x));
  EXPECT_THAT(a_.opened, ElementsAre(y));
  b_.mux.send(x, as_bytes("back"));
  settle();
  EXPECT_EQ(b_.got[x], "from a");
  EXPECT_EQ(a_.got[y], "from b");
  EXPECT_EQ(a_.got[x], "back");
}

TEST_F(MuxTest, a_sender_waits_for_the_receiver) {
  const StreamId x = a_.mux.open(kPreface);
  b_.consumes = false;
  EXPECT_EQ(a_.mux.room(x), Mux::kWindowBytes);
  a_.mux.send(x, as_bytes(std::string(Mux::kWindowBytes, 'x')));
  settle();
  EXPECT_EQ(a_.mux.room(x), 0u);
  EXPECT_EQ(b_.got[x].size(), Mux::kWindowBytes);
  b_.mux.used(x, Mux::kWindowBytes / 2);
  settle();
  EXPECT_EQ(a_.mux.room(x), Mux::kWindowBytes / 2);
  EXPECT_EQ(a_.credits, 1);
}

TEST_F(MuxTest, what_was_lost_with_a_line_is_sent_again_and_nothing_twice) {
  const StreamId x = a_.mux.open(kPreface);
  a_.mux.send(x, as_bytes("one "));
  settle();
  a_.mux.send(x, as_bytes("two "));
  const std::string lost = a_.output();
  ASSERT_TRUE(b_.mux.feed(as_bytes(lost.substr(0, lost.size() / 2))).ok());  // half a message
  a_.mux.send(x, as_bytes("three"));
  b_.mux.send(x, as_bytes("answer"));
  b_.output();
  reconnect();
  settle();
  EXPECT_EQ(b_.got[x], "one two three");
  EXPECT_EQ(a_.got[x], "answer");
}

TEST_F(MuxTest, any_line_that_breaks_anywhere_changes_nothing) {
  std::mt19937 random(7);
  std::map<StreamId, std::string> sent_a, sent_b;
  for (int i = 0; i < 5; ++i) sent_a[a_.mux.open(kPreface)];
  for (int round = 0; round < 3000; ++round) {
    for (auto* side : {&a_, &b_}) {
      auto& sent = side == &a_ ? sent_a : sent_b;
      if (side == &b_)
        for (StreamId id : b_.opened) sent_b[id];
      for (auto& [id, text] : sent) {
        const std::string part(random() % 3 == 0 ? random() % 5000 : 0, static_cast<char>('a' + random() % 26));
        if (part.size() > side->mux.room(id)) continue;
        side->mux.send(id, as_bytes(part));
        text += part;
      }
    }
    std::string to_b = a_.output(random() % 20'000), to_a = b_.output(random() % 20'000);
    const bool breaks = random() % 10 == 0;
    if (breaks) to_b.resize(random() % (to_b.size() + 1)), to_a.resize(random() % (to_a.size() + 1));
    ASSERT_TRUE(b_.mux.feed(as_bytes(to_b)).ok());
    ASSERT_TRUE(a_.mux.feed(as_bytes(to_a)).ok());
    if (breaks) reconnect();
  }
  reconnect();
  settle();
  for (auto& [id, text] : sent_a) EXPECT_EQ(b_.got[id], text) << id;
  for (auto& [id, text] : sent_b) EXPECT_EQ(a_.got[id], text) << id;
}

TEST_F(MuxTest, what_has_arrived_is_not_kept) {
  const StreamId x = a_.mux.open(kPreface);
  for (int i = 0; i < 100; ++i) a_.mux.send(x, as_bytes("some bytes"));
  EXPECT_GT(a_.mux.kept_bytes(), 1000u);
  settle();
  b_.mux.acknowledge();
  settle();
  EXPECT_EQ(a_.mux.kept_bytes(), 0u);
}

TEST_F(MuxTest, an_end_comes_after_what_was_sent_and_late_bytes_are_dropped) {
  const StreamId x = a_.mux.open(kPreface);
  settle();
  a_.mux.send(x, as_bytes("last words"));
  a_.mux.close(x);
  b_.mux.send(x, as_bytes("too late"));
  settle();
  EXPECT_EQ(b_.got[x], "last words");
  EXPECT_THAT(b_.closed, ElementsAre(x));
  EXPECT_THAT(a_.got[x], IsEmpty());
  EXPECT_THAT(a_.closed, IsEmpty());
  EXPECT_EQ(a_.mux.room(x), 0u);
  EXPECT_EQ(b_.mux.room(x), 0u);
}

TEST_F(MuxTest, a_goodbye_is_heard) {
  a_.mux.bye("it has left");
  settle();
  EXPECT_EQ(b_.bye, "it has left");
}

TEST_F(MuxTest, who_breaks_the_rules_is_told) {
  const auto refused = [](const std::string& bytes) {
    End end(false);
    const Status fed = end.mux.feed(as_bytes(bytes));
    return fed.ok() ? std::string() : fed.error().message;
  };
  EXPECT_THAT(refused(std::string(12, '\xff')), HasSubstr("malformed header"));
  EXPECT_THAT(refused(std::string("\x08\0\0\0\0\0\0\0\x05\0\0\0\x07\0\0\0\0\0\0\0", 20)), HasSubstr("never sent"));
  End dialler(true);
  dialler.mux.open(kPreface);
  const std::string open = dialler.output();
  EXPECT_THAT(refused(open + open), HasSubstr("cannot be opened"));
  EXPECT_EQ(refused(open), "");
  End other(false);
  EXPECT_FALSE(a_.mux.resume(5).ok());
}

}  // namespace
}  // namespace narke::tunnel
