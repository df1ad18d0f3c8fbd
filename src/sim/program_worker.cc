// A simulated program as a worker: it runs tasks, or is an actor.
#include "sim/program.h"

namespace narke::sim {

using wire::MessageType;

bool Program::accept(const LinePtr& line) {
  if (dead_) return false;
  auto guest = std::make_shared<Guest>();
  guest->line = line;
  std::erase_if(guests_, [](const auto& weak) { return weak.expired(); });
  guests_.push_back(guest);
  line->attach(
      1,
      [this, guest, lives = lives_](rpc::Bytes bytes) {
        if (!*lives) return;
        for (const Message& message : heard(guest->in, bytes))
          if (*lives) on_guest_word(guest, message);
        if (*lives) flush();
      },
      [guest](const std::string&) { guest->line.reset(); });
  say(line, 1, Word::kHello, 0);
  return true;
}

void Program::on_guest_word(const std::shared_ptr<Guest>& guest, const Message& message) {
  if (message.word == Word::kRun) run(guest, message.subject);
  if (message.word == Word::kCall) call(guest, message);
}

// ---- tasks -------------------------------------------------------------------------------------------------

// Part of the tasks have others run and wait for them; part of the workers die.
void Program::run(const std::shared_ptr<Guest>& guest, uint32_t index) {
  expect(actor_.is_nil(), "a task was pushed to an actor");
  expect(running_ < 0, "a worker serves two programs at once");
  running_ = index;
  Ledger& ledger = cast_.ledger();
  ledger.task_begins(index);
  const Task task = ledger.tasks[index];
  if (timeline().chance(cast_.trouble())) {
    later(timeline().between(0, task.duration_us), [this] { leave(1); });
    return;
  }
  if (task.children == 0) {
    later(task.duration_us, [this, guest, index] { finish(guest, index); });
    return;
  }
  asker_ = guest;
  children_[index] = task.children;
  node::Builder b(32);
  b.Finish(wire::CreateBlocked(b));
  send(MessageType::Blocked, 0, b);
  for (int i = 0; i < task.children; ++i) {
    Task child;
    child.cls = class_of(timeline().below(2), 0, 0);
    child.duration_us = task.duration_us;
    child.max_retries = task.max_retries;
    const uint32_t number = ledger.add(child);
    parent_of_[number] = index;
    submit(number);
  }
  flush();
}

void Program::finish(const std::shared_ptr<Guest>& guest, uint32_t index) {
  if (running_ != index) return;
  running_ = -1;
  asker_.reset();
  if (guest->line) say(guest->line, 1, Word::kDone, index);
  if (asked_to_leave_) leave(0);
  flush();
}

// ---- actors ------------------------------------------------------------------------------------------------

void Program::become(const rpc::Frame& frame) {
  const auto* start = frame.as<wire::StartActor>();
  expect(running_ < 0 && actor_.is_nil(), "a worker that is not free was to become an actor");
  actor_ = ActorId::from_wire(start->spec()->actor());
  incarnation_ = start->incarnation();
  cast_.ledger().actor_begins(actor_, incarnation_, id_);
  const bool ok = !timeline().chance(cast_.trouble());
  later(timeline().between(kMs, 20 * kMs), [this, ok] { started(ok); });
}

void Program::started(bool ok) {
  actor_runs_ = ok;
  node::Builder b(64);
  const auto id = node::wired<wire::ActorId>(actor_);
  b.Finish(wire::CreateActorStarted(b, &id, ok));
  send(MessageType::ActorStarted, 0, b);
  flush();
}

void Program::call(const std::shared_ptr<Guest>& guest, const Message& message) {
  expect(actor_runs_ && message.incarnation == incarnation_, "a call reached a process that is not its actor");
  if (timeline().chance(cast_.trouble())) {
    later(timeline().between(0, 5 * kMs), [this] { leave(timeline().chance(500) ? 1 : 0); });
    return;
  }
  cast_.ledger().call_begins(message.subject);
  later(timeline().between(100, 2 * kMs), [guest, subject = message.subject] {
    if (guest->line) say(guest->line, 1, Word::kAnswer, subject);
  });
}

// By itself: exit code 0 after it said so, or a crash.
void Program::leave(int exit_code) {
  if (!actor_.is_nil() && exit_code == 0 && !asked_to_leave_ && actor_runs_) {
    node::Builder b(64);
    const auto id = node::wired<wire::ActorId>(actor_);
    b.Finish(wire::CreateActorExiting(b, &id));
    send(MessageType::ActorExiting, 0, b);
    flush();
  }
  cast_.on_exit(*this, exit_code, false);
}

}  // namespace narke::sim
