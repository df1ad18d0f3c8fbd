// A page of a table's rows, with filters: what the control methods that list things have in common.
//
// The body holds `filters` (a list of [column, "=" or "!=", value]), `limit` and `offset`; texts compare without regard
// to case. The answer has the rows, `total` and `num_filtered`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <flatbuffers/flexbuffers.h>

#include "base/result.h"

namespace narke::node {

class Rows {
 public:
  static constexpr int64_t kMostRows = 10'000;
  using Put = std::function<void(flexbuffers::Builder&)>;  // the fields of a row, into an open map

  // Fails on malformed filters, limits and offsets.
  static Result<Rows> parse(const flexbuffers::Map& body);

  // Between StartVector and EndVector of the rows: adds the row if it meets the filters and is on the page.
  void add(flexbuffers::Builder& out, const Put& put);
  // total and num_filtered, after EndVector. Fails when a filter names a column that no row has.
  Status finish(flexbuffers::Builder& out) const;

 private:
  struct Filter {
    std::string column, value;  // value: lower case
    bool equal;
    bool is_known = false;
  };
  bool meets(const flexbuffers::Map& row);

  std::vector<Filter> filters_;
  std::string columns_;  // of the first row
  int64_t limit_ = kMostRows, offset_ = 0, total_ = 0, met_ = 0;
};

}  // namespace narke::node
