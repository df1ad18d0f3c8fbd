#include "history/query.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

namespace narke::history {
namespace {

struct ColumnName {
  std::string_view name;
  Column column;
  size_t id_size;  // bytes of the ids in it; 0: no ids
};
constexpr std::array kColumns = {
    ColumnName{"task_id", Column::kTaskId, TaskId::kSize},
    ColumnName{"attempt_number", Column::kAttempt, 0},
    ColumnName{"name", Column::kName, 0},
    ColumnName{"state", Column::kState, 0},
    ColumnName{"job_id", Column::kJobId, JobId::kSize},
    ColumnName{"actor_id", Column::kActorId, ActorId::kSize},
    ColumnName{"type", Column::kType, 0},
    ColumnName{"func_or_class_name", Column::kFunction, 0},
    ColumnName{"parent_task_id", Column::kParentTaskId, TaskId::kSize},
    ColumnName{"node_id", Column::kNodeId, NodeId::kSize},
    ColumnName{"worker_id", Column::kWorkerId, WorkerId::kSize},
    ColumnName{"worker_pid", Column::kWorkerPid, 0},
    ColumnName{"error_type", Column::kErrorType, 0},
    ColumnName{"language", Column::kLanguage, 0},
};

const ColumnName* column_named(std::string_view name) {
  const auto at = std::find_if(kColumns.begin(), kColumns.end(), [&](const ColumnName& c) { return c.name == name; });
  return at == kColumns.end() ? nullptr : &*at;
}

std::string all_columns() {
  std::string out;
  for (const ColumnName& column : kColumns) out += (out.empty() ? "" : ", ") + std::string(column.name);
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool same(std::string_view text, std::string_view lowered) {
  return text.size() == lowered.size() && std::equal(text.begin(), text.end(), lowered.begin(), [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == b;
         });
}

bool is_nothing(std::string_view value) {
  return value.empty() || value == "none" || value == "null" || value == "nil";
}

// `value` holds an id in hexadecimal digits.
template <class IdType>
bool same_id(const IdType& id, bool known, std::string_view value) {
  if (!known || id.is_nil()) return is_nothing(value);
  static constexpr char kDigits[] = "0123456789abcdef";
  if (value.size() != 2 * IdType::kSize) return false;
  for (size_t i = 0; i < IdType::kSize; ++i)
    if (value[2 * i] != kDigits[id.data()[i] >> 4] || value[2 * i + 1] != kDigits[id.data()[i] & 15]) return false;
  return true;
}

std::string text_of(const flexbuffers::Reference& value) {
  if (value.IsString() || value.IsKey()) return value.AsString().str();
  if (value.IsBool()) return value.AsBool() ? "true" : "false";
  return value.IsNull() ? "none" : value.ToString();
}

Result<Filter> filter_of(const flexbuffers::Reference& value) {
  const flexbuffers::Vector parts = value.IsAnyVector() ? value.AsVector() : flexbuffers::Vector::EmptyVector();
  if (parts.size() != 3)
    return Error{ErrorCode::kRefused, "A filter is [column, '=' or '!=', value], got " + value.ToString() + "."};
  const std::string name = text_of(parts[0]), op = text_of(parts[1]);
  const ColumnName* column = column_named(name);
  if (column == nullptr)
    return Error{ErrorCode::kRefused,
                 "Tasks have no column '" + name + "' to filter by; choose among " + all_columns() + "."};
  if (op != "=" && op != "!=")
    return Error{ErrorCode::kRefused, "Unknown operator '" + op + "' in a filter; there are '=' and '!='."};
  Filter filter{column->column, op == "=", lower(text_of(parts[2]))};
  const bool is_hex = filter.value.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (column->id_size != 0 && !is_nothing(filter.value) && !(is_hex && filter.value.size() == 2 * column->id_size))
    return Error{ErrorCode::kRefused, "'" + filter.value + "' is no " + name + ": these have " +
                                          std::to_string(2 * column->id_size) + " hexadecimal digits."};
  return filter;
}

}  // namespace

Result<Query> Query::parse(const flexbuffers::Map& body, IsBlocked is_blocked) {
  Query query;
  query.is_blocked_ = std::move(is_blocked);
  if (const auto filters = body["filters"]; filters.IsAnyVector()) {
    const flexbuffers::Vector list = filters.AsVector();
    for (size_t i = 0; i < list.size(); ++i) {
      Result<Filter> filter = filter_of(list[i]);
      if (!filter) return filter.error();
      query.filters_.push_back(std::move(filter).value());
    }
  } else if (!filters.IsNull()) {
    return Error{ErrorCode::kRefused, "filters must be a list of [column, '=' or '!=', value]."};
  }
  for (const auto& [key, field] : {std::pair("limit", &query.limit), std::pair("offset", &query.offset)}) {
    const auto value = body[key];
    if (value.IsNull()) continue;
    if (!value.IsIntOrUint() || value.AsInt64() < 0)
      return Error{ErrorCode::kRefused, std::string(key) + " must be a number of 0 or more."};
    *field = value.AsInt64();
  }
  query.limit = std::min(query.limit, kMostRows);
  query.detail = body["detail"].IsBool() && body["detail"].AsBool();
  return query;
}

std::string_view Query::state_of(const TaskView& task) const {
  if (task.state == State::kRunning && is_blocked_ && is_blocked_((*task.origin)->worker)) return "RUNNING_IN_RAY_GET";
  return name_of(task.state);
}

bool Query::equals(const Filter& filter, const TaskView& task) const {
  const Origin& origin = **task.origin;
  const std::string& value = filter.value;
  switch (filter.column) {
    case Column::kTaskId: return same_id(task.task, true, value);
    case Column::kAttempt: return value == std::to_string(task.attempt);
    case Column::kName: return same((*task.name)->name, value);
    case Column::kState: return same(state_of(task), value);
    case Column::kJobId: return same_id(origin.job, true, value);
    case Column::kActorId: return same_id(task.actor, true, value);
    case Column::kType: return same(name_of(task.kind), value);
    case Column::kFunction: return same((*task.name)->function, value);
    case Column::kParentTaskId: return same_id(task.parent, true, value);
    case Column::kNodeId: return same_id(origin.node, task.placed, value);
    case Column::kWorkerId: return same_id(origin.worker, task.placed, value);
    case Column::kWorkerPid: return task.placed ? value == std::to_string(origin.pid) : is_nothing(value);
    case Column::kErrorType: return *task.failure ? same((*task.failure)->type, value) : is_nothing(value);
    case Column::kLanguage: return value == "python";
  }
  return false;
}

bool Query::meets(const TaskView& task) const {
  return std::all_of(filters_.begin(), filters_.end(),
                     [&](const Filter& filter) { return equals(filter, task) == filter.equal; });
}

// ---- rows --------------------------------------------------------------------------------------------------

using Out = flexbuffers::Builder;

static void put_id(Out& out, const char* key, std::string hex, bool known) {
  if (known)
    out.String(key, hex);
  else
    out.Null(key);
}

static void put_time_ms(Out& out, const char* key, int64_t time_us) {
  if (time_us == 0)
    out.Null(key);
  else
    out.Int(key, time_us / 1000);
}

static void put_events(Out& out, const TaskView& task) {
  const auto put = [&out](State state, int64_t time_us) {
    if (time_us == 0) return;
    out.Map([&] {
      out.String("state", std::string(name_of(state)));
      out.Int("created_ms", time_us / 1000);
      out.Int("created_us", time_us);
    });
  };
  const size_t start = out.StartVector("events");
  put(State::kPendingArgs, task.created_us);
  put(State::kPendingNode, task.ready_us != 0 ? task.ready_us : task.state > State::kPendingArgs ? task.created_us : 0);
  put(State::kSubmitted, task.pushed_us);
  put(State::kRunning, task.began_us);
  if (is_final(task.state)) put(task.state, task.ended_us);
  out.EndVector(start, false, false);
}

static void put_details(Out& out, const TaskView& task) {
  put_time_ms(out, "creation_time_ms", task.created_us);
  put_time_ms(out, "start_time_ms", task.began_us);
  put_time_ms(out, "end_time_ms", task.ended_us);
  out.String("language", "PYTHON");
  out.Map("required_resources", [&] {
    static constexpr double kUnits = 10'000;
    for (const auto& [name, amount] : (*task.name)->resources)
      out.Double(name.c_str(), static_cast<double>(amount) / kUnits);
  });
  put_events(out, task);
  if (*task.failure)
    out.String("error_message", (*task.failure)->message);
  else
    out.Null("error_message");
}

static void put_row(Out& out, const TaskView& task, const Query& query) {
  const Origin& origin = **task.origin;
  out.Map([&] {
    out.String("task_id", task.task.hex());
    out.Int("attempt_number", task.attempt);
    out.String("name", (*task.name)->name);
    out.String("func_or_class_name", (*task.name)->function);
    out.String("state", std::string(query.state_of(task)));
    out.String("type", std::string(name_of(task.kind)));
    out.String("job_id", origin.job.hex());
    put_id(out, "actor_id", task.actor.hex(), !task.actor.is_nil());
    out.String("parent_task_id", task.parent.hex());
    put_id(out, "node_id", origin.node.hex(), task.placed);
    put_id(out, "worker_id", origin.worker.hex(), task.placed);
    if (task.placed)
      out.Int("worker_pid", origin.pid);
    else
      out.Null("worker_pid");
    if (*task.failure)
      out.String("error_type", (*task.failure)->type);
    else
      out.Null("error_type");
    if (query.detail) put_details(out, task);
  });
}

void list_tasks(const TaskTable& table, const Query& query, Out& out) {
  int64_t total = 0, met = 0;
  const size_t start = out.StartVector("tasks");
  table.visit([&](const TaskView& task) {
    if (task.kind == Kind::kProfile) return true;
    ++total;
    if (!query.meets(task)) return true;
    if (++met > query.offset && met <= query.offset + query.limit) put_row(out, task, query);
    return true;
  });
  out.EndVector(start, false, false);
  out.Int("total", total);
  out.Int("num_filtered", met);
  out.UInt("lost", table.lost());
}

// ---- counts ------------------------------------------------------------------------------------------------

namespace {

struct Counts {
  Kind kind = Kind::kTask;
  std::map<std::string_view, int64_t> by_state;
};

}  // namespace

void summarize_tasks(const TaskTable& table, const Query& query, Out& out) {
  std::unordered_map<std::string_view, Counts> by_function;
  int64_t totals[4] = {};
  const Name* last = nullptr;
  Counts* counts = nullptr;
  table.visit([&](const TaskView& task) {
    if (task.kind == Kind::kProfile || !query.meets(task)) return true;
    ++totals[static_cast<size_t>(task.kind)];
    if (const Name* name = task.name->get(); name != last) {
      last = name;
      const auto [at, is_new] = by_function.try_emplace(name->function);
      counts = &at->second;
      if (is_new) counts->kind = task.kind;
    }
    ++counts->by_state[query.state_of(task)];
    return true;
  });
  const size_t start = out.StartVector("summary");
  for (const auto& [function, row] : by_function)
    out.Map([&] {
      out.String("func_or_class_name", std::string(function));
      out.String("type", std::string(name_of(row.kind)));
      out.Map("state_counts", [&] {
        for (const auto& [state, count] : row.by_state) out.Int(std::string(state).c_str(), count);
      });
    });
  out.EndVector(start, false, false);
  out.Int("total_tasks", totals[static_cast<size_t>(Kind::kTask)]);
  out.Int("total_actor_tasks", totals[static_cast<size_t>(Kind::kActorTask)]);
  out.Int("total_actor_scheduled", totals[static_cast<size_t>(Kind::kActorCreation)]);
  out.UInt("lost", table.lost());
}

void task_events(const TaskTable& table, const Query& query, Out& out) {
  int64_t met = 0;
  const size_t start = out.StartVector("events");
  table.visit([&](const TaskView& task) {
    if (task.began_us == 0 || !task.placed || !query.meets(task)) return true;
    if (++met <= query.offset) return true;
    if (met > query.offset + query.limit) return false;
    const Origin& origin = **task.origin;
    out.Map([&] {
      out.String("name", (*task.name)->name);
      out.String("func_or_class_name", (*task.name)->function);
      out.String("type", std::string(name_of(task.kind)));
      out.String("state", std::string(name_of(task.state)));
      out.String("node_id", origin.node.hex());
      out.String("worker_id", origin.worker.hex());
      out.String("job_id", origin.job.hex());
      out.String("task_id", task.task.hex());
      out.Int("attempt_number", task.attempt);
      out.Int("pid", origin.pid);
      out.Int("start_us", task.began_us);
      out.Int("end_us", task.ended_us);
      if (task.kind == Kind::kProfile && *task.failure) out.String("extra", (*task.failure)->message);
    });
    return true;
  });
  out.EndVector(start, false, false);
}

}  // namespace narke::history
