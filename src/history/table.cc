#include "history/table.h"

#include <algorithm>

#include "history/rows.h"

namespace narke::history {

// ---- rows under way ----------------------------------------------------------------------------------------

TaskView TaskTable::view_of(const Live& live) {
  return view_of(live.record, live.origin(), live.runner != nullptr, live.name, live.failure);
}

TaskView TaskTable::view_of(const Record& record, const OriginPtr& origin, bool placed, const NamePtr& name,
                            const FailurePtr& failure) {
  TaskView view;
  view.task = TaskId::from_bytes({reinterpret_cast<const char*>(record.task), TaskId::kSize});
  view.parent = TaskId::from_bytes({reinterpret_cast<const char*>(record.parent), TaskId::kSize});
  view.actor = ActorId::from_bytes({reinterpret_cast<const char*>(record.actor), ActorId::kSize});
  view.origin = &origin;
  view.placed = placed;
  view.name = &name;
  view.failure = &failure;
  copy_times(view, record);
  view.attempt = record.attempt;
  view.kind = record.kind;
  view.state = record.state;
  return view;
}

// Whoever knows when it began runs it.
void TaskTable::merge(Live& live, const OriginPtr& origin, const Record& record, const NamePtr& name,
                      const FailurePtr& failure) {
  const bool is_new = !live.submitter && !live.runner;
  Record merged = is_new ? record : live.record;
  if (!is_new) {
    merged.state = std::max(merged.state, record.state);
    for (const auto time : {&Record::created_us, &Record::ready_us, &Record::pushed_us, &Record::began_us})
      if (merged.*time == 0) merged.*time = record.*time;
    if (record.ended_us != 0) merged.ended_us = record.ended_us;
  }
  live.record = merged;
  (record.began_us != 0 ? live.runner : live.submitter) = origin;
  if (!live.name || record.began_us != 0) live.name = name;
  if (failure) live.failure = failure;
}

void TaskTable::unindex(const Key& key, const Live& live) {
  const auto at = live.origin() ? of_program_.find(live.program()) : of_program_.end();
  if (at == of_program_.end()) return;
  at->second.erase(key);
  if (at->second.empty()) of_program_.erase(at);
}

TaskTable::Live TaskTable::take(UnderWay::iterator at) {
  unindex(at->first, at->second);
  Live live = std::move(at->second);
  --numbers_[number_of(at->first.task) % kNumbers];
  under_way_.erase(at);
  return live;
}

static uint64_t mixed(size_t hash) { return hash * 0x9e3779b97f4a7c15ull | 1; }

bool TaskTable::failed_lately(const Key& key) const {
  const uint64_t hash = mixed(KeyHash{}(key));
  return recent_[(hash >> 20) % kRecent] == hash;
}

void TaskTable::add(const OriginPtr& origin, const Record& record, const NamePtr& name, const FailurePtr& failure) {
  const Key key{TaskId::from_bytes({reinterpret_cast<const char*>(record.task), TaskId::kSize}), record.attempt};
  const bool is_profile = record.kind == Kind::kProfile;
  const bool is_submitters = !is_profile && record.began_us == 0;
  if (is_submitters && failed_lately(key)) return;
  if (is_submitters && record.state == State::kFinished) return forget_waiting(key);
  if (!is_profile && !is_final(record.state)) {
    const auto [at, is_new] = under_way_.try_emplace(key);
    if (is_new) ++numbers_[number_of(key.task) % kNumbers];
    unindex(key, at->second);
    merge(at->second, origin, record, name, failure);
    of_program_[at->second.program()].insert(key);
    if (under_way_.size() <= limits_.under_way) return;
    take(at);
    ++lost_;
    return;
  }
  // Most have begun and ended between two batches: nothing to merge.
  const auto at = is_profile || under_way_.empty() ? under_way_.end() : under_way_.find(key);
  if (at == under_way_.end()) return end(view_of(record, origin, record.began_us != 0, name, failure));
  Live live = take(at);
  merge(live, origin, record, name, failure);
  end(view_of(live));
}

// Nothing of it needs a look at what others have said.
bool TaskTable::can_be_taken_over(const Batch& batch) const {
  if (!batch.is_plain() || batch.row_count() < kFewRows) return false;
  return under_way_.empty() || skim(batch.row_bytes(), batch.row_count(),
                                    [&](uint64_t number, uint64_t, bool) { return !may_be_under_way(number); });
}

void TaskTable::add(const OriginPtr& origin, const Batch& batch, const std::vector<NamePtr>& names,
                    const std::vector<FailurePtr>& failures) {
  if (can_be_taken_over(batch)) {
    std::vector<TaskView> places;
    for (const Record& common : batch.common())
      places.push_back(view_of(common, origin, true, names[common.name], failures[common.failure]));
    room().append(batch, places);
    ended_ += batch.row_count();
    forget_oldest();
  } else {
    RowReader rows = batch.rows();
    for (Row row; rows.next(&row);) {
      const Record& common = batch.common()[row.place];
      add(origin, batch.record_of(row), names[common.name], failures[common.failure]);
    }
  }
  for (const Record& record : batch.whole()) add(origin, record, names[record.name], failures[record.failure]);
}

// It may have been told of as waiting after the worker had told of its end.
void TaskTable::forget_waiting(const Key& key) {
  const auto at = under_way_.find(key);
  if (at != under_way_.end() && !at->second.runner) take(at);
}

void TaskTable::end(const TaskView& view) {
  append(view);
  if (view.state != State::kFailed) return;  // others are said by the worker alone, in order
  const uint64_t hash = mixed(KeyHash{}({view.task, view.attempt}));
  recent_[(hash >> 20) % kRecent] = hash;
}

void TaskTable::end_program(const WorkerId& program, int64_t now_us, const FailurePtr& failure) {
  const auto at = of_program_.find(program);
  if (at == of_program_.end()) return;
  const std::unordered_set<Key, KeyHash> gone = at->second;
  for (const Key& key : gone) fail(key, now_us, failure);
}

void TaskTable::end_attempt(const TaskId& task, int attempt, int64_t now_us, const FailurePtr& failure) {
  fail({task, attempt}, now_us, failure);
}

void TaskTable::fail(const Key& key, int64_t now_us, const FailurePtr& failure) {
  const auto at = under_way_.find(key);
  if (at == under_way_.end()) return;
  Live live = take(at);
  live.record.state = State::kFailed;
  live.record.ended_us = now_us;
  live.failure = failure;
  end(view_of(live));
}

// ---- rows that ended ---------------------------------------------------------------------------------------

Chunk& TaskTable::room() {
  if (!chunks_.empty() && !chunks_.back().is_full()) return chunks_.back();
  if (!chunks_.empty()) {
    if (written_rows_ < chunks_.back().size()) unwritten_.push_back(chunks_.back().encode(written_rows_));
    chunks_.back().seal();
  }
  written_rows_ = 0;
  return chunks_.emplace_back();
}

void TaskTable::forget_oldest() {
  while (ended_ > limits_.ended && chunks_.size() > 1) {
    ended_ -= chunks_.front().size();
    chunks_.pop_front();
  }
}

void TaskTable::append(const TaskView& task) {
  room().add(task);
  ++ended_;
  forget_oldest();
}

void TaskTable::load(Chunk chunk) {
  ended_ += chunk.size();
  written_rows_ = chunk.size();
  chunk.seal();
  chunks_.push_back(std::move(chunk));
  forget_oldest();
}

std::vector<std::string> TaskTable::take_unwritten() {
  if (!chunks_.empty() && written_rows_ < chunks_.back().size()) {
    unwritten_.push_back(chunks_.back().encode(written_rows_));
    written_rows_ = chunks_.back().size();
  }
  return std::exchange(unwritten_, {});
}

void TaskTable::visit(const std::function<bool(const TaskView&)>& use) const {
  std::vector<const Live*> live;
  for (const auto& [key, each] : under_way_) live.push_back(&each);
  std::sort(live.begin(), live.end(), [](const Live* a, const Live* b) {
    if (a->record.created_us != b->record.created_us) return a->record.created_us > b->record.created_us;
    return std::memcmp(a->record.task, b->record.task, TaskId::kSize) < 0;
  });
  for (const Live* each : live)
    if (!use(view_of(*each))) return;
  std::vector<Row> rows;
  for (auto chunk = chunks_.rbegin(); chunk != chunks_.rend(); ++chunk) {
    chunk->read(&rows);
    for (auto row = rows.rbegin(); row != rows.rend(); ++row)
      if (!use(chunk->view_of(*row))) return;
  }
}

size_t TaskTable::bytes() const {
  size_t total = under_way_.size() * (sizeof(Live) + sizeof(Key) + 32) + recent_.size() * sizeof(uint64_t);
  for (const Chunk& chunk : chunks_) total += chunk.bytes();
  return total;
}

}  // namespace narke::history
