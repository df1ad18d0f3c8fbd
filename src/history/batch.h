// A batch of records as it travels from a program to its node: most of what a record says is what those beside it say.
//
// What tasks have in common (their function, parent, actor, who counted them) travels once a batch, as a record without
// times; a task that has ended is then a row (rows.h). All else travels as it is.
// Layout, little endian: a head, the common records, the whole records, the rows.
// Pure. One owner at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "history/record.h"
#include "history/rows.h"

namespace narke::history {

class BatchWriter {
 public:
  static constexpr size_t kMostCommon = 4096;  // different ones in a batch

  // The place of a record's common part: `common` without times and without the number of the task.
  uint32_t place_of(const Record& common);
  // An attempt that has ended. REQUIRES: its place is one of this batch.
  void add(const Row& row) { rows_.add(row); }
  // Any record, in the shortest form that holds it.
  void add(const Record& record);

  size_t size() const { return rows_.size() + whole_.size(); }
  bool is_full() const { return common_.size() >= kMostCommon; }
  size_t encoded_bytes() const;
  // REQUIRES: `to` has room for encoded_bytes().
  void encode(uint8_t* to) const;
  // Nothing is kept but the memory.
  void clear();

 private:
  std::vector<Record> common_, whole_;
  RowWriter rows_;
};

// What a batch says, while the bytes live that it was read from.
class Batch {
 public:
  // False: the bytes are no batch. Names and failures are the caller's to check.
  static bool decode(std::span<const uint8_t> bytes, Batch* out);

  const std::vector<Record>& common() const { return common_; }
  const std::vector<Record>& whole() const { return whole_; }
  // The places of rows are those of common().
  size_t row_count() const { return row_count_; }
  RowReader rows() const { return {rows_, row_count_}; }
  std::span<const uint8_t> row_bytes() const { return rows_; }
  // Every row tells of a task that some worker ran well.
  bool is_plain() const { return is_plain_; }
  // A row as a record of its own.
  Record record_of(const Row& row) const;

 private:
  std::vector<Record> common_, whole_;
  std::span<const uint8_t> rows_;
  size_t row_count_ = 0;
  bool is_plain_ = false;
};

}  // namespace narke::history
