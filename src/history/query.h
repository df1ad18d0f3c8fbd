// Questions about the tasks of a table: filters, pages, counts, and the answers as FlexBuffers.
//
// The node and the reader of written histories answer with the same functions. A body holds `filters` (a list of
// [column, "=" or "!=", value]), `limit` (default and most: kMostRows), `offset`, `detail` and `exclude_driver`;
// columns and words are those of Ray's state API. Texts compare without regard to case.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <flatbuffers/flexbuffers.h>

#include "base/result.h"
#include "history/table.h"

namespace narke::history {

inline constexpr int64_t kMostRows = 10'000;

enum class Column : uint8_t {
  kTaskId,
  kAttempt,
  kName,
  kState,
  kJobId,
  kActorId,
  kType,
  kFunction,
  kParentTaskId,
  kNodeId,
  kWorkerId,
  kWorkerPid,
  kErrorType,
  kLanguage,
};

struct Filter {
  Column column;
  bool equal;         // false: rows that differ
  std::string value;  // lower case
};

class Query {
 public:
  // Whether the worker waits in get or wait: its task is then RUNNING_IN_RAY_GET. Null: nobody knows.
  using IsBlocked = std::function<bool(const WorkerId&)>;

  // Fails on unknown columns and operators and on malformed values, with what there is.
  static Result<Query> parse(const flexbuffers::Map& body, IsBlocked is_blocked = nullptr);

  bool meets(const TaskView& task) const;
  std::string_view state_of(const TaskView& task) const;

  int64_t limit = kMostRows, offset = 0;
  bool detail = false;

 private:
  bool equals(const Filter& filter, const TaskView& task) const;

  std::vector<Filter> filters_;
  IsBlocked is_blocked_;
};

// {tasks: [row...], total, num_filtered, lost}: of `num_filtered` rows that meet the filters those of the page.
void list_tasks(const TaskTable& table, const Query& query, flexbuffers::Builder& out);
// {summary: [{func_or_class_name, type, state_counts}...], total_tasks, total_actor_tasks, total_actor_scheduled}.
void summarize_tasks(const TaskTable& table, const Query& query, flexbuffers::Builder& out);
// {events: [{name, kind, node_id, worker_id, pid, task_id, start_us, end_us, ...}...]}: what ran when, and profiles.
void task_events(const TaskTable& table, const Query& query, flexbuffers::Builder& out);

}  // namespace narke::history
