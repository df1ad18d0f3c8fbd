// A program's side of the node's object store.
//
// Problem: writing a large value must cost one memcpy and reading it a look-up, without a message to the
// node. So the arena (a memfd, see arena.h) is mapped into every program. A client keeps extents of it, cuts
// blocks for its objects from them, and publishes objects in the shared index by itself. The node is asked
// only for space, for objects that are on disk, and to free what others still read.
//
// Lifecycle: make() with the descriptor the node sent -> used -> destroyed; the mapping lives on in the
// shared_ptr<Mapping> that views keep. In a forked child a client is inert: it finds nothing and frees
// nothing. Threads: every method of Client needs the program's engine lock; those of Mapping need none.
// Waiting: nothing here blocks. A call that answers kWait has sent (or had already sent) a question to the
// node: call it again with the same arguments after on_frame() has returned true, or forget(id) when giving
// up. The node answers every question (config full_wait_ms bounds how long a full store may take); its death
// is the caller's to see.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <flatbuffers/flatbuffers.h>

#include "base/id.h"
#include "base/result.h"
#include "rpc/frame.h"
#include "schema/store_generated.h"
#include "store/extents.h"
#include "store/mapping.h"

namespace narke::store {

// Sends a frame with call_id 0 and no raw bytes to the node. The builder is finished.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual void send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table) = 0;
};

struct CreateResult {
  enum class Status {
    kOk,      // write exactly `size` bytes to data, then seal(); abort() to give up
    kWait,    // see above
    kExists,  // sealed, on disk, or being written by someone: nothing to do
    kFull,    // error says why and what to do; nothing is held
  };
  Status status = Status::kWait;
  uint8_t* data = nullptr;  // aligned to 64 bytes
  std::string error;
};

// A pinned object: data stays valid and unchanged until Mapping::unpin(slot), to be called once per view.
struct View {
  const uint8_t* data = nullptr;
  uint64_t size = 0;  // bytes
  uint32_t slot = 0;
};

struct GetResult {
  enum class Status {
    kOk,
    kWait,    // on disk, or this client is not attached yet; see above
    kAbsent,  // not in this node's store, or not sealed
    kFull,    // on disk and there is no memory for it; error says why and what to do
  };
  Status status = Status::kAbsent;
  View view;
  std::string error;
};

enum class ObjectState { kAbsent, kWriting, kSealed, kSpilled };

class Client {
 public:
  // fd: the descriptor the node sent; taken over in every case. Fails when it is not an arena of this
  // version.
  static Result<std::unique_ptr<Client>> make(int fd, Transport& transport);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Space for an object of `size` bytes. For large ones call mapping()->prepare(data, size) before writing,
  // without the lock.
  // owner: owner_key() of the program that owns the object; when that ends, the node erases what it owned.
  CreateResult try_create(const ObjectId& id, uint64_t size, uint64_t owner = 0);
  // Publishes an object this client created: every program of the node can get it from now on. Returns false
  // when this client is not writing it.
  bool seal(const ObjectId& id);
  // Gives up an object that was created and not sealed.
  void abort(const ObjectId& id);
  // Pins the object. Asks the node to bring it into memory when it is on disk.
  GetResult get(const ObjectId& id);
  ObjectState state(const ObjectId& id) const;
  // The object's size in bytes, or 0 when it is absent. For objects on disk too.
  uint64_t size_of(const ObjectId& id) const;
  // The object is not needed any more (its owner's call). Views that exist stay valid; it is absent from now
  // on.
  void erase(const ObjectId& id);
  // Nobody waits for a try_create() or get() of this object any more.
  void forget(const ObjectId& id);

  // Handles a frame from the node; false when it is not one of the store's. Malformed frames are dropped.
  bool on_frame(const rpc::Frame& frame);
  // Sends what unpin() has left to send. Needed now and then by programs beyond the 255th of a node; other
  // methods call it too.
  void flush();

  const std::shared_ptr<Mapping>& mapping() const { return mapping_; }
  uint64_t capacity_bytes() const;
  uint64_t cached_bytes() const { return space_.free_bytes(); }  // free space kept for coming objects

 private:
  struct Writing {
    uint32_t slot;
    uint64_t offset, block;
  };
  struct Asked {  // an Acquire on its way, and its answer
    uint64_t size = 0;
    bool refused = false;
    Extent granted;  // size 0: none yet
    std::string error;
  };
  struct Fetching {
    bool answered = false;
    wire::FetchStatus status = wire::FetchStatus::Absent;
    uint32_t slot = 0;
    std::string error;
  };

  Client(std::shared_ptr<Mapping> mapping, Transport& transport);
  bool attached();
  std::optional<uint64_t> allocate(const ObjectId& id, uint64_t block, CreateResult& result);
  void acquire(const ObjectId& id, uint64_t block);
  GetResult pin_by_bit(const ObjectId& id);
  GetResult fetch(const ObjectId& id);
  GetResult pin_by_node(const ObjectId& id);
  GetResult take_fetched(Fetching& answer);
  void forget_acquire(const ObjectId& id);
  void forget_fetch(const ObjectId& id);
  void send_forget(const ObjectId& id, bool fetch);
  View view_of(uint32_t slot) const;
  void free_block(Extent block);
  void give_back(const std::vector<Extent>& extents);
  void send_unpin(const std::vector<uint32_t>& slots);
  void on_granted(const wire::StoreGranted& message);
  void on_refused(const wire::StoreRefused& message);
  void on_fetched(const wire::StoreFetched& message);

  std::shared_ptr<Mapping> mapping_;
  Transport& transport_;
  bool attach_sent_ = false;
  ExtentAllocator space_;  // free space of this client
  uint64_t cache_limit_;
  std::unordered_map<ObjectId, Writing> writing_;
  std::unordered_map<ObjectId, Asked> asked_;
  std::unordered_map<ObjectId, Fetching> fetching_;
};

}  // namespace narke::store
