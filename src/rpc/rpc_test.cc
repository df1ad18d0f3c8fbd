#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/auth.h"
#include "rpc/reactor.h"

namespace narke::rpc {
namespace {

struct Recorder : Handler {
  std::vector<std::string> frames;
  std::vector<std::string> closed;
  int opened = 0;
  std::vector<int> fds;
  bool echo = false;
  void on_open(Connection&) override { ++opened; }
  void on_frame(Connection& link, const Frame& frame) override {
    frames.emplace_back(reinterpret_cast<const char*>(frame.raw.data()), frame.raw.size());
    if (const int fd = link.take_fd(); fd >= 0) fds.push_back(fd);
    if (!echo) return;
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateGoodbye(b));
    link.send(frame.type, frame.call_id, b, frame.raw);
  }
  void on_closed(Connection&, const Error& why) override { closed.push_back(why.message); }
};

Identity identity(const std::string& token) {
  Identity id;
  id.token = token;
  id.self = WorkerId::from_bytes(std::string(WorkerId::kSize, 'w'));
  return id;
}

void send_text(Connection& link, const std::string& text, uint32_t call_id = 0) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateGoodbye(b));
  link.send(wire::MessageType::Goodbye, call_id, b, Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

class Pair : public testing::Test {
 protected:
  void SetUp() override { path_ = testing::TempDir() + "rpc-" + std::to_string(getpid()) + ".sock"; }
  void join(const std::string& client_token = "secret") {
    server_ = std::make_unique<Reactor>(identity("secret"));
    client_ = std::make_unique<Reactor>(identity(client_token));
    ASSERT_TRUE(server_->listen(path_, [this](Connection&) { return &at_server_; }).ok());
    Result<ConnectionPtr> link = client_->connect(path_, &at_client_);
    ASSERT_TRUE(link.ok());
    link_ = link.value();
  }
  // Turns both loops until `done`; bounded, so that a failure ends.
  template <class F>
  bool turn_until(F done) {
    for (int i = 0; i < 2000 && !done(); ++i)
      for (Reactor* reactor : {client_.get(), server_.get()}) {
        reactor->flush_all();
        reactor->wait(1);
        reactor->dispatch();
      }
    return done();
  }
  std::string path_;
  Recorder at_server_, at_client_;
  std::unique_ptr<Reactor> server_, client_;
  ConnectionPtr link_;
};

TEST_F(Pair, frames_sent_before_the_handshake_arrive_in_order) {
  join();
  for (int i = 0; i < 100; ++i) send_text(*link_, std::to_string(i));
  ASSERT_TRUE(turn_until([&] { return at_server_.frames.size() == 100; }));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(at_server_.frames[static_cast<size_t>(i)], std::to_string(i));
  EXPECT_EQ(at_server_.opened, 1);
}

TEST_F(Pair, large_frames_pass_both_ways) {
  join();
  at_server_.echo = true;
  std::string big(5'000'000, 'x');
  big[4'999'999] = 'y';
  send_text(*link_, big);
  send_text(*link_, "after");
  ASSERT_TRUE(turn_until([&] { return at_client_.frames.size() == 2; }));
  EXPECT_EQ(at_client_.frames[0], big);
  EXPECT_EQ(at_client_.frames[1], "after");
}

TEST_F(Pair, a_wrong_token_is_refused) {
  join("guess");
  send_text(*link_, "never seen");
  ASSERT_TRUE(turn_until([&] { return at_server_.closed.size() == 1 && at_client_.closed.size() == 1; }));
  EXPECT_NE(at_server_.closed[0].find("token"), std::string::npos);
  EXPECT_TRUE(at_server_.frames.empty());
}

TEST_F(Pair, descriptors_travel) {
  join();
  ASSERT_TRUE(turn_until([&] { return at_server_.opened == 1; }));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_TRUE(link_->send_fd(ends[1]));
  send_text(*link_, "with a descriptor");
  ASSERT_TRUE(turn_until([&] { return at_server_.frames.size() == 1; }));
  ASSERT_EQ(at_server_.fds.size(), 1u);
  ASSERT_EQ(write(at_server_.fds[0], "hi", 2), 2);
  char got[2];
  EXPECT_EQ(read(ends[0], got, 2), 2);
  close(at_server_.fds[0]);
  close(ends[0]);
}

TEST_F(Pair, many_descriptors_travel_at_once_and_too_many_are_not_taken) {
  join();
  ASSERT_TRUE(turn_until([&] { return at_server_.opened == 1; }));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  size_t sent = 0;
  while (sent < 1'000 && link_->send_fd(ends[0])) {
    send_text(*link_, "with a descriptor");
    ++sent;
  }
  EXPECT_GT(sent, 100u);
  EXPECT_LT(sent, 1'000u);  // the peer has not read any
  ASSERT_TRUE(turn_until([&] { return at_server_.frames.size() == sent; }));
  EXPECT_EQ(at_server_.fds.size(), sent);
  EXPECT_TRUE(link_->send_fd(ends[1]));
  for (int fd : at_server_.fds) close(fd);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(Pair, a_peer_that_takes_the_link_and_never_speaks_is_given_up) {
  join();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  client_->set_handshake_limit(std::chrono::milliseconds(20));
  Recorder waiting;
  const ConnectionPtr silent = client_->adopt(ends[0], false, &waiting);
  send_text(*silent, "never read");
  ASSERT_TRUE(turn_until([&] { return waiting.closed.size() == 1 && at_server_.opened == 1; }));
  EXPECT_NE(waiting.closed[0].find("handshake"), std::string::npos);
  EXPECT_TRUE(link_->is_open());
  close(ends[1]);
}

TEST_F(Pair, the_end_of_a_peer_is_told_once) {
  join();
  ASSERT_TRUE(turn_until([&] { return at_server_.opened == 1; }));
  link_->close({ErrorCode::kDisconnected, "done"});
  ASSERT_TRUE(turn_until([&] { return at_server_.closed.size() == 1; }));
  send_text(*link_, "dropped");
  turn_until([&] { return false; });
  EXPECT_EQ(at_server_.closed.size(), 1u);
  EXPECT_EQ(at_client_.closed.size(), 1u);
  EXPECT_TRUE(at_server_.frames.empty());
}

TEST_F(Pair, timers_run_in_order_and_can_be_cancelled) {
  join();
  std::vector<int> ran;
  client_->after(std::chrono::milliseconds(8), [&] { ran.push_back(2); });
  client_->after(std::chrono::milliseconds(2), [&] { ran.push_back(1); });
  Reactor::TimerId gone = client_->after(std::chrono::milliseconds(4), [&] { ran.push_back(9); });
  client_->cancel(gone);
  ASSERT_TRUE(turn_until([&] { return ran.size() == 2; }));
  EXPECT_EQ(ran, (std::vector<int>{1, 2}));
}

TEST(Auth, a_proof_depends_on_token_and_nonce) {
  std::string nonce = make_nonce();
  EXPECT_TRUE(is_same_proof(prove("t", nonce), prove("t", nonce)));
  EXPECT_FALSE(is_same_proof(prove("t", nonce), prove("u", nonce)));
  EXPECT_FALSE(is_same_proof(prove("t", nonce), prove("t", make_nonce())));
}

}  // namespace
}  // namespace narke::rpc
