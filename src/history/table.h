// The tasks of a node: those that are under way, and as many of those that have ended as fit.
//
// Problem: a million ended tasks must be kept in little memory and looked through in a fraction of a second. So ended
// ones lie in chunks of rows (rows.h) that point into small dictionaries of their own: forgetting a chunk forgets its
// words, and a chunk written out is a block that can be read alone (segments.h). Those under way are few and are
// merged from what several programs say of them.
// Pure: no clock, no file. One owner at a time.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/id.h"
#include "history/batch.h"

namespace narke::history {

// A program that said something of a task.
struct Origin {
  WorkerId worker;
  NodeId node;
  JobId job;
  int pid = 0;
};
using OriginPtr = std::shared_ptr<const Origin>;

struct Name {
  std::string name;      // shown to people
  std::string function;  // "module.function" or "Class.method"
  std::vector<std::pair<std::string, int64_t>> resources;  // in 1/10,000 units
};
using NamePtr = std::shared_ptr<const Name>;

struct Failure {
  std::string type, message;
};
using FailurePtr = std::shared_ptr<const Failure>;

// One attempt of a task as it is looked at; what it points to lives as long as the table is not changed.
struct TaskView {
  TaskId task, parent;
  ActorId actor;
  const OriginPtr* origin = nullptr;  // who runs or ran it; not placed: who submitted it
  bool placed = false;
  const NamePtr* name = nullptr;
  const FailurePtr* failure = nullptr;  // may point to null
  int64_t created_us = 0, ready_us = 0, pushed_us = 0, began_us = 0, ended_us = 0;
  int attempt = 0;
  Kind kind = Kind::kTask;
  State state = State::kPendingArgs;
};

class Chunk {
 public:
  static constexpr size_t kMostRows = 4096;

  size_t size() const { return rows_.size(); }
  bool is_full() const { return rows_.size() >= kMostRows; }
  void add(const TaskView& task);
  // All rows of a batch; what each place of it stands for.
  void append(const Batch& batch, const std::vector<TaskView>& places);
  // All rows in their order; what they point to lives as long as the chunk.
  void read(std::vector<Row>* out) const;
  TaskView view_of(const Row& row) const;
  // No row follows: what only adding needs is freed.
  void seal();
  size_t bytes() const;  // of memory, roughly

  // The rows from `first` on as a block of bytes.
  std::string encode(size_t first) const;
  // False: the bytes are no block.
  static bool decode(std::string_view bytes, Chunk* out);

 private:
  using Suffix = Id<struct SuffixTag, 16>;  // of task ids: they begin with a count and end with who counted
  // What rows share: places in the dictionaries, and small things.
  struct Like {
    uint16_t task_suffix, parent, actor, origin, name, failure, attempt;
    Kind kind;
    State state : 6;
    bool placed : 1;
    bool operator==(const Like&) const = default;
  };
  static_assert(sizeof(Like) == 16);
  struct Index;  // from words to their places in the dictionaries, while rows are added

  Index& index();
  Like like(const TaskView& task);
  uint64_t place_of(const TaskView& task);
  bool is_sound() const;

  RowWriter rows_;
  std::vector<Like> likes_;
  std::vector<Suffix> suffixes_;
  std::vector<TaskId> parents_;
  std::vector<ActorId> actors_;
  std::vector<OriginPtr> origins_;
  std::vector<NamePtr> names_;
  std::vector<FailurePtr> failures_{nullptr};
  std::shared_ptr<Index> index_;
};

class TaskTable {
 public:
  struct Limits {
    size_t ended = 1'000'000;
    size_t under_way = 100'000;
  };
  TaskTable() : TaskTable(Limits{}) {}
  explicit TaskTable(Limits limits) : limits_(limits), recent_(kRecent) {}

  // What `origin` says of an attempt. Late news of one that has ended changes nothing.
  void add(const OriginPtr& origin, const Record& record, const NamePtr& name, const FailurePtr& failure);
  // The same of a whole batch, without looking at each record of what nobody else has told of.
  // REQUIRES: names and failures hold what the batch refers to.
  void add(const OriginPtr& origin, const Batch& batch, const std::vector<NamePtr>& names,
           const std::vector<FailurePtr>& failures);
  // A program is gone: what it ran, and what it had submitted and nobody runs, has failed.
  void end_program(const WorkerId& program, int64_t now_us, const FailurePtr& failure);
  // An attempt that will never run, or was stopped, if it is under way.
  void end_attempt(const TaskId& task, int attempt, int64_t now_us, const FailurePtr& failure);
  // Records that never arrived.
  void count_lost(uint64_t records) { lost_ += records; }
  // A chunk that was read back.
  void load(Chunk chunk);

  // Every attempt, those under way first, then the latest to end first, until `use` returns false.
  void visit(const std::function<bool(const TaskView&)>& use) const;
  size_t size() const { return ended_ + under_way_.size(); }
  size_t under_way() const { return under_way_.size(); }
  uint64_t lost() const { return lost_; }
  // Attempts that ended since the last call, as blocks of bytes to be written; empty when there are none.
  std::vector<std::string> take_unwritten();
  size_t bytes() const;

 private:
  static constexpr size_t kRecent = 1 << 14, kNumbers = 1 << 12;
  static constexpr size_t kFewRows = 16;  // such batches become rows one by one, in less memory
  struct Key {
    TaskId task;
    int attempt;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      return std::hash<TaskId>{}(key.task) * 31 + static_cast<size_t>(key.attempt);
    }
  };
  struct Live {
    Record record;
    OriginPtr submitter, runner;
    NamePtr name;
    FailurePtr failure;
    const OriginPtr& origin() const { return runner ? runner : submitter; }
    const WorkerId& program() const { return origin()->worker; }
  };
  using UnderWay = std::unordered_map<Key, Live, KeyHash>;
  static TaskView view_of(const Record& record, const OriginPtr& origin, bool placed, const NamePtr& name,
                          const FailurePtr& failure);
  static TaskView view_of(const Live& live);
  bool may_be_under_way(uint64_t number) const { return numbers_[number % kNumbers] != 0; }
  bool can_be_taken_over(const Batch& batch) const;
  static void merge(Live& live, const OriginPtr& origin, const Record& record, const NamePtr& name,
                    const FailurePtr& failure);
  void end(const TaskView& view);
  void forget_waiting(const Key& key);
  Live take(UnderWay::iterator at);
  void unindex(const Key& key, const Live& live);
  void fail(const Key& key, int64_t now_us, const FailurePtr& failure);
  void append(const TaskView& task);
  // The chunk that the next row goes to.
  Chunk& room();
  void forget_oldest();
  bool failed_lately(const Key& key) const;

  Limits limits_;
  UnderWay under_way_;
  std::array<uint32_t, kNumbers> numbers_{};  // of those under way, how many have a number like this
  std::unordered_map<WorkerId, std::unordered_set<Key, KeyHash>> of_program_;  // who runs or else submitted it
  std::vector<uint64_t> recent_;  // hashes of attempts that failed lately, by their lower bits
  std::deque<Chunk> chunks_;      // oldest first; the last one grows
  size_t ended_ = 0;
  std::vector<std::string> unwritten_;
  size_t written_rows_ = 0;  // of the last chunk
  uint64_t lost_ = 0;
};

}  // namespace narke::history
