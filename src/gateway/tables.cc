#include "gateway/tables.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <sstream>

namespace narke::gateway {

// ---- columns -----------------------------------------------------------------------------------------------

// A column each; '!' after the name: can be filtered by; '+': only with details.
static std::vector<Column> columns_of(const char* text) {
  std::vector<Column> out;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    Column column;
    while (!word.empty() && (word.back() == '!' || word.back() == '+')) {
      (word.back() == '!' ? column.filterable : column.detail_only) = true;
      word.pop_back();
    }
    column.name = std::move(word);
    out.push_back(std::move(column));
  }
  return out;
}

static const std::vector<Table>& tables() {
  static const std::vector<Table> all = {
      {"actors",
       "list_actors",
       "actors",
       {"actor_id"},
       columns_of("actor_id! class_name! state! job_id! name! node_id! pid! ray_namespace! serialized_runtime_env+ "
                  "required_resources+ death_cause+ is_detached+ placement_group_id!+ repr_name!+ num_restarts+ "
                  "num_restarts_due_to_lineage_reconstruction+ num_restarts_due_to_node_preemption+ call_site+ "
                  "label_selector+ fallback_strategy+")},
      {"tasks",
       "list_tasks",
       "tasks",
       {"task_id", "attempt_number"},
       columns_of("task_id! attempt_number! name! state! job_id! actor_id! type! func_or_class_name! parent_task_id! "
                  "node_id! worker_id! worker_pid! error_type! language!+ required_resources+ runtime_env_info+ "
                  "placement_group_id!+ events+ profiling_data+ creation_time_ms+ start_time_ms+ end_time_ms+ "
                  "task_log_info+ error_message+ is_debugger_paused!+ call_site+ label_selector+ fallback_strategy+")},
      {"objects",
       "list_objects",
       "objects",
       {"object_id"},
       columns_of("object_id! object_size! task_status! attempt_number! reference_type! call_site! type! pid! ip! "
                  "node_id!+ worker_id!+ owner_id!+ job_id!+")},
      {"nodes",
       "nodes",
       "nodes",
       {"node_id"},
       columns_of("node_id! node_ip! is_head_node! state! state_message node_name! resources_total labels "
                  "start_time_ms+ end_time_ms+")},
      {"jobs",
       "list_jobs",
       "jobs",
       {"submission_id", "job_id"},
       columns_of("type! job_id! submission_id! driver_info status! entrypoint message error_type start_time+ "
                  "end_time+ metadata+ runtime_env+ driver_agent_http_address+ driver_node_id+ driver_exit_code+")},
      {"placement_groups",
       "list_placement_groups",
       "groups",
       {"placement_group_id"},
       columns_of("placement_group_id! name! creator_job_id! state! bundles+ is_detached!+ stats+ "
                  "topology_strategy+ topology_assignments+")},
      {"workers",
       "list_workers",
       "workers",
       {"worker_id"},
       columns_of("worker_id! is_alive! worker_type! exit_type! node_id! ip! pid! exit_detail+ "
                  "worker_launch_time_ms+ worker_launched_time_ms+ start_time_ms+ end_time_ms+ debugger_port!+ "
                  "num_paused_threads!+ state!+ task_name!+ actor_id!+ job_id!+")},
      {"cluster_events",
       "list_cluster_events",
       "events",
       {"time"},
       columns_of("severity! time source_type! message event_id! custom_fields+")},
      {"runtime_envs",
       "list_workers",
       "workers",
       {"node_id"},
       columns_of("runtime_env! success! creation_time_ms node_id! ref_cnt+ error!+")},
  };
  return all;
}

const Table* table_named(std::string_view name) {
  const auto at = std::find_if(tables().begin(), tables().end(), [&](const Table& each) { return each.name == name; });
  return at == tables().end() ? nullptr : &*at;
}

static const Column* column_of(const Table& table, std::string_view name) {
  const auto at =
      std::find_if(table.columns.begin(), table.columns.end(), [&](const Column& each) { return each.name == name; });
  return at == table.columns.end() ? nullptr : &*at;
}

