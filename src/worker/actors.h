// Calls to actors: in order, straight to the actor's process, across its restarts.
//
// A call waits in its actor's queue until the actor is alive and the call's references are ready; an actor that
// does not care about order lets ready calls overtake. When the link breaks, calls without an answer wait for the
// node's word (ActorUpdate): the actor restarts (calls with retries left are sent again, others end in
// ActorUnavailableError) or is dead (ActorDiedError with the cause).
// Threads: the engine's lock.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/objects.h"
#include "worker/peer.h"
#include "worker/task.h"

namespace narke::worker {

struct Actor {
  ActorId id;
  ObjectPtr handle;  // the object that stands for handles of this actor; not counted as a use
  wire::ActorState state = wire::ActorState::Pending;
  int incarnation = -1;
  Address address;
  Peer* peer = nullptr;
  std::deque<TaskPtr> queue;
  std::deque<TaskPtr> in_doubt;  // sent, the link broke, the node's word is awaited
  bool out_of_order = false;
  bool watched = false;
  bool out_of_scope = false;      // its last handle is gone; ends when no call is pending
  bool by_id_only = false;        // called by those who hold no handle: forgotten when it is dead
  int pid = 0;
  std::string class_name;
  ValuePtr death;               // what calls to a dead actor raise
  std::vector<ObjectPtr> pinned;  // references in the constructor's arguments, for restarts
  Clock::time_point broken_since;
};

class Actors {
 public:
  class Out {
   public:
    virtual ~Out() = default;
    virtual Peer* peer(const Address& address) = 0;
    virtual void fail(Task& task, ValuePtr error) = 0;
  };

  Actors(Links& links, Objects& objects, Out& out) : links_(links), objects_(objects), out_(out) {}

  // The actor, watched at the node when it is not known yet.
  Actor& get(const ActorId& id, bool created_here = false);
  Actor* find(const ActorId& id);
  void submit(Actor& actor, TaskPtr task);
  // A queued call's references became ready.
  void pump(Actor& actor);
  bool remove(Actor& actor, Task& task);
  size_t pending(const Actor& actor) const;

  void on_update(const rpc::Frame& frame);
  void on_link_lost(Actor& actor, std::vector<TaskPtr> calls);
  void on_node_lost(const std::string& why);
  // Ends the doubt about calls whose actor's fate nobody told within the limit.
  void expire_doubts(std::chrono::milliseconds limit);
  // A dead actor's link may still hold answers that it sent before its end, behind the news of its death: they are
  // heard until the link ends, or until somebody gives them up.
  static bool awaits_last_answers(const Actor& actor) {
    return actor.state == wire::ActorState::Dead && actor.peer != nullptr;
  }
  void give_up_answers(Actor& actor);
  void forget(const ActorId& id);
  void for_each(const std::function<void(Actor&)>& visit);

 private:
  void watch(const ActorId& id);
  void set_dead(Actor& actor, ValuePtr death);
  void settle_doubts(Actor& actor, bool restarting);
  void detach(Actor& actor);
  ValuePtr unavailable(const Actor& actor) const;

  Links& links_;
  Objects& objects_;
  Out& out_;
  // Shared with whoever is ending calls: that may drop the last handle, so that the actor is forgotten meanwhile.
  using ActorPtr = std::shared_ptr<Actor>;
  ActorPtr hold(const Actor& actor);
  std::vector<ActorPtr> all() const;
  std::unordered_map<ActorId, ActorPtr> actors_;
};

}  // namespace narke::worker
