// A batch of records as it travels from a program to its node: most of what a record says is what those beside it say.
//
// Problem: 120 bytes for each task cost a program that ends half a million of them a second more than running them
// may. So what tasks have in common (their function, parent, actor, who counted them) travels once a batch, as a
// record without times; a task that has ended is then a count and its times, 32 bytes. All else travels as it is.
// Layout, little endian: a head, the common records, the rows, the whole records.
// Pure. One owner at a time.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "history/record.h"

namespace narke::history {

// How long before another a time lies, in microseconds; clocks of hosts differ, so it may lie after it.
using Ago = int32_t;
inline constexpr Ago kUnknownAgo = std::numeric_limits<Ago>::min();
// False: it does not fit. A time of 0 is unknown.
inline bool ago_of(int64_t end_us, int64_t time_us, Ago* out) {
  *out = kUnknownAgo;
  if (time_us == 0) return true;
  const int64_t ago = end_us - time_us;
  if (ago <= kUnknownAgo || ago > std::numeric_limits<Ago>::max()) return false;
  *out = static_cast<Ago>(ago);
  return true;
}
inline int64_t time_of(int64_t end_us, Ago ago) { return ago == kUnknownAgo ? 0 : end_us - ago; }

// An attempt that has ended.
struct BatchRow {
  uint64_t number;   // the first eight bytes of the task's id
  uint32_t common;   // index of what it shares with others
  Ago ended_us;      // before Batch::base_us
  Ago created_us, ready_us, pushed_us, began_us;  // before the end
};
static_assert(sizeof(BatchRow) == 32);

class BatchWriter {
 public:
  static constexpr size_t kMostCommon = 4096;  // different ones in a batch

  // The place of a record's common part: `common` without times and without the number of the task.
  uint32_t place_of(const Record& common);
  // False: a time does not fit into a row; say it as a whole record.
  bool add_row(uint32_t place, uint64_t number, int64_t created_us, int64_t ready_us, int64_t pushed_us,
               int64_t began_us, int64_t ended_us);
  // Any record, in the shortest form that holds it.
  void add(const Record& record);

  size_t size() const { return rows_.size() + whole_.size(); }
  bool is_full() const { return common_.size() >= kMostCommon; }
  // Gives up the older half of what there is; returns how many records that were.
  size_t drop_half();
  size_t encoded_bytes() const;
  // REQUIRES: `to` has room for encoded_bytes().
  void encode(uint8_t* to) const;
  // Nothing is kept but the memory.
  void clear();

 private:
  std::vector<Record> common_;
  std::vector<BatchRow> rows_;
  std::vector<Record> whole_;
  int64_t base_us_ = 0;
};

// What a batch says.
class Batch {
 public:
  // False: the bytes are no batch. Names and failures are the caller's to check.
  static bool decode(std::span<const uint8_t> bytes, Batch* out);

  const std::vector<Record>& common() const { return common_; }
  const std::vector<BatchRow>& rows() const { return rows_; }
  const std::vector<Record>& whole() const { return whole_; }
  int64_t base_us() const { return base_us_; }
  // A row as a record of its own.
  Record record_of(const BatchRow& row) const;

 private:
  std::vector<Record> common_;
  std::vector<BatchRow> rows_;
  std::vector<Record> whole_;
  int64_t base_us_ = 0;
};

}  // namespace narke::history