// ---- the query ---------------------------------------------------------------------------------------------

static Error wrong(std::string what) { return {ErrorCode::kFailed, std::move(what)}; }

static bool is_true(const std::string& text) { return text == "true" || text == "True" || text == "1"; }

static Status take_number(const Request& request, const char* name, size_t most, size_t* out) {
  if (!request.has_argument(name)) return ok_status();
  const std::string& text = request.argument(name);
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return wrong(std::string(name) + " must be a whole number, got '" + text + "'");
  if (value > most)
    return wrong("Given " + std::string(name) + " " + text + " exceeds the supported limit " + std::to_string(most) +
                 ". Use filters to ask for fewer rows.");
  *out = value;
  return ok_status();
}

static std::string filterable_names(const Table& table) {
  std::string out;
  for (const Column& column : table.columns)
    if (column.filterable) out += (out.empty() ? "" : ", ") + column.name;
  return out;
}

Result<Query> parse_query(const Request& request, const Table& table) {
  Query out;
  if (Status taken = take_number(request, "limit", kMostRows, &out.limit); !taken.ok()) return taken.error();
  if (Status taken = take_number(request, "offset", SIZE_MAX, &out.offset); !taken.ok()) return taken.error();
  out.detail = is_true(request.argument("detail"));
  out.descending = is_true(request.argument("descending"));
  out.sort_by = request.argument("sort_by");
  out.search = request.argument("search");
  if (!out.sort_by.empty() && column_of(table, out.sort_by) == nullptr)
    return wrong("sort_by: " + table.name + " have no column '" + out.sort_by + "'");
  const auto keys = request.arguments("filter_keys"), predicates = request.arguments("filter_predicates"),
             values = request.arguments("filter_values");
  if (keys.size() != predicates.size() || keys.size() != values.size())
    return wrong("filter_keys, filter_predicates and filter_values must be given equally often");
  for (size_t i = 0; i < keys.size(); ++i) {
    const Column* column = column_of(table, keys[i]);
    if (column == nullptr || !column->filterable)
      return wrong("Invalid filter key '" + keys[i] + "' for " + table.name + ": filter by one of " +
                   filterable_names(table));
    if (predicates[i] != "=" && predicates[i] != "!=" && predicates[i] != "~")
      return wrong("Invalid filter predicate '" + predicates[i] + "': use = or !=");
    out.conditions.push_back({keys[i], predicates[i], values[i]});
  }
  return out;
}

// ---- rows --------------------------------------------------------------------------------------------------

static std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

bool equals(const json::value& value, std::string_view wanted) {
  if (value.is_null()) return lower(wanted) == "none" || lower(wanted) == "null";
  if (value.is_bool())
    return lower(wanted) == (value.get_bool() ? "true" : "false") || wanted == (value.get_bool() ? "1" : "0");
  if (value.is_string()) return lower(value.get_string()) == lower(wanted);
  if (value.is_int64() || value.is_uint64() || value.is_double()) {
    double number = 0;
    const auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), number);
    return error == std::errc() && end == wanted.data() + wanted.size() && number == amount_of(value);
  }
  return lower(json::serialize(value)) == lower(wanted);
}

static std::string shown(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : value.is_null() ? std::string() : json::serialize(value);
}

static const json::value& at(const json::object& row, std::string_view key) {
  static const json::value null;
  const json::value* found = row.if_contains(key);
  return found ? *found : null;
}

static bool meets(const json::value& value, const Condition& condition) {
  if (condition.predicate == "~") return lower(shown(value)).find(lower(condition.value)) != std::string::npos;
  return equals(value, condition.value) == (condition.predicate == "=");
}

static bool is_less(const json::value& a, const json::value& b) {
  if (a.is_string() && b.is_string()) return a.get_string() < b.get_string();
  const auto is_number = [](const json::value& v) { return v.is_int64() || v.is_uint64() || v.is_double(); };
  if (is_number(a) && is_number(b)) return amount_of(a) < amount_of(b);
  if (is_number(a) != is_number(b)) return is_number(b) && a.is_null();
  return shown(a) < shown(b);
}

