// The tables of the state interface: which columns each has (Ray's), and how rows are chosen from them. Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gateway/http.h"
#include "gateway/json.h"

namespace narke::gateway {

struct Column {
  std::string name;
  bool filterable = false;
  bool detail_only = false;
};

struct Table {
  std::string name;                  // as in /api/v0/<name>
  std::string method;                // the control method that gives its rows
  std::string key;                   // of the rows in the answer
  std::vector<std::string> ids;      // columns that name a row, in order
  std::vector<Column> columns;
};

// Null when there is none of that name.
const Table* table_named(std::string_view name);

struct Condition {
  std::string key, predicate, value;  // predicate: "=", "!=", or "~" (contains; ours)
};

struct Query {
  std::vector<Condition> conditions;
  size_t limit = 100;
  size_t offset = 0;  // ours: for pages
  bool detail = false;
  std::string sort_by;  // ours; "" for the order of ids
  bool descending = false;
  std::string search;  // ours: rows of which some column contains it
};
inline constexpr size_t kMostRows = 10'000;

// From the parameters of a request; the error says which is wrong.
Result<Query> parse_query(const Request& request, const Table& table);

struct Selection {
  size_t total = 0;     // before anything was left out
  size_t filtered = 0;  // rows that meet the conditions
  json::array rows;     // at most `limit` of them, with the table's columns only
};
// Rows to choose from, wherever they lie. A value is made when it is looked at: choosing a page of ten thousand rows
// takes the memory of that page.
struct RowSource {
  size_t count = 0;
  std::function<json::value(size_t row, const std::string& column)> cell;
};
// What they are made of must outlive them.
RowSource rows_in(const json::array& rows);
RowSource rows_in(const flexbuffers::Vector& rows);
Selection select_rows(const RowSource& rows, const Table& table, const Query& query);

// Texts without regard to case, numbers as numbers, null as "none".
bool equals(const json::value& value, std::string_view wanted);

// Ray's envelope around an answer.
json::object enveloped(bool good, std::string message, json::value data);
json::object listed(Selection selection);

// Counts by name and state, as Ray's summaries.
json::object summarize_tasks(const json::array& rows);
// The same, from what the node has counted: {summary: [{func_or_class_name, type, state_counts}], total_...}.
json::object task_summary(const json::object& counted);
json::object summarize_actors(const json::array& rows);
// The same, from what the node has counted: {summary: [{class_name, state, job_id, count}]}.
json::object actor_summary(const json::object& counted);
json::object summarize_objects(const json::array& rows);

}  // namespace narke::gateway
