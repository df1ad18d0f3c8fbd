// Ownership: every object this program owns or borrows, and the messages that keep owners and borrowers in step.
//
// The rules (who may drop what, when):
// - The program that makes a reference owns the object and keeps it while uses > 0 or somebody borrows.
// - Whoever sends a value that contains references first makes the receiver a borrower (lend()), so a receiver
//   never has to hurry.
// - References that arrive inside a task's arguments are covered by the submitter until the task's reply; those
//   still held then are registered with their owners before the reply leaves (register_kept()).
// - A borrower that holds nothing any more says so (RemoveBorrow). Adding and removing may overtake each other on
//   different links: owners count, and a count may be negative for a moment. A borrower that is lent the same object
//   again keeps count and gives all back at the end: one given back earlier could overtake the one it stands for.
// - An owner has a link to every borrower, opened if need be: when it closes, the borrower is gone.
// Threads: the engine's lock.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/links.h"
#include "worker/object.h"
#include "worker/task.h"

namespace narke::worker {

class Objects {
 public:
  // What the table asks of others.
  class Out {
   public:
    virtual ~Out() = default;
    // The owner gives up a value in the store of `node`; spread: other nodes may have copies.
    virtual void erase_stored(const ObjectId& id, const NodeId& node, bool spread) = 0;
    virtual void actor_out_of_scope(const ObjectId& id) = 0;  // nobody holds the actor's handle
    virtual void recover(Object& object) = 0;                 // run its task again
    // Looks for the object among what these nodes have spilled; on_promoted() is told. False: nobody can be asked.
    virtual bool seek_spilled(const ObjectId& id, const std::vector<NodeId>& lost_at) = 0;
    virtual bool is_stored(const ObjectId& id) = 0;
    // The copies of these in the store of `node` are now the ones to keep.
    virtual void promote(const NodeId& node, const std::vector<ObjectId>& ids) = 0;
    virtual void drop_lineage(TaskPtr task) = 0;              // one stored return of it is given up
    virtual void became_ready() = 0;
  };

  Objects(Links& links, Out& out) : links_(links), out_(out) {}
  ~Objects();

  // ---- making and finding ----
  ObjectPtr make_owned(const ObjectId& id);
  // The object behind a reference that arrived: ours, one already borrowed, or a new borrowed one.
  // covered: a submitter's or container's hold lasts until register_kept(); otherwise the owner is told at once.
  ObjectPtr receive(const ObjectId& id, const Address& owner, bool covered);
  ObjectPtr find(const ObjectId& id);
  // One that another program owns and for which it counts this one already.
  ObjectPtr receive_lent(const ObjectId& id, const Address& owner);

  // ---- uses ----
  static void add_use(Object& object) {
    if (object.uses.fetch_add(1, std::memory_order_relaxed) == 0) object.ref();
  }
  void drop_use(Object& object);
  // Gives the object up if nothing holds it, or its value alone if it may be needed and can be made again.
  void maybe_release(Object& object);
  static bool can_be_remade(const Object& object);
  // A use becomes a memory: the value may go.
  void remember(Object& object);
  // The reverse.
  void recall(Object& object);
  // Whether its value had gone. From now on it is awaited; recover() follows.
  static bool begin_remaking(Object& object);
  void add_to_table(Object& object);

  // ---- becoming ready ----
  void set_value(Object& object, ValuePtr value, ObjectState state = ObjectState::kValue);
  // node: whose store has it.
  void set_stored(Object& object, const NodeId& node);
  // Where a stored object is.
  NodeId node_of(Object& object);
  // Other nodes whose stores may have it too.
  const std::vector<NodeId>& copies_of(Object& object);
  // This program's node has it now as well: whoever owns it is told.
  void note_copy(Object& object);
  void set_contained(Object& object, std::vector<ObjectPtr> contained);
  void listen(Object& object, ReadyListener* listener);
  void unlisten(Object& object, ReadyListener* listener);
  // Asks the owner of a borrowed object that is not here yet.
  void fetch(Object& object, bool recover = false);
  // The stored value is gone from the store: make it again or end in an error.
  void on_lost(Object& object);

