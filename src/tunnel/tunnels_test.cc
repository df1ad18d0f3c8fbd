// A host that can dial and one that can be dialled, in one thread, with a cable between them that can be cut.
#include "tunnel/tunnels.h"

#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/tcp.h"

namespace narke::tunnel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

NodeId node(char letter) { return NodeId::from_bytes(std::string(NodeId::kSize, letter)); }

rpc::Identity identity(const std::string& token) {
  rpc::Identity out;
  out.token = token;
  return out;
}

// A relay between a port of its own and another one.
class Cable {
 public:
  Cable(rpc::Reactor& reactor, int to) : reactor_(reactor), to_(to) { plug_in(); }
  ~Cable() { cut(); }
  int port() const { return port_; }
  void plug_in() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(static_cast<uint16_t>(port_));
    socklen_t size = sizeof(at);
    ASSERT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&at), size), 0);
    ASSERT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    reactor_.watch(listener_, [this] { accept_one(); });
  }
  // Nobody gets through until plug_in().
  void cut() {
    if (listener_ >= 0) drop(std::exchange(listener_, -1));
    for (auto& [fd, other] : std::exchange(ends_, {})) drop(fd);
  }

 private:
  void drop(int fd) {
    reactor_.unwatch(fd);
    ::close(fd);
  }
  void accept_one() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    auto far = rpc::begin_connect("127.0.0.1", to_);
    ASSERT_TRUE(far.ok());
    ends_[fd] = far.value();
    ends_[far.value()] = fd;
    for (int end : {fd, far.value()}) reactor_.watch(end, [this, end] { pass(end); });
  }
  void pass(int fd) {
    char bytes[64 << 10];
    const ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0) return;
    const int other = ends_.at(fd);
    if (n > 0) {
      for (ssize_t at = 0; at < n;) {  // blocks the test for moments only: both ends are read in turn
        const ssize_t sent = send(other, bytes + at, static_cast<size_t>(n - at), MSG_NOSIGNAL);
        if (sent > 0) at += sent;
        if (sent < 0 && errno != EAGAIN) break;
      }
      return;
    }
    ends_.erase(fd);
    ends_.erase(other);
    drop(fd);
    drop(other);
  }
  rpc::Reactor& reactor_;
  int to_, port_ = 0, listener_ = -1;
  std::map<int, int> ends_;
};

struct Side : TunnelsOut {
  explicit Side(const std::string& token)
      : reactor(identity(token)),
        tunnels(std::make_unique<Tunnels>(reactor, *this, [this](const std::string& text) { logs.push_back(text); })) {}
  int on_stream(const rpc::Preface& preface, std::string* first) override {
    prefaces.push_back(preface);
    *first = greeting;
    if (!answers) return -1;
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    arrived.push_back(ends[0]);
    return ends[1];
  }
  void on_session_over(const NodeId& gone, const std::string& why) override {
    over.push_back(why);
    last = gone;
  }
  ~Side() override {
    for (int fd : arrived) ::close(fd);
  }

  std::vector<std::string> logs, over;
  std::vector<rpc::Preface> prefaces;
  std::vector<int> arrived;
  std::string greeting;
  bool answers = true;
  NodeId last;
  rpc::Reactor reactor;
  std::unique_ptr<Tunnels> tunnels;
};

class TunnelsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = rpc::Door::open(head_.reactor, "127.0.0.1", 0, [this](const rpc::Preface& preface, int fd) {
      EXPECT_EQ(preface.kind, rpc::LinkKind::kTunnel);
      head_.tunnels->serve(fd);
    });
    ASSERT_TRUE(opened.ok());
    door_ = std::move(opened).value();
    cable_ = std::make_unique<Cable>(middle_, door_->port());
  }
  void TearDown() override {
    cable_.reset();
    away_.tunnels.reset();
    door_.reset();
    head_.tunnels.reset();
    for (int fd : own_) ::close(fd);
  }
  template <class F>
  bool turn_until(F done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!done() && std::chrono::steady_clock::now() < end) turn();
    return done();
  }
  void turn() {
    for (rpc::Reactor* reactor : {&away_.reactor, &middle_, &head_.reactor}) {
      reactor->flush_all();
      reactor->wait(1);
      reactor->dispatch();
    }
  }
  std::string dial(int64_t grace_ms = 20'000, Side* side = nullptr) {
    Side& from = side == nullptr ? away_ : *side;
    std::optional<std::string> said;
    from.tunnels->dial("127.0.0.1:" + std::to_string(cable_->port()), node('a'), grace_ms,
                       [&](const std::string& error) { said = error; });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!said && std::chrono::steady_clock::now() < end) {
      turn();
      from.reactor.wait(1);
      from.reactor.dispatch();
    }
    return said.value_or("no answer");
  }
  // A link from one side to the other: both ends.
  std::pair<int, int> link(Side& from, Side& to, const NodeId& session) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    own_.push_back(ends[0]);
    const size_t before = to.arrived.size();
    from.tunnels->open(session, {.kind = rpc::LinkKind::kData, .target = {}, .node = node('t')}, ends[1]);
    EXPECT_TRUE(turn_until([&] { return to.arrived.size() > before; }));
    return {ends[0], to.arrived.back()};
  }
  // Writes `text` into one end while reading the other; what arrived.
  std::string pass(int from, int to, const std::string& text) {
    std::string got;
    size_t sent = 0;
    EXPECT_TRUE(turn_until([&] {
      const ssize_t n = sent == text.size() ? 0 : send(from, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<size_t>(n);
      char bytes[64 << 10];
      const ssize_t m = recv(to, bytes, sizeof(bytes), 0);
      if (m > 0) got.append(bytes, static_cast<size_t>(m));
      return got.size() >= text.size();
    })) << got.size();
    return got;
  }
  static std::string noise(size_t size) {
    std::string out(size, '\0');
    uint32_t state = 1;
    for (char& c : out) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return out;
  }

  Side away_{"secret"}, head_{"secret"};
  rpc::Reactor middle_{identity("")};
  std::unique_ptr<rpc::Door> door_;
  std::unique_ptr<Cable> cable_;
  std::vector<int> own_;
};

TEST_F(TunnelsTest, links_go_both_ways_and_say_what_they_are_for) {
  ASSERT_EQ(dial(), "");
  ASSERT_TRUE(head_.tunnels->has(node('a')));
  const auto [near, far] = link(away_, head_, rpc::head_alias());
  EXPECT_EQ(head_.prefaces[0].node, node('t'));
  EXPECT_EQ(pass(near, far, "there"), "there");
  EXPECT_EQ(pass(far, near, "and back"), "and back");
  head_.greeting = "first ";
  away_.greeting = "hello ";
  const auto [out, in] = link(head_, away_, node('a'));
  EXPECT_THAT(pass(out, in, "there"), ::testing::StartsWith("hello"));
}

TEST_F(TunnelsTest, megabytes_arrive_as_they_were_sent) {
  ASSERT_EQ(dial(), "");
  head_.greeting = "words of the head's own ahead of all others";
  const auto [near, far] = link(away_, head_, rpc::head_alias());
  const std::string text = noise(9'000'001);
  char greeting[100];
  ASSERT_TRUE(turn_until([&, to = far] { return recv(to, greeting, head_.greeting.size(), MSG_PEEK) > 0; }));
  ASSERT_EQ(recv(far, greeting, head_.greeting.size(), 0), static_cast<ssize_t>(head_.greeting.size()));
  EXPECT_TRUE(pass(near, far, text) == text);
  EXPECT_TRUE(pass(far, near, text) == text);
}

