// Bytes of damaged or hostile Parquet files.
//
// Strategy: the input is read as a page's header, and as a page after bytes that choose what it should be: coded or
// plain, with levels or without, rows, width of values, size of the dictionary.
// Invariants: nothing is read or written outside of what was given (memory has the exact size); what is read of all
// rows and what is picked of each is the same.
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "data/parquet_pages.h"

namespace narke::data {
namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void page(std::span<const uint8_t> how, std::span<const uint8_t> bytes) {
  size_t width = (how[0] & 1) != 0 ? 8 : 4;
  int64_t rows = how[1];
  std::vector<uint8_t> dictionary(how[2] * width, 1), out(static_cast<size_t>(rows) * width), again(out.size());
  std::vector<uint8_t> truths(how[2], 1), bits(static_cast<size_t>(rows + 7) / 8), own(bytes.begin(), bytes.end());
  std::vector<Page> pages = {{own, rows, (how[0] & 2) != 0}};
  PagedColumn column{pages, (how[0] & 4) != 0, width, dictionary};
  std::vector<uint32_t> all(static_cast<size_t>(rows));
  std::iota(all.begin(), all.end(), 0U);
  bool is_read = read_values(column, out);
  if (!own.empty()) {
    check(is_read == pick_values(column, all, again));
    check(!is_read || out == again);
  }
  check(test_values(column, truths, bits) == (is_read && (pages[0].coded || rows == 0 || own.empty())));
}

}  // namespace
}  // namespace narke::data

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> exact(data, data + size);
  narke::data::PageHeader header;
  if (narke::data::read_page_header(exact, &header) && header.header_bytes > static_cast<int64_t>(size)) std::abort();
  if (size > 3) narke::data::page(std::span(exact).first(3), std::span(exact).subspan(3));
  return 0;
}
