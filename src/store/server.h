// The node's side of the object store: the arena, who owns which part of it, and the disk behind it.
//
// Lifecycle: make() -> tick() and on_frame() -> destroyed (the spill directory is removed).
// Threads: one, the daemon's. Two threads of its own (warming pages, disk) touch nothing of the caller's.
// Time: now_ns is a monotonic clock's.
//
// What a node does: hand fd() to each program (Connection::send_fd) with Registered.store_bytes =
// arena_bytes(); pass frames of the types StoreFirst..StoreLast to on_frame(); watch event_fd(); call tick()
// when it asked for it; when a program's process has ended (not before: its views end with it), call detach()
// and erase_owned(). ClientKey is any number of the node's that names the program's connection.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <flatbuffers/flatbuffers.h>

#include "base/id.h"
#include "base/result.h"
#include "rpc/frame.h"
#include "schema/store_generated.h"
#include "store/spill_io.h"

namespace narke::store {

using ClientKey = uint64_t;

struct ServerConfig {
  uint64_t capacity_bytes = 0;               // for objects; the index comes on top
  std::string spill_dir;                     // made, emptied at start, removed at the end; empty: never spill
  uint64_t spill_quota_bytes = 0;            // most bytes on disk; 0: as much as the disk takes
  uint64_t spill_file_bytes = 100ull << 20;  // small objects are put together in files of this size
  int64_t full_wait_ms = 10'000;             // how long a creator waits when nothing can be freed
  bool warm = true;                          // keep some pages present ahead of use
};

class ServerOut {
 public:
  virtual ~ServerOut() = default;
  // A frame with call_id 0 and no raw bytes; dropped when the client is gone. The builder is finished.
  virtual void send(ClientKey client, wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) = 0;
  // Something a person should read: spilling failed, a spilled object was unreadable.
  virtual void log(const std::string& message) = 0;
};

struct Stats {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;    // of objects in memory
  uint64_t cached_bytes = 0;  // free space kept by programs
  uint64_t free_bytes = 0;
  uint64_t objects = 0;  // in memory
  uint64_t pinned_bytes = 0;
  uint64_t pinned_objects = 0;
  uint64_t secondary_bytes = 0;  // of sealed objects that other nodes have too; part of used_bytes
  uint64_t secondary_objects = 0;
  uint64_t spilled_bytes = 0;  // of objects that are only on disk
  uint64_t spilled_objects = 0;
  uint64_t disk_bytes = 0;      // in spill files, of deleted objects too
  uint64_t written_bytes = 0;   // to disk, since the start
  uint64_t restored_bytes = 0;  // from disk, since the start
  uint64_t clients = 0;         // attached
  uint64_t waiting = 0;         // creators and readers that wait for space
};

struct ObjectInfo {
  ObjectId id;
  uint64_t size_bytes = 0;
  bool sealed = false;
  bool spilled = false;
  bool pinned = false;
  uint64_t owner = 0;      // owner_key() of the program that owns it, or 0
  bool secondary = false;  // brought here from another node; dropped without a trace when space is needed
};

enum class ObjectPresence { kAbsent, kWriting, kSealed, kSpilled };

// An object the node has pinned for itself: data stays valid and unchanged until Server::unpin(slot).
struct Pinned {
  uint32_t slot = 0;
  uint8_t* data = nullptr;
  uint64_t size = 0;        // bytes
  uint64_t owner = 0;       // owner_key() of the program that owns the object, or 0
  uint64_t generation = 0;  // of slot: tells this object from others in the same slot
};
// kNotFound: the object is not here; kOverloaded: it is on disk and there is no memory for it.
using PinDone = std::function<void(Result<Pinned>)>;

enum class SecondaryStatus {
  kWrite,   // write the object's bytes to data, then seal_secondary() or abort_secondary()
  kExists,  // here already, or being written by a program: presence() tells
  kFull,    // no space; why says what fills the store
};
using CreateDone = std::function<void(SecondaryStatus status, uint8_t* data, const std::string& why)>;

class StoreCore;
class Warmer;

// What a node's store does for the programs of its host.
class ProgramStore {
 public:
  virtual ~ProgramStore() = default;
  virtual int fd() const = 0;  // of the arena; stays the store's
  virtual uint64_t arena_bytes() const = 0;
  // Any bytes are safe: false when the frame's type is not one of the store's or its table is malformed.
  virtual bool on_frame(ClientKey client, const rpc::Frame& frame, int64_t now_ns) = 0;
  // The program's process has ended: its pins, unsealed objects and space are taken back. Unknown keys are
  // fine.
  virtual void detach(ClientKey client, int64_t now_ns) = 0;
  // The object is not needed any more.
  virtual void erase(const ObjectId& id, int64_t now_ns) = 0;
  // The program behind owner_key(...) has ended: erases what it owned. Objects created without an owner stay.
  virtual void erase_owned(uint64_t owner, int64_t now_ns) = 0;
  // A secondary object is now the copy to keep, since the other nodes' are gone: it goes to disk instead of being
  // dropped. False when there is no sealed one here.
  virtual bool promote(const ObjectId& id) = 0;
  virtual Stats stats() const = 0;  // scans the index
  virtual std::vector<ObjectInfo> list(size_t limit) const = 0;
};

class Server : public ProgramStore {
 public:
  // io: nullptr for real files in config.spill_dir.
  static Result<std::unique_ptr<Server>> make(const ServerConfig& config, ServerOut& out,
                                              std::unique_ptr<SpillIo> io = nullptr);
  ~Server() override;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int fd() const override { return fd_; }
  uint64_t arena_bytes() const override { return arena_bytes_; }
  bool on_frame(ClientKey client, const rpc::Frame& frame, int64_t now_ns) override;
  void detach(ClientKey client, int64_t now_ns) override;
  void erase(const ObjectId& id, int64_t now_ns) override;
  void erase_owned(uint64_t owner, int64_t now_ns) override;