TEST_F(TunnelsTest, a_line_that_breaks_is_replaced_and_nobody_notices) {
  ASSERT_EQ(dial(), "");
  const auto [near, far] = link(away_, head_, rpc::head_alias());
  const std::string text = noise(3'000'000);
  for (int round = 0; round < 3; ++round) {
    std::string got;
    size_t sent = 0;
    bool is_cut = false;
    ASSERT_TRUE(turn_until([&] {
      const ssize_t n = sent == text.size() ? 0 : send(near, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<size_t>(n);
      char bytes[16 << 10];
      const ssize_t m = recv(far, bytes, sizeof(bytes), 0);
      if (m > 0) got.append(bytes, static_cast<size_t>(m));
      if (!is_cut && got.size() > text.size() / 3) {
        cable_->cut();
        cable_->plug_in();
        is_cut = true;
      }
      return got.size() >= text.size();
    }));
    EXPECT_TRUE(got == text);
    EXPECT_EQ(pass(far, near, "still here"), "still here");
  }
  EXPECT_THAT(away_.over, IsEmpty());
  EXPECT_THAT(head_.over, IsEmpty());
}

TEST_F(TunnelsTest, a_line_that_stays_broken_ends_the_session_on_both_sides) {
  ASSERT_EQ(dial(300), "");
  const auto [near, far] = link(away_, head_, rpc::head_alias());
  cable_->cut();
  ASSERT_TRUE(turn_until([&] { return away_.over.size() == 1 && head_.over.size() == 1; }));
  EXPECT_THAT(away_.over[0], HasSubstr("broken"));
  EXPECT_EQ(head_.last, node('a'));
  EXPECT_EQ(away_.last, rpc::head_alias());
  char byte;
  EXPECT_EQ(recv(near, &byte, 1, 0), 0) << "its links end";
  EXPECT_EQ(recv(far, &byte, 1, 0), 0);
  EXPECT_FALSE(head_.tunnels->has(node('a')));
}

TEST_F(TunnelsTest, an_end_of_a_link_is_passed_on) {
  ASSERT_EQ(dial(), "");
  const auto [near, far] = link(away_, head_, rpc::head_alias());
  const std::string text = noise(100'000);
  ASSERT_EQ(send(near, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  shutdown(near, SHUT_WR);
  std::string got;
  EXPECT_TRUE(turn_until([&, to = far] {
    char bytes[4096];
    const ssize_t n = recv(to, bytes, sizeof(bytes), 0);
    if (n > 0) got.append(bytes, static_cast<size_t>(n));
    return n == 0;
  }));
  EXPECT_TRUE(got == text);
}

TEST_F(TunnelsTest, a_link_to_nobody_ends) {
  ASSERT_EQ(dial(), "");
  head_.answers = false;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  own_.push_back(ends[0]);
  away_.tunnels->open(rpc::head_alias(), {.kind = rpc::LinkKind::kData}, ends[1]);
  char byte;
  EXPECT_TRUE(turn_until([&] { return recv(ends[0], &byte, 1, 0) == 0; }));
}

TEST_F(TunnelsTest, who_leaves_says_so) {
  ASSERT_EQ(dial(), "");
  away_.tunnels.reset();
  ASSERT_TRUE(turn_until([&] { return head_.over.size() == 1; }));
  EXPECT_THAT(head_.over, ElementsAre("it has left"));
}

TEST_F(TunnelsTest, another_token_is_refused) {
  Side stranger("guess");
  EXPECT_THAT(dial(20'000, &stranger), HasSubstr("another token"));
  EXPECT_FALSE(head_.tunnels->has(node('a')));
  ASSERT_EQ(head_.logs.size(), 1u);
  EXPECT_THAT(head_.logs[0], HasSubstr("does not know this cluster's token"));
}

TEST_F(TunnelsTest, nobody_there_is_an_error_at_once) {
  cable_->cut();
  EXPECT_THAT(dial(), HasSubstr("refused"));
}

TEST_F(TunnelsTest, a_head_that_was_restarted_does_not_know_the_session) {
  ASSERT_EQ(dial(), "");
  head_.tunnels->end(node('a'), "forgotten");
  ASSERT_TRUE(turn_until([&] { return away_.over.size() == 1; }));
  EXPECT_THAT(away_.over[0], HasSubstr("forgotten"));
}

}  // namespace
}  // namespace narke::tunnel
