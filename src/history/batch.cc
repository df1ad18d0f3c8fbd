#include "history/batch.h"

#include <algorithm>

namespace narke::history {
namespace {

struct Head {
  uint32_t common, whole, rows, row_bytes;
};
constexpr size_t kLookBack = 8;  // common records that a new one is compared with

template <class T>
uint8_t* put(uint8_t* to, std::span<const T> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size_bytes());
  return to + from.size_bytes();
}

const uint8_t* take(const uint8_t* from, size_t count, std::vector<Record>* out) {
  out->resize(count);
  if (count > 0) std::memcpy(static_cast<void*>(out->data()), from, count * sizeof(Record));
  return from + count * sizeof(Record);
}

bool is_sound(const Record& record) { return record.kind <= Kind::kProfile && record.state <= State::kFailed; }

}  // namespace

// ---- writing -----------------------------------------------------------------------------------------------

uint32_t BatchWriter::place_of(const Record& common) {
  const size_t stop = common_.size() > kLookBack ? common_.size() - kLookBack : 0;
  for (size_t at = common_.size(); at > stop; --at)
    if (std::memcmp(&common_[at - 1], &common, sizeof(common)) == 0) return static_cast<uint32_t>(at - 1);
  common_.push_back(common);
  return static_cast<uint32_t>(common_.size() - 1);
}

void BatchWriter::add(const Record& record) {
  if (record.ended_us == 0 || !is_final(record.state)) return whole_.push_back(record);
  Record common = record;
  Row row;
  copy_times(row, record);
  std::memcpy(&row.number, record.task, sizeof(row.number));
  std::memset(common.task, 0, sizeof(row.number));
  common.created_us = common.ready_us = common.pushed_us = common.began_us = common.ended_us = 0;
  row.place = place_of(common);
  rows_.add(row);
}

size_t BatchWriter::encoded_bytes() const {
  return sizeof(Head) + (common_.size() + whole_.size()) * sizeof(Record) + rows_.bytes().size();
}

void BatchWriter::encode(uint8_t* to) const {
  const std::span<const uint8_t> rows = rows_.bytes();
  const Head head{static_cast<uint32_t>(common_.size()), static_cast<uint32_t>(whole_.size()),
                  static_cast<uint32_t>(rows_.size()), static_cast<uint32_t>(rows.size())};
  std::memcpy(to, &head, sizeof(head));
  put(put(put(to + sizeof(head), std::span(common_)), std::span(whole_)), rows);
}

void BatchWriter::clear() {
  common_.clear();
  whole_.clear();
  rows_.clear();
}

// ---- reading -----------------------------------------------------------------------------------------------

bool Batch::decode(std::span<const uint8_t> bytes, Batch* out) {
  Head head;
  if (bytes.size() < sizeof(head)) return false;
  std::memcpy(&head, bytes.data(), sizeof(head));
  const uint64_t size = sizeof(head) + (uint64_t{head.common} + head.whole) * sizeof(Record) + head.row_bytes;
  if (bytes.size() != size || head.common > BatchWriter::kMostCommon) return false;
  const uint8_t* at = take(bytes.data() + sizeof(head), head.common, &out->common_);
  at = take(at, head.whole, &out->whole_);
  out->rows_ = {at, head.row_bytes};
  out->row_count_ = head.rows;
  const auto ends = [](const Record& record) { return is_sound(record) && is_final(record.state); };
  if (!std::all_of(out->common_.begin(), out->common_.end(), ends)) return false;
  if (!std::all_of(out->whole_.begin(), out->whole_.end(), is_sound)) return false;
  out->is_plain_ = std::all_of(out->common_.begin(), out->common_.end(),
                               [](const Record& record) { return record.state == State::kFinished; });
  return skim(out->rows_, head.rows, [&](uint64_t, uint64_t place, bool began) {
    out->is_plain_ &= began;
    return place < head.common;
  });
}

Record Batch::record_of(const Row& row) const {
  Record record = common_[row.place];
  std::memcpy(record.task, &row.number, sizeof(row.number));
  copy_times(record, row);
  return record;
}

}  // namespace narke::history
