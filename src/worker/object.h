// One object as this program knows it: its value or where it is, who counts on it, who owns it.
//
// Lifetime of the C++ struct: intrusive pointers (ObjectPtr). Lifetime of the *object*: `uses`, the number of
// handles, pinned arguments and containing objects in this program; when it falls to 0 and nobody borrows, the
// object's value is given up (Objects::release). uses > 0 holds one intrusive reference.
// Threads: state may be read by anyone (acquire); uses may be raised from above 0 by anyone; everything else
// needs the engine's lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/id.h"
#include "rpc/frame.h"
#include "worker/address.h"

namespace narke::worker {

// Immutable bytes shared by reference; the bytes follow the header.
class Value {
 public:
  static Value* make(size_t size) {
    void* memory = std::malloc(sizeof(Value) + size);
    if (memory == nullptr) throw std::bad_alloc();
    return new (memory) Value(size);
  }
  static Value* copy(rpc::Bytes bytes) {
    Value* value = make(bytes.size());
    if (!bytes.empty()) std::memcpy(value->data(), bytes.data(), bytes.size());
    return value;
  }
  uint8_t* data() { return reinterpret_cast<uint8_t*>(this + 1); }
  rpc::Bytes bytes() { return {data(), size_}; }
  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(this);
  }

 private:
  explicit Value(size_t size) : size_(size) {}
  std::atomic<int> refs_{0};
  size_t size_;
};

// Pointer to anything with ref() and unref().
template <class T>
class Ptr {
 public:
  Ptr() = default;
  Ptr(T* p) : p_(p) {
    if (p_ != nullptr) p_->ref();
  }
  Ptr(const Ptr& o) : Ptr(o.p_) {}
  Ptr(Ptr&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ptr& operator=(Ptr o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ptr() {
    if (p_ != nullptr) p_->unref();
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ptr& o) const { return p_ == o.p_; }
  void reset() { *this = Ptr(); }

 private:
  T* p_ = nullptr;
};
using ValuePtr = Ptr<Value>;

class Object;
using ObjectPtr = Ptr<Object>;
struct Task;

enum class ObjectState : uint8_t { kPending, kValue, kStore, kError };

// Told once, under the engine's lock, when the object has left kPending.
class ReadyListener {
 public:
  virtual ~ReadyListener() = default;
  virtual void on_ready(Object& object) = 0;
};

class Object {
 public:
  Object(const ObjectId& object_id, bool is_owned);
  ~Object();

  // What few objects need.
  struct Extra {
    Address owner;                                // borrowed objects
    NodeId node;                                  // kStore: whose store has it; nil: this program's node
    std::vector<NodeId> copies;                   // kStore: other nodes whose stores have it, or had it lately
    std::vector<NodeId> lost_at;                  // owned: nodes that had it and were lost; they may have spilled it
    uint64_t size = 0;                            // kStore: bytes, where that is known
    bool has_moved = false;                       // owned: the first node that had it does not know of all copies
    std::unordered_map<WorkerId, int> borrowers;  // owned objects: may pass through negative counts
    std::vector<ObjectPtr> contained;             // references inside the value; each counts as a use
    std::vector<ReadyListener*> listeners;
    Ptr<Task> task;       // lineage: how to make the value again
    bool is_actor = false;  // stands for an actor's handle: released = the actor is out of scope
    bool lost = false;      // being made again
    bool gone = false;      // owned: nobody uses the value, and it was given up; its task can make it again
    bool unasked = false;   // owned: it came back with another value, and stays until it is needed too
    int remembered = 0;     // owned: ended tasks that would need it to run again
    int lent_again = 0;     // borrowed: how often the owner counts this program beyond the first time
    std::string call_site;  // where the reference was made, if that is recorded
  };

  bool is_ready() const { return state.load(std::memory_order_acquire) != ObjectState::kPending; }
  Extra& extra();
  Extra* find_extra() { return extra_.get(); }
  const Extra* find_extra() const { return extra_.get(); }

  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void unref();
  // False: nobody holds it any more.
  bool try_ref() {
    for (int32_t refs = refs_.load(std::memory_order_relaxed); refs > 0;)
      if (refs_.compare_exchange_weak(refs, refs + 1, std::memory_order_acquire)) return true;
    return false;
  }

  // Objects have memory of their own: object_pool.h.
  static void* operator new(size_t size);
  static void operator delete(void* memory);

  const ObjectId id;
  std::atomic<ObjectState> state{ObjectState::kPending};
  const bool owned;
  bool in_table = false;
  bool registered = false;  // borrowed: the owner counts this program
  bool requested = false;   // borrowed: asked for
  bool escaped = false;     // owned: its reference has left this program
  std::atomic<int32_t> uses{0};
  uint32_t wait_mark = 0;  // finds duplicates in one wait()
  Task* producer = nullptr;  // owned and pending: the task that makes it
  ValuePtr value;          // kValue, kError

 private:
  void set_live(bool live);

  std::atomic<int32_t> refs_{0};
  std::unique_ptr<Extra> extra_;
};

}  // namespace narke::worker
