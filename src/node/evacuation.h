// The objects of a node that is to go, on their way to the stores of others.
//
// look() -> asked of a shelter, a batch at a time -> on_taken(): moved, or refused and asked of the next shelter.
// An object that every shelter refused is asked about again after a while. Pure: stimuli in, instructions to Out.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/id.h"

namespace narke::node {

class Evacuation {
 public:
  struct Object {
    ObjectId id;
    uint64_t owner = 0;  // store::owner_key()
  };
  class Out {
   public:
    virtual ~Out() = default;
    // The copies to keep that this node has for owners elsewhere.
    virtual std::vector<Object> to_move() = 0;
    // Nodes that stay.
    virtual std::vector<NodeId> shelters() = 0;
    // Answered by on_taken() or on_node_gone().
    virtual void ask(const NodeId& shelter, const std::vector<Object>& objects) = 0;
    // These are kept there from now on.
    virtual void moved(const NodeId& shelter, const std::vector<Object>& objects) = 0;
  };

  explicit Evacuation(Out& out) : out_(out) {}

  // Begins with what is there and not under way.
  void look(int64_t now_ms);
  void on_taken(const NodeId& shelter, const std::vector<ObjectId>& taken);
  void on_node_gone(const NodeId& shelter);
  // As of the last look: nothing is under way or left to be moved.
  bool is_done() const { return left_ == 0 && asked_.empty(); }

 private:
  std::vector<Object> batch_for(const NodeId& shelter, std::vector<Object>& left);

  Out& out_;
  size_t left_ = 0;
  std::map<NodeId, std::vector<Object>> asked_;
  std::unordered_set<ObjectId> moved_;
  std::unordered_map<ObjectId, std::set<NodeId>> refused_;
  int64_t forgive_ms_ = 0;  // when refusals are forgotten; 0: there are none
};

}  // namespace narke::node
