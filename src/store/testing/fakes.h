// A node's store with programs beside it, in one thread: frames wait in queues until deliver().
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "store/client.h"
#include "store/server.h"

namespace narke::store::testing {

inline ObjectId object(uint32_t n) {
  ObjectId id;
  std::memset(id.data(), 0, ObjectId::kSize);
  std::memcpy(id.data() + 24, &n, 4);
  return id;
}

struct Letter {
  wire::MessageType type;
  std::vector<uint8_t> table;
  rpc::Frame frame() const { return {type, 0, table, {}}; }
};

inline Letter letter(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) {
  return {type, {table.GetBufferPointer(), table.GetBufferPointer() + table.GetSize()}};
}

// Disk in memory. Jobs are done when asked; may fail.
class FakeIo : public SpillIo {
 public:
  void start(SpillJob job) override { started.push_back(std::move(job)); }
  void remove(uint64_t file) override { files.erase(file); }
  std::vector<SpillJob> take_done() override {
    if (!hold) run();
    return std::exchange(done_, {});
  }
  int event_fd() const override { return -1; }

  bool hold = false;
  std::string fail;  // error of all jobs from now on
  std::deque<SpillJob> started;
  std::map<uint64_t, std::map<std::string, std::string>> files;  // file -> id -> content

 private:
  void run() {
    for (SpillJob& job : started) {
      job.error = fail;
      if (fail.empty()) do_job(job);
      done_.push_back(std::move(job));
    }
    started.clear();
  }
  void do_job(SpillJob& job) {
    for (SpillPart& part : job.parts) {
      std::string& content = files[job.file][part.id.hex()];
      if (job.is_write) {
        content.assign(reinterpret_cast<char*>(part.data), part.size);
      } else {
        std::memcpy(part.data, content.data(), part.size);
      }
    }
    if (job.is_write) job.file_bytes = spill_file_bytes(job.parts);
  }
  std::vector<SpillJob> done_;
};

struct Program : Transport {
  explicit Program(ClientKey k) : key(k) {}
  void send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
    outbox.push_back(letter(type, table));
  }
  Client* operator->() { return client.get(); }

  ClientKey key;
  std::deque<Letter> outbox, inbox;
  size_t sent = 0;
  bool deaf = false;  // answers nothing
  std::unique_ptr<Client> client;
};

class TestNode : public ServerOut {
 public:
  explicit TestNode(ServerConfig config, std::unique_ptr<SpillIo> io = nullptr) {
    config.warm = false;
    auto made = Server::make(config, *this, std::move(io));
    EXPECT_TRUE(made.ok()) << made.error().message;
    server = std::move(made).value();
  }

  Program& add() {
    ClientKey key = next_key_++;
    auto program = std::make_unique<Program>(key);
    auto client = Client::make(dup(server->fd()), *program);
    EXPECT_TRUE(client.ok());
    program->client = std::move(client).value();
    return *(programs[key] = std::move(program));
  }
  // As after kill -9: the program says nothing; its mapping stays for those who look at it.
  void kill(Program& program) {
    server->detach(program.key, now);
    dead.push_back(std::move(programs.extract(program.key).mapped()));
  }

  void send(ClientKey client, wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) override {
    auto it = programs.find(client);
    if (it != programs.end()) it->second->inbox.push_back(letter(type, table));
  }
  void log(const std::string& message) override { logs.push_back(message); }

  void deliver() {
    for (bool moved = true; moved;) {
      moved = false;
      for (auto& [key, program] : programs) moved |= move(*program);
    }
  }
  // Time passes in steps until ready() or `ms` are over.
  template <class Ready>
  bool run(int64_t ms, Ready ready) {
    for (int64_t end = now + ms * 1'000'000;;) {
      deliver();
      if (ready()) return true;
      if (now >= end) return false;
      now += 10'000'000;
      server->tick(now);
    }
  }

  CreateResult create(Program& program, const ObjectId& id, uint64_t size, int64_t ms = 200'000) {
    CreateResult result;
    run(ms, [&] {
      result = program->try_create(id, size);
      return result.status != CreateResult::Status::kWait;
    });
    return result;
  }
  // Writes an object filled with `fill`.
  CreateResult::Status put(Program& program, const ObjectId& id, uint64_t size, char fill) {
    auto result = create(program, id, size);
    if (result.status != CreateResult::Status::kOk) return result.status;
    std::memset(result.data, fill, size);
    EXPECT_TRUE(program->seal(id));
    return result.status;
  }
  GetResult get(Program& program, const ObjectId& id) {
    GetResult result;
    run(200'000, [&] {
      result = program->get(id);
      return result.status != GetResult::Status::kWait;
    });
    return result;
  }
  // Whether the object is there with this content; unpins it.
  bool holds(Program& program, const ObjectId& id, uint64_t size, char fill) {
    auto result = get(program, id);
    if (result.status != GetResult::Status::kOk) return false;
    const uint8_t* data = result.view.data;
    bool same = result.view.size == size && (size == 0 || data[0] == static_cast<uint8_t>(fill)) &&
                (size < 2 || std::memcmp(data, data + 1, size - 1) == 0);
    program->mapping()->unpin(result.view.slot);
    return same;
  }

  std::unique_ptr<Server> server;
  std::map<ClientKey, std::unique_ptr<Program>> programs;
  std::vector<std::unique_ptr<Program>> dead;
  std::vector<std::string> logs;
  int64_t now = 1'000'000'000;

 private:
  bool move(Program& program) {
    bool moved = false;
    while (!program.outbox.empty()) {
      Letter next = std::move(program.outbox.front());
      program.outbox.pop_front();
      ++program.sent;
      EXPECT_TRUE(server->on_frame(program.key, next.frame(), now));
      moved = true;
    }
    while (!program.inbox.empty() && !program.deaf) {
      Letter next = std::move(program.inbox.front());
      program.inbox.pop_front();
      EXPECT_TRUE(program->on_frame(next.frame()));
      moved = true;
    }
    return moved;
  }
  ClientKey next_key_ = 1;
};

inline constexpr uint64_t kMiB = 1u << 20;
inline constexpr auto kCreated = CreateResult::Status::kOk;
inline constexpr auto kExists = CreateResult::Status::kExists;
inline constexpr auto kFull = CreateResult::Status::kFull;
inline constexpr auto kRead = GetResult::Status::kOk;
inline constexpr auto kAbsent = GetResult::Status::kAbsent;

}  // namespace narke::store::testing
