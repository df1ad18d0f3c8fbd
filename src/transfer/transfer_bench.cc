// One node's end of a measured transfer; benchmarks/transfer.py starts these, in network namespaces if it may.
//
//   narke_transfer_bench give HOST:PORT MIB FAN_OUT
//       holds an object of so many MiB and gives it to whoever asks; also sends the same bytes over a bare socket
//   narke_transfer_bench take HOST:PORT FROM MIB ROUNDS
//       pulls the object and, in turns, reads the same bytes from a bare socket into warm memory
//   narke_transfer_bench small HOST:PORT FROM ROUNDS
//       pulls the small objects that `give` holds beside the large one, all at once
//   narke_transfer_bench join HOST:PORT FROM MIB START FAN_OUT
//       pulls the object once, at the time START (seconds since the epoch), and gives it on
// Output: "ready", then lines "raw SECONDS", "pull SECONDS", "small OBJECTS_PER_SECOND", "done EPOCH_SECONDS".
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/tcp.h"
#include "transfer/transfer.h"

namespace narke::transfer {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr char kRaw = 'R';
constexpr uint32_t kSmallObjects = 1000;
constexpr uint64_t kSmallBytes = 128 << 10;

double epoch_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double seconds_since(int64_t start_ns) { return static_cast<double>(clock_ns() - start_ns) * 1e-9; }

struct Silent : store::ServerOut {
  void send(store::ClientKey, wire::MessageType, const flatbuffers::FlatBufferBuilder&) override {}
  void log(const std::string& message) override { std::fprintf(stderr, "%s\n", message.c_str()); }
};

template <class T>
T take(Result<T> result) {
  if (!result.ok()) std::fprintf(stderr, "%s\n", result.error().message.c_str());
  NARKE_CHECK(result.ok());
  return std::move(result).value();
}

// 0: the large one.
ObjectId object(uint32_t n) {
  ObjectId id;
  std::memset(id.data(), 1, ObjectId::kSize);
  std::memcpy(id.data(), &n, sizeof n);
  return id;
}

// A blocking connection; how long that takes does not matter.
int connect_to(const std::string& address) {
  int fd = take(dial(address)).fd;
  pollfd writable{fd, POLLOUT, 0};
  NARKE_CHECK(poll(&writable, 1, 5000) == 1);
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  NARKE_CHECK(error == 0);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

int listen_on(const std::string& address) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  NARKE_CHECK(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 && listen(fd, 64) == 0);
  return fd;
}

class Node {
 public:
  Node(const std::string& address, uint64_t size, int fan_out) : size_(size), reactor_(rpc::Identity{}) {
    store::ServerConfig config;
    config.capacity_bytes = size + kSmallObjects * kSmallBytes + 16 * kMiB;
    store_ = take(store::Server::make(config, out_));
    TransferConfig settings;
    settings.address = address;
    settings.keep_ms = 0;
    settings.pull_bytes = size;
    settings.fan_out = fan_out;
    transfers_ = take(Transfers::make(reactor_, *store_, "token", settings));
    listener_ = listen_on(address);
    reactor_.watch(listener_, [this] { accept_one(); });
  }
  ~Node() {
    transfers_.reset();
    close(listener_);
  }

  void fill() {
    bytes_ = put(object(0), size_);
    for (uint32_t n = 1; n <= kSmallObjects; ++n) put(object(n), kSmallBytes);
  }
  void pull(const std::string& from, uint32_t first, uint32_t count) {
    uint32_t left = count;
    for (uint32_t n = first; n < first + count; ++n)
      transfers_->pull(object(n), {from}, 0, [&](Status status) {
        take(std::move(status));
        --left;
      });
    while (left != 0) turn();
  }
  // The next pull writes to the same, warm memory.
  void drop(uint32_t first, uint32_t count) {
    for (uint32_t n = first; n < first + count; ++n) store_->erase(object(n), clock_ns());
    while (store_->stats().free_bytes != store_->stats().capacity_bytes) turn();
  }
  void turn() {
    reactor_.wait(10);
    reactor_.dispatch();
    store_->tick(clock_ns());
  }