  // ---- references on their way out ----
  // Marks the reference as known outside; returns what a message says of it.
  flatbuffers::Offset<wire::Ref> describe(flatbuffers::FlatBufferBuilder& b, Object& object);
  Address owner_of(Object& object);
  // `receiver` becomes a borrower before a message that carries the reference leaves.
  void lend(Object& object, const Address& receiver);
  void lend(Object& object, const rpc::Connection& receiver) { lend(object, links_.address_of(receiver)); }
  // Registers every covered reference that is still held. Returns true when a reply over the link `to` (null: none)
  // may leave now; otherwise `done` runs once the owners have answered. What went over that link itself is in order.
  bool register_kept(const rpc::Connection* to, std::function<void()> done);
  std::vector<ObjectPtr> receive_contained(const flatbuffers::Vector<flatbuffers::Offset<wire::Ref>>* refs);

  // ---- messages ----
  void on_get_object(rpc::Connection& from, const rpc::Frame& frame);
  void on_object_reply(const rpc::Frame& frame);
  void on_add_borrow(rpc::Connection& from, const rpc::Frame& frame);
  void on_borrow_ack(rpc::Connection& from, uint32_t call_id);
  void on_remove_borrow(const rpc::Frame& frame);
  void on_copy_made(const rpc::Frame& frame);
  // Another program has made a value that this one is to own.
  void on_adopt(rpc::Connection& from, const rpc::Frame& frame);
  void on_link_closed(rpc::Connection& link);
  // A node is gone: of the objects it had, copies elsewhere are kept from now on.
  void on_node_gone(const NodeId& node);
  // A node is to go and has given these to another.
  void on_moved(const rpc::Frame& frame);
  // The answer to promote().
  void on_promoted(const rpc::Frame& frame);
  void on_program_gone(const WorkerId& worker, const std::string& why);
  // This program leaves: what is not ready ends in an error, and nothing keeps the means to make a value again.
  void end_pending(const std::string& why);

  // Whether another program holds a reference to an object of ours.
  bool has_borrowers() const;
  // What other owners have not confirmed, for people; empty: nothing.
  std::string describe() const;
  size_t size() const { return table_.size(); }
  void for_each(const std::function<void(Object&)>& visit);

 private:
  struct Request : ReadyListener {  // a borrower that waits for our object
    Objects* objects;
    WorkerId from;
    uint32_t call_id;
    void on_ready(Object& object) override;
  };
  struct Acks {
    int left = 0;
    std::function<void()> done;
  };

  ObjectPtr add_received(const ObjectId& id, const Address& owner);
  void on_sought(const wire::ObjectsPromoted& answer);
  void note_lost_at(Object& object);
  void remove_from_table(Object& object);
  void release(Object& object);
  void release_contained(Object& object);
  void give_value_up(Object& object);
  void erase_stored(Object& object);
  void come_back(Object& object);
  void became_ready(Object& object);
  void reply(rpc::Connection& to, uint32_t call_id, Object& object);
  void reply_missing(rpc::Connection& to, uint32_t call_id, const ObjectId& id);
  void send_add_borrow(rpc::Connection& to, Object& object, const Address& borrower, uint32_t call_id);
  void ask_owner(rpc::Connection& owner, Object& object, const Address& borrower);
  void send_remove_borrow(Object& object);
  void fail_owner_died(Object& object, const std::string& why);
  void add_copy(Object& object, const NodeId& node);
  bool use_copy(Object& object);
  void watch_borrower(const Address& borrower);

  Links& links_;
  Out& out_;
  std::unordered_map<ObjectId, Object*> table_;  // each holds one intrusive reference
  std::vector<ObjectPtr> unregistered_;
  using AckKey = std::pair<rpc::Connection*, uint32_t>;  // link, call id
  // AddBorrows without an answer, and the replies that wait for it.
  std::map<AckKey, std::vector<std::shared_ptr<Acks>>> waiting_acks_;
};

// An engine failure as a value: see bindings/value.h, form 0x20.
// (exception, message) of such a value; both empty for every other.
std::pair<std::string, std::string> read_failure(const ValuePtr& value);
ValuePtr make_failure(const std::string& kind, const std::string& message, const std::string& id_hex);

}  // namespace narke::worker
