// Several nodes in one process and one thread: each with a store, a port on loopback and its transfers.
#pragma once

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/reactor.h"
#include "rpc/tcp.h"
#include "store/testing/fakes.h"
#include "transfer/transfer.h"

namespace narke::transfer::testing {

using store::testing::FakeIo;
using store::testing::kMiB;
using store::testing::object;
using store::testing::TestNode;

// Lets so many more bytes of objects out of a node; small writes, its words, pass. Shared with its I/O threads.
struct Gate {
  std::atomic<int64_t> bytes{1 << 30};
};

// A plain stream behind a gate.
class GatedStream : public Stream {
 public:
  GatedStream(std::unique_ptr<Stream> inner, Gate& gate) : inner_(std::move(inner)), gate_(gate) {}
  Moved read(uint8_t* data, size_t size) override { return inner_->read(data, size); }
  Moved write(const uint8_t* data, size_t size, bool more) override {
    if (size < 4096) return inner_->write(data, size, more);
    auto allowed = std::min<int64_t>(gate_.bytes.load(), static_cast<int64_t>(size));
    if (allowed <= 0) {
      usleep(1000);  // epoll says at once that it is writable
      return {};
    }
    Moved moved = inner_->write(data, static_cast<size_t>(allowed), more);
    gate_.bytes -= static_cast<int64_t>(moved.bytes);
    return moved;
  }
  int fd() const override { return inner_->fd(); }
  bool waits_to_read() const override { return inner_->waits_to_read(); }
  bool waits_to_write() const override { return inner_->waits_to_write(); }
  bool has_more() const override { return inner_->has_more(); }

 private:
  std::unique_ptr<Stream> inner_;
  Gate& gate_;
};

// A node with a door as the daemon's.
class Node {
 public:
  Node(rpc::Reactor& reactor, uint64_t capacity_bytes, TransferConfig config, const std::string& token)
      : store(store_config(capacity_bytes), std::make_unique<FakeIo>()), program(store.add()) {
    auto opened = rpc::Door::open(reactor, "127.0.0.1", 0, [this](const rpc::Preface& preface, int fd) {
      EXPECT_EQ(preface.kind, rpc::LinkKind::kData);
      ++accepted;
      transfers->serve(fd, preface.tls);
    });
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    door = std::move(opened).value();
    config.address = address_ = rpc::host_port_text("127.0.0.1", door->port());
    config.wrap = [this, key = std::make_shared<rpc::TlsKey>(token)](int fd, Side side, const rpc::Preface& preface) {
      const std::string first = side == Side::kAsker ? rpc::write_preface(preface) : std::string();
      auto inner = preface.tls ? tls_stream(*key, fd, first) : plain_stream(fd, first);
      return std::make_unique<GatedStream>(std::move(inner), gate);
    };
    config.log = [this](const std::string& message) { logs.push_back(message); };
    auto made = Transfers::make(reactor, *store.server, token, config);
    EXPECT_TRUE(made.ok()) << made.error().message;
    transfers = std::move(made).value();
  }
  const std::string& address() const { return address_; }
  // Writes a sealed object whose bytes depend on their place and on `seed`.
  void put(const ObjectId& id, uint64_t size, uint8_t seed, uint64_t owner = 7) {
    store::CreateResult created;
    store.run(200'000, [&] {
      created = program->try_create(id, size, owner);
      return created.status != store::CreateResult::Status::kWait;
    });
    ASSERT_EQ(created.status, store::CreateResult::Status::kOk) << created.error;
    for (uint64_t i = 0; i < size; ++i) created.data[i] = byte_at(i, seed);
    ASSERT_TRUE(program->seal(id));
  }
  bool holds(const ObjectId& id, uint64_t size, uint8_t seed) {
    auto got = store.get(program, id);
    if (got.status != store::GetResult::Status::kOk) return false;
    bool same = got.view.size == size;
    for (uint64_t i = 0; same && i < size; ++i) same = got.view.data[i] == byte_at(i, seed);
    program->mapping()->unpin(got.view.slot);
    return same;
  }
  store::ObjectPresence presence(const ObjectId& id) const { return store.server->presence(id); }
  store::Stats stats() const { return store.server->stats(); }
  // As when the node has died: its connections break, nobody listens.
  void die() {
    door.reset();
    transfers.reset();
  }
  // Lets no further byte of an object out.
  void shut() { gate.bytes = 0; }
  void open() { gate.bytes = 1 << 30; }
  void tick() { store.server->tick(store.now = clock_ns()); }

 private:
  static uint8_t byte_at(uint64_t i, uint8_t seed) { return static_cast<uint8_t>(i * 31 + (i >> 12) + seed); }
  static store::ServerConfig store_config(uint64_t capacity_bytes) {
    store::ServerConfig config;
    config.capacity_bytes = capacity_bytes;
    config.full_wait_ms = 200;
    return config;
  }
  std::string address_;

 public:
  Gate gate;  // of what it sends
  TestNode store;
  store::testing::Program& program;
  std::unique_ptr<Transfers> transfers;
  std::unique_ptr<rpc::Door> door;
  std::vector<std::string> logs;
  int accepted = 0;  // connections
};

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() : reactor_(rpc::Identity{}) {}
  void TearDown() override {
    for (auto& node : nodes_) {
      node->transfers.reset();
      EXPECT_TRUE(node->store.server->is_consistent());
      EXPECT_EQ(node->stats().pinned_objects, 0u) << "pins are given back";
    }
    nodes_.clear();
  }
  Node& add(uint64_t capacity_bytes = 64 * kMiB, const std::string& token = "secret") {
    nodes_.push_back(std::make_unique<Node>(reactor_, capacity_bytes, config_, token));
    return *nodes_.back();
  }
  // Turns the reactor until ready(); false when that takes longer than anything here should.
  template <class Ready>
  bool run(Ready ready) {
    for (int64_t end = clock_ms() + 30'000; clock_ms() < end;) {
      if (ready()) return true;
      reactor_.wait(5);
      reactor_.dispatch();
      for (auto& node : nodes_) node->tick();
    }
    return ready();
  }
  struct Answer {
    std::optional<Status> status;
    bool ok() const { return status && status->ok(); }
    std::string message() const { return status && !status->ok() ? status->error().message : ""; }
    ErrorCode code() const { return status->error().code; }
  };
  std::shared_ptr<Answer> start(Node& node, const ObjectId& id, const std::vector<std::string>& sources) {
    auto answer = std::make_shared<Answer>();
    node.transfers->pull(id, sources, 7, [answer](const Status& status) {
      EXPECT_FALSE(answer->status) << "answered twice";
      answer->status = status;
    });
    EXPECT_FALSE(answer->status) << "never from within the call";
    return answer;
  }
  std::shared_ptr<Answer> pull(Node& node, const ObjectId& id, const std::vector<std::string>& sources) {
    auto answer = start(node, id, sources);
    EXPECT_TRUE(run([&] { return answer->status.has_value(); }));
    return answer;
  }

  TransferConfig config_;
  rpc::Reactor reactor_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace narke::transfer::testing
