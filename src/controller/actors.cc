#include "controller/actors.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/result.h"
#include "controller/groups.h"
#include "controller/nodes.h"

namespace narke::controller {

using wire::ActorState;
using wire::DeathCause;

static constexpr size_t kMaxDeadRecords = 10'000;

static std::string name_key(const std::string& name_space, const std::string& name) { return name_space + '\0' + name; }

// The words in front are Ray's: programs look for them.
static constexpr const char* kWorkerDied = "The actor is dead because its worker process has died.";
static constexpr const char* kKilled = "The actor is dead because it was killed by `ray.kill`.";

std::string actor_text(const Actor& actor) {
  std::string text = "actor " + actor.spec.class_name + " (id " + actor.spec.id.hex();
  if (!actor.spec.name.empty()) text += ", name '" + actor.spec.name + "'";
  return text + ")";
}

Actor* Actors::get(const ActorId& id) {
  const auto at = actors_.find(id);
  return at == actors_.end() ? nullptr : &at->second;
}

const Actor* Actors::find(const ActorId& id) const {
  const auto at = actors_.find(id);
  return at == actors_.end() ? nullptr : &at->second;
}

const Actor* Actors::find_named(const std::string& name_space, const std::string& name) const {
  const auto at = names_.find(name_key(name_space, name));
  return at == names_.end() ? nullptr : find(at->second);
}

bool Actors::owns_living(const WorkerId& program) const {
  const auto at = owned_.find(program);
  return at != owned_.end() && !at->second.empty();
}

Actors::Created Actors::create(ActorSpec spec, ActorFrame frame, const WorkerId& creator) {
  if (const Actor* known = find(spec.id); known && known->spec.owner.worker == spec.owner.worker)
    return {wire::CreateActorStatus::Created, known, ""};  // asked again, for the answer was lost with the old head
  if (!spec.name.empty()) {
    if (const Actor* holder = find_named(spec.name_space, spec.name)) {
      if (spec.get_if_exists) return {wire::CreateActorStatus::Existing, holder, ""};
      return {wire::CreateActorStatus::NameTaken, nullptr,
              "The name " + spec.name + " (namespace=" + spec.name_space + ") is already taken by the " +
                  actor_text(*holder) + ". Choose another name, kill that actor, or pass get_if_exists=True."};
    }
  }
  if (actors_.contains(spec.id))
    return {wire::CreateActorStatus::Invalid, nullptr, "An actor with the id " + spec.id.hex() + " exists already."};

  const ActorId id = spec.id;
  Actor& actor = actors_[id];
  actor.spec = std::move(spec);
  actor.frame = std::make_shared<const ActorFrame>(std::move(frame));
  actor.created_ms = out_.now_ms();
  actor.watchers.insert(creator);
  watched_[creator].insert(id);
  index(actor);
  touch(actor);
  place(actor);
  return {wire::CreateActorStatus::Created, &actor, ""};
}

void Actors::index(const Actor& actor) {
  const ActorId id = actor.spec.id;
  if (!actor.spec.name.empty() && !actor.ending) names_[name_key(actor.spec.name_space, actor.spec.name)] = id;
  if (!actor.spec.detached) owned_[actor.spec.owner.worker].insert(id);
  if (!actor.spec.pg.is_nil()) in_group_[actor.spec.pg].insert(id);
}

void Actors::restore(Actor actor) {
  const ActorId id = actor.spec.id;
  Actor& stored = actors_.insert_or_assign(id, std::move(actor)).first->second;
  if (stored.state == ActorState::Dead) {
    dead_.push_back(id);
    return;
  }
  index(stored);
  if (stored.state != ActorState::Alive) waiting_.insert(id);
}

// The old place, if it still knows of it, is told to forget it.
void Actors::place_anew(Actor& actor) {
  if (!actor.node.is_nil()) out_.end_actor(actor.node, actor.spec.id, EndKind::AtOnce);
  ++actor.incarnation;
  place(actor);
}

void Actors::on_node_back(const NodeId& node, const std::map<ActorId, int>& running) {
  std::vector<ActorId> here;
  for (const auto& [id, actor] : actors_)
    if (actor.node == node && actor.state != ActorState::Dead) here.push_back(id);
  Fate fate;
  fate.message = "It ended while the head of the cluster was away.";
  for (const ActorId& id : here) {
    Actor& actor = *get(id);
    const auto at = running.find(id);
    const bool runs = at != running.end() && at->second == actor.incarnation;
    if (runs && actor.ending)
      out_.end_actor(node, id, EndKind::AtOnce);
    else if (!runs && waits(actor))
      place_anew(actor);
    else if (!runs)
      on_gone(id, actor.incarnation, fate);
  }
  for (const auto& [id, incarnation] : running) {
    const Actor* actor = find(id);
    if (actor == nullptr || actor->state == ActorState::Dead || actor->node != node)
      out_.end_actor(node, id, EndKind::AtOnce);
  }
}

void Actors::on_owners_gone(const NodeId& node, const std::string& why) {
  std::set<WorkerId> owners;
  for (const auto& [id, actor] : actors_)
    if (actor.state != ActorState::Dead && !actor.spec.detached && actor.spec.owner.node == node)
      owners.insert(actor.spec.owner.worker);
  for (const WorkerId& owner : owners)
    on_program_gone(owner, DeathCause::OwnerDied, "its owner's node is gone: " + why);
}

void Actors::place(Actor& actor) {
  waiting_.insert(actor.spec.id);
  actor.node = actor.better = NodeId();
  actor.stuck = false;
  actor.placed_ms = out_.now_ms();
  if (!actor.spec.pg.is_nil()) return place_in_group(actor);
  const sched::Choice choice = nodes_.choose(actor.spec.placement, actor.spec.strategy, actor.spec.owner.node);
  if (choice.kind != sched::Choice::Kind::kInfeasible) return send_to(actor, nodes_.all()[choice.node].id);
  const sched::Strategy& strategy = actor.spec.strategy;
  const Node* pinned = strategy.is_bound() ? nodes_.find(strategy.node) : nullptr;
  if (strategy.is_bound() && (pinned == nullptr || pinned->is_draining())) {
    die(actor, DeathCause::Unschedulable,
        "The " + actor_text(actor) + " must run on node " + strategy.node.hex() +
            ", which is not in the cluster or is being drained. Use a live node's id (ray.nodes()) or soft=True.");
    return;
  }
  actor.stuck = true;  // it waits at the first node, shown as demand that nothing can serve
  send_to(actor, nodes_.all()[0].id);
}

void Actors::send_to(Actor& actor, const NodeId& node) {
  actor.node = node;
  touch(actor);
  if (actor.spec.pg.is_nil() && !actor.stuck) nodes_.charge(node, actor.spec.running);
  out_.place_actor(node, actor);
}

// Where its bundle is, or, when any will do, where the group has most bundles for the actors it has there.
void Actors::place_in_group(Actor& actor) {
  const PlacementGroup* group = groups_.find(actor.spec.pg);
  if (group == nullptr || group->state == GroupState::kRemoved) {
    die(actor, DeathCause::PlacementGroupRemoved,
        "The " + actor_text(actor) + " cannot run: its placement group " + actor.spec.pg.hex() + " was removed.");
    return;
  }
  if (group->state != GroupState::kCreated) return;  // on_group_created comes
  const auto bundle = static_cast<size_t>(actor.spec.bundle);
  if (actor.spec.bundle >= 0) return send_to(actor, group->nodes[std::min(bundle, group->nodes.size() - 1)]);
  std::map<NodeId, int> room;
  for (const NodeId& node : group->nodes) ++room[node];
  for (const ActorId& id : in_group_[actor.spec.pg])
    if (const auto at = room.find(actors_.at(id).node); at != room.end()) --at->second;
  const auto best =
      std::max_element(room.begin(), room.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  send_to(actor, best->first);
}

bool Actors::waits(const Actor& actor) const {
  return !actor.ending && (actor.state == ActorState::Pending || actor.state == ActorState::Restarting);
}

void Actors::on_group_created(const PlacementGroup& group) {
  const auto at = in_group_.find(group.id);
  if (at == in_group_.end()) return;
  for (const ActorId& id : std::set<ActorId>(at->second))
    if (Actor& actor = *get(id); waits(actor) && actor.node.is_nil()) place(actor);
}

std::vector<ActorId> Actors::living_at(const NodeId& node) const {
  std::vector<ActorId> out;
  for (const auto& [id, actor] : actors_)
    if (actor.node == node && actor.state != ActorState::Dead) out.push_back(id);
  return out;
}

void Actors::on_node_gone(const NodeId& node, const std::string& why, bool drained) {
  Fate fate;
  fate.message = "Its node " + node.hex() + " is gone: " + why;
  fate.node_died = true;
  for (const ActorId& id : living_at(node)) {
    Actor& actor = *get(id);
    if (actor.spec.pg.is_nil() && waits(actor)) {
      ++actor.incarnation;  // the node may only be out of reach, and begin it yet
      place(actor);  // it had not begun: no restart is used up
    } else if (drained && !actor.ending && actor.spec.max_restarts != 0) {
      restart(actor, fate, Counted::kNo);
    } else if (drained && !actor.ending) {
      die(actor, DeathCause::NodeDrained,
          "The " + actor_text(actor) + " died because its node was drained. " + fate.message);
    } else {
      on_gone(id, actor.incarnation, fate);
    }
  }
}

bool Actors::has_other_place(const Actor& actor) {
  return nodes_.choose(actor.spec.placement, actor.spec.strategy, actor.spec.owner.node).kind !=
         sched::Choice::Kind::kInfeasible;
}

// One in a placement group stays with its bundle, until the node has gone.
void Actors::on_node_draining(const NodeId& node) {
  for (const ActorId& id : living_at(node)) {
    Actor& actor = *get(id);
    if (actor.ending || actor.moving || !actor.spec.pg.is_nil() || !has_other_place(actor)) continue;
    if (waits(actor)) {
      place_anew(actor);
    } else if (actor.spec.max_restarts != 0) {
      actor.moving = true;
      out_.end_actor(node, id, EndKind::Graceful);
    }
  }
}

// Some of them, and others the next time: however many wait, a look costs little.
std::vector<ActorId> Actors::next_waiting() {
  constexpr size_t kMost = 512;
  std::vector<ActorId> out;
  auto at = waiting_.upper_bound(looked_at_);
  for (size_t left = std::min(kMost, waiting_.size()); left > 0; --left) {
    if (at == waiting_.end()) at = waiting_.begin();
    out.push_back(*at++);
  }
  if (!out.empty()) looked_at_ = out.back();
  return out;
}

void Actors::retry() {
  constexpr int64_t kPatienceMs = 300;
  const int64_t now = out_.now_ms();
  std::vector<std::pair<sched::ResourceSet, sched::Strategy>> full;  // found no room just now
  for (const ActorId& id : next_waiting()) {
    Actor& actor = *get(id);
    if (!actor.spec.pg.is_nil() || !waits(actor) || !actor.better.is_nil()) continue;
    if (!actor.stuck && now - actor.placed_ms < kPatienceMs) continue;
    const std::pair shape{actor.spec.placement, actor.spec.strategy};
    if (!actor.stuck && std::find(full.begin(), full.end(), shape) != full.end()) continue;
    const sched::Choice choice = nodes_.choose(actor.spec.placement, actor.spec.strategy, actor.node);
    const bool better =
        choice.kind == sched::Choice::Kind::kNode || (actor.stuck && choice.kind == sched::Choice::Kind::kWait);
    if (!better && full.size() < 16) full.push_back(shape);
    if (!better || nodes_.all()[choice.node].id == actor.node) continue;
    ask_back(actor, nodes_.all()[choice.node].id);
  }
}

// Asked once: what its node does not give back has begun there, however long its constructor takes.
void Actors::ask_back(Actor& actor, const NodeId& better) {
  actor.better = better;
  nodes_.charge(better, actor.spec.running);
  out_.end_actor(actor.node, actor.spec.id, EndKind::IfWaiting);
}

// Its node gave it back.
void Actors::move(Actor& actor) {
  ++actor.incarnation;  // what the old node still says of it is late news
  const Node* better = nodes_.find(actor.better);
  if (better == nullptr || better->is_draining()) return place(actor);
  actor.node = std::exchange(actor.better, NodeId());
  actor.stuck = false;
  actor.placed_ms = out_.now_ms();
  touch(actor);
  out_.place_actor(actor.node, actor);
}

void Actors::on_started(const ActorId& id, int incarnation, const Address& address, int pid) {
  Actor* actor = get(id);
  // That it is to run there no more was said by a head that has ended since, perhaps unheard.
  const bool belongs_there = actor && actor->state != ActorState::Dead && actor->node == address.node;
  if (!belongs_there && !address.node.is_nil()) return out_.end_actor(address.node, id, EndKind::AtOnce);
  if (!actor || actor->incarnation != incarnation || actor->state == ActorState::Dead) return;
  actor->state = ActorState::Alive;
  actor->better = NodeId();  // its node has kept it
  waiting_.erase(id);
  actor->address = address;
  actor->pid = pid;
  if (!actor->ending) actor->message.clear();
  tell(*actor);
}

void Actors::on_init_failed(const ActorId& id, int incarnation, std::vector<uint8_t> error) {
  Actor* actor = get(id);
  if (!actor || actor->incarnation != incarnation || actor->state == ActorState::Dead) return;
  actor->error = std::move(error);
  const std::string message = "The " + actor_text(*actor) + " died because its __init__ raised an exception.";
  end(*actor, DeathCause::InitFailed, message, EndKind::AtOnce);
  die(*actor, actor->cause, actor->message);
}

void Actors::on_gone(const ActorId& id, int incarnation, const Fate& fate) {
  Actor* actor = get(id);
  if (!actor || actor->incarnation != incarnation || actor->state == ActorState::Dead) return;
  if (actor->ending) {
    die(*actor, actor->cause, actor->message);
    return;
  }
  if (!actor->better.is_nil() && fate.pid == 0) return move(*actor);
  if (actor->moving) {
    Fate moved = fate;
    moved.message = "Its node " + actor->node.hex() + " is being drained.";
    return restart(*actor, moved, Counted::kNo);
  }
  const int allowed = actor->spec.max_restarts;
  if (allowed < 0 || actor->restarts < allowed) {
    restart(*actor, fate, Counted::kYes);
    return;
  }
  const bool oom = fate.cause == Fate::Cause::kOutOfMemory;
  std::string message = fate.node_died ? "The actor died because its node has died." : kWorkerDied;
  message += " It was " + actor_text(*actor) + ". " + fate.message;
  if (allowed > 0) message += " It had been restarted " + std::to_string(actor->restarts) + " times, the most allowed.";
  die(*actor, oom ? DeathCause::OutOfMemory : DeathCause::WorkerDied, message);
}

void Actors::restart(Actor& actor, const Fate& fate, Counted counted) {
  ++(counted == Counted::kYes ? actor.restarts : actor.moves);
  ++actor.incarnation;
  actor.moving = false;
  actor.state = ActorState::Restarting;
  actor.address = {};
  actor.pid = 0;
  actor.message = "The " + actor_text(actor) + " is being restarted. " + fate.message;
  tell(actor);
  place(actor);
}

void Actors::on_unplaceable(const ActorId& id, DeathCause cause, const std::string& message) {
  Actor* actor = get(id);
  if (!actor || actor->state == ActorState::Dead) return;
  if (actor->ending)
    die(*actor, actor->cause, actor->message);
  else
    die(*actor, cause, "The " + actor_text(*actor) + " cannot run. " + message);
}

void Actors::kill(const ActorId& id, bool no_restart, uint64_t key) {
  Actor* actor = get(id);
  if (!actor || actor->state == ActorState::Dead) return;
  const bool may_restart = actor->spec.max_restarts < 0 || actor->restarts < actor->spec.max_restarts;
  if (!no_restart && may_restart) {
    if (key != 0 && std::exchange(actor->last_kill, key) == key) return;
    touch(*actor);
    if (actor->state == ActorState::Alive) out_.end_actor(actor->node, id, EndKind::AtOnce);
    return;  // one that is not alive yet will begin afresh anyway
  }
  end(*actor, DeathCause::Killed, std::string(kKilled) + " It was " + actor_text(*actor) + ".", EndKind::AtOnce);
  die(*actor, actor->cause, actor->message);
}

void Actors::out_of_scope(const ActorId& id) {
  Actor* actor = get(id);
  if (!actor || actor->state == ActorState::Dead || actor->ending) return;
  end(*actor, DeathCause::OutOfScope,
      "The " + actor_text(*actor) + " ended because all handles to it went out of scope.", EndKind::Graceful);
  if (actor->node.is_nil()) die(*actor, actor->cause, actor->message);
}

void Actors::exiting(const ActorId& id) {
  Actor* actor = get(id);
  if (!actor || actor->state == ActorState::Dead || actor->ending) return;
  actor->ending = true;
  actor->cause = DeathCause::Exited;
  actor->message = "The " + actor_text(*actor) + " left by itself: exit_actor() or sys.exit().";
  touch(*actor);
  free_name(*actor);
}

// Marks it as ending and asks its node to end it. The first cause wins, but a kill hastens a graceful end.
void Actors::end(Actor& actor, DeathCause cause, const std::string& message, EndKind kind) {
  if (!actor.ending) {
    actor.ending = true;
    actor.cause = cause;
    actor.message = message;
    free_name(actor);
    touch(actor);
  }
  if (!actor.node.is_nil()) out_.end_actor(actor.node, actor.spec.id, kind);
}

void Actors::die(Actor& actor, DeathCause cause, const std::string& message) {
  actor.ending = true;
  actor.state = ActorState::Dead;
  waiting_.erase(actor.spec.id);
  actor.cause = cause;
  actor.message = message;
  actor.address = {};
  actor.frame.reset();
  actor.died_ms = out_.now_ms();
  free_name(actor);
  unindex(actor);
  tell(actor);
  for (const WorkerId& watcher : actor.watchers)
    if (const auto at = watched_.find(watcher); at != watched_.end()) at->second.erase(actor.spec.id);
  actor.watchers.clear();
  dead_.push_back(actor.spec.id);
  forget_oldest_dead();
}

void Actors::free_name(const Actor& actor) {
  if (actor.spec.name.empty()) return;
  const auto at = names_.find(name_key(actor.spec.name_space, actor.spec.name));
  if (at != names_.end() && at->second == actor.spec.id) names_.erase(at);
}

void Actors::unindex(const Actor& actor) {
  const auto drop = [&actor](auto& index, const auto& key) {
    const auto at = index.find(key);
    if (at == index.end()) return;
    at->second.erase(actor.spec.id);
    if (at->second.empty()) index.erase(at);
  };
  drop(owned_, actor.spec.owner.worker);
  drop(in_group_, actor.spec.pg);
}

void Actors::forget_oldest_dead() {
  while (dead_.size() > kMaxDeadRecords) {
    if (const Actor* actor = find(dead_.front())) touch(*actor);
    actors_.erase(dead_.front());
    dead_.pop_front();
  }
}

void Actors::tell(const Actor& actor) {
  touch(actor);
  for (const WorkerId& watcher : actor.watchers) out_.actor_changed(watcher, actor);
}

const Actor* Actors::watch(const ActorId& id, const WorkerId& watcher) {
  Actor* actor = get(id);
  if (actor && actor->state != ActorState::Dead) {
    actor->watchers.insert(watcher);
    watched_[watcher].insert(id);
  }
  return actor;
}

void Actors::on_program_gone(const WorkerId& program, DeathCause cause, const std::string& message) {
  if (const auto at = watched_.find(program); at != watched_.end()) {
    for (const ActorId& id : at->second)
      if (Actor* actor = get(id)) actor->watchers.erase(program);
    watched_.erase(at);
  }
  const auto at = owned_.find(program);
  if (at == owned_.end()) return;
  const std::set<ActorId> orphans = std::move(at->second);
  owned_.erase(at);
  for (const ActorId& id : orphans) {
    Actor* actor = get(id);
    if (!actor || actor->state == ActorState::Dead) continue;
    end(*actor, cause, "The actor is dead because " + message + " It was " + actor_text(*actor) + ".", EndKind::AtOnce);
    die(*actor, actor->cause, actor->message);
  }
}

void Actors::on_group_removed(const PlacementGroup& group) {
  const auto at = in_group_.find(group.id);
  if (at == in_group_.end()) return;
  const std::set<ActorId> members = std::move(at->second);
  in_group_.erase(at);
  for (const ActorId& id : members) {
    Actor& actor = *get(id);
    end(actor, DeathCause::PlacementGroupRemoved,
        "The " + actor_text(actor) + " ended because its placement group " + group.id.hex() + " was removed.",
        EndKind::AtOnce);
    die(actor, actor.cause, actor.message);
  }
}

}  // namespace narke::controller
