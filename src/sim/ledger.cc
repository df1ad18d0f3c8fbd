#include "sim/ledger.h"

#include <array>

namespace narke::sim {

void Ledger::task_begins(uint32_t index) {
  Task& task = tasks[index];
  ++task.begun;
  ++executions;
  if (task.begun > 1) ++retried;
  expect(task.begun <= task.max_retries + 1, "task " + std::to_string(index) + " was begun " +
                                                 std::to_string(task.begun) + " times with " +
                                                 std::to_string(task.max_retries) + " retries");
}

void Ledger::task_ends(uint32_t index, Outcome outcome) {
  if (is_closed) return;
  Task& task = tasks[index];
  expect(task.outcome == Outcome::kOpen || task.outcome == Outcome::kOrphaned, "a task ended twice");
  if (task.outcome == Outcome::kOpen) task.outcome = outcome;
}

void Ledger::actor_begins(const ActorId& id, int incarnation, const WorkerId& worker) {
  ActorRecord& actor = actors[by_id.at(id)];
  ++actor_starts;
  const std::string who = "actor " + id.hex().substr(0, 8);
  expect(actor.begun.insert(incarnation).second,
         who + " was begun twice as incarnation " + std::to_string(incarnation));
  actor.instances[incarnation] = worker;
}

void Ledger::actor_process_gone(const ActorId& id, int incarnation) {
  actors[by_id.at(id)].instances.erase(incarnation);
}

void Ledger::call_begins(uint32_t index) {
  Call& call = calls[index];
  ++call.begun;
  ++call_runs;
  expect(call.begun == 1 || actors[call.actor].call_retries, "a call without retries was run twice");
}

void Ledger::call_ends(uint32_t index, Outcome outcome) {
  if (is_closed) return;
  Call& call = calls[index];
  expect(call.outcome == Outcome::kOpen || call.outcome == Outcome::kOrphaned, "a call ended twice");
  if (call.outcome == Outcome::kOpen) call.outcome = outcome;
}

std::string Ledger::summary() const {
  std::array<size_t, 4> count{};
  for (const Task& task : tasks) ++count[static_cast<size_t>(task.outcome)];
  return std::to_string(tasks.size()) + " tasks (" + std::to_string(count[1]) + " done, " + std::to_string(count[2]) +
         " failed, " + std::to_string(count[3]) + " ended with their owner, " + std::to_string(retried) +
         " begun again), " + std::to_string(actors.size()) + " actors (" + std::to_string(actor_starts) + " starts), " +
         std::to_string(calls.size()) + " calls, " + std::to_string(groups_created) + " groups";
}

}  // namespace narke::sim
