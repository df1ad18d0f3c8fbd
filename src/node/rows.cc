#include "node/rows.h"

#include <algorithm>
#include <cctype>

namespace narke::node {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// As a person would write the value.
std::string text_of(const flexbuffers::Reference& value) {
  if (value.IsNull()) return "none";
  if (value.IsString() || value.IsKey()) return value.AsString().str();
  if (value.IsBool()) return value.AsBool() ? "true" : "false";
  return value.ToString();
}

bool same(const flexbuffers::Reference& value, const std::string& wanted) {
  if (value.IsBool() && (wanted == "1" || wanted == "0")) return value.AsBool() == (wanted == "1");
  const std::string text = lower(text_of(value));
  const bool is_nothing = text == "none" || text.empty();
  return is_nothing ? wanted.empty() || wanted == "none" || wanted == "null" : text == wanted;
}

bool has(const flexbuffers::TypedVector& keys, const std::string& wanted) {
  for (size_t i = 0; i < keys.size(); ++i)
    if (wanted == keys[i].AsKey()) return true;
  return false;
}

Status read_number(const flexbuffers::Reference& value, const char* key, int64_t* out) {
  if (value.IsNull()) return ok_status();
  if (!value.IsIntOrUint() || value.AsInt64() < 0)
    return Error{ErrorCode::kRefused, std::string(key) + " must be a number of 0 or more."};
  *out = value.AsInt64();
  return ok_status();
}

}  // namespace

Result<Rows> Rows::parse(const flexbuffers::Map& body) {
  Rows rows;
  if (Status read = read_number(body["limit"], "limit", &rows.limit_); !read) return read.error();
  if (Status read = read_number(body["offset"], "offset", &rows.offset_); !read) return read.error();
  rows.limit_ = std::min(rows.limit_, kMostRows);
  const flexbuffers::Reference filters = body["filters"];
  if (filters.IsNull()) return rows;
  const std::string shape = "filters must be a list of [column, '=' or '!=', value].";
  if (!filters.IsAnyVector()) return Error{ErrorCode::kRefused, shape};
  const flexbuffers::Vector list = filters.AsVector();
  for (size_t i = 0; i < list.size(); ++i) {
    const flexbuffers::Vector parts = list[i].IsAnyVector() ? list[i].AsVector() : flexbuffers::Vector::EmptyVector();
    const std::string op = parts.size() == 3 ? text_of(parts[1]) : "";
    if (op != "=" && op != "!=") return Error{ErrorCode::kRefused, shape + " Got " + list[i].ToString() + "."};
    rows.filters_.push_back({text_of(parts[0]), lower(text_of(parts[2])), op == "="});
  }
  return rows;
}

bool Rows::meets(const flexbuffers::Map& row) {
  if (total_ == 1) {
    const flexbuffers::TypedVector keys = row.Keys();
    for (Filter& filter : filters_) filter.is_known = has(keys, filter.column);
    for (size_t i = 0; i < keys.size(); ++i) columns_ += (i == 0 ? "" : ", ") + std::string(keys[i].AsKey());
  }
  return std::all_of(filters_.begin(), filters_.end(), [&row](const Filter& filter) {
    return same(row[filter.column.c_str()], filter.value) == filter.equal;
  });
}

void Rows::add(flexbuffers::Builder& out, const Put& put) {
  ++total_;
  if (!filters_.empty()) {
    flexbuffers::Builder row;
    row.Map([&] { put(row); });
    row.Finish();
    if (!meets(flexbuffers::GetRoot(row.GetBuffer()).AsMap())) return;
  }
  if (++met_ <= offset_ || met_ > offset_ + limit_) return;
  out.Map([&] { put(out); });
}

Status Rows::finish(flexbuffers::Builder& out) const {
  for (const Filter& filter : filters_)
    if (total_ > 0 && !filter.is_known)
      return Error{ErrorCode::kRefused,
                   "There is no column '" + filter.column + "' to filter by; choose among " + columns_ + "."};
  out.Int("total", total_);
  out.Int("num_filtered", met_);
  return ok_status();
}

}  // namespace narke::node
