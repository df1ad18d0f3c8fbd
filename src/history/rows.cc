#include "history/rows.h"

#include <algorithm>
#include <array>

namespace narke::history {
namespace {

constexpr size_t kFields = 7;
constexpr size_t kMostRowBytes = 2 + kFields * 8;
constexpr size_t kRoom = kRowRoom;
static_assert(kRoom >= kMostRowBytes);
constexpr size_t kFirstBytes = 512;
constexpr uint16_t kAnew = 0xffff;
constexpr size_t kAnewBytes = sizeof(kAnew) + sizeof(uint32_t);

uint64_t zigzag(int64_t value) { return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63); }
// From one to the other; whatever the bytes say, nothing overflows.
int64_t minus(uint64_t a, uint64_t b) { return static_cast<int64_t>(a - b); }
int64_t minus(int64_t a, int64_t b) { return minus(static_cast<uint64_t>(a), static_cast<uint64_t>(b)); }

// The fields of a row, one after the other.
class FieldWriter {
 public:
  explicit FieldWriter(uint8_t* at) : start_(at), at_(at + sizeof(lengths_)) {}
  void put(uint64_t value) {
    const unsigned length = unsigned{value > 0} + unsigned{value > 0xff} + unsigned{value > 0xff'ffff};
    std::memcpy(at_, &value, sizeof(value));
    at_ += kRowLengths[length];
    lengths_ = static_cast<uint16_t>(lengths_ | length << shift_);
    shift_ += 2;
  }
  // `from` becomes the time, if it is known.
  void put_time(int64_t time_us, int64_t* from) {
    put(time_us == 0 ? 0 : zigzag(minus(*from, time_us)) + 1);
    if (time_us != 0) *from = time_us;
  }
  uint8_t* end() {
    std::memcpy(start_, &lengths_, sizeof(lengths_));
    return at_;
  }

 private:
  uint8_t* start_;
  uint8_t* at_;
  uint16_t lengths_ = 0;
  unsigned shift_ = 0;
};

class FieldReader {
 public:
  explicit FieldReader(const uint8_t* at) : at_(at + sizeof(lengths_)) { std::memcpy(&lengths_, at, sizeof(lengths_)); }
  uint64_t take() {
    uint64_t value;
    std::memcpy(&value, at_, sizeof(value));
    value &= kRowMasks[lengths_ & 3];
    at_ += kRowLengths[lengths_ & 3];
    lengths_ = static_cast<uint16_t>(lengths_ >> 2);
    return value;
  }
  int64_t take_time(int64_t* from) {
    const uint64_t value = take();
    return value == 0 ? 0 : *from = minus(*from, unzigzag(value - 1));
  }
  const uint8_t* end() const { return at_; }

 private:
  const uint8_t* at_;
  uint16_t lengths_;
};

}  // namespace

// ---- writing -----------------------------------------------------------------------------------------------

void RowWriter::make_room(size_t more) {
  more += kRoom;
  if (bytes_.size() < used_ + more) bytes_.resize(std::max({kFirstBytes, bytes_.size() * 2, used_ + more}));
}

void RowWriter::begin_anew(uint32_t first_place) {
  std::memcpy(bytes_.data() + used_, &kAnew, sizeof(kAnew));
  std::memcpy(bytes_.data() + used_ + sizeof(kAnew), &first_place, sizeof(first_place));
  used_ += kAnewBytes;
  last_ = {};
}

void RowWriter::append(std::span<const uint8_t> bytes, size_t size, uint32_t first_place) {
  make_room(kAnewBytes + bytes.size());
  begin_anew(first_place);
  std::memcpy(bytes_.data() + used_, bytes.data(), bytes.size());
  used_ += bytes.size() - kRoom;
  size_ += size;
  follows_others_ = true;
}

void RowWriter::add(const Row& row) {
  make_room(kAnewBytes + kMostRowBytes);
  if (follows_others_) begin_anew(0);
  follows_others_ = false;
  FieldWriter out(bytes_.data() + used_);
  out.put(zigzag(minus(row.number, last_.number)));
  out.put(zigzag(minus(row.place, last_.place)));
  out.put(zigzag(minus(row.ended_us, last_.ended_us)));
  int64_t from = row.ended_us;
  for (const int64_t time : {row.began_us, row.pushed_us, row.created_us, row.ready_us}) out.put_time(time, &from);
  used_ = static_cast<size_t>(out.end() - bytes_.data());
  ++size_;
  last_ = row;
}

std::span<const uint8_t> RowWriter::bytes() const {
  static constexpr uint8_t kNothing[kRoom] = {};
  return size_ == 0 ? std::span(kNothing) : std::span(bytes_).first(used_ + kRoom);
}

void RowWriter::clear() {
  used_ = size_ = 0;
  last_ = {};
  follows_others_ = false;
}

bool RowWriter::assign(std::span<const uint8_t> bytes, size_t size) {
  if (bytes.size() < kRoom) return false;
  bytes_.assign(bytes.begin(), bytes.end());
  used_ = bytes.size() - kRoom;
  size_ = size;
  follows_others_ = true;
  return true;
}

void RowWriter::seal() {
  if (size_ == 0) return;
  bytes_.resize(used_ + kRoom);
  bytes_.shrink_to_fit();
}

// ---- reading -----------------------------------------------------------------------------------------------

RowReader::RowReader(std::span<const uint8_t> bytes, size_t size)
    : at_(bytes.data()),
      end_(bytes.data() + (bytes.size() < kRoom ? 0 : bytes.size() - kRoom)),
      left_(bytes.size() < kRoom ? 0 : size) {}

bool RowReader::begin_anew() {
  uint32_t first_place;
  std::memcpy(&first_place, at_ + sizeof(kAnew), sizeof(first_place));
  at_ += kAnewBytes;
  first_place_ = first_place;
  last_ = {};
  return at_ < end_;
}

bool RowReader::next(Row* row) {
  if (left_ == 0 || at_ >= end_) return false;
  if (at_[1] == 0xff && !begin_anew()) return false;
  FieldReader in(at_);
  last_.number += static_cast<uint64_t>(unzigzag(in.take()));
  last_.place += static_cast<uint64_t>(unzigzag(in.take()));
  last_.ended_us = minus(last_.ended_us, minus(int64_t{0}, unzigzag(in.take())));
  int64_t from = last_.ended_us;
  for (int64_t* time : {&last_.began_us, &last_.pushed_us, &last_.created_us, &last_.ready_us})
    *time = in.take_time(&from);
  at_ = in.end();
  if (at_ > end_) return false;
  --left_;
  *row = last_;
  row->place += first_place_;
  return true;
}

}  // namespace narke::history
