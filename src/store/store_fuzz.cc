// Random frames for the store's two ends.
//
// Strategy: the input is read as a list of short commands. Some send the node a well-formed table with
// numbers from the input, some the program one, some raw bytes as a table, some make the program work, some
// kill it, some make the node write and pin objects of its own. Invariants: neither end crashes or reads outside of its
// memory, and every byte of the arena has one owner.
#include <cstring>
#include <deque>
#include <span>
#include <unordered_set>

#include <unistd.h>

#include "store/client.h"
#include "store/server.h"

namespace narke::store {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;
using Message = wire::StoreMessage;

class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }
  template <class T>
  T take() {
    T value{};
    size_t n = std::min(sizeof value, left_.size());
    std::memcpy(&value, left_.data(), n);
    left_ = left_.subspan(n);
    return value;
  }
  std::vector<uint8_t> take_bytes() {
    size_t n = std::min<size_t>(take<uint8_t>(), left_.size());
    std::vector<uint8_t> bytes(left_.begin(), left_.begin() + static_cast<long>(n));
    left_ = left_.subspan(n);
    return bytes;
  }

 private:
  std::span<const uint8_t> left_;
};

// Small numbers name things that exist, large ones do not.
ObjectId take_id(Input& input) {
  ObjectId id;
  std::memset(id.data(), 0, ObjectId::kSize);
  id.data()[0] = input.take<uint8_t>() % 8;
  return id;
}

uint64_t take_size(Input& input) {
  uint8_t kind = input.take<uint8_t>();
  if (kind % 4 == 0) return input.take<uint64_t>();
  return input.take<uint8_t>() * uint64_t{4096} * (kind % 16);
}

void build_for_server(Input& input, Message type, Builder& b) {
  auto id = take_id(input).to_wire<wire::ObjectId>();
  const wire::ObjectId* maybe_id = input.take<uint8_t>() % 16 ? &id : nullptr;
  switch (type) {
    case Message::Acquire: return b.Finish(wire::CreateStoreAcquire(b, maybe_id, take_size(input), take_size(input)));
    case Message::Forget: return b.Finish(wire::CreateStoreForget(b, maybe_id, input.take<uint8_t>() % 2 == 1));
    case Message::Return: {
      std::vector<wire::Extent> extents;
      for (int n = input.take<uint8_t>() % 4; n > 0; --n) extents.emplace_back(take_size(input), take_size(input));
      return b.Finish(wire::CreateStoreReturn(b, b.CreateVectorOfStructs(extents)));
    }
    case Message::Delete: return b.Finish(wire::CreateStoreDelete(b, maybe_id, input.take<uint32_t>()));
    case Message::Fetch: return b.Finish(wire::CreateStoreFetch(b, maybe_id));
    case Message::Unpin: {
      std::vector<uint32_t> slots = {input.take<uint16_t>(), input.take<uint32_t>()};
      return b.Finish(wire::CreateStoreUnpin(b, b.CreateVector(slots)));
    }
    default: return b.Finish(wire::CreateStoreAttach(b));
  }
}

void build_for_client(Input& input, Message type, Builder& b) {
  auto id = take_id(input).to_wire<wire::ObjectId>();
  const wire::ObjectId* maybe_id = input.take<uint8_t>() % 16 ? &id : nullptr;
  wire::Extent extent(take_size(input), take_size(input));
  switch (type) {
    case Message::Attached: return b.Finish(wire::CreateStoreAttached(b, input.take<uint16_t>()));
    case Message::Granted: return b.Finish(wire::CreateStoreGranted(b, maybe_id, &extent));
    case Message::Refused: return b.Finish(wire::CreateStoreRefused(b, maybe_id));
    case Message::Fetched:
      return b.Finish(wire::CreateStoreFetched(b, maybe_id, input.take<wire::FetchStatus>(), input.take<uint16_t>()));
    default: return b.Finish(wire::CreateStoreReclaim(b));
  }
}

// Disk work that never ends well.
class BrokenIo : public SpillIo {
 public:
  void start(SpillJob job) override {
    job.error = "broken";
    done_.push_back(std::move(job));
  }
  void remove(uint64_t) override {}
  std::vector<SpillJob> take_done() override { return std::exchange(done_, {}); }
  int event_fd() const override { return -1; }

 private:
  std::vector<SpillJob> done_;
};

