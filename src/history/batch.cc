#include "history/batch.h"

#include <algorithm>

namespace narke::history {
namespace {

struct Head {
  int64_t base_us;
  uint32_t common, rows, whole, reserved;
};
constexpr size_t kLookBack = 8;  // common records that a new one is compared with

template <class T>
uint8_t* put(uint8_t* to, const std::vector<T>& from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size() * sizeof(T));
  return to + from.size() * sizeof(T);
}

template <class T>
const uint8_t* take(const uint8_t* from, size_t count, std::vector<T>* out) {
  out->resize(count);
  if (count > 0) std::memcpy(static_cast<void*>(out->data()), from, count * sizeof(T));
  return from + count * sizeof(T);
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

bool BatchWriter::add_row(uint32_t place, uint64_t number, int64_t created_us, int64_t ready_us, int64_t pushed_us,
                          int64_t began_us, int64_t ended_us) {
  if (rows_.empty()) base_us_ = ended_us;
  BatchRow row;
  row.number = number;
  row.common = place;
  const bool fits = ago_of(base_us_, ended_us, &row.ended_us) && ago_of(ended_us, created_us, &row.created_us) &&
                    ago_of(ended_us, ready_us, &row.ready_us) && ago_of(ended_us, pushed_us, &row.pushed_us) &&
                    ago_of(ended_us, began_us, &row.began_us);
  if (!fits) return false;
  rows_.push_back(row);
  return true;
}

void BatchWriter::add(const Record& record) {
  if (record.ended_us == 0 || !is_final(record.state)) return whole_.push_back(record);
  Record common = record;
  uint64_t number;
  std::memcpy(&number, record.task, sizeof(number));
  std::memset(common.task, 0, sizeof(number));
  common.created_us = common.ready_us = common.pushed_us = common.began_us = common.ended_us = 0;
  if (!add_row(place_of(common), number, record.created_us, record.ready_us, record.pushed_us, record.began_us,
               record.ended_us))
    whole_.push_back(record);
}

size_t BatchWriter::drop_half() {
  const size_t rows = (rows_.size() + 1) / 2, whole = (whole_.size() + 1) / 2;
  rows_.erase(rows_.begin(), rows_.begin() + static_cast<ptrdiff_t>(rows));
  whole_.erase(whole_.begin(), whole_.begin() + static_cast<ptrdiff_t>(whole));
  return rows + whole;
}

size_t BatchWriter::encoded_bytes() const {
  return sizeof(Head) + (common_.size() + whole_.size()) * sizeof(Record) + rows_.size() * sizeof(BatchRow);
}

void BatchWriter::encode(uint8_t* to) const {
  const Head head{base_us_, static_cast<uint32_t>(common_.size()), static_cast<uint32_t>(rows_.size()),
                  static_cast<uint32_t>(whole_.size()), 0};
  std::memcpy(to, &head, sizeof(head));
  put(put(put(to + sizeof(head), common_), rows_), whole_);
}

void BatchWriter::clear() {
  common_.clear();
  rows_.clear();
  whole_.clear();
}

// ---- reading -----------------------------------------------------------------------------------------------

bool Batch::decode(std::span<const uint8_t> bytes, Batch* out) {
  Head head;
  if (bytes.size() < sizeof(head)) return false;
  std::memcpy(&head, bytes.data(), sizeof(head));
  const uint64_t size =
      sizeof(head) + (uint64_t{head.common} + head.whole) * sizeof(Record) + uint64_t{head.rows} * sizeof(BatchRow);
  constexpr int64_t kFarthest = int64_t{1} << 60;  // what is counted from here does not overflow
  if (bytes.size() != size || head.base_us < -kFarthest || head.base_us > kFarthest) return false;
  out->base_us_ = head.base_us;
  const uint8_t* at = take(bytes.data() + sizeof(head), head.common, &out->common_);
  take(take(at, head.rows, &out->rows_), head.whole, &out->whole_);
  const auto has_common = [&](const BatchRow& row) {
    return row.common < out->common_.size() && row.ended_us != kUnknownAgo;
  };
  const auto ends = [](const Record& record) { return is_sound(record) && is_final(record.state); };
  return std::all_of(out->rows_.begin(), out->rows_.end(), has_common) &&
         std::all_of(out->common_.begin(), out->common_.end(), ends) &&
         std::all_of(out->whole_.begin(), out->whole_.end(), is_sound);
}

Record Batch::record_of(const BatchRow& row) const {
  Record record = common_[row.common];
  std::memcpy(record.task, &row.number, sizeof(row.number));
  record.ended_us = time_of(base_us_, row.ended_us);
  record.created_us = time_of(record.ended_us, row.created_us);
  record.ready_us = time_of(record.ended_us, row.ready_us);
  record.pushed_us = time_of(record.ended_us, row.pushed_us);
  record.began_us = time_of(record.ended_us, row.began_us);
  return record;
}

}  // namespace narke::history