 private:
  const uint8_t* put(const ObjectId& id, uint64_t size) {
    bool done = false;
    store_->create_secondary(id, size, 0, clock_ns(), [&](store::SecondaryStatus, uint8_t* data, const std::string&) {
      for (uint64_t i = 0; i < size; i += 8) std::memcpy(data + i, &i, 8);
      done = true;
    });
    NARKE_CHECK(done);
    return store_->seal_secondary(id, clock_ns()).data;
  }
  void accept_one() {
    int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    std::string preface(rpc::kPrefaceBytes, '\0');
    NARKE_CHECK(recv(fd, preface.data(), preface.size(), MSG_WAITALL) == static_cast<ssize_t>(preface.size()));
    if (preface[6] != kRaw) return transfers_->serve(fd, preface.back() != 0);
    std::thread([this, fd] { send_raw(fd); }).detach();
  }
  void send_raw(int fd) const {
    for (uint64_t at = 0; at < size_;) {
      ssize_t n = send(fd, bytes_ + at, std::min<uint64_t>(size_ - at, kMiB), MSG_NOSIGNAL);
      if (n <= 0) break;
      at += static_cast<uint64_t>(n);
    }
    close(fd);
  }

  uint64_t size_;
  rpc::Reactor reactor_;
  Silent out_;
  std::unique_ptr<store::Server> store_;
  std::unique_ptr<Transfers> transfers_;
  int listener_;
  const uint8_t* bytes_ = nullptr;
};

void read_raw(const std::string& from, uint8_t* into, uint64_t size) {
  int fd = connect_to(from);
  std::string preface = rpc::write_preface({.kind = rpc::LinkKind::kData});
  preface[6] = kRaw;
  NARKE_CHECK(write(fd, preface.data(), preface.size()) == static_cast<ssize_t>(preface.size()));
  for (uint64_t at = 0; at < size;) {
    ssize_t n = recv(fd, into + at, std::min<uint64_t>(size - at, kMiB), 0);
    NARKE_CHECK(n > 0);
    at += static_cast<uint64_t>(n);
  }
  close(fd);
}

void give(const std::string& address, uint64_t size, int fan_out) {
  Node node(address, size, fan_out);
  node.fill();
  std::printf("ready\n");
  for (;;) node.turn();
}

void take_in_turns(const std::string& address, const std::string& from, uint64_t size, int rounds) {
  Node node(address, size, 1);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  NARKE_CHECK(memory != MAP_FAILED);
  auto* warm = static_cast<uint8_t*>(memory);
  std::printf("ready\n");
  for (int round = 0; round < rounds + 1; ++round) {  // the first one warms up
    int64_t start = clock_ns();
    read_raw(from, warm, size);
    double raw = seconds_since(start);
    start = clock_ns();
    node.pull(from, 0, 1);
    double pulled = seconds_since(start);
    node.drop(0, 1);
    std::printf("%s %f\n%s %f\n", round == 0 ? "cold_raw" : "raw", raw, round == 0 ? "cold_pull" : "pull", pulled);
  }
}

void take_small(const std::string& address, const std::string& from, int rounds) {
  Node node(address, 16 * kMiB, 1);
  std::printf("ready\n");
  for (int round = 0; round < rounds; ++round) {
    int64_t start = clock_ns();
    node.pull(from, 1, kSmallObjects);
    std::printf("small %f\n", kSmallObjects / seconds_since(start));
    node.drop(1, kSmallObjects);
  }
}

void join(const std::string& address, const std::string& from, uint64_t size, double start, int fan_out) {
  Node node(address, size, fan_out);
  std::printf("ready\n");
  while (epoch_seconds() < start) node.turn();
  node.pull(from, 0, 1);
  std::printf("done %f\n", epoch_seconds());
  for (;;) node.turn();
}

}  // namespace
}  // namespace narke::transfer

int main(int argc, char** argv) {
  using namespace narke::transfer;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::vector<std::string> words(argv, argv + argc);
  std::string mode = argc > 1 ? words[1] : "";
  if (mode == "give" && argc == 5) give(words[2], std::stoull(words[3]) * kMiB, std::stoi(words[4]));
  if (mode == "take" && argc == 6)
    return take_in_turns(words[2], words[3], std::stoull(words[4]) * kMiB, std::stoi(words[5])), 0;
  if (mode == "small" && argc == 5) return take_small(words[2], words[3], std::stoi(words[4])), 0;
  if (mode == "join" && argc == 7)
    join(words[2], words[3], std::stoull(words[4]) * kMiB, std::stod(words[5]), std::stoi(words[6]));
  std::fprintf(stderr, "usage: see the top of transfer_bench.cc, or run benchmarks/transfer.py\n");
  return 2;
}
