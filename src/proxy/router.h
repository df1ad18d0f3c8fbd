// Which replica a request goes to. Pure: time comes in as arguments, answers go out through Request.
//
// Of two replicas drawn at random the less loaded one is taken (power of two choices). A replica's load is what this
// proxy has there now plus what others had there when it last answered. One that runs as much as it may gets nothing;
// when all do, requests wait in the deployment's queue, which is bounded.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "rpc/frame.h"

namespace narke::proxy {

struct Replica {
  std::string id;
  ActorId actor;
  uint32_t most_ongoing = 100;
  std::string node;                 // hex
  bool is_local = true;             // on this proxy's node: preferred while it has room
  std::vector<std::string> models;  // multiplexed models it holds, as far as is known here
  uint32_t mine = 0;                // requests of this proxy that run there
  uint32_t others = 0;              // of others, when it last answered
  int64_t busy_until_ms = 0;        // it refused: not asked again before
  int refusals = 0;                 // in a row
  bool is_gone = false;             // no longer in the table

  uint32_t load() const { return mine + others; }
};
using ReplicaPtr = std::shared_ptr<Replica>;

struct Backend;

// A request on its way to a replica. Must outlive its stay in the queue: leave() takes it out.
class Waiting {
 public:
  virtual ~Waiting() = default;
  // The replica's `mine` counts the request already; Router::done() or refused() gives the place back.
  virtual void assigned(ReplicaPtr replica) = 0;
  // The deployment is gone.
  virtual void abandoned() = 0;
  virtual const std::string& model() const = 0;
};

// One deployment as this proxy sees it.
struct Backend {
  std::string key;                // "app#deployment"
  int most_queued = -1;           // -1: bounded by kMostQueued alone
  int full_status = 503;
  int retry_after_s = 1;
  std::vector<ReplicaPtr> replicas;
  std::deque<Waiting*> queue;
  bool is_gone = false;
};
using BackendPtr = std::shared_ptr<Backend>;

struct Route {
  std::string prefix;             // "/" or "/x", without a slash at the end
  std::string app;
  BackendPtr backend;
  int64_t timeout_ms = 0;         // 0: none
  uint64_t body_limit = 0;        // bytes; 0: none
};

inline constexpr size_t kMostQueued = 100'000;
// A replica that refused is asked again after this, and after twice as long each further time, up to the limit.
inline constexpr int64_t kFirstPauseMs = 2, kLongestPauseMs = 64;

class Router {
 public:
  // node: this proxy's, in hex; empty: all replicas are as near.
  explicit Router(uint64_t seed, std::string node = {}) : random_(seed), node_(std::move(node)) {}

  // Takes over a table: the FlexBuffers map that the controller sends (python/narke/serve/_private/tables.py). An
  // error, and nothing is changed, when it is damaged.
  Status apply(rpc::Bytes table);
  int64_t version() const { return version_; }
  const std::vector<Route>& routes() const { return routes_; }
  const std::map<std::string, BackendPtr>& backends() const { return backends_; }

  // The route with the longest prefix of the path; null when there is none.
  const Route* find(std::string_view path) const;

  enum class Placed { kTaken, kFull, kGone };
  // Assigns the request, now or later. kFull: the queue has all it may hold.
  Placed place(Backend& backend, Waiting& request, int64_t now_ms);
  // The request does not wait any more.
  static void leave(Backend& backend, Waiting& request);
  // A request ended there; load: as the replica told, or -1.
  void done(Backend& backend, Replica& replica, int64_t load, int64_t now_ms);
  // The replica would not run it; the request has to be placed again.
  void refused(Replica& replica, uint32_t load, int64_t now_ms);
  // The replica is leaving or dead: nothing goes there until a new table names it again.
  static void exclude(Replica& replica) { replica.is_gone = true; }
  // Assigns what waits, where there is room.
  void pump(Backend& backend, int64_t now_ms);
  // The first time at which pump_all() may find room that there is not now; -1: none.
  int64_t next_due_ms(int64_t now_ms) const;
  void pump_all(int64_t now_ms);

 private:
  ReplicaPtr pick(Backend& backend, const std::string& model, int64_t now_ms);

  std::mt19937_64 random_;
  const std::string node_;
  int64_t version_ = -1;
  std::vector<Route> routes_;  // longest prefix first
  std::map<std::string, BackendPtr> backends_;
};

}  // namespace narke::proxy