RowSource rows_in(const json::array& rows) {
  return {rows.size(), [&rows](size_t row, const std::string& column) {
            const json::object* object = rows[row].if_object();
            return object ? at(*object, column) : json::value();
          }};
}

RowSource rows_in(const flexbuffers::Vector& rows) {
  return {rows.size(),
          [rows](size_t row, const std::string& column) { return json_of(rows[row].AsMap()[column.c_str()]); }};
}

// What the node leaves empty becomes null.
static json::object trimmed(const RowSource& rows, size_t row, const Table& table, bool detail) {
  json::object out;
  out.reserve(table.columns.size());
  for (const Column& column : table.columns) {
    if (column.detail_only && !detail) continue;
    json::value value = rows.cell(row, column.name);
    const bool empty = value.is_string() && value.get_string().empty() && column.name != "name";
    out[column.name] = empty ? json::value(nullptr) : std::move(value);
  }
  return out;
}

// A row that was chosen, with what it is sorted by.
struct Chosen {
  size_t row;
  json::value by;
  std::vector<json::value> ids;
};

static void sort_rows(std::vector<Chosen>& rows, bool descending) {
  const auto before = [descending](const Chosen& a, const Chosen& b) {
    if (is_less(a.by, b.by)) return !descending;
    if (is_less(b.by, a.by)) return descending;
    return std::lexicographical_compare(a.ids.begin(), a.ids.end(), b.ids.begin(), b.ids.end(), is_less);
  };
  if (!std::is_sorted(rows.begin(), rows.end(), before)) std::sort(rows.begin(), rows.end(), before);
}

static bool is_chosen(const RowSource& rows, size_t row, const Table& table, const Query& query,
                      const std::string& searched) {
  for (const Condition& condition : query.conditions)
    if (!meets(rows.cell(row, condition.key), condition)) return false;
  return searched.empty() || std::any_of(table.columns.begin(), table.columns.end(), [&](const Column& column) {
           return lower(shown(rows.cell(row, column.name))).find(searched) != std::string::npos;
         });
}

Selection select_rows(const RowSource& rows, const Table& table, const Query& query) {
  Selection out;
  out.total = rows.count;
  std::vector<Chosen> chosen;
  const std::string searched = lower(query.search);
  for (size_t row = 0; row < rows.count; ++row) {
    if (!is_chosen(rows, row, table, query, searched)) continue;
    Chosen each{row, query.sort_by.empty() ? json::value() : rows.cell(row, query.sort_by), {}};
    for (const std::string& id : table.ids) each.ids.push_back(rows.cell(row, id));
    chosen.push_back(std::move(each));
  }
  out.filtered = chosen.size();
  sort_rows(chosen, query.descending);
  for (size_t i = query.offset; i < chosen.size() && out.rows.size() < query.limit; ++i)
    out.rows.push_back(trimmed(rows, chosen[i].row, table, query.detail));
  return out;
}

// ---- answers -----------------------------------------------------------------------------------------------

json::object enveloped(bool good, std::string message, json::value data) {
  return {{"result", good}, {"msg", std::move(message)}, {"data", std::move(data)}};
}

json::object listed(Selection selection) {
  json::object result = {{"total", selection.total},           {"num_after_truncation", selection.total},
                         {"num_filtered", selection.filtered}, {"result", std::move(selection.rows)},
                         {"partial_failure_warning", ""},      {"warnings", nullptr}};
  return enveloped(true, "", {{"result", std::move(result)}});
}

static json::object summarized(size_t rows, json::object cluster) {
  json::object result = {{"total", rows},
                         {"num_after_truncation", rows},
                         {"num_filtered", rows},
                         {"result", {{"node_id_to_summary", {{"cluster", std::move(cluster)}}}}},
                         {"partial_failure_warning", ""},
                         {"warnings", nullptr}};
  return enveloped(true, "", {{"result", std::move(result)}});
}

static void count(json::object& counts, std::string_view name, int64_t by = 1) {
  json::value& value = counts[name];
  value = by + (value.is_int64() ? value.get_int64() : 0);
}

