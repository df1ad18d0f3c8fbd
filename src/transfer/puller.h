// What this node takes: one pull for each object, however many wait for it.
//
//   Queued -> Asking -> Admission -> Space -> Moving -> sealed, done(ok)
//             (a source offers it; its size is known)
//                  Moving, Asking -> Draining -> Asking (the next source) ... -> done(error)
//                  Space -> Local: a program of this node is writing the object itself
// Draining waits for what was asked of a failed source: its links may still write into the object's memory. Chunks
// that have come are kept when the next source offers the same edition. Every stage ends: links have deadlines
// (LinkConfig::stall_ms), the store answers (ServerConfig::full_wait_ms), Local has stall_ms.
// Bounds: most_pulls at a time, pull_bytes of memory for those that are not whole yet, window_bytes and kMostOfLink
// requests on a connection; the rest waits in order.
// Threads: the daemon's. done() is called through `post`.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "transfer/bodies.h"
#include "transfer/config.h"
#include "transfer/io.h"

namespace narke::transfer {

using PullDone = std::function<void(Status)>;

class Puller {
 public:
  Puller(Io& io, Bodies& bodies, store::Server& store, const TransferConfig& config, Bodies::Post post);
  ~Puller();
  Puller(const Puller&) = delete;
  Puller& operator=(const Puller&) = delete;

  void pull(const ObjectId& id, const std::vector<std::string>& sources, uint64_t owner, PullDone done);
  void forget(const ObjectId& id);
  // This node is no source any more: pulls go on with others at once.
  void node_gone(const std::string& address, const Error& why);

  void on_answer(LinkId link, const Header& header, const std::string& text);
  void on_closed(LinkId link, const Error& error);
  // Now and then: deadlines, idle links, objects that were kept long enough.
  void tick(int64_t now_ms);
  bool is_idle() const { return pulls_.empty() && kept_.empty() && links_.empty(); }

  size_t pulls() const { return pulls_.size(); }
  uint64_t taken_bytes() const { return taken_bytes_; }

 private:
  enum class Stage { kQueued, kAsking, kAdmission, kSpace, kLocal, kMoving, kDraining };
  enum class Chunk : uint8_t { kMissing, kAsked, kHere };
  struct Pull {
    ObjectId id;
    uint64_t owner = 0;
    std::vector<std::string> sources;
    std::vector<PullDone> waiting;
    Stage stage = Stage::kQueued;
    bool cancelled = false;

    size_t tried = 0;          // sources; each is tried kRounds times
    std::optional<Error> lost;  // why `from` is known to be gone
    std::string origin, from;   // the source that was asked; the one it is taken from
    bool direct = false, retry_direct = false;
    Error error;
    std::vector<std::string> failures;
    std::vector<LinkId> offers;  // links whose peers keep the object until Done
    size_t asked = 0;            // requests without an answer

    uint64_t size = 0, edition = 0, admitted = 0;
    BodyPtr body;
    std::vector<Chunk> chunks;
    size_t next = 0, missing = 0;  // no chunk before `next` is missing
    int64_t since_ms = 0;          // of kLocal
  };
  struct Asked {
    ObjectId id;
    Kind kind;
    uint64_t chunk, bytes;
    BodyPtr body;  // the link writes into it
  };
  struct Connection {
    std::string address;
    std::unordered_map<uint32_t, Asked> asked;
    uint64_t bytes = 0;  // asked for
    int64_t idle_since_ms = 0;
  };
  struct Peer {
    std::vector<LinkId> links;
    std::deque<ObjectId> moving;  // pulls with chunks to be asked of it; the first is next
  };

  Pull* find(const ObjectId& id);
  void start_queued();
  void next_source(Pull& pull);
  void ask(Pull& pull, const std::string& address, uint8_t flags);
  void on_offer(Pull& pull, LinkId link, const Header& header, const std::string& text);
  void on_data(Pull& pull, const Asked& asked);
  void source_failed(Pull& pull, const Error& error);
  void drain(Pull& pull);
  void admit(Pull& pull);
  void admit_waiting();
  void make_space(Pull& pull);
  void on_space(const ObjectId& id, store::SecondaryStatus status, uint8_t* data, const std::string& why);
  void on_exists(Pull& pull);
  void look_local(Pull& pull, int64_t now_ms);
  void begin_moving(Pull& pull, uint8_t* data);
  void resume_moving(Pull& pull);
  void drop_body(Pull& pull, const std::string& why);
  void pump(const std::string& address);
  void get(Pull& pull, LinkId link, uint64_t chunk);

  LinkId any_link(const std::string& address);
  LinkId pick(const std::string& address, uint64_t bytes);
  LinkId open(const std::string& address);
  void request(LinkId link, Header header, Asked asked, uint8_t* into);
  uint64_t chunk_length(const Pull& pull, uint64_t chunk) const;

  void finish(Pull& pull);
  void fail(Pull& pull);
  void end(const ObjectId& id, Status status, bool has_it);
  void leave_stage(Pull& pull);
  void close_idle(int64_t now_ms);

  Io& io_;
  Bodies& bodies_;
  store::Server& store_;
  const TransferConfig& config_;
  Bodies::Post post_;
  uint64_t budget_;        // bytes
  uint64_t in_flight_ = 0;  // bytes admitted
  std::unordered_map<ObjectId, Pull> pulls_;
  std::deque<ObjectId> queued_, admission_;
  std::unordered_set<ObjectId> local_;
  size_t active_ = 0;  // pulls that are not queued
  std::unordered_map<LinkId, Connection> links_;
  std::unordered_map<std::string, Peer> peers_;
  uint32_t next_number_ = 1;
  std::deque<std::pair<int64_t, BodyPtr>> kept_;  // until then, in order
  uint64_t taken_bytes_ = 0;
  std::shared_ptr<Unit> alive_ = std::make_shared<Unit>();  // the store may answer after the end
};

}  // namespace narke::transfer
