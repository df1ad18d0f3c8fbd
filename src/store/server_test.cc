// The whole store: real files, several processes, several threads.
#include "store/server.h"

#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "store/testing/fakes.h"
#include "store/warmer.h"

namespace narke::store::testing {
namespace {

namespace fs = std::filesystem;

int64_t clock_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

std::string make_directory() {
  std::string pattern = ::testing::TempDir() + "narke-store-XXXXXX";
  EXPECT_NE(mkdtemp(pattern.data()), nullptr);
  return pattern;
}

TEST(Server, SpillsToFilesAndRemovesThem) {
  std::string root = make_directory();
  ServerConfig config;
  config.capacity_bytes = 16 * kMiB;
  config.spill_dir = root + "/spill";
  auto node = std::make_unique<TestNode>(config);
  Program& program = node->add();
  auto slow = [&](auto call) {
    for (;;) {
      node->deliver();
      auto result = call();
      if (static_cast<int>(result.status) != static_cast<int>(CreateResult::Status::kWait)) return result;
      pollfd wait{node->server->event_fd(), POLLIN, 0};
      poll(&wait, 1, 5);
      node->server->tick(node->now += 1'000'000);
    }
  };
  for (uint32_t i = 0; i < 6; ++i) {
    auto created = slow([&] { return program->try_create(object(i), 5 * kMiB); });
    ASSERT_EQ(created.status, kCreated) << created.error;
    std::memset(created.data, 'a' + static_cast<int>(i), 5 * kMiB);
    program->seal(object(i));
  }
  EXPECT_FALSE(fs::is_empty(config.spill_dir));
  for (uint32_t i = 0; i < 6; ++i) {
    auto got = slow([&] { return program->get(object(i)); });
    ASSERT_EQ(got.status, kRead) << got.error;
    EXPECT_EQ(got.view.data[5 * kMiB - 1], 'a' + i);
    program->mapping()->unpin(got.view.slot);
  }
  EXPECT_TRUE(node->server->is_consistent());
  node.reset();
  EXPECT_FALSE(fs::exists(config.spill_dir));
  fs::remove_all(root);
}

TEST(Server, AsksForAnEarlierTickWhenSomebodyBeginsToWait) {
  ServerConfig config;
  config.capacity_bytes = 16 * kMiB;
  TestNode node(config);
  Program& program = node.add();
  ASSERT_EQ(node.put(program, object(1), 10 * kMiB, 'a'), kCreated);
  pollfd wait{node.server->event_fd(), POLLIN, 0};
  EXPECT_EQ(node.server->tick(node.now), 1000);
  EXPECT_EQ(poll(&wait, 1, 0), 0);
  program->try_create(object(2), 10 * kMiB);
  node.deliver();
  EXPECT_EQ(poll(&wait, 1, 0), 1);
  EXPECT_EQ(node.server->tick(node.now), 10);
  EXPECT_EQ(poll(&wait, 1, 0), 0);
}

TEST(Server, RefusesWhatCannotBe) {
  struct Out : ServerOut {
    void send(ClientKey, wire::MessageType, const flatbuffers::FlatBufferBuilder&) override {}
    void log(const std::string&) override {}
  } out;
  EXPECT_FALSE(Server::make({}, out).ok());
  ServerConfig config;
  config.capacity_bytes = kMiB;
  config.spill_dir = "/dev/null/spill";
  EXPECT_FALSE(Server::make(config, out).ok());
}

TEST(Server, ProgramsCannotShrinkTheArena) {
  ServerConfig config;
  config.capacity_bytes = kMiB;
  TestNode node(config);
  EXPECT_NE(ftruncate(node.server->fd(), 4096), 0);
}

TEST(Client, RefusesADescriptorThatIsNoArena) {
  Program program(1);
  EXPECT_FALSE(Client::make(memfd_create("x", 0), program).ok());
  int fd = memfd_create("x", 0);
  ASSERT_EQ(ftruncate(fd, 1 << 20), 0);
  EXPECT_FALSE(Client::make(fd, program).ok());
}

TEST(Warmer, StaysAheadWithinBounds) {
  EXPECT_EQ(Warmer::target(1 * kMiB, 4096 * kMiB), 2 * kMiB);
  EXPECT_EQ(Warmer::target(800 * kMiB, 4096 * kMiB), 1600 * kMiB);
  EXPECT_EQ(Warmer::target(2000 * kMiB, 4096 * kMiB), 3024 * kMiB);
  EXPECT_EQ(Warmer::target(30 * kMiB, 32 * kMiB), 32 * kMiB);
}

TEST(Warmer, BringsPagesIn) {
  constexpr uint64_t kSize = 16 * kMiB;
  auto* data = static_cast<uint8_t*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  {
    Warmer warmer(data, kSize);
    warmer.want(kSize / 2);
    std::vector<unsigned char> present(kSize / 4096);
    for (int i = 0; i < 1000 && !present.back(); ++i) {
      ASSERT_EQ(mincore(data, kSize, present.data()), 0);
      usleep(10'000);
    }
    EXPECT_TRUE(present.back() & 1);
    EXPECT_TRUE(present[kSize / 4096 / 2] & 1);
    EXPECT_FALSE(present.front() & 1) << "the part in use is its writer's";
  }
  munmap(data, kSize);
}

// ---- a forked child of a program -------------------------------------------------------------------------

TEST(Fork, AChildFreesNothingOfItsParent) {
  ServerConfig config;
  config.capacity_bytes = 16 * kMiB;
  TestNode node(config);
  Program& program = node.add();
  ASSERT_EQ(node.put(program, object(1), kMiB, 'x'), kCreated);
  auto got = program->get(object(1));
  pid_t child = fork();
  if (child == 0) {
    program->mapping()->unpin(got.view.slot);
    bool inert = program->get(object(1)).status == kAbsent && program->try_create(object(2), 1).status == kFull &&
                 program->state(object(1)) == ObjectState::kAbsent;
    program->erase(object(1));
    program->flush();
    program.client.reset();
    _exit(inert ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(node.server->stats().pinned_objects, 1u);
  EXPECT_EQ(program->state(object(1)), ObjectState::kSealed);
}

// ---- other processes
// ---------------------------------------------------------------------------------------

// Frames as packets: u16 type, then the table.
struct SocketTransport : Transport {
  explicit SocketTransport(int f) : fd(f) {}
  void send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
    std::vector<uint8_t> packet(2 + table.GetSize());
    std::memcpy(packet.data(), &type, 2);
    std::memcpy(packet.data() + 2, table.GetBufferPointer(), table.GetSize());
    if (::send(fd, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) ::abort();
  }
  int fd;
};

std::optional<Letter> receive(int fd) {
  std::vector<uint8_t> packet(1 << 16);
  ssize_t n = recv(fd, packet.data(), packet.size(), MSG_DONTWAIT);
  if (n < 2) return std::nullopt;
  Letter letter;
  std::memcpy(&letter.type, packet.data(), 2);
  letter.table.assign(packet.begin() + 2, packet.begin() + n);
  return letter;
}

// A node that serves children by sockets.
class ProcessNode : public ServerOut {
 public:
  explicit ProcessNode(uint64_t capacity) {
    ServerConfig config;
    config.capacity_bytes = capacity;
    config.warm = false;
    auto io = std::make_unique<FakeIo>();
    server = std::move(Server::make(config, *this, std::move(io))).value();
  }
  template <class Main>
  pid_t start(ClientKey key, Main main) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
      close(ends[0]);
      SocketTransport transport(ends[1]);
      auto client = Client::make(dup(server->fd()), transport);
      _exit(client.ok() ? main(*client.value(), ends[1]) : 99);
    }
    close(ends[1]);
    sockets[key] = ends[0];
    return pid;
  }
  void serve(int ms) {
    for (int64_t end = clock_ns() + ms * 1'000'000ll; clock_ns() < end;) serve_once();
  }
  int serve_until_exit(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) serve_once();
    return status;
  }
  void serve_once() {
    for (auto [key, fd] : sockets)
      while (auto letter = receive(fd)) EXPECT_TRUE(server->on_frame(key, letter->frame(), clock_ns()));
    server->tick(clock_ns());
    usleep(100);
  }
  void reap(ClientKey key) {
    while (auto letter = receive(sockets[key])) server->on_frame(key, letter->frame(), clock_ns());
    close(sockets[key]);
    sockets.erase(key);
    server->detach(key, clock_ns());
  }
  void send(ClientKey client, wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
    Letter out = letter(type, table);
    out.table.insert(out.table.begin(), {static_cast<uint8_t>(type), 0});
    ::send(sockets.at(client), out.table.data(), out.table.size(), MSG_NOSIGNAL);
  }
  void log(const std::string& message) override { ADD_FAILURE() << message; }

  std::unique_ptr<Server> server;
  std::map<ClientKey, int> sockets;
};

// Repeats a call of a child until it need not wait.
template <class Call>
auto settle(Client& client, int fd, Call call) {
  for (;;) {
    auto result = call();
    if (static_cast<int>(result.status) != 1) return result;  // kWait of both
    pollfd wait{fd, POLLIN, 0};
    poll(&wait, 1, 10'000);
    while (auto letter = receive(fd)) client.on_frame(letter->frame());
  }
}
static_assert(static_cast<int>(CreateResult::Status::kWait) == 1 && static_cast<int>(GetResult::Status::kWait) == 1);

TEST(Processes, OneWritesAnotherReads) {
  ProcessNode node(32 * kMiB);
  pid_t writer = node.start(1, [](Client& client, int fd) {
    auto created = settle(client, fd, [&] { return client.try_create(object(1), 3 * kMiB); });
    if (created.status != kCreated) return 1;
    client.mapping()->prepare(created.data, 3 * kMiB);
    std::memset(created.data, 'w', 3 * kMiB);
    return client.seal(object(1)) ? 0 : 2;
  });
  EXPECT_EQ(node.serve_until_exit(writer), 0);
  node.reap(1);
  pid_t reader = node.start(2, [](Client& client, int fd) {
    auto got = settle(client, fd, [&] { return client.get(object(1)); });
    if (got.status != kRead) return 1;
    for (uint64_t i = 0; i < got.view.size; ++i)
      if (got.view.data[i] != 'w') return 2;
    return 0;
  });
  EXPECT_EQ(node.serve_until_exit(reader), 0);
  node.reap(2);
  EXPECT_TRUE(node.server->is_consistent());
  EXPECT_EQ(node.server->stats().pinned_objects, 0u);
}

// Puts, gets and erases for ever, over objects that another process uses too.
int work(Client& client, int fd, uint32_t seed) {
  std::mt19937 random(seed);
  for (;;) {
    ObjectId id = object(random() % 40);
    uint64_t size = 8 + random() % (random() % 4 ? 100'000 : 2 * kMiB);
    auto created = settle(client, fd, [&] { return client.try_create(id, size); });
    if (created.status == kCreated) {
      std::memset(created.data, static_cast<int>(id.data()[24]), size);
      if (!client.seal(id)) return 3;
    }
    ObjectId other = object(random() % 40);
    auto got = settle(client, fd, [&] { return client.get(other); });
    if (got.status == kRead) {
      for (uint64_t i = 0; i < got.view.size; ++i)
        if (got.view.data[i] != other.data()[24]) return 4;
      client.mapping()->unpin(got.view.slot);
    }
    if (random() % 2) client.erase(object(random() % 40));
  }
}

TEST(Processes, KilledAtAnyMomentTheyLeaveNoTrace) {
  ProcessNode node(24 * kMiB);
  pid_t witness = node.start(1, [](Client& client, int fd) { return work(client, fd, 1); });
  for (ClientKey key = 2; key < 12; ++key) {
    pid_t victim =
        node.start(key, [key](Client& client, int fd) { return work(client, fd, static_cast<uint32_t>(key)); });
    node.serve(20 + static_cast<int>(key) * 3);
    ::kill(victim, SIGKILL);
    int status = 0;
    waitpid(victim, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it stopped with code " << WEXITSTATUS(status);
    node.reap(key);
    ASSERT_TRUE(node.server->is_consistent());
  }
  ::kill(witness, SIGKILL);
  int status = 0;
  waitpid(witness, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it stopped with code " << WEXITSTATUS(status);
  node.reap(1);
  EXPECT_TRUE(node.server->is_consistent());
  EXPECT_EQ(node.server->stats().pinned_objects, 0u);
  for (uint32_t i = 0; i < 40; ++i) node.server->erase(object(i), clock_ns());
  Stats stats = node.server->stats();
  EXPECT_EQ(stats.objects + stats.spilled_objects, 0u);
  EXPECT_EQ(stats.free_bytes, stats.capacity_bytes);
}

// ---- threads (for ThreadSanitizer)
// ---------------------------------------------------------------------------

// Every program in a thread of its own; the node under a lock.
class ThreadNode : public ServerOut {
 public:
  struct Seat : Transport {
    ThreadNode* node = nullptr;
    ClientKey key = 0;
    std::mutex lock;
    std::vector<Letter> inbox;
    std::unique_ptr<Client> client;
    void send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
      std::lock_guard guard(node->lock);
      Letter out = letter(type, table);
      EXPECT_TRUE(node->server->on_frame(key, out.frame(), clock_ns()));
    }
    void read() {
      std::unique_lock guard(lock);
      auto letters = std::exchange(inbox, {});
      guard.unlock();
      for (Letter& next : letters) client->on_frame(next.frame());
      if (letters.empty()) usleep(200);
    }
  };
  void send(ClientKey key, wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
    std::lock_guard guard(seats[key]->lock);
    seats[key]->inbox.push_back(letter(type, table));
  }
  void log(const std::string& message) override { ADD_FAILURE() << message; }

  std::mutex lock;
  std::unique_ptr<Server> server;
  std::vector<std::unique_ptr<Seat>> seats;
};

template <class Call>
auto settle(ThreadNode::Seat& seat, Call call) {
  for (;;) {
    auto result = call();
    if (static_cast<int>(result.status) != 1) return result;
    seat.read();
  }
}

void live(ThreadNode::Seat& seat, std::atomic<uint64_t>& wrong) {
  std::mt19937 random(static_cast<uint32_t>(seat.key));
  auto word = [](const uint8_t* data, uint64_t i) {
    return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(const_cast<uint8_t*>(data) + 8 * i));
  };
  for (int step = 0; step < 400; ++step) {
    ObjectId id = object(random() % 16), other = object(random() % 16);
    uint64_t words = 1 + random() % 40'000;
    auto created = settle(seat, [&] { return seat.client->try_create(id, words * 8); });
    if (created.status == kCreated) {
      for (uint64_t i = 0; i < words; ++i) word(created.data, i).store(id.data()[24], std::memory_order_relaxed);
      wrong += !seat.client->seal(id);
    }
    auto got = settle(seat, [&] { return seat.client->get(other); });
    if (got.status == kRead) {
      for (uint64_t i = 0; i < got.view.size / 8; i += 97)
        wrong += word(got.view.data, i).load(std::memory_order_relaxed) != other.data()[24];
      std::thread([&] { seat.client->mapping()->unpin(got.view.slot); }).join();
    }
    if (random() % 2) seat.client->erase(object(random() % 16));
    seat.read();
  }
}

TEST(Threads, ProgramsAtTheSameTime) {
  ThreadNode node;
  ServerConfig config;
  config.capacity_bytes = 4 * kMiB;
  node.server = std::move(Server::make(config, node)).value();
  std::atomic<uint64_t> wrong{0};
  for (ClientKey key = 0; key < 4; ++key) {
    auto seat = std::make_unique<ThreadNode::Seat>();
    seat->node = &node;
    seat->key = key;
    seat->client = std::move(Client::make(dup(node.server->fd()), *seat)).value();
    node.seats.push_back(std::move(seat));
  }
  std::atomic<int> left{4};
  std::vector<std::thread> threads;
  for (auto& seat : node.seats)
    threads.emplace_back([&] {
      live(*seat, wrong);
      --left;
      while (left != 0) seat->read();  // others may wait for its answers
    });
  while (left != 0) {
    usleep(1000);
    std::lock_guard guard(node.lock);
    node.server->tick(clock_ns());
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_TRUE(node.server->is_consistent());
  EXPECT_EQ(node.server->stats().pinned_objects, 0u);
}

}  // namespace
}  // namespace narke::store::testing