class Pair : public ServerOut, public Transport {
 public:
  Pair() {
    ServerConfig config;
    config.capacity_bytes = 4 << 20;
    config.warm = false;
    server_ = std::move(Server::make(config, *this, std::make_unique<BrokenIo>())).value();
    revive();
  }
  void step(Input& input) {
    uint8_t command = input.take<uint8_t>();
    Message type = static_cast<Message>(78 + input.take<uint8_t>() % 16);
    if (command < 80) return to_server(type, [&](Builder& b) { build_for_server(input, type, b); });
    if (command < 130) return to_client(type, [&](Builder& b) { build_for_client(input, type, b); });
    if (command < 150) return raw_to_both(input, type);
    if (command < 220) return work(input, command);
    if (command < 250) return work_of_node(input, command);
    server_->detach(kProgram, now_);
    revive();
  }
  void finish() const { NARKE_CHECK(server_->is_consistent()); }

  void send(ClientKey client, wire::MessageType type, const Builder& table) override {
    if (client == kProgram) to_program_.push_back({type, copy(table)});
  }
  void log(const std::string&) override {}
  void send(wire::MessageType type, const Builder& table) override { to_node_.push_back({type, copy(table)}); }

 private:
  static constexpr ClientKey kProgram = 1, kStranger = 2;
  using Letter = std::pair<wire::MessageType, std::vector<uint8_t>>;
  static std::vector<uint8_t> copy(const Builder& b) {
    return {b.GetBufferPointer(), b.GetBufferPointer() + b.GetSize()};
  }
  void revive() {
    to_node_.clear();
    to_program_.clear();
    client_ = std::move(Client::make(dup(server_->fd()), *this)).value();
  }
  // Invented frames come from a stranger: the program itself is honest with its node.
  template <class Build>
  void to_server(Message type, Build build) {
    Builder b;
    build(b);
    auto bytes = copy(b);
    server_->on_frame(kStranger, {static_cast<wire::MessageType>(type), 0, bytes, {}}, now_);
  }
  template <class Build>
  void to_client(Message type, Build build) {
    Builder b;
    build(b);
    auto bytes = copy(b);
    client_->on_frame({static_cast<wire::MessageType>(type), 0, bytes, {}});
  }
  void raw_to_both(Input& input, Message type) {
    auto bytes = input.take_bytes();
    rpc::Frame frame{static_cast<wire::MessageType>(type), 0, bytes, {}};
    server_->on_frame(kStranger, frame, now_);
    client_->on_frame(frame);
  }
  void work(Input& input, uint8_t command) {
    ObjectId id = take_id(input);
    switch (command % 8) {
      case 0: client_->erase(id); break;
      case 1: client_->seal(id); break;
      case 2: client_->abort(id); break;
      case 3: client_->forget(id); break;
      case 4: read(id); break;
      case 5: client_->try_create(id, take_size(input)); break;
      case 6: server_->tick(now_ += 20'000'000); break;
      default: deliver();
    }
  }
  void work_of_node(Input& input, uint8_t command) {
    ObjectId id = take_id(input);
    switch (command % 6) {
      case 0:
        if (!making_.contains(id) && asked_.insert(id).second)
          server_->create_secondary(id, take_size(input), input.take<uint8_t>() % 4, now_,
                                    [this, id](SecondaryStatus status, uint8_t*, const std::string&) {
                                      asked_.erase(id);
                                      if (status == SecondaryStatus::kWrite) making_.insert(id);
                                    });
        break;
      case 1:
        if (making_.erase(id) == 0) break;
        pins_.push_back(server_->seal_secondary(id, now_).slot);
        break;
      case 2:
        if (making_.erase(id) != 0) server_->abort_secondary(id, now_);
        break;
      case 3:
        server_->pin(id, now_, [this](const Result<Pinned>& pinned) {
          if (pinned.ok()) pins_.push_back(pinned.value().slot);
        });
        break;
      case 4:
        if (!pins_.empty()) server_->unpin(pins_.front(), now_);
        if (!pins_.empty()) pins_.pop_front();
        break;
      default:
        if (asked_.erase(id) != 0) server_->forget_secondary(id, now_);
        server_->erase_owned(input.take<uint8_t>() % 4, now_);
    }
  }
  void read(const ObjectId& id) {
    auto got = client_->get(id);
    if (got.status == GetResult::Status::kOk) client_->mapping()->unpin(got.view.slot);
  }
  void deliver() {
    for (const Letter& next : std::exchange(to_node_, {}))
      server_->on_frame(kProgram, {next.first, 0, next.second, {}}, now_);
    for (const Letter& next : std::exchange(to_program_, {})) client_->on_frame({next.first, 0, next.second, {}});
  }

  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  std::deque<Letter> to_node_, to_program_;
  std::unordered_set<ObjectId> asked_, making_;  // the node's own objects
  std::deque<uint32_t> pins_;
  int64_t now_ = 1'000'000'000;
};

}  // namespace
}  // namespace narke::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  narke::store::Input input({data, size_bytes});
  narke::store::Pair pair;
  while (!input.empty()) pair.step(input);
  pair.finish();
  return 0;
}
