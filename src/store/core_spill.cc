// StoreCore: what happens when the store is full, and the disk behind it.
#include <algorithm>
#include <cstdio>
#include <utility>

#include "store/core.h"

namespace narke::store {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kReclaimEvery = 500 * kMillisecond;
constexpr int64_t kReclaimAnswer = 50 * kMillisecond;  // how long spilling waits for clients to give space back
constexpr int64_t kSpillRetry = 2'000 * kMillisecond;
constexpr int64_t kPatience = 10;  // full_wait_ns times this is the longest wait, whatever progress others make

std::string human(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

}  // namespace

// Serves those who wait, oldest first, and makes space for the first who cannot be served.
void StoreCore::pump(int64_t now_ns) {
  for (;;) {
    if (reap()) progress_ns_ = now_ns;
    while (!waiters_.empty() && serve(waiters_.front())) waiters_.pop_front();
    if (waiters_.empty() || wait_for_clients(now_ns)) return;
    uint64_t wanted = waiters_.front().at_least, free = free_.free_bytes();
    if (!spill(wanted > free ? wanted - free : wanted, now_ns)) return;
    progress_ns_ = now_ns;
  }
}

void StoreCore::tick(int64_t now_ns) {
  if (!deleting_.empty() && arena_.released().load() != released_seen_ && reap()) progress_ns_ = now_ns;
  if (!waiters_.empty()) {
    pump(now_ns);
    refuse_late(now_ns);
  }
}

int StoreCore::due_ms() const {
  if (!waiters_.empty()) return 10;
  return deleting_.empty() ? 1000 : 50;
}

bool StoreCore::serve(const Waiter& waiter) {
  if (waiter.want == Want::kFetch) return serve_fetch(waiter);
  if (waiter.want == Want::kSecondary) return serve_secondary(waiter);
  auto extent = allocate(waiter.size);
  if (!extent) extent = allocate(waiter.at_least);
  if (!extent) return false;
  add_lease(*extent, client(waiter.client).number);
  out_.granted(waiter.client, waiter.id, *extent);
  return true;
}

bool StoreCore::serve_fetch(const Waiter& waiter) {
  auto found = arena_.find(waiter.id);
  if (found && found->control.state == SlotState::kSpilled && copies_.contains(found->slot)) {
    auto restore = restores_.find(found->slot);
    if (restore != restores_.end()) {
      restore->second.readers.push_back(waiter.client);
      return true;
    }
    auto block = allocate(block_bytes(copies_.at(found->slot).size));
    if (block) start_read(found->slot, *block, waiter.client);
    return block.has_value();
  }
  bool pinned = found && found->control.state == SlotState::kSealed && pin(waiter.client, found->slot);
  out_.fetched(waiter.client, waiter.id, pinned ? wire::FetchStatus::Pinned : wire::FetchStatus::Absent,
               pinned ? found->slot : 0, "");
  return true;
}

// Asks clients for the space they keep, once for each who waits. True while answers may still come; a client
// that does not answer delays others once.
bool StoreCore::wait_for_clients(int64_t now_ns) {
  std::unordered_set<uint16_t> holders;
  for (auto& [offset, lease] : leases_) holders.insert(lease.client);
  uint64_t waiter = waiters_.front().number;
  bool waiting = false;
  for (auto& [key, state] : clients_) {
    if (!holders.contains(state.number)) continue;
    bool again = state.asked_for != waiter || now_ns - state.asked_ns >= kReclaimEvery;
    if (again && !state.is_answer_due) {
      state.asked_ns = now_ns;
      state.asked_for = waiter;
      state.is_answer_due = true;
      out_.reclaim(key);
    }
    waiting |= state.is_answer_due && now_ns - state.asked_ns < kReclaimAnswer;
  }
  return waiting;
}

void StoreCore::refuse_late(int64_t now_ns) {
  std::vector<Waiter> late;
  std::erase_if(waiters_, [&](const Waiter& w) {
    bool hopeless = now_ns - std::max(w.since_ns, progress_ns_) >= config_.full_wait_ns && writing_.empty();
    if (!hopeless && now_ns - w.since_ns < kPatience * config_.full_wait_ns) return false;
    late.push_back(w);
    return true;
  });
  for (const Waiter& waiter : late) refuse(waiter, full_message(waiter));
}

void StoreCore::refuse(const Waiter& waiter, const std::string& why) {
  std::string text = "No memory in this node's object store for object " + waiter.id.hex() + " of " +
                     human(waiter.at_least) + ": " + why + ". The store's capacity is " +
                     human(arena_.capacity_bytes()) +
                     ". Delete references that are not needed any more, use smaller objects, or start the node "
                     "with a larger object_store_memory.";
  switch (waiter.want) {
    case Want::kFetch: return out_.fetched(waiter.client, waiter.id, wire::FetchStatus::Full, 0, text);
    case Want::kSecondary: return out_.created_secondary(waiter.id, SecondaryStatus::kFull, nullptr, text);
    case Want::kSpace: return out_.refused(waiter.client, waiter.id, text);
  }
}

std::string StoreCore::full_message(const Waiter& waiter) const {
  Stats now = stats();
  std::string text = human(now.used_bytes) + " are in use, " + human(now.pinned_bytes) + " of them by readers";
  if (free_.free_bytes() >= waiter.at_least)
    text += ", and the free space is in pieces, the largest of " + human(free_.largest());
  if (!problem_.empty()) return text + "; objects could not be moved to disk: " + problem_;
  if (!config_.can_spill) return text + "; moving objects to disk is switched off";
  return text;
}

// ---- to disk
// -----------------------------------------------------------------------------------------------

std::vector<StoreCore::Candidate> StoreCore::candidates() const {
  std::vector<Candidate> found;
  each_slot([&](uint32_t slot, Control seen) {
    bool known = seen.maker != kServer || owned_.contains(slot);
    if (seen.state == SlotState::kSealed && known && !arena_.has_readers(slot) && !writing_.contains(slot))
      found.push_back({arena_.at(slot).last_use.load(std::memory_order_relaxed), slot, seen});
  });
  std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) { return a.last_use < b.last_use; });
  return found;
}

