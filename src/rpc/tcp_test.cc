// Links between hosts, over loopback: doors, TLS, and everybody who is turned away.
#include "rpc/tcp.h"

#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/reactor.h"

namespace narke::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using wire::TlsUse;

struct Recorder : Handler {
  std::vector<std::string> frames, closed;
  bool echo = false;
  void on_frame(Connection& link, const Frame& frame) override {
    frames.emplace_back(reinterpret_cast<const char*>(frame.raw.data()), frame.raw.size());
    if (echo) link.send_frame(frame.type, frame.call_id, frame.table, frame.raw);
  }
  void on_closed(Connection&, const Error& why) override { closed.push_back(why.message); }
};

Identity identity(const std::string& token, TlsUse tls) {
  Identity id;
  id.token = token;
  id.self = WorkerId::from_bytes(std::string(WorkerId::kSize, 'w'));
  id.tls = tls;
  return id;
}

void send_text(Connection& link, const std::string& text) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateGoodbye(b));
  link.send(wire::MessageType::Goodbye, 0, b, Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

class DoorTest : public testing::Test {
 protected:
  void open(TlsUse use) {
    server_ = std::make_unique<Reactor>(identity("secret", use));
    auto opened = Door::open(
        *server_, "127.0.0.1", 0,
        [this](const Preface& preface, int fd) {
          prefaces_.push_back(preface);
          server_->adopt_guest(fd, preface.tls, &at_server_);
        },
        [this](const std::string& text) { logs_.push_back(text); });
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    door_ = std::move(opened).value();
    endpoint_ = host_port_text("127.0.0.1", door_->port());
  }
  void dial(TlsUse use, const std::string& token = "secret") {
    client_ = std::make_unique<Reactor>(identity(token, use));
    auto link = client_->connect_tcp(endpoint_, {.kind = LinkKind::kNode}, &at_client_);
    ASSERT_TRUE(link.ok());
    link_ = link.value();
  }
  // Turns both loops until `done`; bounded, so that a failure ends.
  template <class F>
  bool turn_until(F done) {
    for (int i = 0; i < 5000 && !done(); ++i)
      for (Reactor* reactor : {client_.get(), server_.get()}) {
        if (reactor == nullptr) continue;
        reactor->flush_all();
        reactor->wait(1);
        reactor->dispatch();
      }
    return done();
  }
  // A connection of somebody who sends `bytes`; what came back until the other end closed.
  std::string answer_to(const std::string& bytes) {
    auto fd = begin_connect("127.0.0.1", door_->port());
    EXPECT_TRUE(fd.ok());
    std::string got;
    bool over = false, sent = false;
    EXPECT_TRUE(turn_until([&] {
      if (!sent) sent = send(fd.value(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0;
      char buffer[4096];
      ssize_t n = recv(fd.value(), buffer, sizeof(buffer), MSG_DONTWAIT);
      if (n > 0) got.append(buffer, static_cast<size_t>(n));
      over = n == 0 || (n < 0 && errno != EAGAIN);
      return over;
    }));
    ::close(fd.value());
    return got;
  }

  Recorder at_server_, at_client_;
  std::vector<Preface> prefaces_;
  std::vector<std::string> logs_;
  std::unique_ptr<Reactor> server_, client_;
  std::unique_ptr<Door> door_;
  std::string endpoint_;
  ConnectionPtr link_;
};

TEST_F(DoorTest, frames_of_all_sizes_pass_both_ways_in_tls) {
  open(TlsUse::Always);
  dial(TlsUse::Always);
  at_server_.echo = true;
  std::vector<std::string> sent;
  for (size_t size : {0, 1, 100, 16'384, 70'000, 20'000'000, 7}) sent.emplace_back(size, static_cast<char>(size % 251));
  for (const std::string& text : sent) send_text(*link_, text);
  ASSERT_TRUE(turn_until([&] { return at_client_.frames.size() == sent.size() || !at_client_.closed.empty(); }));
  EXPECT_EQ(at_client_.frames, sent);
  EXPECT_THAT(at_client_.closed, IsEmpty());
  ASSERT_EQ(prefaces_.size(), 1u);
  EXPECT_TRUE(prefaces_[0].tls);
}

TEST_F(DoorTest, nothing_of_what_is_said_is_readable_on_the_way) {
  const std::string word = "a word that nobody else may read";
  for (TlsUse use : {TlsUse::Never, TlsUse::Always}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    const TlsKey key("secret");
    TlsStream client(key, ends[0], TlsStream::Side::kClient), server(key, ends[1], TlsStream::Side::kServer);
    uint8_t got[256];
    const auto* bytes = reinterpret_cast<const uint8_t*>(word.data());
    for (int i = 0; i < 10 && !(client.is_ready() && server.is_ready()); ++i)
      client.read(got, 256), server.read(got, 256);
    std::string wire(4096, '\0');
    if (use == TlsUse::Never)
      ASSERT_EQ(send(ends[0], bytes, word.size(), 0), static_cast<ssize_t>(word.size()));
    else
      ASSERT_EQ(client.write(bytes, word.size()).bytes, word.size());
    wire.resize(static_cast<size_t>(recv(ends[1], wire.data(), wire.size(), 0)));
    EXPECT_EQ(wire.find(word) != std::string::npos, use == TlsUse::Never);
    ::close(ends[0]);
    ::close(ends[1]);
  }
}

TEST_F(DoorTest, loopback_is_plain_unless_asked_otherwise) {
  open(TlsUse::Auto);
  dial(TlsUse::Auto);
  send_text(*link_, "hello");
  ASSERT_TRUE(turn_until([&] { return at_server_.frames.size() == 1; }));
  EXPECT_FALSE(prefaces_[0].tls);
  dial(TlsUse::Always);
  send_text(*link_, "again");
  ASSERT_TRUE(turn_until([&] { return at_server_.frames.size() == 2; }));
  EXPECT_TRUE(prefaces_[1].tls);
}

TEST(Encryption, what_leaves_the_host_is_encrypted) {
  const auto must = [](TlsUse use, const std::string& endpoint) {
    return must_encrypt(use, parse_endpoint(endpoint).value());
  };
  const std::string routed = routed_endpoint("127.0.0.1:1", NodeId::from_bytes(std::string(NodeId::kSize, 'n')));
  for (const std::string& near : {"127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "[::ffff:127.0.0.1]:1"})
    EXPECT_FALSE(must(TlsUse::Auto, near)) << near;
  for (const std::string& far : {std::string("10.0.0.1:1"), std::string("[fd00::1]:1"), std::string("example.com:1"),
                                 std::string("localhost.example.com:1"), routed})
    EXPECT_TRUE(must(TlsUse::Auto, far)) << far;
  EXPECT_TRUE(must(TlsUse::Always, "127.0.0.1:1"));
  EXPECT_FALSE(must(TlsUse::Never, "10.0.0.1:1"));
}

TEST(Endpoints, are_taken_apart) {
  const NodeId node = NodeId::from_bytes(std::string(NodeId::kSize, 'n'));
  const Endpoint routed = parse_endpoint(routed_endpoint("[fd00::1]:6379", node)).value();
  EXPECT_EQ(routed.host, "fd00::1");
  EXPECT_EQ(routed.port, 6379);
  EXPECT_EQ(routed.node, node);
  EXPECT_TRUE(parse_endpoint("h:1").value().node.is_nil());
  for (const char* wrong : {"", "h", "h:", "h:0", "h:65536", ":1", "h:1x", "h:1/", "h:1/abc", "h:1/zz"})
    EXPECT_FALSE(parse_endpoint(wrong).ok()) << wrong;
}

TEST_F(DoorTest, a_wrong_token_fails_the_handshake_and_the_door_stays_open) {
  open(TlsUse::Always);
  dial(TlsUse::Always, "guess");
  send_text(*link_, "never seen");
  ASSERT_TRUE(turn_until([&] { return at_server_.closed.size() == 1 && at_client_.closed.size() == 1; }));
  EXPECT_THAT(at_server_.closed[0], HasSubstr("does not know this cluster's token"));
  EXPECT_THAT(at_client_.closed[0], HasSubstr("another token"));
  EXPECT_THAT(at_server_.frames, IsEmpty());
  dial(TlsUse::Always);
  send_text(*link_, "hello");
  EXPECT_TRUE(turn_until([&] { return at_server_.frames.size() == 1; }));
}

TEST_F(DoorTest, a_wrong_token_in_the_clear_is_told_so) {
  open(TlsUse::Never);
  dial(TlsUse::Never, "guess");
  ASSERT_TRUE(turn_until([&] { return at_client_.closed.size() == 1; }));
  EXPECT_THAT(at_client_.closed[0], HasSubstr("does not know this cluster's token"));
}

TEST_F(DoorTest, a_link_in_the_clear_is_turned_away_with_a_sentence) {
  open(TlsUse::Always);
  dial(TlsUse::Never);
  ASSERT_TRUE(turn_until([&] { return at_client_.closed.size() == 1; }));
  EXPECT_THAT(at_client_.closed[0], HasSubstr("links to this node are encrypted"));
  EXPECT_THAT(prefaces_, IsEmpty());
  ASSERT_EQ(logs_.size(), 1u);
  EXPECT_THAT(logs_[0], HasSubstr("127.0.0.1"));
}

TEST_F(DoorTest, whoever_answers_in_the_clear_is_not_believed) {
  open(TlsUse::Auto);
  const int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(at);
  ASSERT_EQ(bind(plain, reinterpret_cast<sockaddr*>(&at), size), 0);
  ASSERT_EQ(listen(plain, 1), 0);
  ASSERT_EQ(getsockname(plain, reinterpret_cast<sockaddr*>(&at), &size), 0);
  endpoint_ = host_port_text("127.0.0.1", ntohs(at.sin_port));
  dial(TlsUse::Always);
  const int fd = accept(plain, nullptr, nullptr);
  const std::string frame = refusal_frame("whatever");
  ASSERT_EQ(send(fd, frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  ASSERT_TRUE(turn_until([&] { return at_client_.closed.size() == 1; }));
  EXPECT_THAT(at_client_.closed[0], HasSubstr("does not answer in TLS"));
  ::close(fd);
  ::close(plain);
}

TEST_F(DoorTest, strangers_are_turned_away_at_their_first_bytes) {
  open(TlsUse::Auto);
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\x16\x03\x01\x02\x00", 5),
                                   std::string(64, '\0'), std::string("NARKE1Z") + std::string(57, 'z')})
    EXPECT_THAT(answer_to(bytes), HasSubstr("port of a Narke node"));
  EXPECT_EQ(logs_.size(), 4u);
  EXPECT_THAT(prefaces_, IsEmpty());
}

TEST_F(DoorTest, noise_instead_of_a_handshake_is_refused) {
  open(TlsUse::Always);
  const std::string preface = write_preface({.kind = LinkKind::kNode, .target = {}, .node = {}, .tls = true});
  answer_to(preface + std::string(500, 'n'));
  ASSERT_EQ(at_server_.closed.size(), 1u);
  EXPECT_THAT(at_server_.closed[0], HasSubstr("offers no key of this cluster"));
}

TEST_F(DoorTest, an_old_version_is_refused_with_both_versions) {
  open(TlsUse::Never);
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateHello(b, 1));
  std::string frame(16, '\0');
  const uint32_t table = (b.GetSize() + 7) & ~7u;
  const FrameHeader header{table, static_cast<uint16_t>(wire::MessageType::Hello), 0, table, 0};
  std::memcpy(frame.data(), &header, sizeof(header));
  frame.append(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
  frame.resize(16 + table);
  const std::string answer = answer_to(write_preface({.kind = LinkKind::kNode}) + frame);
  EXPECT_THAT(answer, HasSubstr("speaks protocol version 1, this program 2: use matching releases"));
}

TEST_F(DoorTest, more_than_it_listens_to_at_once_are_all_let_in_and_the_silent_keep_nobody_out) {
  constexpr size_t kEach = 1'200;  // of each kind, both ends in this process
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_cur < 5 * kEach) GTEST_SKIP() << "too few open files are allowed";
  open(TlsUse::Never);
  const std::string preface = write_preface({.kind = LinkKind::kNode});
  std::vector<int> fds;
  for (size_t i = 0; i < 2 * kEach; ++i) {
    auto fd = begin_connect("127.0.0.1", door_->port());
    ASSERT_TRUE(fd.ok());
    fds.push_back(fd.value());
    const bool is_silent = i < kEach;
    if (!is_silent) ASSERT_EQ(send(fds.back(), preface.data(), preface.size(), MSG_NOSIGNAL), ssize_t{kPrefaceBytes});
  }
  EXPECT_TRUE(turn_until([&] { return prefaces_.size() == kEach; })) << prefaces_.size();
  for (const int fd : fds) ::close(fd);
}

TEST_F(DoorTest, a_port_in_use_is_an_error_that_names_it) {
  open(TlsUse::Auto);
  auto second = Door::open(*server_, "127.0.0.1", door_->port(), [](const Preface&, int) {});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message, HasSubstr(endpoint_));
  EXPECT_THAT(second.error().message, HasSubstr("--port"));
}

TEST(Prefaces, come_back_as_they_were_written) {
  const Preface preface{.kind = LinkKind::kTunnel,
                        .target = WorkerId::from_bytes(std::string(WorkerId::kSize, 't')),
                        .node = head_alias(),
                        .tls = true};
  const std::string text = write_preface(preface);
  ASSERT_EQ(text.size(), kPrefaceBytes);
  const auto back = read_preface({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->kind, preface.kind);
  EXPECT_EQ(back->target, preface.target);
  EXPECT_EQ(back->node, preface.node);
  EXPECT_TRUE(back->tls);
}

}  // namespace
}  // namespace narke::rpc
