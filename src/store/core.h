// The store's decisions, on the node's side: who owns which part of the arena, what is deleted, spilled and
// brought back, who waits for space. The node's is the only truth about extents; the index holds what clients
// published.
//
// Every byte of data is in exactly one of: free, leased to a client, the block of an object the node owns,
// the block of a running restore. A full store is relieved in this order: objects whose readers are gone,
// free space that clients keep, secondary objects (other nodes have them too), objects on disk already and least
// recently used unpinned objects (written to disk first). What is then missing is waited for. Threads: one. No
// clock, no files, no sockets: now_ns comes in, CoreOut goes out; the arena is only memory.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/id.h"
#include "schema/store_generated.h"
#include "store/arena.h"
#include "store/extents.h"
#include "store/server.h"
#include "store/spill_io.h"

namespace narke::store {

class CoreOut {
 public:
  virtual ~CoreOut() = default;
  virtual void attached(ClientKey client, uint16_t number) = 0;
  virtual void granted(ClientKey client, const ObjectId& id, Extent extent) = 0;
  virtual void refused(ClientKey client, const ObjectId& id, const std::string& why) = 0;
  virtual void reclaim(ClientKey client) = 0;
  virtual void fetched(ClientKey client, const ObjectId& id, wire::FetchStatus status, uint32_t slot,
                       const std::string& why) = 0;
  // The answer to create_secondary(); data is null unless it is to be written now.
  virtual void created_secondary(const ObjectId& id, SecondaryStatus status, uint8_t* data, const std::string& why) = 0;
  virtual void start(SpillJob job) = 0;
  virtual void remove_file(uint64_t file) = 0;
  virtual void log(const std::string& message) = 0;
};

struct CoreConfig {
  bool can_spill = false;
  uint64_t spill_quota_bytes = 0;  // 0: none
  uint64_t spill_file_bytes = 100ull << 20;
  int64_t full_wait_ns = 10'000'000'000;
};

// The node as a client of its own store. Its pins are the node's; it holds no leases.
inline constexpr ClientKey kSelf = ~ClientKey{0};

class StoreCore {
 public:
  StoreCore(Arena arena, CoreConfig config, CoreOut& out);

  void on_attach(ClientKey client);
  // at_least: what the object needs; size: what the client would like.
  void on_acquire(ClientKey client, const ObjectId& id, uint64_t size, uint64_t at_least, int64_t now_ns);
  void on_forget(ClientKey client, const ObjectId& id, bool is_fetch);
  void on_return(ClientKey client, const std::vector<Extent>& extents, int64_t now_ns);
  void on_delete(ClientKey client, const ObjectId& id, uint32_t slot, int64_t now_ns);
  void on_fetch(ClientKey client, const ObjectId& id, int64_t now_ns);
  void on_unpin(ClientKey client, const std::vector<uint32_t>& slots, int64_t now_ns);
  void on_detach(ClientKey client, int64_t now_ns);
  void on_job_done(SpillJob job, int64_t now_ns);
  // The node's own objects, each answered by created_secondary(), maybe after a wait. See Server.
  void create_secondary(const ObjectId& id, uint64_t size, uint64_t owner, int64_t now_ns);
  void forget_secondary(const ObjectId& id, int64_t now_ns);
  uint32_t seal_secondary(const ObjectId& id, int64_t now_ns);
  void abort_secondary(const ObjectId& id, int64_t now_ns);
  bool promote(const ObjectId& id);
  // See Server::adopt_spilled() and Server::spill_to().
  bool adopt_spilled(const ObjectId& id, uint64_t owner, uint64_t file, uint64_t size);
  void spill_each_alone() { config_.can_spill = true, config_.spill_file_bytes = 0; }
  Pinned pinned(uint32_t slot) const;
  ObjectPresence presence(const ObjectId& id) const;
  void erase(const ObjectId& id, int64_t now_ns);
  void erase_owned(uint64_t owner, int64_t now_ns);
  void tick(int64_t now_ns);
  int due_ms() const;  // milliseconds until the next tick() is wanted

  Stats stats() const;
  std::vector<ObjectInfo> list(size_t limit) const;
  uint64_t high_water() const { return high_water_; }  // end of the highest extent ever given out
  // Whether every byte has exactly one owner.
  bool is_consistent() const;

