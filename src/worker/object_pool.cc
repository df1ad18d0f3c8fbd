#include "worker/object_pool.h"

#include <new>

#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sched.h>

namespace narke::worker {
namespace {

constexpr size_t kSlabBytes = 64 << 10;
constexpr size_t kKeptSlabs = 4;  // empty ones
constexpr int kSpins = 64;        // before another thread gets the processor

struct Slab;

struct Slot {
  Slot* next;
};

struct Head {
  Slab *next = nullptr, *previous = nullptr;            // of all slabs
  Slab *next_free = nullptr, *previous_free = nullptr;  // of those with free slots
  Slot* free = nullptr;
  uint32_t used = 0, fresh = 0;  // slots given out; slots that were ever given out
};

constexpr size_t kSlots = (kSlabBytes - sizeof(Head)) / (sizeof(Object) + 1) - 1;

struct Slab : Head {
  std::atomic<uint8_t> live[kSlots] = {};  // a finished object lies there
  alignas(alignof(Object)) std::byte slots[kSlots][sizeof(Object)];

  static Slab& of(void* slot) {
    return *reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(slot) & ~(kSlabBytes - 1));
  }
  size_t place(const void* slot) const {
    return static_cast<size_t>(static_cast<const std::byte*>(slot) - slots[0]) / sizeof(Object);
  }
};
static_assert(sizeof(Slab) <= kSlabBytes);

class Spin {
 public:
  void lock() {
    for (int tries = 0; held_.test_and_set(std::memory_order_acquire);)
      if (++tries % kSpins == 0) sched_yield();
  }
  void unlock() { held_.clear(std::memory_order_release); }

 private:
  std::atomic_flag held_ = ATOMIC_FLAG_INIT;
};

struct Pool {
  Spin spin;
  Slab *all = nullptr, *with_free = nullptr;
  size_t empty = 0;
  bool guards_forks = false;

  void* take() {
    const std::lock_guard<Spin> held(spin);
    Slab& slab = with_free != nullptr ? *with_free : grow();
    if (slab.used++ == 0) --empty;
    Slot* slot = slab.free;
    if (slot != nullptr) {
      ASAN_UNPOISON_MEMORY_REGION(slot, sizeof(Object));
      slab.free = slot->next;
    } else {
      slot = reinterpret_cast<Slot*>(slab.slots[slab.fresh++]);
    }
    if (slab.used == kSlots) unlink_free(slab);
    return slot;
  }

  void give(void* memory) {
    const std::lock_guard<Spin> held(spin);
    Slab& slab = Slab::of(memory);
    if (slab.used-- == kSlots) link_free(slab);
    slab.free = new (memory) Slot{slab.free};
    ASAN_POISON_MEMORY_REGION(memory, sizeof(Object));
    if (slab.used == 0 && ++empty > kKeptSlabs) drop(slab);
  }

  Slab& grow() {
    if (!std::exchange(guards_forks, true)) guard_forks();
    void* memory = std::aligned_alloc(kSlabBytes, kSlabBytes);
    if (memory == nullptr) throw std::bad_alloc();
    Slab* slab = new (memory) Slab;
    slab->next = all;
    if (all != nullptr) all->previous = slab;
    all = slab;
    ++empty;
    link_free(*slab);
    return *slab;
  }

  void drop(Slab& slab) {
    --empty;
    unlink_free(slab);
    (slab.previous != nullptr ? slab.previous->next : all) = slab.next;
    if (slab.next != nullptr) slab.next->previous = slab.previous;
    ASAN_UNPOISON_MEMORY_REGION(&slab, sizeof(slab));
    slab.~Slab();
    std::free(&slab);
  }

  static void guard_forks();

  void link_free(Slab& slab) {
    slab.previous_free = nullptr;
    slab.next_free = with_free;
    if (with_free != nullptr) with_free->previous_free = &slab;
    with_free = &slab;
  }
  void unlink_free(Slab& slab) {
    (slab.previous_free != nullptr ? slab.previous_free->next_free : with_free) = slab.next_free;
    if (slab.next_free != nullptr) slab.next_free->previous_free = slab.previous_free;
  }
};

constinit Pool pool;

// A child forked while another thread was in here would wait for ever.
void Pool::guard_forks() {
  const auto unlock = [] { pool.spin.unlock(); };
  pthread_atfork([] { pool.spin.lock(); }, unlock, unlock);
}

}  // namespace

void* Object::operator new(size_t) { return pool.take(); }
void Object::operator delete(void* memory) { pool.give(memory); }

void Object::set_live(bool live) {
  Slab& slab = Slab::of(this);
  slab.live[slab.place(this)].store(live, std::memory_order_release);
}

void for_each_object(const std::function<bool(Object&)>& visit) {
  std::vector<ObjectPtr> held;  // dropped when the pool is free again: the last one may be given back
  const auto look = [&] {
    const std::lock_guard<Spin> locked(pool.spin);
    for (Slab* slab = pool.all; slab != nullptr; slab = slab->next)
      for (size_t i = 0; i < slab->fresh; ++i) {
        if (slab->live[i].load(std::memory_order_acquire) == 0) continue;
        Object& object = *std::launder(reinterpret_cast<Object*>(slab->slots[i]));
        if (!object.try_ref()) continue;
        held.emplace_back(&object);
        object.unref();
        if (!visit(object)) return;
      }
  };
  look();
}

}  // namespace narke::worker