  // ---- The node as a reader and writer of its own store (src/transfer). Callbacks run on the caller's thread, at
  // the end of any call of this server, also of the one they are given to; they may call it again.
  // Pins a sealed object, after bringing it back from disk if need be. One unpin() for each success.
  void pin(const ObjectId& id, int64_t now_ns, PinDone done);
  void unpin(uint32_t slot, int64_t now_ns);
  // Space for a secondary object: one that another node has too. Those who wait for space are served in order.
  // One call at a time for each id, until it was answered or forgotten.
  void create_secondary(const ObjectId& id, uint64_t size, uint64_t owner, int64_t now_ns, CreateDone done);
  // Nobody waits for the answer to create_secondary() any more; it does not come.
  void forget_secondary(const ObjectId& id, int64_t now_ns);
  // Publishes what was written, pinned as by pin(). When it was erased meanwhile nobody finds it, and its space is
  // free again when this pin goes.
  Pinned seal_secondary(const ObjectId& id, int64_t now_ns);
  // Gives up what was not sealed. Nobody may write to its data any more.
  void abort_secondary(const ObjectId& id, int64_t now_ns);
  bool promote(const ObjectId& id) override;
  // Takes over an object that another node has spilled: the SpillIo knows it as this file, and reads it like one of
  // this node's own. False: an object of this id is here, or the index is full.
  bool adopt_spilled(const ObjectId& id, uint64_t owner, uint64_t file, uint64_t size);
  // From now on objects go there, each as a file of its own. Before anything was spilled.
  void spill_to(std::unique_ptr<SpillIo> io);
  const uint8_t* base() const { return static_cast<const uint8_t*>(base_); }  // where this process has mapped fd()
  ObjectPresence presence(const ObjectId& id) const;
  uint64_t capacity_bytes() const { return capacity_bytes_; }

  // Readable when tick() is wanted earlier than it said: the disk has done something, or somebody waits now.
  int event_fd() const { return event_fd_; }
  // Deadlines, space that readers gave up, finished disk work. Returns in how many milliseconds to call
  // again.
  int tick(int64_t now_ns);

  Stats stats() const override;
  std::vector<ObjectInfo> list(size_t limit) const override;
  // Whether every byte of the arena has exactly one owner; for tests.
  bool is_consistent() const;

 private:
  class Out;

  Server() = default;
  bool open_events();
  void start(const ServerConfig& config, ServerOut& out);
  bool dispatch(ClientKey client, const rpc::Frame& frame, int64_t now_ns);
  void after_event();
  void answer();
  bool on_return(ClientKey client, const rpc::Frame& frame, int64_t now_ns);

  int fd_ = -1;
  int poke_fd_ = -1;   // an eventfd
  int event_fd_ = -1;  // an epoll of poke_fd_ and the disk's
  bool answering_ = false;
  int promised_ms_ = 0;  // what the last tick() returned, or 0 since a poke
  uint64_t arena_bytes_ = 0;
  uint64_t capacity_bytes_ = 0;
  std::unique_ptr<SpillIo> io_;
  std::unique_ptr<Out> out_;
  std::unique_ptr<StoreCore> core_;
  std::unique_ptr<Warmer> warmer_;
  void* base_ = nullptr;
  std::string spill_dir_;
};

}  // namespace narke::store
