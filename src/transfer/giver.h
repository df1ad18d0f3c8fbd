// What this node gives: answers to Ask, Get and Done, and who has taken which object.
//
// Broadcast: an object that many nodes ask for at once is not sent to each of them. So many at a time (fan_out) take
// it from here; whoever asks meanwhile is sent to a node that takes it or has it, which gives on each chunk as soon
// as it has it. All ask here first, so the chain (a tree when fan_out > 1) is laid out here, without agreement among
// nodes. A node that gets nothing where it was sent comes back with kDirect and is served.
// Requests whose bytes are not here yet are parked; their askers hear Wait while there is progress.
// Threads: the daemon's.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "transfer/bodies.h"
#include "transfer/config.h"
#include "transfer/io.h"

namespace narke::transfer {

class Giver {
 public:
  Giver(Io& io, Bodies& bodies, const TransferConfig& config) : io_(io), bodies_(bodies), config_(config) {}

  void on_up(LinkId link, const std::string& address) { peers_[link].address = address; }
  void on_request(LinkId link, const Header& request);
  void on_sent(LinkId link);
  void on_closed(LinkId link);
  // See Bodies::Changed.
  void on_changed(const ObjectId& id, const std::string& why);
  // Now and then: tells those who wait that there is progress.
  void tick();
  bool is_idle() const { return parked_.empty(); }

  // Addresses of nodes that took this object from here and may have it; forgets them.
  std::vector<std::string> given(const ObjectId& id);
  void forget_owner(uint64_t owner);
  // Nobody is sent to this node any more, and what is kept for it is free.
  void node_gone(const std::string& address, const Error& why);
  uint64_t given_bytes() const { return given_bytes_; }

 private:
  struct Peer {
    std::string address;
    std::unordered_map<ObjectId, BodyPtr> asked;  // kept for it until Done
    std::deque<BodyPtr> sending;                  // one for each Data on its way, in order
  };
  struct Parked {
    LinkId link;
    Header request;
    uint64_t progress;  // of the body when its asker heard last
  };
  enum class TakerState { kTaking, kHas, kLost };
  struct Taker {
    std::string address, from;  // from: the taker it was sent to, or empty: this node
    LinkId link = 0;
    TakerState state = TakerState::kTaking;
    bool served = true;  // takes at present: counts as a child of `from`
    int children = 0, depth = 1;
  };
  struct Share {
    uint64_t owner = 0;
    int children = 0;  // taking from this node
    std::vector<Taker> takers;
  };

  void serve(LinkId link, const Header& request);
  void park(LinkId link, const Header& request);
  void offer(LinkId link, const Header& request, const BodyPtr& body);
  void give(LinkId link, const Header& request, const BodyPtr& body);
  void refuse(LinkId link, const Header& request, const std::string& why);
  void on_done(LinkId link, const Header& request);

  std::string assign(LinkId link, const Header& request, const Body& body);
  std::string again(Share& share, Taker& taker, bool is_direct);
  static Taker* find(Share& share, const std::string& address);
  Taker* best(Share& share);
  static void stop_serving(Share& share, Taker& taker);

  Io& io_;
  Bodies& bodies_;
  const TransferConfig& config_;
  std::unordered_map<LinkId, Peer> peers_;
  std::unordered_map<ObjectId, std::vector<Parked>> parked_;
  std::unordered_map<ObjectId, Share> shares_;
  uint64_t given_bytes_ = 0;
};

}  // namespace narke::transfer
