// The bytes of objects that transfers read or write at present, in this node's arena.
//
// A body is either pinned (a sealed object of the store, whole) or incoming (a secondary object being received,
// whose chunks can be given on as soon as they are here). Whoever uses its bytes, in whatever link, holds a BodyPtr;
// with the last one the pin is given back, or the object that was not sealed given up. That is why it is shared.
// Threads: the daemon's. What the store answers is told later, through `post`, never inside a call of this class.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/id.h"
#include "store/server.h"

namespace narke::transfer {

struct Body {
  ObjectId id;
  uint8_t* data = nullptr;
  uint64_t size = 0;  // bytes
  uint64_t owner = 0;
  uint64_t edition = 0;
  uint64_t chunk_bytes = 1;
  std::vector<bool> have;        // chunks that are here; empty: all
  std::optional<uint32_t> slot;  // pinned
  bool failed = false;           // no further chunk will come
  std::unique_ptr<std::atomic<uint64_t>> received = {};  // of an incoming one: bytes; I/O threads add to it

  bool is_whole() const { return slot.has_value(); }
  uint64_t progress() const { return received ? received->load(std::memory_order_relaxed) : 0; }
  bool covers(uint64_t offset, uint64_t length) const;
};
using BodyPtr = std::shared_ptr<Body>;

class Bodies {
 public:
  using Post = std::function<void(std::function<void()>)>;
  // What is known about an object has changed: chunks came, a pin was answered, an incoming one ended. why: set when
  // it is not here.
  using Changed = std::function<void(const ObjectId& id, const std::string& why)>;

  // post: runs its argument soon, outside of any call of the caller's.
  Bodies(store::Server& store, Post post);
  Bodies(const Bodies&) = delete;
  Bodies& operator=(const Bodies&) = delete;
  void on_change(Changed changed) { changed_ = std::move(changed); }

  // What is in use at present, or nothing.
  BodyPtr find(const ObjectId& id) const;
  // Pins the object; changed() follows.
  void pin(const ObjectId& id);
  bool is_pinning(const ObjectId& id) const { return pinning_.contains(id); }

  // The object is on its way here, without a body yet; until add(), fail() or settle().
  void expect(const ObjectId& id) { expected_.insert(id); }
  bool is_expected(const ObjectId& id) const { return expected_.contains(id); }
  // An incoming body over data of create_secondary().
  BodyPtr add(Body body);
  void mark(Body& body, uint64_t chunk);
  // All chunks are here: the object is published and pinned. False when it was erased meanwhile.
  bool seal(Body& body);
  void fail(const ObjectId& id, const std::string& why);
  // It is in the store, however that came about.
  void settle(const ObjectId& id);

 private:
  BodyPtr hold(Body body);
  void give_back(Body* body);
  void on_pinned(const ObjectId& id, const Result<store::Pinned>& pinned);

  store::Server& store_;
  Post post_;
  Changed changed_;
  uint64_t seed_;  // of this node's editions
  std::unordered_map<ObjectId, std::weak_ptr<Body>> bodies_;
  std::unordered_set<ObjectId> pinning_, expected_;
  std::shared_ptr<Unit> alive_ = std::make_shared<Unit>();  // the store may answer after the end
};

int64_t clock_ns();  // monotonic
inline int64_t clock_ms() { return clock_ns() / 1'000'000; }

}  // namespace narke::transfer
