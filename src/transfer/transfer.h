// Objects from the store of one node to the store of another, over TCP, from shared memory to shared memory.
//
// What a node does: listens on its port (rpc::Door) and hands data connections to serve(); calls pull() for an object
// that a program of it wants; when an object's owner erases it, tells given()'s nodes to do the same; when an owner has
// ended, calls forget_owner(); when a node has died, node_gone().
// Lifecycle: make() -> used -> destroyed, before the reactor and the store. Threads: the daemon's; the bytes are moved
// by a few threads of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "rpc/reactor.h"
#include "store/server.h"
#include "transfer/config.h"
#include "transfer/giver.h"
#include "transfer/puller.h"

namespace narke::transfer {

struct TransferStats {
  uint64_t pulls = 0;  // under way or waiting
  uint64_t taken_bytes = 0;  // received, since the start
  uint64_t given_bytes = 0;  // sent, since the start
};

class Transfers {
 public:
  // token: the cluster's; both sides of a connection prove that they hold it.
  static Result<std::unique_ptr<Transfers>> make(rpc::Reactor& reactor, store::Server& store, const std::string& token,
                                                 TransferConfig config);
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  // A connection that was accepted, its preface read; tls: as that says. Takes the descriptor over.
  void serve(int fd, bool tls);

  // Brings the object into this node's store. done is called once, from the reactor, never from within pull():
  // ok when the object is in the store, in memory or on disk, and then it is pinned for keep_ms. Otherwise
  //   kNotFound       no source has it, or it was erased meanwhile
  //   kOverloaded     the store is full
  //   kRefused        a source does not hold the token, or is of another version
  //   kDisconnected, kTimeout  sources are gone or silent, or it is being written here and not finished
  // and the message names the object and what each source said.
  // Sources ("host:port") are tried in order, twice each. owner: store::owner_key() of the object's owner, or 0.
  // A second pull() of an object joins the first and adds its sources.
  void pull(const ObjectId& id, const std::vector<std::string>& sources, uint64_t owner, PullDone done);
  // Nobody waits for it any more; done is not called. It ends when the bytes under way are in.
  void forget(const ObjectId& id);

  // Addresses of nodes that took this object from here and may still have it, for its erasure. Forgets them: a node
  // that takes it later is recorded anew. Ask on each erasure of the object, also when this node has it no more.
  std::vector<std::string> given(const ObjectId& id);
  // The program behind store::owner_key() has ended; all nodes erase what it owned.
  void forget_owner(uint64_t owner);

  // The node at this address is known to be dead: what was expected of it is expected of others at once, and what is
  // kept for it is free. A node that comes later with the same address is a new one.
  void node_gone(const std::string& address, const std::string& why);

  TransferStats stats() const;

 private:
  Transfers(rpc::Reactor& reactor, store::Server& store, TransferConfig config);
  void start(std::unique_ptr<Io> io);
  void post(std::function<void()> work);
  void on_events();
  void on_event(const Event& event);
  void run_posted();
  void tick();
  void arm();

  rpc::Reactor& reactor_;
  store::Server& store_;
  TransferConfig config_;
  std::unique_ptr<Io> io_;
  std::unique_ptr<Bodies> bodies_;
  std::unique_ptr<Giver> giver_;
  std::unique_ptr<Puller> puller_;
  std::vector<std::function<void()>> posted_;
  rpc::Reactor::TimerId post_timer_ = 0, tick_timer_ = 0;  // 0: none
  bool is_closing_ = false;
};

}  // namespace narke::transfer