// Moves objects out of memory, least recently used first. True when that freed space at once (they were on
// disk already); otherwise on_job_done follows, if anything could be started.
bool StoreCore::spill(uint64_t need, int64_t now_ns) {
  if (writing_bytes_ >= need) return false;
  if (drop_secondaries(need)) return true;
  bool may_write = config_.can_spill && now_ns >= spill_after_ns_;
  uint64_t fused = std::min(config_.spill_file_bytes, arena_.capacity_bytes() / 8);
  uint64_t goal = std::max(need, fused), evicted = 0, started = writing_bytes_, pending = 0;
  std::vector<Candidate> batch;
  for (const Candidate& candidate : candidates()) {
    if (evicted >= need || evicted + started + pending >= goal) break;
    if (secondary_.contains(candidate.slot)) continue;
    uint64_t size = arena_.at(candidate.slot).size.load();
    if (copies_.contains(candidate.slot)) {
      if (evict(candidate.slot)) evicted += size;
      continue;
    }
    if (!may_write) continue;
    if (!has_quota_for(pending + size)) {
      report("the quota of " + human(config_.spill_quota_bytes) + " for spilled objects is used up", now_ns);
      may_write = false;  // what is on disk already can still leave memory
      continue;
    }
    batch.push_back(candidate);
    pending += size;
    if (pending < config_.spill_file_bytes) continue;
    started += start_write(std::exchange(batch, {}));
    pending = 0;
  }
  if (evicted < need) start_write(batch);
  return evicted != 0;
}

// Whether so many more bytes may go to disk; gives up copies of objects that readers keep in memory anyway.
bool StoreCore::has_quota_for(uint64_t bytes) {
  uint64_t quota = config_.spill_quota_bytes;
  auto fits = [&] { return quota == 0 || disk_bytes_ + writing_bytes_ + bytes <= quota; };
  if (fits()) return true;
  std::vector<uint32_t> pinned;
  for (auto& [slot, copy] : copies_)
    if (arena_.control(slot).state == SlotState::kSealed && arena_.has_readers(slot)) pinned.push_back(slot);
  for (uint32_t slot : pinned) drop_copy(slot);
  return fits();
}

uint64_t StoreCore::start_write(const std::vector<Candidate>& batch) {
  SpillJob job;
  job.is_write = true;
  job.file = next_file_;
  uint64_t bytes = 0;
  for (const Candidate& candidate : batch) {
    if (!adopt(candidate.slot, candidate.control, SlotState::kSealed)) continue;
    Extent block = owned_.at(candidate.slot);
    uint64_t size = std::min(arena_.at(candidate.slot).size.load(), block.size);
    job.parts.push_back(
        {.id = arena_.id_of(candidate.slot), .data = arena_.data(block.offset), .size = size, .slot = candidate.slot});
    writing_.insert(candidate.slot);
    bytes += size;
  }
  if (job.parts.empty()) return 0;
  ++next_file_;
  writing_bytes_ += bytes;
  out_.start(std::move(job));
  return bytes;
}

// Takes an object of the node's from those who would read it; false when someone does.
bool StoreCore::begin_evict(uint32_t slot) {
  Control sealed = arena_.control(slot);
  if (sealed.state != SlotState::kSealed || sealed.maker != kServer) return false;
  Control evicting{SlotState::kEvicting, kServer, sealed.generation};
  if (!arena_.change(slot, sealed, evicting)) return false;
  if (!arena_.has_readers(slot)) return true;
  arena_.change(slot, evicting, sealed);
  return false;
}