json::object summarize_tasks(const json::array& rows) {
  json::object by_name;
  size_t tasks = 0, calls = 0, actors = 0;
  for (const json::value& value : rows) {
    const json::object& row = value.get_object();
    const std::string name = text_at(row, "func_or_class_name"), type = text_at(row, "type");
    json::value& entry = by_name[name];
    if (!entry.is_object()) entry = {{"func_or_class_name", name}, {"type", type}, {"state_counts", json::object()}};
    count(entry.get_object()["state_counts"].get_object(), text_at(row, "state"));
    ++(type == "ACTOR_TASK" ? calls : type == "ACTOR_CREATION_TASK" ? actors : tasks);
  }
  return summarized(rows.size(), {{"summary", std::move(by_name)},
                                  {"total_tasks", tasks},
                                  {"total_actor_tasks", calls},
                                  {"total_actor_scheduled", actors},
                                  {"summary_by", "func_name"}});
}

json::object task_summary(const json::object& counted) {
  json::object by_name;
  int64_t rows = 0;
  if (const json::value* summary = counted.if_contains("summary"); summary && summary->is_array())
    for (const json::value& row : summary->get_array()) by_name[text_at(row.get_object(), "func_or_class_name")] = row;
  json::object cluster = {{"summary", std::move(by_name)}, {"summary_by", "func_name"}};
  for (const char* key : {"total_tasks", "total_actor_tasks", "total_actor_scheduled"}) {
    cluster[key] = number_at(counted, key, 0);
    rows += number_at(counted, key, 0);
  }
  return summarized(static_cast<size_t>(rows), std::move(cluster));
}

json::object summarize_actors(const json::array& rows) {
  json::object by_class;
  int64_t actors = 0;
  for (const json::value& value : rows) {
    const json::object& row = value.get_object();
    const std::string name = text_at(row, "class_name");
    const int64_t stands_for = number_at(row, "count", 1);
    json::value& entry = by_class[name];
    if (!entry.is_object()) entry = {{"class_name", name}, {"state_counts", json::object()}};
    count(entry.get_object()["state_counts"].get_object(), text_at(row, "state"), stands_for);
    actors += stands_for;
  }
  return summarized(static_cast<size_t>(actors),
                    {{"summary", std::move(by_class)}, {"total_actors", actors}, {"summary_by", "class"}});
}

json::object actor_summary(const json::object& counted) { return summarize_actors(array_at(counted, "summary")); }

json::object summarize_objects(const json::array& rows) {
  struct Place {
    size_t objects = 0;
    double bytes = 0;
    std::set<std::string> workers, nodes;
    json::object states, attempts, references;
  };
  std::map<std::string, Place> places;
  double all_bytes = 0;
  for (const json::value& value : rows) {
    const json::object& row = value.get_object();
    const std::string site = text_at(row, "call_site");
    Place& place = places[site.empty() ? "disabled" : site];
    const double bytes = amount_of(at(row, "object_size"));
    ++place.objects;
    place.bytes += bytes;
    all_bytes += bytes;
    place.workers.insert(shown(at(row, "pid")));
    place.nodes.insert(text_at(row, "ip"));
    count(place.states, text_at(row, "task_status"));
    count(place.attempts, shown(at(row, "attempt_number")));
    count(place.references, text_at(row, "reference_type"));
  }
  json::object summary;
  for (auto& [site, place] : places)
    summary[site] = {{"total_objects", place.objects},
                     {"total_size_mb", place.bytes / (1 << 20)},
                     {"total_num_workers", place.workers.size()},
                     {"total_num_nodes", place.nodes.size()},
                     {"task_state_counts", std::move(place.states)},
                     {"task_attempt_number_counts", std::move(place.attempts)},
                     {"ref_type_counts", std::move(place.references)}};
  return summarized(rows.size(), {{"summary", std::move(summary)},
                                  {"total_objects", rows.size()},
                                  {"total_size_mb", all_bytes / (1 << 20)},
                                  {"callsite_enabled", false},
                                  {"summary_by", "callsite"}});
}

}  // namespace narke::gateway
