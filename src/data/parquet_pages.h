// Pages of a column of a Parquet file whose rows are numbers of fixed width: the parts of the Parquet format ("Data
// Pages", "Encodings") that most such columns consist of. Dictionary pages are kept as they are, so that a test of
// single values looks at each different value once, and rows that nobody wants are not made.
//
// Threads: pure functions. Bytes are not trusted: whatever is damaged, has nulls or another encoding gives false, and
// somebody else reads the column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace narke::data {

enum class PageKind : uint8_t { kData = 0, kIndex = 1, kDictionary = 2, kDataV2 = 3 };

// What stands before a page (`PageHeader` of parquet.thrift, in Thrift's compact protocol). -1: not said.
struct PageHeader {
  int64_t kind = -1, encoding = -1, values = -1;
  int64_t header_bytes = 0;                      // of the header itself
  int64_t stored_bytes = -1, plain_bytes = -1;   // of the page, compressed and not
};

constexpr int64_t kPlain = 0, kPlainDictionary = 2, kRleDictionary = 8;  // values of PageHeader::encoding

// The header at the front of the bytes; false: there is none.
bool read_page_header(std::span<const uint8_t> bytes, PageHeader* out);

// A data page, no longer compressed. Without bytes its rows are passed over.
struct Page {
  std::span<const uint8_t> bytes;
  int64_t rows = 0;
  bool coded = false;  // by numbers into the dictionary, else plain values
};

struct PagedColumn {
  std::span<const Page> pages;
  bool nullable = false;                // levels that say which rows are there stand before each page's values
  size_t width = 0;                     // bytes of a value: 4 or 8
  std::span<const uint8_t> dictionary;  // values, side by side
};

// All values. REQUIRES: out has width bytes for each row of all pages.
bool read_values(const PagedColumn& column, std::span<uint8_t> out);
// The values of some rows, in ascending order. REQUIRES: out has width bytes for each.
bool pick_values(const PagedColumn& column, std::span<const uint32_t> rows, std::span<uint8_t> out);
// A bit a row: what `truths` says of its number in the dictionary. False, too, when a page has plain values.
// REQUIRES: out has a bit for each row of all pages, all zero.
bool test_values(const PagedColumn& column, std::span<const uint8_t> truths, std::span<uint8_t> out);

// Numbers of `width` bits (0 to 32) in runs and bit-packed groups ("RLE/Bit-Packing Hybrid"); false: there are too few.
bool unpack_hybrid(std::span<const uint8_t> bytes, int width, std::span<uint32_t> out);

}  // namespace narke::data