 private:
  struct ClientState {
    uint16_t number;
    std::unordered_map<uint32_t, uint32_t> pins;  // slot -> count, from Fetch
    int64_t asked_ns = 0;                         // the last Reclaim
    uint64_t asked_for = 0;                       // the waiter it was sent for
    bool is_answer_due = false;
  };
  struct Lease {
    uint64_t size;
    uint16_t client;
  };
  struct Copy {  // of an object, on disk
    uint64_t file, position, size, checksum;
  };
  struct File {
    uint64_t bytes;
    uint64_t live;  // copies
  };
  enum class Want { kSpace, kFetch, kSecondary };
  struct Waiter {
    ClientKey client;
    ObjectId id;
    Want want;
    uint64_t size, at_least;
    int64_t since_ns;
    uint64_t number;
    uint64_t object_bytes = 0, owner = 0;  // of a secondary object
  };
  struct Making {  // a secondary object that is being written
    uint32_t slot;
    bool erased;  // meanwhile; goes when its writer is done
  };
  struct Restore {
    Extent block;
    std::vector<ClientKey> readers;
  };
  struct Candidate {
    uint64_t last_use;
    uint32_t slot;
    Control control;
  };

  ClientState& client(ClientKey key);
  void add_lease(Extent extent, uint16_t number);
  bool remove_lease(Extent extent, uint16_t number);
  std::optional<Extent> allocate(uint64_t size);
  std::optional<Control> adopt(uint32_t slot, Control seen, SlotState state);
  void release(uint32_t slot);
  bool reap();
  bool pin(ClientKey key, uint32_t slot);
  void unpin(uint32_t slot, uint32_t count);
  void drop_traces(uint16_t number);
  void drop_leases(uint16_t number);

  void pump(int64_t now_ns);
  bool serve(const Waiter& waiter);
  bool serve_fetch(const Waiter& waiter);
  bool serve_secondary(const Waiter& waiter);
  void mark_erased(const ObjectId& id);
  bool wait_for_clients(int64_t now_ns);
  void refuse_late(int64_t now_ns);
  void refuse(const Waiter& waiter, const std::string& why);
  std::string full_message(const Waiter& waiter) const;

  bool spill(uint64_t need, int64_t now_ns);
  std::vector<Candidate> candidates() const;
  bool evict(uint32_t slot);
  bool begin_evict(uint32_t slot);
  bool drop_secondaries(uint64_t need);
  uint64_t start_write(const std::vector<Candidate>& batch);
  bool has_quota_for(uint64_t bytes);
  void start_read(uint32_t slot, Extent block, ClientKey reader);
  void on_written(SpillJob& job, int64_t now_ns);
  void on_read(SpillJob& job);
  void finish_restore(uint32_t slot, const Restore& restore);
  void fail_restore(uint32_t slot, const Restore& restore, const std::string& error);
  void drop_copy(uint32_t slot);
  void report(const std::string& problem, int64_t now_ns);
  template <class F>
  void each_slot(F visit) const {
    arena_.each_used([&](uint32_t slot) { visit(slot, arena_.control(slot)); });
  }

  Arena arena_;
  CoreConfig config_;
  CoreOut& out_;
  std::unordered_map<ClientKey, ClientState> clients_;
  std::set<uint16_t> numbers_;  // in use
  ExtentAllocator free_;
  uint64_t high_water_ = 0;
  std::map<uint64_t, Lease> leases_;               // by offset; neighbours of one client are joined
  std::unordered_map<uint32_t, Extent> owned_;     // blocks of objects whose maker is the node, by slot
  std::unordered_map<uint32_t, uint32_t> pinned_;  // Fetch pins of all clients, by slot
  std::vector<uint32_t> deleting_;                 // slots that wait for readers or the disk
  uint64_t released_seen_ = 0;
  std::unordered_map<ObjectId, Making> making_;
  std::unordered_set<uint32_t> secondary_;     // slots of sealed ones
  std::unordered_map<uint32_t, Copy> copies_;  // by slot
  std::unordered_map<uint64_t, File> files_;
  std::unordered_set<uint32_t> writing_;            // slots in running write jobs
  std::unordered_map<uint32_t, Restore> restores_;  // by slot
  uint64_t writing_bytes_ = 0;
  uint64_t next_file_ = 1;
  std::deque<Waiter> waiters_;
  uint64_t next_waiter_ = 1;
  int64_t progress_ns_ = 0;     // when space was last gained
  int64_t spill_after_ns_ = 0;  // no new attempt before this
  std::string problem_;         // why spilling does not work at present
  uint64_t disk_bytes_ = 0, written_bytes_ = 0, restored_bytes_ = 0;
};

}  // namespace narke::store
