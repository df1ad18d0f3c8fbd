// A history on disk: files of blocks that are only appended to, bounded by age and size.
//
// A file `tasks-<number>.narke` begins with kMagic; each block follows its size (uint32). A writer that dies leaves at
// most its last block incomplete: readers stop there. The thin shell around Chunk's encoding.
// Threads: one owner.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "history/table.h"

namespace narke::history {

struct SegmentLimits {
  uint64_t segment_bytes = 16 << 20;
  uint64_t total_bytes = 256 << 20;
  int64_t keep_ms = int64_t{7} * 24 * 3600 * 1000;  // files that were written last before that go
};

class SegmentWriter {
 public:
  // The folder is made with the first block. Empty: nothing is written.
  SegmentWriter(std::string folder, SegmentLimits limits = {}) : folder_(std::move(folder)), limits_(limits) {}
  ~SegmentWriter();
  SegmentWriter(const SegmentWriter&) = delete;
  SegmentWriter& operator=(const SegmentWriter&) = delete;

  // Fails when the disk takes no more; what was written before stays readable, and the next call tries again.
  Status append(const std::string& block);

 private:
  Status begin();
  void trim();

  std::string folder_;
  SegmentLimits limits_;
  int fd_ = -1;
  uint64_t size_ = 0, last_number_ = 0;
};

// Everything a history's folder holds, or a session's folder that has one. Damaged ends of files are left out and
// counted in `skipped`. Fails when there is no history.
Status read_segments(const std::string& folder, TaskTable* table, size_t* skipped);

}  // namespace narke::history
