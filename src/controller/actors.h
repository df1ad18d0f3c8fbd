// The actors of the cluster: one record each, from creation to some time after death.
//
// States: Pending -> Alive -> (Restarting -> Alive)* -> Dead. An actor that is to end (killed, out of scope, left
// by itself) is marked `ending` first: its name is free at once, and its process' end makes it Dead.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "controller/types.h"

namespace narke::controller {

class NodeTable;
class Groups;

class Actors {
 public:
  Actors(Out& out, NodeTable& nodes, Groups& groups) : out_(out), nodes_(nodes), groups_(groups) {}

  struct Created {
    wire::CreateActorStatus status = wire::CreateActorStatus::Created;
    const Actor* actor = nullptr;  // Created and Existing
    std::string message;
  };
  // The creator watches from the start.
  Created create(ActorSpec spec, ActorFrame frame, const WorkerId& creator);

  // From the node.
  void on_started(const ActorId& id, int incarnation, const Address& address, int pid);
  void on_init_failed(const ActorId& id, int incarnation, std::vector<uint8_t> error);
  // Its process is gone, or it was forgotten while it waited.
  void on_gone(const ActorId& id, int incarnation, const Fate& fate);
  // It can never be placed again.
  void on_unplaceable(const ActorId& id, wire::DeathCause cause, const std::string& message);

  // From programs. kill: with no_restart, Dead at once. key: tells it from other kills, so that it is done once however
  // often it is said; 0: nobody repeats it.
  void kill(const ActorId& id, bool no_restart, uint64_t key = 0);
  void out_of_scope(const ActorId& id);
  void exiting(const ActorId& id);
  const Actor* watch(const ActorId& id, const WorkerId& watcher);  // null: unknown
  // The program is gone: it watches no more, and what it owns ends.
  void on_program_gone(const WorkerId& program, wire::DeathCause cause, const std::string& message);
  void on_group_removed(const PlacementGroup& group);
  void on_group_created(const PlacementGroup& group);
  // drained: the node was to go, so restarts are not counted.
  void on_node_gone(const NodeId& node, const std::string& why, bool drained);
  // The node is to go: what waits there waits elsewhere, what may be restarted ends there and begins elsewhere.
  void on_node_draining(const NodeId& node);
  // Programs of that node are gone: what they own ends.
  void on_owners_gone(const NodeId& node, const std::string& why);
  // As it was kept by a journal.
  void restore(Actor actor);
  // A node says which actors it runs, by incarnation: those that are missing are made again or dead, those that it
  // should not run end.
  void on_node_back(const NodeId& node, const std::map<ActorId, int>& running);
  // Those that wait where nothing is free, or where they can never run, go where they can.
  void retry();

  const Actor* find(const ActorId& id) const;
  const Actor* find_named(const std::string& name_space, const std::string& name) const;
  const std::unordered_map<ActorId, Actor>& all() const { return actors_; }
  // Whether any actor that lives belongs to the program.
  bool owns_living(const WorkerId& program) const;

 private:
  Actor* get(const ActorId& id);
  void place(Actor& actor);
  void place_in_group(Actor& actor);
  void place_anew(Actor& actor);
  void index(const Actor& actor);
  void touch(const Actor& actor) { out_.touched(Table::kActors, std::string(actor.spec.id.view())); }
  void send_to(Actor& actor, const NodeId& node);
  bool waits(const Actor& actor) const;
  enum class Counted { kYes, kNo };
  void restart(Actor& actor, const Fate& fate, Counted counted);
  bool has_other_place(const Actor& actor);
  void ask_back(Actor& actor, const NodeId& better);
  void move(Actor& actor);
  std::vector<ActorId> living_at(const NodeId& node) const;
  std::vector<ActorId> next_waiting();
  void end(Actor& actor, wire::DeathCause cause, const std::string& message, EndKind kind);
  void die(Actor& actor, wire::DeathCause cause, const std::string& message);
  void free_name(const Actor& actor);
  void tell(const Actor& actor);
  void unindex(const Actor& actor);
  void forget_oldest_dead();

  Out& out_;
  NodeTable& nodes_;
  Groups& groups_;
  std::unordered_map<ActorId, Actor> actors_;
  std::set<ActorId> waiting_;  // not started yet
  ActorId looked_at_;  // the last that retry() looked at
  std::unordered_map<std::string, ActorId> names_;  // "namespace\0name"
  std::unordered_map<WorkerId, std::set<ActorId>> owned_;  // those that live and end with their owner
  std::unordered_map<PgId, std::set<ActorId>> in_group_;
  std::unordered_map<WorkerId, std::set<ActorId>> watched_;
  std::deque<ActorId> dead_;  // oldest first
};

// "actor MyClass (id 0123..., name 'x')", for messages.
std::string actor_text(const Actor& actor);

}  // namespace narke::controller
