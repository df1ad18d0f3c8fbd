#include "store/server.h"

#include <deque>
#include <unordered_map>
#include <utility>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/core.h"
#include "store/warmer.h"

namespace narke::store {
namespace {

template <class Build>
void send_table(ServerOut& out, ClientKey client, wire::StoreMessage message, Build build) {
  flatbuffers::FlatBufferBuilder builder(128);
  builder.Finish(build(builder));
  out.send(client, static_cast<wire::MessageType>(message), builder);
}

Result<int> make_memfd(uint64_t bytes) {
  int fd = memfd_create("narke-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  // Sealed, since a program that shrank it would kill all others.
  if (fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0 &&
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
    return fd;
  Error error{ErrorCode::kFailed, "The object store of " + std::to_string(bytes) + " bytes could not be made: " +
                                      strerror(errno) + ". Choose a smaller object_store_memory."};
  if (fd >= 0) close(fd);
  return error;
}

}  // namespace

// Turns the core's decisions into frames and disk jobs.
class Server::Out : public CoreOut {
 public:
  Out(ServerOut& out, SpillIo* io) : out_(out), io_(io) {}

  void attached(ClientKey client, uint16_t number) override {
    send_table(out_, client, wire::StoreMessage::Attached,
               [&](auto& b) { return wire::CreateStoreAttached(b, number); });
  }
  void granted(ClientKey client, const ObjectId& id, Extent extent) override {
    auto wire_id = id.to_wire<wire::ObjectId>();
    wire::Extent wire_extent(extent.offset, extent.size);
    send_table(out_, client, wire::StoreMessage::Granted,
               [&](auto& b) { return wire::CreateStoreGranted(b, &wire_id, &wire_extent); });
  }
  void refused(ClientKey client, const ObjectId& id, const std::string& why) override {
    auto wire_id = id.to_wire<wire::ObjectId>();
    send_table(out_, client, wire::StoreMessage::Refused,
               [&](auto& b) { return wire::CreateStoreRefused(b, &wire_id, b.CreateString(why)); });
  }
  void reclaim(ClientKey client) override {
    send_table(out_, client, wire::StoreMessage::Reclaim, [](auto& b) { return wire::CreateStoreReclaim(b); });
  }
  void fetched(ClientKey client, const ObjectId& id, wire::FetchStatus status, uint32_t slot,
               const std::string& why) override {
    if (client == kSelf) return pinned(id, status, slot, why);
    auto wire_id = id.to_wire<wire::ObjectId>();
    send_table(out_, client, wire::StoreMessage::Fetched,
               [&](auto& b) { return wire::CreateStoreFetched(b, &wire_id, status, slot, b.CreateString(why)); });
  }
  void created_secondary(const ObjectId& id, SecondaryStatus status, uint8_t* data, const std::string& why) override {
    auto waiting = creators.extract(id);
    if (waiting.empty()) return;
    answers.push_back([done = std::move(waiting.mapped()), status, data, why] { done(status, data, why); });
  }
  void start(SpillJob job) override { io_->start(std::move(job)); }
  void remove_file(uint64_t file) override { io_->remove(file); }
  void log(const std::string& message) override { out_.log(message); }
  void spill_to(SpillIo* io) { io_ = io; }

  // Answers to the node itself; called when the core has returned.
  std::deque<std::function<void()>> answers;
  std::unordered_multimap<ObjectId, PinDone> pinners;
  std::unordered_map<ObjectId, CreateDone> creators;
  StoreCore* core = nullptr;

 private:
  void pinned(const ObjectId& id, wire::FetchStatus status, uint32_t slot, const std::string& why) {
    auto waiting = pinners.extract(id);
    Result<Pinned> result = Error{ErrorCode::kNotFound, "Object " + id.hex() + " is not in this node's object store."};
    if (status == wire::FetchStatus::Pinned) result = core->pinned(slot);
    if (status == wire::FetchStatus::Full) result = Error{ErrorCode::kOverloaded, why};
    answers.push_back([done = std::move(waiting.mapped()), result] { done(result); });
  }

  ServerOut& out_;
  SpillIo* io_;
};

Result<std::unique_ptr<Server>> Server::make(const ServerConfig& config, ServerOut& out, std::unique_ptr<SpillIo> io) {
  if (config.capacity_bytes == 0)
    return Error{ErrorCode::kFailed, "The object store's capacity is 0 bytes; set object_store_memory."};
  auto server = std::unique_ptr<Server>(new Server());
  if (!io && !config.spill_dir.empty()) {
    auto files = make_file_spill_io(config.spill_dir);
    if (!files.ok()) return files.error();
    io = std::move(files).value();
    server->spill_dir_ = config.spill_dir;
  }
  server->io_ = std::move(io);
  server->arena_bytes_ = Arena::bytes_for(config.capacity_bytes);
  auto fd = make_memfd(server->arena_bytes_);
  if (!fd.ok()) return fd.error();
  server->fd_ = fd.value();
  void* base = mmap(nullptr, server->arena_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, server->fd_, 0);
  if (base == MAP_FAILED)
    return Error{ErrorCode::kFailed, std::string("The object store could not be mapped: ") + strerror(errno) +
                                         ". Check the limit on address space (ulimit -v)."};
  server->base_ = base;
  madvise(base, server->arena_bytes_, MADV_DONTDUMP);
  if (!server->open_events())
    return Error{ErrorCode::kFailed, std::string("The object store's event descriptors could not be made: ") +
                                         strerror(errno) + ". Raise the limit on open files (ulimit -n)."};
  server->start(config, out);
  return server;
}

bool Server::open_events() {
  poke_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  event_fd_ = epoll_create1(EPOLL_CLOEXEC);
  epoll_event readable{.events = EPOLLIN, .data = {}};
  bool ok = poke_fd_ >= 0 && event_fd_ >= 0 && epoll_ctl(event_fd_, EPOLL_CTL_ADD, poke_fd_, &readable) == 0;
  if (ok && io_ && io_->event_fd() >= 0) ok = epoll_ctl(event_fd_, EPOLL_CTL_ADD, io_->event_fd(), &readable) == 0;
  return ok;
}

void Server::start(const ServerConfig& config, ServerOut& out) {
  Arena arena = Arena::format(base_, config.capacity_bytes);
  capacity_bytes_ = arena.capacity_bytes();
  out_ = std::make_unique<Out>(out, io_.get());
  CoreConfig core{.can_spill = io_ != nullptr,
                  .spill_quota_bytes = config.spill_quota_bytes,
                  .spill_file_bytes = config.spill_file_bytes,
                  .full_wait_ns = config.full_wait_ms * 1'000'000};
  core_ = std::make_unique<StoreCore>(arena, core, *out_);
  out_->core = core_.get();
  if (config.warm) warmer_ = std::make_unique<Warmer>(arena.data(0), arena.capacity_bytes());
}

Server::~Server() {
  warmer_.reset();
  io_.reset();  // its thread uses the arena
  if (!spill_dir_.empty()) {
    clear_spill_directory(spill_dir_);
    rmdir(spill_dir_.c_str());  // stays when someone else's files are in it
  }
  if (base_ != nullptr) munmap(base_, arena_bytes_);
  for (int fd : {fd_, poke_fd_, event_fd_})
    if (fd >= 0) close(fd);
}

bool Server::on_frame(ClientKey client, const rpc::Frame& frame, int64_t now_ns) {
  bool known = dispatch(client, frame, now_ns);
  after_event();
  return known;
}

void Server::after_event() {
  answer();
  if (warmer_ && core_->high_water() != 0) warmer_->want(core_->high_water());
  if (core_->due_ms() >= promised_ms_) return;
  promised_ms_ = 0;
  eventfd_write(poke_fd_, 1);
}

// Answers may lead to further calls of this server, whose own answers join the queue.
void Server::answer() {
  if (answering_) return;
  answering_ = true;
  while (!out_->answers.empty()) {
    auto next = std::move(out_->answers.front());
    out_->answers.pop_front();
    next();
  }
  answering_ = false;
}

bool Server::dispatch(ClientKey client, const rpc::Frame& frame, int64_t now_ns) {
  switch (static_cast<wire::StoreMessage>(frame.type)) {
    case wire::StoreMessage::Attach:
      if (!frame.as<wire::StoreAttach>()) return false;
      core_->on_attach(client);
      return true;
    case wire::StoreMessage::Acquire: {
      auto* m = frame.as<wire::StoreAcquire>();
      if (m == nullptr || m->id() == nullptr) return false;
      core_->on_acquire(client, ObjectId::from_wire(m->id()), m->size(), m->at_least(), now_ns);
      return true;
    }
    case wire::StoreMessage::Forget: {
      auto* m = frame.as<wire::StoreForget>();
      if (m == nullptr || m->id() == nullptr) return false;
      core_->on_forget(client, ObjectId::from_wire(m->id()), m->fetch());
      return true;
    }
    case wire::StoreMessage::Return: return on_return(client, frame, now_ns);
    case wire::StoreMessage::Delete: {
      auto* m = frame.as<wire::StoreDelete>();
      if (m == nullptr || m->id() == nullptr) return false;
      core_->on_delete(client, ObjectId::from_wire(m->id()), m->slot(), now_ns);
      return true;
    }
    case wire::StoreMessage::Fetch: {
      auto* m = frame.as<wire::StoreFetch>();
      if (m == nullptr || m->id() == nullptr) return false;
      core_->on_fetch(client, ObjectId::from_wire(m->id()), now_ns);
      return true;
    }
    case wire::StoreMessage::Unpin: {
      auto* m = frame.as<wire::StoreUnpin>();
      if (m == nullptr || m->slots() == nullptr) return false;
      core_->on_unpin(client, {m->slots()->begin(), m->slots()->end()}, now_ns);
      return true;
    }
    default: return false;
  }
}

bool Server::on_return(ClientKey client, const rpc::Frame& frame, int64_t now_ns) {
  auto* message = frame.as<wire::StoreReturn>();
  if (message == nullptr) return false;
  std::vector<Extent> extents;
  if (message->extents() != nullptr)
    for (const auto* extent : *message->extents()) extents.push_back({extent->offset(), extent->size()});
  core_->on_return(client, extents, now_ns);
  return true;
}

void Server::detach(ClientKey client, int64_t now_ns) {
  core_->on_detach(client, now_ns);
  after_event();
}

void Server::erase(const ObjectId& id, int64_t now_ns) {
  core_->erase(id, now_ns);
  after_event();
}

void Server::erase_owned(uint64_t owner, int64_t now_ns) {
  core_->erase_owned(owner, now_ns);
  after_event();
}

int Server::tick(int64_t now_ns) {
  eventfd_t pokes = 0;
  eventfd_read(poke_fd_, &pokes);
  if (io_)
    for (SpillJob& job : io_->take_done()) core_->on_job_done(std::move(job), now_ns);
  core_->tick(now_ns);
  answer();
  return promised_ms_ = core_->due_ms();
}

void Server::pin(const ObjectId& id, int64_t now_ns, PinDone done) {
  out_->pinners.emplace(id, std::move(done));
  core_->on_fetch(kSelf, id, now_ns);
  after_event();
}

void Server::unpin(uint32_t slot, int64_t now_ns) {
  core_->on_unpin(kSelf, {slot}, now_ns);
  after_event();
}

void Server::create_secondary(const ObjectId& id, uint64_t size, uint64_t owner, int64_t now_ns, CreateDone done) {
  NARKE_CHECK(out_->creators.emplace(id, std::move(done)).second);
  core_->create_secondary(id, size, owner, now_ns);
  after_event();
}

void Server::forget_secondary(const ObjectId& id, int64_t now_ns) {
  out_->creators.erase(id);
  core_->forget_secondary(id, now_ns);
  after_event();
}

Pinned Server::seal_secondary(const ObjectId& id, int64_t now_ns) {
  Pinned pinned = core_->pinned(core_->seal_secondary(id, now_ns));
  after_event();
  return pinned;
}

void Server::abort_secondary(const ObjectId& id, int64_t now_ns) {
  core_->abort_secondary(id, now_ns);
  after_event();
}

bool Server::adopt_spilled(const ObjectId& id, uint64_t owner, uint64_t file, uint64_t size) {
  return core_->adopt_spilled(id, owner, file, size);
}

void Server::spill_to(std::unique_ptr<SpillIo> io) {
  NARKE_CHECK(core_->stats().written_bytes == 0);
  if (io_ && io_->event_fd() >= 0) epoll_ctl(event_fd_, EPOLL_CTL_DEL, io_->event_fd(), nullptr);
  io_ = std::move(io);
  out_->spill_to(io_.get());
  epoll_event readable{.events = EPOLLIN, .data = {}};
  NARKE_CHECK(io_->event_fd() < 0 || epoll_ctl(event_fd_, EPOLL_CTL_ADD, io_->event_fd(), &readable) == 0);
  core_->spill_each_alone();
}

bool Server::promote(const ObjectId& id) { return core_->promote(id); }

ObjectPresence Server::presence(const ObjectId& id) const { return core_->presence(id); }

Stats Server::stats() const { return core_->stats(); }

bool Server::is_consistent() const { return core_->is_consistent(); }

std::vector<ObjectInfo> Server::list(size_t limit) const { return core_->list(limit); }

}  // namespace narke::store
