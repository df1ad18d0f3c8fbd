// Disk work of the store, done elsewhere and reported later.
//
// Crash safety: a file carries its own manifest (a table of ids, positions, sizes and checksums at its start)
// and gets its name only when it is complete, so a file that has a name is whole. Files are useless after the
// node's end, since the index is gone: the directory is emptied at the start. Threads:
// write/read/remove/take_done are called by the daemon's thread; they never wait for the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/result.h"

namespace narke::store {

struct SpillPart {
  ObjectId id;
  uint8_t* data = nullptr;  // of the arena; read by write jobs, written by read jobs
  uint64_t size = 0;        // bytes
  uint64_t position = 0;    // in the file; set by write jobs
  uint64_t checksum = 0;    // XXH3; set by write jobs
  uint32_t slot = 0;        // of the caller's choice; comes back
};

struct SpillJob {
  bool is_write = false;
  uint64_t file = 0;
  std::vector<SpillPart> parts;  // several for writes, one for reads
  uint64_t file_bytes = 0;       // set by write jobs: what the file takes on disk
  std::string error;  // set when the job failed: what happened, to which file. Nothing is left on disk.
};

class SpillIo {
 public:
  virtual ~SpillIo() = default;
  virtual void start(SpillJob job) = 0;
  virtual void remove(uint64_t file) = 0;
  virtual std::vector<SpillJob> take_done() = 0;
  virtual int event_fd() const = 0;  // readable when take_done() has something
};

// Bytes a write job's file takes.
uint64_t spill_file_bytes(const std::vector<SpillPart>& parts);

// Removes the files that a SpillIo of this directory has left; nothing else.
void clear_spill_directory(const std::string& directory);

// Files "<directory>/<number>.spill", written by one thread. The directory is made and cleared; it must
// belong to one store only.
Result<std::unique_ptr<SpillIo>> make_file_spill_io(const std::string& directory);

}  // namespace narke::store
