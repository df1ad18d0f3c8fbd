#include "worker/actors.h"

#include <algorithm>

#include "worker/wire_task.h"

namespace narke::worker {

Actor* Actors::find(const ActorId& id) {
  auto found = actors_.find(id);
  return found == actors_.end() ? nullptr : found->second.get();
}

Actor& Actors::get(const ActorId& id, bool created_here) {
  ActorPtr& slot = actors_[id];
  if (!slot) {
    slot = std::make_shared<Actor>();
    slot->id = id;
  }
  if (!slot->watched) {
    slot->watched = true;  // the node tells the creator without being asked
    if (!created_here) watch(id);
  }
  return *slot;
}

void Actors::watch(const ActorId& id) {
  rpc::ConnectionPtr node = links_.node();
  if (!node) return;
  flatbuffers::FlatBufferBuilder b(64);
  auto wire_id = id.to_wire<wire::ActorId>();
  b.Finish(wire::CreateWatchActor(b, &wire_id));
  node->send(wire::MessageType::WatchActor, 0, b);
}

void Actors::submit(Actor& actor, TaskPtr task) {
  if (actor.state == wire::ActorState::Dead) return out_.fail(*task, actor.death);
  task->state = Task::State::kQueued;
  actor.queue.push_back(std::move(task));
  pump(actor);
}

size_t Actors::pending(const Actor& actor) const {
  size_t sent = actor.peer == nullptr ? 0 : actor.peer->calls.size();
  return actor.queue.size() + actor.in_doubt.size() + sent;
}

Actors::ActorPtr Actors::hold(const Actor& actor) {
  auto found = actors_.find(actor.id);
  return found == actors_.end() ? nullptr : found->second;
}

std::vector<Actors::ActorPtr> Actors::all() const {
  std::vector<ActorPtr> out;
  for (const auto& [id, actor] : actors_) out.push_back(actor);
  return out;
}

void Actors::pump(Actor& actor) {
  ActorPtr alive = hold(actor);
  if (actor.state != wire::ActorState::Alive || actor.peer == nullptr || !actor.in_doubt.empty()) return;
  bool was_idle = actor.peer->calls.size() == 0;
  bool has_sent = false;
  for (size_t i = 0; i < actor.queue.size();) {
    if (actor.queue[i]->unresolved > 0) {
      if (!actor.out_of_order) break;
      ++i;
      continue;
    }
    TaskPtr task = std::move(actor.queue[i]);
    actor.queue.erase(actor.queue.begin() + static_cast<long>(i));
    if (Object* failed = failed_argument(*task)) {
      out_.fail(*task, failed->value);
      continue;
    }
    push_task(*actor.peer, task, objects_);
    has_sent = true;
  }
  if (was_idle && has_sent && actor.peer != nullptr) actor.peer->link->flush();
}

bool Actors::remove(Actor& actor, Task& task) {
  auto found = std::find_if(actor.queue.begin(), actor.queue.end(), [&](const TaskPtr& t) { return t.get() == &task; });
  if (found == actor.queue.end()) return false;
  actor.queue.erase(found);
  return true;
}

void Actors::detach(Actor& actor) {
  if (actor.peer != nullptr) actor.peer->actor = nullptr;
  actor.peer = nullptr;
}

ValuePtr Actors::unavailable(const Actor& actor) const {
  return make_failure("ActorUnavailableError",
                      "the actor " + actor.class_name + " (" + actor.id.hex() +
                          ") did not answer: its process ended and it is being restarted. The call may or may not "
                          "have run; set max_task_retries to have such calls repeated.",
                      actor.id.hex());
}

void Actors::settle_doubts(Actor& actor, bool restarting) {
  ActorPtr alive = hold(actor);
  std::deque<TaskPtr> doubtful = std::move(actor.in_doubt);
  actor.in_doubt.clear();
  // Calls that came back unstarted are in doubt before those that were running: back to the order of sending.
  std::sort(doubtful.begin(), doubtful.end(),
            [](const TaskPtr& a, const TaskPtr& b) { return static_cast<int32_t>(a->call_id - b->call_id) < 0; });
  for (auto it = doubtful.rbegin(); it != doubtful.rend(); ++it) {
    TaskPtr task = *it;
    const bool not_started = std::exchange(task->not_started, false);
    if (restarting && (not_started || task->retries_left != 0) && !task->cancelled) {
      if (!not_started && task->retries_left > 0) --task->retries_left;
      if (!not_started) ++task->attempt;
      task->state = Task::State::kQueued;
      actor.queue.push_front(task);
    } else {
      out_.fail(*task, restarting ? unavailable(actor) : actor.death);
    }
  }
}

void Actors::set_dead(Actor& actor, ValuePtr death) {
  ActorPtr alive = hold(actor);
  actor.state = wire::ActorState::Dead;
  actor.death = std::move(death);
  if (actor.peer != nullptr && actor.peer->calls.size() == 0) detach(actor);
  settle_doubts(actor, false);
  std::deque<TaskPtr> queue = std::move(actor.queue);
  actor.queue.clear();
  for (TaskPtr& task : queue) out_.fail(*task, actor.death);
  for (ObjectPtr& pinned : std::exchange(actor.pinned, {})) objects_.drop_use(*pinned);
}

void Actors::give_up_answers(Actor& actor) {
  ActorPtr alive = hold(actor);
  if (!awaits_last_answers(actor)) return;
  for (TaskPtr& task : actor.peer->calls.take_all()) actor.in_doubt.push_back(task);
  detach(actor);
  settle_doubts(actor, false);
}

void Actors::on_update(const rpc::Frame& frame) {
  const auto* update = frame.as<wire::ActorUpdate>();
  if (update == nullptr || update->actor() == nullptr) return;
  Actor* known = find(ActorId::from_wire(update->actor()));
  if (known == nullptr || known->state == wire::ActorState::Dead) return;
  ActorPtr alive = hold(*known);
  Actor& actor = *known;
  if (update->class_name() != nullptr) actor.class_name = update->class_name()->str();
  actor.out_of_order |= update->out_of_order();
  switch (update->state()) {
    case wire::ActorState::Alive: {
      if (update->incarnation() <= actor.incarnation) return;
      actor.incarnation = update->incarnation();
      actor.pid = update->pid();
      if (actor.peer != nullptr) {  // the news of the old process's end is still under way
        for (TaskPtr& task : actor.peer->calls.take_all()) actor.in_doubt.push_back(task);
        detach(actor);
      }
      actor.state = wire::ActorState::Alive;
      actor.address = Address::from_wire(update->worker());
      actor.peer = out_.peer(actor.address);
      if (actor.peer != nullptr && (actor.peer->lease != nullptr || actor.peer->actor != nullptr))
        actor.peer = nullptr;  // the link serves something else: not the process that the node means
      settle_doubts(actor, true);
      if (actor.peer == nullptr) {  // already gone again: another update follows
        actor.state = wire::ActorState::Restarting;
        return;
      }
      actor.peer->actor = &actor;
      return pump(actor);
    }
    case wire::ActorState::Restarting:
      actor.state = wire::ActorState::Restarting;
      if (actor.peer == nullptr) settle_doubts(actor, true);
      return;
    case wire::ActorState::Dead:
    case wire::ActorState::Unknown: {
      if (update->cause() == wire::DeathCause::InitFailed && !frame.raw.empty())
        return set_dead(actor, Value::copy(frame.raw));
      std::string message = update->message() == nullptr ? "the actor is dead" : update->message()->str();
      if (update->state() == wire::ActorState::Unknown) message = "no such actor is known to the cluster";
      static const std::unordered_map<int, const char*> kKinds = {
          {static_cast<int>(wire::DeathCause::Unschedulable), "ActorUnschedulableError"},
          {static_cast<int>(wire::DeathCause::PlacementGroupRemoved), "ActorPlacementGroupRemoved"},
          {static_cast<int>(wire::DeathCause::OutOfMemory), "OutOfMemoryError"},
          {static_cast<int>(wire::DeathCause::RuntimeEnv), "RuntimeEnvSetupError"},
      };
      if (update->cause() == wire::DeathCause::NodeDrained)
        return set_dead(actor, make_failure("ActorDiedError:preempted", message, actor.id.hex()));
      auto kind = kKinds.find(static_cast<int>(update->cause()));
      return set_dead(actor,
                      make_failure(kind == kKinds.end() ? "ActorDiedError" : kind->second, message, actor.id.hex()));
    }
    default: return;
  }
}

void Actors::on_link_lost(Actor& actor, std::vector<TaskPtr> calls) {
  actor.peer = nullptr;
  for (TaskPtr& task : calls) actor.in_doubt.push_back(task);
  actor.broken_since = Clock::now();
  if (actor.state == wire::ActorState::Dead) settle_doubts(actor, false);
  if (actor.state == wire::ActorState::Restarting) settle_doubts(actor, true);
}

void Actors::expire_doubts(std::chrono::milliseconds limit) {
  auto now = Clock::now();
  for (const ActorPtr& actor : all())
    if (!actor->in_doubt.empty() && now - actor->broken_since > limit) {
      std::deque<TaskPtr> doubtful = std::move(actor->in_doubt);
      actor->in_doubt.clear();
      for (TaskPtr& task : doubtful) out_.fail(*task, unavailable(*actor));
      pump(*actor);
    }
}

void Actors::on_node_lost(const std::string& why) {
  for (const ActorPtr& actor : all())
    if (actor->state != wire::ActorState::Dead) set_dead(*actor, make_failure("ActorDiedError", why, actor->id.hex()));
  for (const ActorPtr& actor : all()) give_up_answers(*actor);
}

void Actors::forget(const ActorId& id) {
  Actor* actor = find(id);
  if (actor == nullptr || pending(*actor) != 0) return;
  for (ObjectPtr& pinned : std::exchange(actor->pinned, {})) objects_.drop_use(*pinned);
  detach(*actor);
  actors_.erase(id);
}

void Actors::for_each(const std::function<void(Actor&)>& visit) {
  for (auto& [id, actor] : actors_) visit(*actor);
}

}  // namespace narke::worker
