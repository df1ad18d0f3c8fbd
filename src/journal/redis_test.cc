// A journal in a real Redis server, started here on a free port with a folder and a password of its own.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal/journal.h"

namespace narke::journal {
namespace {

namespace fs = std::filesystem;
using Records = std::map<std::pair<int, std::string>, std::string>;
using Clock = std::chrono::steady_clock;

sockaddr_in loopback(int port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(static_cast<uint16_t>(port));
  return at;
}

int listen_on(int* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at = loopback(0);
  socklen_t size = sizeof(at);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at), size), 0);
  EXPECT_EQ(listen(fd, 16), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size), 0);
  *port = ntohs(at.sin_port);
  return fd;
}

int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at = loopback(port);
  if (connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof(at)) == 0) return fd;
  close(fd);
  return -1;
}

class RedisServer {
 public:
  RedisServer() : folder_(fs::temp_directory_path() / ("narke-redis-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    close(listen_on(&port_));
    start();
  }
  ~RedisServer() {
    stop();
    fs::remove_all(folder_);
  }
  void start() {
    const std::string port = std::to_string(port_);
    pid_ = fork();
    if (pid_ == 0) {
      const std::string log = folder_ / "log";
      execlp("redis-server", "redis-server", "--port", port.c_str(), "--bind", "127.0.0.1", "--dir", folder_.c_str(),
             "--requirepass", "secret word", "--appendonly", "yes", "--appendfsync", "always", "--logfile", log.c_str(),
             "--daemonize", "no", "--save", "", static_cast<char*>(nullptr));
      _exit(127);
    }
    for (const auto limit = Clock::now() + std::chrono::seconds(20); Clock::now() < limit; usleep(10'000))
      if (const int fd = connect_to(port_); fd >= 0) {
        close(fd);
        return;
      }
    ADD_FAILURE() << "redis-server did not start";
  }
  void stop() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  std::string url(int port = 0) const {
    return "redis://:secret%20word@127.0.0.1:" + std::to_string(port == 0 ? port_ : port) + "/2?name=test";
  }
  int port() const { return port_; }
  const fs::path& folder() const { return folder_; }

 private:
  fs::path folder_;
  int port_ = 0;
  pid_t pid_ = 0;
};

// Passes bytes on until so many have gone towards the server, then breaks the connection; later ones pass whole.
class CuttingProxy {
 public:
  explicit CuttingProxy(int server) : server_(server), listener_(listen_on(&port_)), thread_([this] { run(); }) {}
  ~CuttingProxy() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  int port() const { return port_; }
  // Of the connection that is open now; -1: none is cut.
  void cut_after(int64_t bytes) { left_ = bytes; }
  bool has_cut() const { return cuts_ > 0; }

 private:
  void run() {
    while (!stopping_) {
      pollfd waiting{listener_, POLLIN, 0};
      if (poll(&waiting, 1, 20) <= 0) continue;
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      const int server = connect_to(server_);
      serve(client, server);
      close(client);
      close(server);
    }
  }
  void serve(int client, int server) {
    char buffer[512];
    while (!stopping_) {
      pollfd both[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (poll(both, 2, 20) <= 0) continue;
      if (both[0].revents != 0) {
        const int64_t left = left_;
        ssize_t got = recv(client, buffer, sizeof(buffer), 0);
        if (got <= 0) return;
        const bool cut = left >= 0 && got >= left;
        if (cut) got = left;
        if (left >= 0) left_ = left - got;
        if (got > 0 && send(server, buffer, static_cast<size_t>(got), MSG_NOSIGNAL) != got) return;
        if (cut) {
          left_ = -1;
          ++cuts_;
          return;
        }
      }
      if (both[1].revents != 0) {
        const ssize_t got = recv(server, buffer, sizeof(buffer), 0);
        if (got <= 0 || send(client, buffer, static_cast<size_t>(got), MSG_NOSIGNAL) != got) return;
      }
    }
  }
  int server_, port_ = 0, listener_;
  std::atomic<int64_t> left_{-1};
  std::atomic<int> cuts_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

class RedisTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (system("command -v redis-server > /dev/null") != 0) GTEST_SKIP() << "there is no redis-server here";
    server_ = std::make_unique<RedisServer>();
  }
  std::unique_ptr<Journal> open(int port = 0) {
    auto opened = Journal::open(server_->url(port));
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return opened.ok() ? std::move(opened).value() : nullptr;
  }
  static Records all(Journal& journal) {
    Records out;
    EXPECT_TRUE(
        journal.load([&](int table, const std::string& key, const std::string& value) { out[{table, key}] = value; })
            .ok());
    return out;
  }
  std::unique_ptr<RedisServer> server_;
};

TEST_F(RedisTest, KeepsWhatWasAppliedAndForgetsWhatWasErased) {
  const std::string binary("\0\xff x", 4);
  {
    auto journal = open();
    EXPECT_TRUE(journal->apply({{1, "a", "x"}, {2, binary, binary}, {1, "b", ""}}).ok());
    EXPECT_TRUE(journal->apply({{1, "a", std::nullopt}, {1, "b", "z"}}).ok());
  }
  auto again = open();
  EXPECT_EQ(all(*again), (Records{{{2, binary}, binary}, {{1, "b"}, "z"}}));
  EXPECT_TRUE(again->erase().ok());
  EXPECT_EQ(all(*open()), Records{});
}

TEST_F(RedisTest, AServerThatWasKilledAndStartedAgainIsUsedFurther) {
  auto journal = open();
  EXPECT_TRUE(journal->apply({{1, "a", "x"}}).ok());
  server_->stop();
  const Status away = journal->apply({{1, "b", "y"}});
  ASSERT_FALSE(away.ok());
  EXPECT_EQ(away.error().code, ErrorCode::kDisconnected);
  EXPECT_EQ(away.error().message.find("secret"), std::string::npos) << "the password is in a message";
  server_->start();
  EXPECT_TRUE(journal->apply({{1, "b", "y"}}).ok());
  EXPECT_EQ(all(*journal), (Records{{{1, "a"}, "x"}, {{1, "b"}, "y"}}));
}

TEST_F(RedisTest, AHeadThatAnotherHasTakenOverFromWritesNoMore) {
  auto first = open();
  EXPECT_TRUE(first->apply({{1, "a", "x"}}).ok());
  auto second = open();
  const Status late = first->apply({{1, "a", "late"}});
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, ErrorCode::kRefused);
  EXPECT_EQ(all(*second), (Records{{{1, "a"}, "x"}}));
}

TEST_F(RedisTest, RefusesAWrongPasswordAndAWrongAddress) {
  const std::string port = std::to_string(server_->port());
  const std::vector<std::string> wrong = {"redis://:other@127.0.0.1:" + port,
                                          "redis://127.0.0.1:" + port,
                                          "redis://",
                                          "redis://h:port",
                                          "redis://h/x",
                                          "redis://h?other=1"};
  for (const std::string& url : wrong) EXPECT_FALSE(Journal::open(url).ok()) << url;
}

// The connection breaks at any byte of what is sent: the change is done once the second attempt says so.
TEST_F(RedisTest, AConnectionThatBreaksAtAnyByteLeavesWholeChanges) {
  CuttingProxy proxy(server_->port());
  auto journal = open(proxy.port());
  ASSERT_TRUE(journal);
  for (int64_t cut = 0; cut < 800; cut += 13) {
    const std::string value = std::to_string(cut);
    proxy.cut_after(cut);
    ASSERT_TRUE(journal->apply({{1, "one", value}, {2, "two", value}}).ok()) << "cut at " << cut;
    proxy.cut_after(-1);
    const Records records = all(*journal);
    EXPECT_EQ(records, (Records{{{1, "one"}, value}, {{2, "two"}, value}})) << "cut at " << cut;
  }
  EXPECT_TRUE(proxy.has_cut());
}

// The server's own log is cut short, as by a host that lost power while it was written.
TEST_F(RedisTest, ALogThatEndsAnywhereGivesAStateThatOnceWasTrue) {
  {
    auto journal = open();
    for (int i = 0; i < 20; ++i)
      EXPECT_TRUE(journal->apply({{1, "one", std::to_string(i)}, {2, "two", std::to_string(i)}}).ok());
  }
  server_->stop();
  fs::path log;
  for (const auto& entry : fs::recursive_directory_iterator(server_->folder()))
    if (entry.path().string().ends_with(".incr.aof")) log = entry.path();
  ASSERT_FALSE(log.empty());
  const auto size = fs::file_size(log);
  for (int i = 1; i <= 8; ++i) {
    fs::resize_file(log, size - size * static_cast<uintmax_t>(i) / 12 + static_cast<uintmax_t>(i % 3));
    server_->start();
    auto journal = open();
    ASSERT_TRUE(journal);
    Records records = all(*journal);
    EXPECT_EQ((records[{1, "one"}]), (records[{2, "two"}])) << "cut " << i;
    server_->stop();
  }
}

}  // namespace
}  // namespace narke::journal
