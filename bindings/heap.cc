#include "bindings/heap.h"

#include <cstdint>
#include <cstdlib>

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bindings/py_util.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1; see madvise(2)
#endif

namespace narke::py {
namespace {

constexpr size_t kRegion = 64u << 20;  // address space for arenas; more of them lie anywhere
constexpr size_t kLargePage = 2u << 20;

// ---- Python's arenas ----

struct Region {
  char* start = nullptr;
  char* next = nullptr;
  char* end = nullptr;
  PyObjectArenaAllocator usual{};
};
Region region;

void* take_arena(void*, size_t size) {
  if (region.next + size > region.end) return region.usual.alloc(region.usual.ctx, size);
  return std::exchange(region.next, region.next + size);
}

void give_arena_back(void*, void* arena, size_t size) {
  if (arena >= region.start && arena < region.end)
    munmap(arena, size);  // its place is not used again
  else
    region.usual.free(region.usual.ctx, arena, size);
}

// ---- malloc's heap ----

#ifdef __GLIBC__
constexpr size_t kStep = 16, kSmallest = 24;  // granularity and smallest block
constexpr size_t kLargest = 64 << 10;         // holes up to this size; fewer and larger ones do no harm
constexpr size_t kCached = 1032;  // up to here a freed block is kept for its size, not joined with others

struct Span {
  uintptr_t start, end;
};

Span heap() {
  const auto end = reinterpret_cast<uintptr_t>(sbrk(0));
  return {end - mallinfo2().arena, end};
}

void fill_holes() {
  const uintptr_t unused = heap().end - mallinfo2().keepcost;  // from here on nothing was given out yet
  for (size_t size = kLargest + kSmallest - kStep; size >= kSmallest; size -= kStep) {
    void* block;
    while ((block = malloc(size)) != nullptr && reinterpret_cast<uintptr_t>(block) < unused) {
    }
    if (size > kCached) free(block);  // it goes back to the end of the heap
  }
}
#endif

// Where the system has no large pages, things stay as they are.
void use_large_pages(uintptr_t start, uintptr_t end) {
  for (uintptr_t at = (start + kLargePage - 1) / kLargePage * kLargePage; at + kLargePage <= end; at += kLargePage)
    madvise(reinterpret_cast<void*>(at), kLargePage, MADV_COLLAPSE);
}

}  // namespace

void lay_out_heap() {
  if (region.start != nullptr) return;
  void* space = mmap(nullptr, kRegion, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) return;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(space) + kLargePage - 1) / kLargePage * kLargePage;
  region.end = static_cast<char*>(space) + kRegion;
  region.start = region.next = reinterpret_cast<char*>(first);
  PyObject_GetArenaAllocator(&region.usual);
  PyObjectArenaAllocator side_by_side{nullptr, take_arena, give_arena_back};
  PyObject_SetArenaAllocator(&side_by_side);
}

void settle_heap() {
#ifdef __GLIBC__
  fill_holes();
  use_large_pages(heap().start, heap().end);
#endif
  use_large_pages(reinterpret_cast<uintptr_t>(region.start), reinterpret_cast<uintptr_t>(region.next));
}

}  // namespace narke::py
