#include "data/parquet_pages.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

namespace narke::data {
namespace {

// Reads from the front of bytes; once something is missing, `ok` is false and zeros come.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  size_t at() const { return at_; }
  std::span<const uint8_t> rest() const { return bytes_.subspan(at_); }

  uint8_t byte() {
    if (at_ == bytes_.size()) return fail();
    return bytes_[at_++];
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      uint8_t b = byte();
      value |= uint64_t{b & 0x7fU} << shift;
      if (b < 0x80) return value;
    }
    return fail();
  }
  int64_t zigzag() {
    uint64_t raw = varint();
    return static_cast<int64_t>(raw >> 1) ^ -static_cast<int64_t>(raw & 1);
  }
  void skip(uint64_t count) {
    if (count > bytes_.size() - at_)
      fail();
    else
      at_ += count;
  }
  uint8_t fail() {
    ok_ = false;
    at_ = bytes_.size();
    return 0;
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

// Types of Thrift's compact protocol.
enum Kind : uint8_t { kStop = 0, kTrue = 1, kFalse = 2, kByte = 3, kI16 = 4, kI32 = 5, kI64 = 6, kDouble = 7 };
enum Nested : uint8_t { kBinary = 8, kList = 9, kSet = 10, kMap = 11, kStruct = 12 };
constexpr int kMostDepth = 8;
constexpr size_t kDoubleBytes = 8;

void skip_value(Reader& in, uint8_t kind, int depth);

void skip_struct(Reader& in, int depth) {
  while (in.ok()) {
    uint8_t field = in.byte();
    if ((field & 0x0f) == kStop) return;
    if ((field >> 4) == 0) in.zigzag();
    skip_value(in, field & 0x0f, depth);
  }
}

void skip_list(Reader& in, int depth) {
  uint8_t head = in.byte();
  uint64_t count = head >> 4 == 15 ? in.varint() : head >> 4;
  uint8_t kind = head & 0x0f;
  for (uint64_t i = 0; i < count && in.ok(); ++i)
    if (kind == kTrue || kind == kFalse)
      in.byte();
    else
      skip_value(in, kind, depth);
}

void skip_value(Reader& in, uint8_t kind, int depth) {
  if (depth == 0) return static_cast<void>(in.fail());
  switch (kind) {
    case kTrue:
    case kFalse: return;
    case kByte: return in.skip(1);
    case kI16:
    case kI32:
    case kI64: return static_cast<void>(in.varint());
    case kDouble: return in.skip(kDoubleBytes);
    case kBinary: return in.skip(in.varint());
    case kList:
    case kSet: return skip_list(in, depth - 1);
    case kStruct: return skip_struct(in, depth - 1);
    default: in.fail();  // maps: no header of a page has any
  }
}

// Calls f(id, kind) for each field of a struct; f reads numbers it knows and returns true, or returns false.
template <typename F>
void each_field(Reader& in, F f) {
  int64_t id = 0;
  while (in.ok()) {
    uint8_t field = in.byte(), kind = field & 0x0f;
    if (kind == kStop) return;
    id = (field >> 4) == 0 ? in.zigzag() : id + (field >> 4);
    if (!f(id, kind)) skip_value(in, kind, kMostDepth);
  }
}

// DataPageHeader and DictionaryPageHeader begin alike: 1 is the number of values, 2 their encoding.
void read_values_header(Reader& in, PageHeader* out) {
  each_field(in, [&](int64_t id, uint8_t kind) {
    if (kind != kI32 || (id != 1 && id != 2)) return false;
    (id == 1 ? out->values : out->encoding) = in.zigzag();
    return true;
  });
}

constexpr size_t kGroup = 8;  // numbers of a bit-packed group, which takes as many bytes as each has bits

template <int kWidth>
void unpack_group(const uint8_t* __restrict bytes, uint32_t* __restrict out) {
  constexpr uint64_t kMask = (uint64_t{1} << kWidth) - 1;
  for (size_t i = 0; i < kGroup; ++i) {
    uint64_t word;
    std::memcpy(&word, bytes + i * kWidth / 8, sizeof(word));
    out[i] = static_cast<uint32_t>(word >> (i * kWidth % 8) & kMask);
  }
}

// REQUIRES: 8 bytes may be read from where any number begins.
template <int kWidth>
void unpack_groups(const uint8_t* bytes, size_t groups, uint32_t* out) {
  for (size_t g = 0; g < groups; ++g) unpack_group<kWidth>(bytes + g * kWidth, out + g * kGroup);
}

using Unpack = void (*)(const uint8_t*, size_t, uint32_t*);
constexpr int kMostWidth = 32;
constexpr auto kUnpack = []<size_t... kWidths>(std::index_sequence<kWidths...>) {
  return std::array<Unpack, sizeof...(kWidths)>{unpack_groups<static_cast<int>(kWidths)>...};
}(std::make_index_sequence<kMostWidth + 1>());

// Numbers packed side by side. REQUIRES: bytes has all of them.
void unpack_bits(std::span<const uint8_t> bytes, int width, std::span<uint32_t> out) {
  auto each = static_cast<size_t>(width);
  size_t readable = bytes.size() < sizeof(uint64_t) + each ? 0 : (bytes.size() - sizeof(uint64_t)) / each;
  size_t groups = std::min(out.size() / kGroup, readable);
  kUnpack[each](bytes.data(), groups, out.data());
  for (size_t g = groups; g * kGroup < out.size(); ++g) {
    std::array<uint8_t, kMostWidth + sizeof(uint64_t)> padded{};
    std::array<uint32_t, kGroup> made;
    auto own = bytes.subspan(g * each);
    std::copy_n(own.begin(), std::min(own.size(), each), padded.begin());
    kUnpack[each](padded.data(), 1, made.data());
    std::copy_n(made.begin(), std::min(kGroup, out.size() - g * kGroup), out.begin() + static_cast<long>(g * kGroup));
  }
}

// Calls packed(bytes, rows) or run(value, rows) for each part of a hybrid of `count` numbers; false: it is damaged, or
// one of these said so.
template <typename Packed, typename Run>
bool each_run(std::span<const uint8_t> bytes, int width, size_t count, Packed packed, Run run) {
  Reader in(bytes);
  size_t done = 0;
  while (done < count) {
    uint64_t header = in.varint();
    if (!in.ok() || header >> 1 == 0) return false;
    size_t left = count - done;
    if ((header & 1) != 0) {
      size_t rows = header >> 1 > left / kGroup ? left : (header >> 1) * kGroup;
      size_t size = (rows * static_cast<size_t>(width) + 7) / 8;
      if (size > in.rest().size() || !packed(in.rest().first(size), rows)) return false;
      in.skip(size);
      done += rows;
    } else {
      uint32_t value = 0;
      for (int shift = 0; shift < width; shift += 8) value |= uint32_t{in.byte()} << shift;
      size_t rows = std::min<uint64_t>(left, header >> 1);
      if (!in.ok() || !run(value, rows)) return false;
      done += rows;
    }
  }
  return true;
}

// Whether levels of one bit say of all rows that they are there.
bool all_present(std::span<const uint8_t> levels, size_t rows) {
  auto packed = [](std::span<const uint8_t> bytes, size_t count) {
    for (size_t i = 0; i < count / 8; ++i)
      if (bytes[i] != 0xff) return false;
    auto last = static_cast<uint8_t>((1 << count % 8) - 1);
    return last == 0 || (bytes[count / 8] & last) == last;
  };
  return each_run(levels, 1, rows, packed, [](uint32_t value, size_t) { return value == 1; });
}

// The values of a page, after its levels; false: rows are missing.
bool values_of(const Page& page, bool nullable, std::span<const uint8_t>* out) {
  *out = page.bytes;
  if (!nullable) return true;
  uint32_t size;
  if (out->size() < sizeof(size)) return false;
  std::memcpy(&size, out->data(), sizeof(size));
  *out = out->subspan(sizeof(size));
  if (size > out->size() || !all_present(out->first(size), static_cast<size_t>(page.rows))) return false;
  *out = out->subspan(size);
  return true;
}

// The numbers of a coded page; false: damaged, or one is not below `known`.
bool codes_of(std::span<const uint8_t> values, size_t known, std::span<uint32_t> out) {
  if (out.empty()) return true;
  if (values.empty() || values[0] > kMostWidth || !unpack_hybrid(values.subspan(1), values[0], out)) return false;
  uint32_t most = 0;
  for (uint32_t code : out) most = std::max(most, code);
  return most < known;
}

// Calls plain(values, page, first row) or coded(codes, page, first row) for each page that has bytes.
template <typename Plain, typename Coded>
bool each_page(const PagedColumn& column, size_t known, Plain plain, Coded coded) {
  std::vector<uint32_t> codes;
  int64_t first = 0;
  for (const Page& page : column.pages) {
    auto rows = static_cast<size_t>(page.rows);
    std::span<const uint8_t> values;
    if (!page.bytes.empty() && rows > 0) {
      if (!values_of(page, column.nullable, &values)) return false;
      if (page.coded) {
        codes.resize(rows);
        if (!codes_of(values, known, codes)) return false;
        coded(codes, first);
      } else if (values.size() / std::max<size_t>(1, column.width) < rows || !plain(values, rows, first)) {
        return false;
      }
    }
    first += page.rows;
  }
  return true;
}

template <typename Value>
Value value_at(const uint8_t* values, size_t i) {
  Value value;
  std::memcpy(&value, values + i * sizeof(Value), sizeof(Value));
  return value;
}

template <typename Value>
void put(std::span<uint8_t> out, size_t i, Value value) {
  std::memcpy(out.data() + i * sizeof(Value), &value, sizeof(Value));
}

template <typename Value>
bool read_all(const PagedColumn& column, std::span<uint8_t> out) {
  auto plain = [&](std::span<const uint8_t> values, size_t rows, int64_t first) {
    std::memcpy(out.data() + static_cast<size_t>(first) * sizeof(Value), values.data(), rows * sizeof(Value));
    return true;
  };
  auto coded = [&](std::span<const uint32_t> codes, int64_t first) {
    auto to = out.subspan(static_cast<size_t>(first) * sizeof(Value));
    for (size_t i = 0; i < codes.size(); ++i) put(to, i, value_at<Value>(column.dictionary.data(), codes[i]));
  };
  return each_page(column, column.dictionary.size() / sizeof(Value), plain, coded);
}

template <typename Value>
bool pick_some(const PagedColumn& column, std::span<const uint32_t> rows, std::span<uint8_t> out) {
  size_t next = 0;  // of `rows`
  auto pick = [&](size_t count, int64_t first, auto at) {
    auto inside = [&](int64_t row) { return row >= first && row < first + static_cast<int64_t>(count); };
    for (; next < rows.size() && inside(rows[next]); ++next)
      put(out, next, at(rows[next] - static_cast<size_t>(first)));
  };
  auto plain = [&](std::span<const uint8_t> values, size_t count, int64_t first) {
    pick(count, first, [&](size_t i) { return value_at<Value>(values.data(), i); });
    return true;
  };
  auto coded = [&](std::span<const uint32_t> codes, int64_t first) {
    pick(codes.size(), first, [&](size_t i) { return value_at<Value>(column.dictionary.data(), codes[i]); });
  };
  return each_page(column, column.dictionary.size() / sizeof(Value), plain, coded) && next == rows.size();
}

// ORs eight bits into place. REQUIRES: out has a byte more, or `at` is a multiple of eight.
void put_bits(std::span<uint8_t> out, size_t at, uint32_t bits) {
  out[at / 8] |= static_cast<uint8_t>(bits << at % 8);
  if (at % 8 != 0) out[at / 8 + 1] |= static_cast<uint8_t>(bits >> (8 - at % 8));
}

}  // namespace

bool read_page_header(std::span<const uint8_t> bytes, PageHeader* out) {
  Reader in(bytes);
  *out = {};
  each_field(in, [&](int64_t id, uint8_t kind) {
    if (kind == kI32 && id >= 1 && id <= 3) {
      (id == 1 ? out->kind : id == 2 ? out->plain_bytes : out->stored_bytes) = in.zigzag();
      return true;
    }
    if (kind != kStruct || (id != 5 && id != 7)) return false;
    read_values_header(in, out);
    return true;
  });
  out->header_bytes = static_cast<int64_t>(in.at());
  return in.ok() && out->kind >= 0 && out->stored_bytes >= 0 && out->plain_bytes >= 0;
}

bool unpack_hybrid(std::span<const uint8_t> bytes, int width, std::span<uint32_t> out) {
  auto at = out.begin();
  auto packed = [&](std::span<const uint8_t> from, size_t rows) {
    unpack_bits(from, width, {at, rows});
    at += static_cast<long>(rows);
    return true;
  };
  return each_run(bytes, width, out.size(), packed, [&](uint32_t value, size_t rows) {
    at = std::fill_n(at, rows, value);
    return true;
  });
}

bool read_values(const PagedColumn& column, std::span<uint8_t> out) {
  return column.width == sizeof(uint64_t) ? read_all<uint64_t>(column, out) : read_all<uint32_t>(column, out);
}

bool pick_values(const PagedColumn& column, std::span<const uint32_t> rows, std::span<uint8_t> out) {
  return column.width == sizeof(uint64_t) ? pick_some<uint64_t>(column, rows, out)
                                          : pick_some<uint32_t>(column, rows, out);
}

bool test_values(const PagedColumn& column, std::span<const uint8_t> truths, std::span<uint8_t> out) {
  auto plain = [](std::span<const uint8_t>, size_t, int64_t) { return false; };
  auto coded = [&](std::span<const uint32_t> codes, int64_t first) {
    auto at = static_cast<size_t>(first);
    size_t i = 0;
    for (; i + 16 <= codes.size(); i += 8) {
      uint32_t bits = 0;
      for (size_t k = 0; k < 8; ++k) bits |= uint32_t{truths[codes[i + k]]} << k;
      put_bits(out, at + i, bits);
    }
    for (; i < codes.size(); ++i) out[(at + i) / 8] |= static_cast<uint8_t>(truths[codes[i]] << (at + i) % 8);
  };
  return each_page(column, truths.size(), plain, coded);
}

}  // namespace narke::data
