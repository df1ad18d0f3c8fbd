#include "store/mapping.h"

#include <algorithm>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace narke::store {
namespace {

constexpr uint64_t kRegionBytes = 256u << 10;

// A page that the kernel empties in forked children, so that a copied view's destructor cannot unpin the
// parent's.
const uint8_t* make_alive_page() {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  NARKE_CHECK(page != MAP_FAILED);
  NARKE_CHECK(madvise(page, 4096, MADV_WIPEONFORK) == 0);
  *static_cast<uint8_t*>(page) = 1;
  return static_cast<uint8_t*>(page);
}

Error map_error(const char* what) {
  return {ErrorCode::kFailed, std::string("The node's object store could not be mapped: ") + what + ": " +
                                  strerror(errno) + ". Check the limit on address space (ulimit -v)."};
}

}  // namespace

Result<std::shared_ptr<Mapping>> Mapping::open(int fd) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return map_error("fstat");
  uint64_t bytes = static_cast<uint64_t>(info.st_size);
  void* base =
      bytes < 4096 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  Error failure = map_error("mmap");
  if (base == MAP_FAILED) {
    close(fd);
    return failure;
  }
  madvise(base, bytes, MADV_DONTDUMP);
  auto arena = Arena::open(base, bytes);
  if (!arena.ok()) {
    munmap(base, bytes);
    close(fd);
    return arena.error();
  }
  return std::shared_ptr<Mapping>(new Mapping(arena.value(), fd, make_alive_page()));
}

Mapping::Mapping(Arena arena, int fd, const uint8_t* alive)
    : arena_(arena),
      fd_(fd),
      alive_(alive),
      pins_(static_cast<uint32_t*>(calloc(arena.slot_count(), sizeof(uint32_t)))),
      prepared_(static_cast<std::atomic<uint8_t>*>(calloc(arena.capacity_bytes() / kRegionBytes + 1, 1))) {
  NARKE_CHECK(pins_ && prepared_);
}

Mapping::~Mapping() {
  munmap(const_cast<uint8_t*>(alive_), 4096);
  munmap(arena_.base(), arena_.bytes());
  close(fd_);
}

PrivateView::~PrivateView() { munmap(base_, bytes_); }

std::unique_ptr<PrivateView> Mapping::view_privately(const uint8_t* data, uint64_t size) const {
  static const auto kPage = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint8_t* begin = arena_.base();
  if (data < begin || size == 0 || size > arena_.bytes() || data > begin + (arena_.bytes() - size)) return nullptr;
  const auto at = static_cast<uint64_t>(data - begin), offset = at % kPage;
  const uint64_t bytes = offset + size;
  void* base =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd_, static_cast<off_t>(at - offset));
  if (base == MAP_FAILED) return nullptr;
  madvise(base, bytes, MADV_DONTDUMP);
  return std::make_unique<PrivateView>(static_cast<uint8_t*>(base), bytes, offset);
}

void Mapping::pin(uint32_t slot) {
  std::lock_guard lock(stripe(slot));
  if (pins_[slot]++ == 0 && has_bit()) arena_.set_reader(slot, client());
}

bool Mapping::pin_again(uint32_t slot) {
  std::lock_guard lock(stripe(slot));
  if (pins_[slot] == 0) return false;
  ++pins_[slot];
  return true;
}

void Mapping::unpin(uint32_t slot) {
  if (in_fork()) return;
  std::lock_guard lock(stripe(slot));
  NARKE_CHECK(pins_[slot] > 0);
  if (--pins_[slot] != 0) return;
  if (has_bit()) {
    arena_.clear_reader(slot, client());
    if (arena_.control(slot).state == SlotState::kDeleting) arena_.released().fetch_add(1);
  } else {
    std::lock_guard released(released_lock_);
    released_.push_back(slot);
  }
}

std::vector<uint32_t> Mapping::take_released() {
  std::lock_guard lock(released_lock_);
  return std::exchange(released_, {});
}

void Mapping::prepare(uint8_t* data, uint64_t size) {
  if (size == 0) return;
  uint64_t begin = static_cast<uint64_t>(data - arena_.data(0));
  uint64_t last = (begin + size - 1) / kRegionBytes;
  for (uint64_t region = begin / kRegionBytes; region <= last;) {
    uint64_t end = region;
    while (end <= last && prepared_[end].exchange(1, std::memory_order_relaxed) == 0) ++end;
    uint64_t stop = std::min(end * kRegionBytes, arena_.capacity_bytes());
    // Where the kernel refuses, the write itself brings the pages in, only slower.
    if (end > region) madvise(arena_.data(region * kRegionBytes), stop - region * kRegionBytes, MADV_POPULATE_WRITE);
    region = end + 1;
  }
}

}  // namespace narke::store