// Drops the memory of an object that is on disk, unless someone reads it.
bool StoreCore::evict(uint32_t slot) {
  if (!begin_evict(slot)) return false;
  Control evicting = arena_.control(slot);
  free_.free(owned_.extract(slot).mapped());
  arena_.change(slot, evicting, {SlotState::kSpilled, kServer, evicting.generation});
  return true;
}

// Other nodes have them too, so they cost no write. Least recently used first.
bool StoreCore::drop_secondaries(uint64_t need) {
  if (secondary_.empty()) return false;
  uint64_t dropped = 0;
  for (const Candidate& candidate : candidates()) {
    if (dropped >= need) break;
    if (!secondary_.contains(candidate.slot) || !begin_evict(candidate.slot)) continue;
    dropped += owned_.at(candidate.slot).size;
    release(candidate.slot);
  }
  return dropped != 0;
}

void StoreCore::on_job_done(SpillJob job, int64_t now_ns) {
  if (job.is_write) {
    on_written(job, now_ns);
  } else {
    on_read(job);
  }
  pump(now_ns);
}

void StoreCore::on_written(SpillJob& job, int64_t now_ns) {
  for (const SpillPart& part : job.parts) {
    writing_.erase(part.slot);
    writing_bytes_ -= part.size;
  }
  if (!job.error.empty()) return report(job.error, now_ns);
  problem_.clear();
  progress_ns_ = now_ns;
  disk_bytes_ += job.file_bytes;
  written_bytes_ += job.file_bytes;
  files_[job.file] = {job.file_bytes, job.parts.size()};
  for (const SpillPart& part : job.parts) {
    copies_[part.slot] = {job.file, part.position, part.size, part.checksum};
    evict(part.slot);  // one that is read again meanwhile stays, and is on disk already the next time
  }
}

// ---- from disk
// ---------------------------------------------------------------------------------------------

void StoreCore::start_read(uint32_t slot, Extent block, ClientKey reader) {
  const Copy& copy = copies_.at(slot);
  restores_[slot] = {block, {reader}};
  SpillJob job;
  job.file = copy.file;
  job.parts.push_back({.id = arena_.id_of(slot),
                       .data = arena_.data(block.offset),
                       .size = copy.size,
                       .position = copy.position,
                       .checksum = copy.checksum,
                       .slot = slot});
  out_.start(std::move(job));
}

void StoreCore::on_read(SpillJob& job) {
  uint32_t slot = job.parts.at(0).slot;
  Restore restore = std::move(restores_.extract(slot).mapped());
  if (!job.error.empty()) return fail_restore(slot, restore, job.error);
  owned_[slot] = restore.block;
  restored_bytes_ += job.parts[0].size;
  finish_restore(slot, restore);
}

void StoreCore::finish_restore(uint32_t slot, const Restore& restore) {
  ObjectId id = arena_.id_of(slot);
  Control spilled = arena_.control(slot);
  bool sealed = false;
  if (spilled.state == SlotState::kSpilled) {  // else: deleted meanwhile
    arena_.at(slot).offset.store(restore.block.offset);
    arena_.touch(slot);
    sealed = arena_.change(slot, spilled, {SlotState::kSealed, kServer, spilled.generation + 1});
  }
  for (ClientKey reader : restore.readers) {
    bool pinned = sealed && pin(reader, slot);
    out_.fetched(reader, id, pinned ? wire::FetchStatus::Pinned : wire::FetchStatus::Absent, pinned ? slot : 0, "");
  }
}

// The object is lost; its owner may make it again.
void StoreCore::fail_restore(uint32_t slot, const Restore& restore, const std::string& error) {
  ObjectId id = arena_.id_of(slot);
  free_.free(restore.block);
  out_.log("Object " + id.hex() + " could not be read back from disk and is lost here: " + error +
           ". Its owner makes it again if it can; check the disk of the spill directory.");
  if (arena_.control(slot).state == SlotState::kSpilled) {
    drop_copy(slot);
    arena_.free_slot(slot);
  }
  for (ClientKey reader : restore.readers) out_.fetched(reader, id, wire::FetchStatus::Absent, 0, "");
}

void StoreCore::drop_copy(uint32_t slot) {
  auto copy = copies_.extract(slot);
  if (copy.empty()) return;
  auto file = files_.find(copy.mapped().file);
  if (--file->second.live != 0) return;
  disk_bytes_ -= file->second.bytes;
  out_.remove_file(file->first);
  files_.erase(file);
}

void StoreCore::report(const std::string& problem, int64_t now_ns) {
  if (problem_.empty())
    out_.log("Objects cannot be moved to disk and stay in memory: " + problem +
             ". Free space there or choose another spill directory.");
  problem_ = problem;
  spill_after_ns_ = now_ns + kSpillRetry;
}

}  // namespace narke::store
