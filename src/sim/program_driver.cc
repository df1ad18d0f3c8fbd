// A simulated program as a driver: its actors, its placement groups, its end.
#include "sim/program.h"

namespace narke::sim {

using sched::kOne;
using wire::ActorState;
using wire::MessageType;

// ---- the errand --------------------------------------------------------------------------------------------

// No host may have both a GPU and the label.
uint64_t Program::some_class(size_t shape) {
  const size_t strategy = timeline().chance(700) ? 0 : timeline().below(4);
  return class_of(strategy == 3 ? timeline().below(3) : shape, strategy, 0);
}

void Program::run_errand() {
  const auto soon = [this] { return errand_.over_us == 0 ? 0 : timeline().between(0, errand_.over_us); };
  for (int i = 0; i < errand_.tasks; i += 16) {
    later(soon(), [this, count = std::min(16, errand_.tasks - i)] {
      const size_t shape = timeline().below(10);
      for (int j = 0; j < count; ++j) {
        Task task;
        task.cls = some_class(shape < shapes().size() ? shape : 0);
        task.duration_us = static_cast<int32_t>(timeline().between(200, 20 * kMs));
        task.max_retries = timeline().chance(200) ? 0 : 3;
        task.children = timeline().chance(30) ? static_cast<uint8_t>(timeline().between(1, 3)) : 0;
        submit(cast_.ledger().add(task));
      }
      flush();
    });
  }
  for (int i = 0; i < errand_.actors; ++i)
    later(soon(), [this] {
      make_actor(nullptr);
      flush();
    });
  for (int i = 0; i < errand_.groups; ++i)
    later(soon(), [this] {
      make_group();
      flush();
    });
  later(errand_.over_us + 1, [this] {
    errand_over_ = true;
    look_at_groups();
    look_at_end();
    flush();
  });
}

std::string Program::waits_for() const {
  size_t actors = 0, groups = 0, calls = 0;
  std::string example;
  for (const auto& [index, handle] : handles_) {
    if (handle.state == ActorState::Dead || (handle.let_go && cast_.ledger().actors[index].detached)) continue;
    ++actors;
    calls += handle.queue.size() + handle.in_flight.size();
    example = " (actor " + cast_.ledger().actors[index].id.hex().substr(0, 8) + " is " +
              wire::EnumNameActorState(handle.state) + (handle.let_go ? ", let go)" : ")");
  }
  for (const Group& group : groups_) groups += group.stage != Stage_::kGone;
  return "driver " + id_.hex().substr(0, 8) + " on h" + std::to_string(host_) + " waits for " +
         (registered_ ? "" : "its registration, ") + std::to_string(open_tasks_) + " tasks (" +
         std::to_string(calls_.size()) + " requests, " + std::to_string(held_.size()) + " leases), " +
         std::to_string(actors) + " actors with " + std::to_string(calls) + " calls" + example + ", " +
         std::to_string(groups) + " groups" + (leaving_ ? ", the answer to its goodbye" : "");
}

// Everything it has begun has ended: it leaves.
void Program::look_at_end() {
  if (!errand_over_ || leaving_ || open_tasks_ > 0) return;
  for (const Group& group : groups_)
    if (group.stage != Stage_::kGone) return;
  for (const auto& [index, handle] : handles_)
    if (handle.state != ActorState::Dead && !(handle.let_go && cast_.ledger().actors[index].detached)) return;
  leaving_ = true;
  node::Builder b(32);
  b.Finish(wire::CreateGoodbye(b));
  send(MessageType::Goodbye, ++last_call_, b);
}

// ---- actors ------------------------------------------------------------------------------------------------

void Program::make_actor(const Group* group) {
  ActorRecord record;
  record.id = timeline().id<ActorId>();
  record.max_restarts = timeline().chance(300) ? -1 : static_cast<int>(timeline().below(4));
  record.call_retries = timeline().chance(500);
  record.detached = errand_.leaves_detached && group == nullptr && timeline().chance(100);
  node::Builder b(512);
  const auto id = node::wired<wire::ActorId>(record.id);
  const auto pg = node::wired<wire::PgId>(group ? group->id : PgId());
  const sched::ResourceSet running =
      record.detached || timeline().chance(500) ? sched::ResourceSet{} : sched::ResourceSet{{"CPU", kOne / 2}};
  const auto placement = node::pack_resources(b, {{"CPU", kOne}});
  const auto held = node::pack_resources(b, running);
  const auto name = b.CreateString("Simulated");
  wire::ActorSpecBuilder spec(b);
  spec.add_actor(&id);
  spec.add_class_name(name);
  spec.add_max_restarts(record.max_restarts);
  spec.add_max_task_retries(record.call_retries ? -1 : 0);
  spec.add_detached(record.detached);
  spec.add_placement_resources(placement);
  spec.add_running_resources(held);
  if (group) spec.add_pg(&pg);
  b.Finish(wire::CreateCreateActor(b, spec.Finish()));
  const uint32_t index = cast_.ledger().add(record);
  Handle& handle = handles_[index];
  handle.index = index;
  for (size_t i = 1 + timeline().below(5); i > 0; --i) {
    Call call;
    call.actor = index;
    handle.queue.push_back(cast_.ledger().add(call));
  }
  send(MessageType::CreateActor, ++last_call_, b);
}

void Program::on_actor_update(const rpc::Frame& frame) {
  const auto* update = frame.as<wire::ActorUpdate>();
  const auto known = cast_.ledger().by_id.find(ActorId::from_wire(update->actor()));
  expect(known != cast_.ledger().by_id.end(), "news of an actor that nobody made");
  const auto at = handles_.find(known->second);
  if (at == handles_.end()) return;
  Handle& handle = at->second;
  const ActorState state = update->state();
  const std::string who = "actor " + known->first.hex().substr(0, 8);
  if (cast_.stage().traces())
    cast_.stage().trace(id_.hex().substr(0, 8) + " hears: " + who + " #" + std::to_string(update->incarnation()) + " " +
                        wire::EnumNameActorState(state));
  expect(state != ActorState::Unknown, who + " is not known to the cluster");
  expect(handle.state != ActorState::Dead || state == ActorState::Dead, who + " came back from the dead");
  expect(update->incarnation() >= handle.incarnation, who + " went back to an earlier incarnation");
  const bool is_new = update->incarnation() > handle.incarnation || state != handle.state;
  handle.state = state;
  handle.incarnation = update->incarnation();
  if (!is_new) return;
  if (handle.line) std::exchange(handle.line, nullptr)->close(0);
  handle.ready = false;
  if (state == ActorState::Alive) {
    handle.worker = WorkerId::from_wire(update->worker()->worker());
    handle.node = NodeId::from_wire(update->worker()->node());
    settle_calls(handle, false);
    dial_actor(handle);
    if (handle.queue.empty()) let_go(handle);
    return;
  }
  settle_calls(handle, state == ActorState::Dead);
  if (state != ActorState::Dead) return;
  expect(update->cause() != wire::DeathCause::None && node::text_of(update->message()).size() > 10,
         who + " died without a cause");
  look_at_groups();
  look_at_end();
}

// What was sent and not answered is sent again, or has failed; a dead actor's calls all end.
void Program::settle_calls(Handle& handle, bool dead) {
  const bool again = cast_.ledger().actors[handle.index].call_retries && !dead;
  for (auto call = handle.in_flight.rbegin(); call != handle.in_flight.rend(); ++call) {
    if (again)
      handle.queue.push_front(*call);
    else
      cast_.ledger().call_ends(*call, Outcome::kFailed);
  }
  handle.in_flight.clear();
  if (!dead) return;
  for (const uint32_t call : handle.queue) cast_.ledger().call_ends(call, Outcome::kFailed);
  handle.queue.clear();
}

void Program::dial_actor(Handle& handle) {
  if (handle.queue.empty() && handle.in_flight.empty()) return;
  const uint32_t index = handle.index;
  const uint64_t stream = ++handle.streams;
  handle.in.clear();
  Program* target = cast_.find(handle.worker);
  const auto lost = [this, index, stream] {
    const auto at = handles_.find(index);
    if (dead_ || at == handles_.end() || at->second.streams != stream) return;
    on_actor_lost(index);
    flush();
  };
  if (target == nullptr) return later(kMs, lost);
  handle.line =
      cast_.stage().network().dial(host_, target->host(), [&cast = cast_, id = handle.worker](const LinePtr& line) {
        Program* to = cast.find(id);
        return to != nullptr && to->accept(line);
      });
  handle.line->attach(
      0,
      [this, index, stream, lives = lives_](rpc::Bytes bytes) {
        if (!*lives) return;
        const auto at = handles_.find(index);
        if (at == handles_.end() || at->second.streams != stream) return;
        for (const Message& message : heard(at->second.in, bytes)) on_actor_word(index, message);
        flush();
      },
      [lost, lives = lives_](const std::string&) {
        if (*lives) lost();
      });
}

// The node's word tells what has become of it; when there is none, only the stream was lost.
void Program::on_actor_lost(uint32_t index) {
  Handle& handle = handles_.at(index);
  handle.line.reset();
  handle.ready = false;
  later(kSecond, [this, index, stream = handle.streams] {
    Handle& now = handles_.at(index);
    if (now.state != ActorState::Alive || now.streams != stream) return;
    settle_calls(now, false);
    dial_actor(now);
    if (now.queue.empty() && now.in_flight.empty()) let_go(now);
    flush();
  });
}

void Program::on_actor_word(uint32_t index, const Message& message) {
  Handle& handle = handles_.at(index);
  if (message.word == Word::kHello) handle.ready = true;
  if (message.word == Word::kAnswer && handle.in_flight.erase(message.subject) == 1)
    cast_.ledger().call_ends(message.subject, Outcome::kDone);
  send_calls(handle);
  if (handle.queue.empty() && handle.in_flight.empty()) let_go(handle);
}

void Program::send_calls(Handle& handle) {
  while (handle.ready && handle.line && !handle.queue.empty()) {
    const uint32_t call = handle.queue.front();
    handle.queue.pop_front();
    handle.in_flight.insert(call);
    say(handle.line, 0, Word::kCall, call, handle.incarnation);
  }
}

// All its calls have ended: it is killed, or its last handle goes. A detached one stays.
void Program::let_go(Handle& handle) {
  if (std::exchange(handle.let_go, true)) return;
  const ActorRecord& record = cast_.ledger().actors[handle.index];
  if (record.detached) return look_at_end();
  node::Builder b(64);
  const auto id = node::wired<wire::ActorId>(record.id);
  b.Finish(wire::CreateKillActor(b, &id, true, timeline().chance(600)));
  send(MessageType::KillActor, 0, b);
}

// ---- placement groups --------------------------------------------------------------------------------------

void Program::make_group() {
  Group group;
  group.id = timeline().id<PgId>();
  group.bundles = 1 + timeline().below(3);
  group.number = static_cast<uint32_t>(groups_.size() + 1);
  groups_.push_back(group);
  control(group.number, "create_placement_group");
}

void Program::control(uint32_t number, const char* method) {
  static constexpr const char* kStrategies[] = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"};
  const Group& group = groups_[number - 1];
  flexbuffers::Builder body;
  body.Map([&] {
    body.Key("pg_id");
    body.Blob(group.id.data(), PgId::kSize);
    body.Int("timeout_ms", 5'000);
    body.String("strategy", kStrategies[group.id.data()[0] % 4]);
    body.Vector("bundles", [&] {
      for (size_t i = 0; i < group.bundles; ++i) body.Map([&] { body.Double("CPU", 1.0); });
    });
  });
  body.Finish();
  node::Builder b(256);
  const auto name = b.CreateString(method);
  const auto packed = b.CreateVector(body.GetBuffer());
  b.Finish(wire::CreateControl(b, name, packed));
  controls_[++last_call_] = number;
  send(MessageType::Control, last_call_, b);
}

void Program::on_control_reply(const rpc::Frame& frame) {
  const auto at = controls_.find(frame.call_id);
  if (at == controls_.end()) return;  // asked once, answered twice: the head has changed
  const uint32_t number = at->second;
  controls_.erase(at);
  const auto* reply = frame.as<wire::ControlReply>();
  expect(node::text_of(reply->error()).empty(),
         "a placement group's question failed: " + node::text_of(reply->error()));
  Group& group = groups_[number - 1];
  if (group.stage == Stage_::kRemoving) {
    group.stage = Stage_::kGone;
    return look_at_end();
  }
  if (group.stage == Stage_::kWaiting) {
    const flexbuffers::Map body = node::map_of(reply->body()->data(), reply->body()->size());
    if (body["state"].AsString().str() == "CREATED") return use_group(group);
  }
  group.stage = Stage_::kWaiting;
  control(number, "wait_placement_group");
}

void Program::use_group(Group& group) {
  group.stage = Stage_::kUsing;
  ++cast_.ledger().groups_created;
  for (size_t i = timeline().below(6); i > 0; --i) {
    Task task;
    const size_t bundle = timeline().below(group.bundles + 1);
    task.cls = class_of(timeline().below(2), bundle, group.number);
    task.duration_us = static_cast<int32_t>(timeline().between(200, 5 * kMs));
    task.max_retries = 3;
    const uint32_t index = cast_.ledger().add(task);
    group.tasks.push_back(index);
    submit(index);
  }
  if (timeline().chance(300)) make_actor(&group);
  later(timeline().between(0, 50 * kMs), [this] {
    look_at_groups();
    flush();
  });
}

// A group whose tasks have ended is removed; now and then one is removed before.
void Program::look_at_groups() {
  for (size_t i = 0; i < groups_.size(); ++i) {
    Group& group = groups_[i];
    if (group.stage != Stage_::kUsing) continue;
    bool open = false;
    for (const uint32_t task : group.tasks) open = open || cast_.ledger().tasks[task].outcome == Outcome::kOpen;
    if (open && !timeline().chance(5)) continue;
    group.stage = Stage_::kRemoving;
    control(group.number, "remove_placement_group");
  }
}

}  // namespace narke::sim
