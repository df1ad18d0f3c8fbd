#include "transfer/puller.h"

#include <algorithm>
#include <utility>

namespace narke::transfer {
namespace {

constexpr size_t kRounds = 2;         // a link that lay idle may be dead without a sign
constexpr size_t kMostOfLink = 256;   // requests under way; below Link::kMostRequests
constexpr uint64_t kSmall = 1 << 20;  // bytes; smaller requests open no further links

void remove(std::deque<ObjectId>& from, const ObjectId& id) { std::erase(from, id); }

}  // namespace

Puller::Puller(Io& io, Bodies& bodies, store::Server& store, const TransferConfig& config, Bodies::Post post)
    : io_(io), bodies_(bodies), store_(store), config_(config), post_(std::move(post)) {
  budget_ = config.pull_bytes != 0 ? config.pull_bytes : store.capacity_bytes() / 4;
}

Puller::~Puller() {
  for (auto& [id, pull] : pulls_)
    if (pull.stage == Stage::kSpace) store_.forget_secondary(id, clock_ns());
}

Puller::Pull* Puller::find(const ObjectId& id) {
  auto it = pulls_.find(id);
  return it == pulls_.end() ? nullptr : &it->second;
}

void Puller::pull(const ObjectId& id, const std::vector<std::string>& sources, uint64_t owner, PullDone done) {
  if (Pull* known = find(id)) {
    known->waiting.push_back(std::move(done));
    for (const std::string& source : sources)
      if (std::find(known->sources.begin(), known->sources.end(), source) == known->sources.end())
        known->sources.push_back(source);
    if (known->cancelled) known->tried = 0;
    known->cancelled = false;
    return;
  }
  auto presence = store_.presence(id);
  if (presence == store::ObjectPresence::kSealed || presence == store::ObjectPresence::kSpilled)
    return post_([done = std::move(done)] { done(ok_status()); });
  Pull& pull = pulls_[id];
  pull.id = id;
  pull.owner = owner;
  pull.sources = sources;
  pull.waiting.push_back(std::move(done));
  bodies_.expect(id);
  queued_.push_back(id);
  start_queued();
}

void Puller::start_queued() {
  while (!queued_.empty() && active_ < config_.most_pulls) {
    Pull& pull = *find(queued_.front());
    queued_.pop_front();
    ++active_;
    next_source(pull);
  }
}

void Puller::forget(const ObjectId& id) {
  Pull* pull = find(id);
  if (pull == nullptr) return;
  pull->waiting.clear();
  pull->cancelled = true;
  if (pull->stage == Stage::kSpace) store_.forget_secondary(id, clock_ns());
  bool was_queued = pull->stage == Stage::kQueued;
  leave_stage(*pull);
  if (was_queued) ++active_;  // end() counts it off
  pull->stage = Stage::kDraining;
  drain(*pull);
}

void Puller::node_gone(const std::string& address, const Error& why) {
  std::vector<ObjectId> idle;  // nothing of theirs is under way that would end with its link
  for (auto& [id, pull] : pulls_) {
    std::erase(pull.sources, address);
    if (pull.from != address) continue;
    pull.lost = why;
    if (pull.asked == 0 && (pull.stage == Stage::kAdmission || pull.stage == Stage::kMoving)) idle.push_back(id);
  }
  for (auto& [link, connection] : links_)
    if (connection.address == address) io_.close(link, why);
  for (const ObjectId& id : idle) source_failed(*find(id), why);
}

// ---- sources

void Puller::next_source(Pull& pull) {
  if (pull.tried >= kRounds * pull.sources.size()) return fail(pull);
  pull.origin = pull.sources[pull.tried++ % pull.sources.size()];
  ask(pull, pull.origin, 0);
}

void Puller::ask(Pull& pull, const std::string& address, uint8_t flags) {
  pull.stage = Stage::kAsking;
  pull.from = address;
  if (config_.through_tunnel) flags |= kDirect;  // elsewhere cannot be dialled
  pull.direct = (flags & kDirect) != 0;
  pull.lost.reset();
  if (address == config_.address) return source_failed(pull, {ErrorCode::kNotFound, "this node does not have it"});
  Header header{.kind = Kind::kAsk, .flags = flags, .id = pull.id};
  request(any_link(address), header, {pull.id, Kind::kAsk, 0, 0, nullptr}, nullptr);
}

// Its requests come to an end before another source is asked.
void Puller::source_failed(Pull& pull, const Error& error) {
  if (pull.stage == Stage::kDraining) return drain(pull);
  if (pull.error.message.empty() || error.code != ErrorCode::kNotFound) pull.error = error;
  pull.failures.push_back(pull.from + ": " + error.message);
  bool is_known = std::find(pull.sources.begin(), pull.sources.end(), pull.origin) != pull.sources.end();
  pull.retry_direct = pull.from != pull.origin && is_known;
  leave_stage(pull);
  pull.stage = Stage::kDraining;
  drain(pull);
}

void Puller::drain(Pull& pull) {
  if (pull.asked != 0) return;
  if (pull.cancelled) return end(pull.id, ok_status(), false);
  if (std::exchange(pull.retry_direct, false)) return ask(pull, pull.origin, kDirect);
  next_source(pull);
}

void Puller::on_offer(Pull& pull, LinkId link, const Header& header, const std::string& text) {
  pull.offers.push_back(link);
  if (!text.empty() && text != config_.address && !pull.direct) return ask(pull, text, kDirect);
  bool same = pull.body && pull.size == header.length && pull.edition == header.edition;
  if (same) return resume_moving(pull);
  if (pull.body) drop_body(pull, "the object has changed");
  pull.size = header.length;
  pull.edition = header.edition;
  if (pull.owner == 0) pull.owner = header.owner;
  admit(pull);
}

// ---- memory

void Puller::admit(Pull& pull) {
  pull.stage = Stage::kAdmission;
  admission_.push_back(pull.id);
  admit_waiting();
}

void Puller::admit_waiting() {
  while (!admission_.empty()) {
    Pull& pull = *find(admission_.front());
    if (in_flight_ != 0 && in_flight_ + pull.size > budget_) return;
    admission_.pop_front();
    pull.admitted = pull.size;
    in_flight_ += pull.size;
    make_space(pull);
  }
}

void Puller::make_space(Pull& pull) {
  pull.stage = Stage::kSpace;
  auto answer = [this, id = pull.id, alive = std::weak_ptr(alive_)](store::SecondaryStatus status, uint8_t* data,
                                                                    const std::string& why) {
    if (alive.expired()) return;
    post_([this, id, status, data, why] { on_space(id, status, data, why); });
  };
  store_.create_secondary(pull.id, pull.size, pull.owner, clock_ns(), answer);
}

void Puller::on_space(const ObjectId& id, store::SecondaryStatus status, uint8_t* data, const std::string& why) {
  Pull* pull = find(id);
  if (pull == nullptr || pull->stage != Stage::kSpace) {  // forgotten while the answer was on its way
    if (status == store::SecondaryStatus::kWrite) store_.abort_secondary(id, clock_ns());
    return;
  }
  switch (status) {
    case store::SecondaryStatus::kWrite: return begin_moving(*pull, data);
    case store::SecondaryStatus::kExists: return on_exists(*pull);
    case store::SecondaryStatus::kFull:
      pull->error = {ErrorCode::kOverloaded, why};
      pull->failures = {why};
      return fail(*pull);
  }
}

void Puller::on_exists(Pull& pull) {
  pull.stage = Stage::kLocal;
  local_.insert(pull.id);
  pull.since_ms = clock_ms();
  look_local(pull, pull.since_ms);
}

void Puller::look_local(Pull& pull, int64_t now_ms) {
  switch (store_.presence(pull.id)) {
    case store::ObjectPresence::kSealed:
    case store::ObjectPresence::kSpilled: return end(pull.id, ok_status(), true);
    case store::ObjectPresence::kAbsent: leave_stage(pull); return make_space(pull);
    case store::ObjectPresence::kWriting: break;
  }
  if (now_ms - pull.since_ms < config_.stall_ms) return;
  pull.error = {ErrorCode::kTimeout, "a program of this node is writing it and has not finished"};
  pull.failures.push_back(pull.error.message);
  fail(pull);
}

// Not inside the store's call, whose answers come later.
void Puller::drop_body(Pull& pull, const std::string& why) {
  bodies_.fail(pull.id, why);
  bodies_.expect(pull.id);
  pull.body.reset();
  in_flight_ -= std::exchange(pull.admitted, 0);
}

// ---- bytes

uint64_t Puller::chunk_length(const Pull& pull, uint64_t chunk) const {
  return std::min(config_.chunk_bytes, pull.size - chunk * config_.chunk_bytes);
}

void Puller::begin_moving(Pull& pull, uint8_t* data) {
  Body body{.id = pull.id,
            .data = data,
            .size = pull.size,
            .owner = pull.owner,
            .edition = pull.edition,
            .have = {},
            .slot = {}};
  body.chunk_bytes = config_.chunk_bytes;
  pull.chunks.assign((pull.size + config_.chunk_bytes - 1) / config_.chunk_bytes, Chunk::kMissing);
  pull.missing = pull.chunks.size();
  pull.next = 0;
  pull.body = bodies_.add(std::move(body));
  resume_moving(pull);
}

void Puller::resume_moving(Pull& pull) {
  pull.stage = Stage::kMoving;
  if (pull.missing == 0) return finish(pull);
  if (pull.lost) return source_failed(pull, Error(*pull.lost));
  std::string from = pull.from;
  peers_[from].moving.push_back(pull.id);
  pump(from);
}

// Asks for as many chunks as the links to this source should carry, one of each pull in turn: a small object does not
// wait for a large one.
void Puller::pump(const std::string& address) {
  auto peer = peers_.find(address);
  if (peer == peers_.end()) return;
  std::deque<ObjectId>& moving = peer->second.moving;
  while (!moving.empty()) {
    Pull& pull = *find(moving.front());
    while (pull.next < pull.chunks.size() && pull.chunks[pull.next] != Chunk::kMissing) ++pull.next;
    if (pull.next < pull.chunks.size()) {
      LinkId link = pick(address, chunk_length(pull, pull.next));
      if (link == 0) return;
      get(pull, link, pull.next++);
      moving.push_back(pull.id);
    }
    moving.pop_front();
  }
}

void Puller::get(Pull& pull, LinkId link, uint64_t chunk) {
  uint64_t length = chunk_length(pull, chunk), offset = chunk * config_.chunk_bytes;
  pull.chunks[chunk] = Chunk::kAsked;
  Header header{.kind = Kind::kGet, .id = pull.id, .offset = offset, .length = length};
  header.edition = pull.edition;
  request(link, header, {pull.id, Kind::kGet, chunk, length, pull.body}, pull.body->data + offset);
}

void Puller::on_data(Pull& pull, const Asked& asked) {
  taken_bytes_ += asked.bytes;
  if (asked.body != pull.body || pull.chunks[asked.chunk] == Chunk::kHere) return;
  pull.chunks[asked.chunk] = Chunk::kHere;
  --pull.missing;
  bodies_.mark(*pull.body, asked.chunk);
  if (pull.missing == 0 && pull.stage == Stage::kMoving) finish(pull);
}

// ---- links

LinkId Puller::open(const std::string& address) {
  LinkId link = io_.connect(address);
  links_[link].address = address;
  links_[link].idle_since_ms = clock_ms();
  peers_[address].links.push_back(link);
  return link;
}

LinkId Puller::any_link(const std::string& address) {
  Peer& peer = peers_[address];
  return peer.links.empty() ? open(address) : peer.links.front();
}

// The link that has least to do, or 0 when all have enough.
LinkId Puller::pick(const std::string& address, uint64_t bytes) {
  Peer& peer = peers_[address];
  LinkId best = 0;
  for (LinkId link : peer.links)
    if (best == 0 || links_[link].bytes < links_[best].bytes) best = link;
  if (best != 0 && links_[best].bytes == 0) return best;
  bool may_open = peer.links.size() < static_cast<size_t>(config_.connections);
  if (best == 0 || (may_open && bytes >= kSmall)) return open(address);
  const Connection& at = links_[best];
  return at.bytes + bytes <= config_.window_bytes && at.asked.size() < kMostOfLink ? best : 0;
}

void Puller::request(LinkId link, Header header, Asked asked, uint8_t* into) {
  header.number = next_number_++;
  Connection& at = links_[link];
  at.bytes += asked.bytes;
  ++find(asked.id)->asked;
  auto* received = asked.body ? asked.body->received.get() : nullptr;
  at.asked[header.number] = std::move(asked);
  io_.push(link, {.header = header, .text = {}, .into = into, .received = received});
}

void Puller::on_answer(LinkId link, const Header& header, const std::string& text) {
  auto connection = links_.find(link);
  if (connection == links_.end() || header.kind == Kind::kWait) return;
  auto entry = connection->second.asked.extract(header.number);
  if (entry.empty()) return;
  Asked asked = std::move(entry.mapped());
  connection->second.bytes -= asked.bytes;
  connection->second.idle_since_ms = clock_ms();
  std::string address = connection->second.address;
  Pull* pull = find(asked.id);
  --pull->asked;
  if (header.kind == Kind::kData) {
    on_data(*pull, asked);
  } else if (header.kind == Kind::kAbsent) {
    source_failed(*pull, {ErrorCode::kNotFound, text});
    pull = nullptr;
  } else if (pull->stage == Stage::kAsking) {
    on_offer(*pull, link, header, text);
    pull = nullptr;
  } else {
    pull->offers.push_back(link);
  }
  if (pull = find(asked.id); pull != nullptr && pull->stage == Stage::kDraining) drain(*pull);
  pump(address);
}

void Puller::on_closed(LinkId link, const Error& error) {
  auto connection = links_.extract(link);
  if (connection.empty()) return;
  Connection& lost = connection.mapped();
  std::erase(peers_[lost.address].links, link);
  for (auto& [id, pull] : pulls_) std::erase(pull.offers, link);
  std::unordered_set<ObjectId> affected;
  for (auto& [number, asked] : lost.asked) {
    Pull& pull = *find(asked.id);
    --pull.asked;
    affected.insert(asked.id);
    if (asked.kind != Kind::kGet || asked.body != pull.body) continue;
    pull.chunks[asked.chunk] = Chunk::kMissing;
    pull.next = std::min<size_t>(pull.next, asked.chunk);
  }
  lost.asked.clear();
  for (const ObjectId& id : affected) source_failed(*find(id), error);
  pump(lost.address);  // for those that waited for this link to have room
  auto peer = peers_.find(lost.address);
  if (peer != peers_.end() && peer->second.links.empty() && peer->second.moving.empty()) peers_.erase(peer);
}

void Puller::close_idle(int64_t now_ms) {
  for (auto& [link, connection] : links_) {
    if (!connection.asked.empty() || now_ms - connection.idle_since_ms < config_.idle_ms) continue;
    bool is_kept = std::any_of(pulls_.begin(), pulls_.end(), [link = link](const auto& entry) {
      const auto& offers = entry.second.offers;
      return std::find(offers.begin(), offers.end(), link) != offers.end();
    });
    connection.idle_since_ms = now_ms;  // looked at again after as long
    if (!is_kept) io_.close(link, {ErrorCode::kDisconnected, "it was not used"});
  }
}

// ---- ends

void Puller::leave_stage(Pull& pull) {
  if (pull.stage == Stage::kQueued) remove(queued_, pull.id);
  if (pull.stage == Stage::kAdmission) remove(admission_, pull.id);
  if (pull.stage == Stage::kLocal) local_.erase(pull.id);
  if (pull.stage == Stage::kMoving) remove(peers_[pull.from].moving, pull.id);
}

void Puller::finish(Pull& pull) {
  BodyPtr body = pull.body;
  if (bodies_.seal(*body)) {
    kept_.emplace_back(clock_ms() + config_.keep_ms, body);
    return end(pull.id, ok_status(), true);
  }
  std::string text = "Object " + pull.id.hex() + " was deleted while it was brought to this node.";
  end(pull.id, Error{ErrorCode::kNotFound, text}, false);
}

void Puller::fail(Pull& pull) {
  std::string text = "Object " + pull.id.hex() + " could not be brought to this node";
  for (size_t i = 0; i < pull.failures.size(); ++i) text += (i == 0 ? ": " : "; ") + pull.failures[i];
  if (pull.sources.empty()) {
    text += pull.failures.empty() ? ": no node is known to have it" : "; no other node is known to have it";
    pull.error.code = ErrorCode::kNotFound;
  }
  text += pull.error.code == ErrorCode::kOverloaded
              ? ""
              : ". Its owner makes it again if it can; check the nodes named here and the network between them.";
  end(pull.id, Error{pull.error.code, text}, false);
}

void Puller::end(const ObjectId& id, Status status, bool has_it) {
  leave_stage(*find(id));
  auto node = pulls_.extract(id);
  Pull& pull = node.mapped();
  uint8_t flags = has_it ? kKept : 0;
  for (LinkId link : pull.offers)
    io_.push(link, {.header = {.kind = Kind::kDone, .flags = flags, .id = id}, .text = {}});
  if (has_it) {
    bodies_.settle(id);
  } else {
    bodies_.fail(id, status.ok() ? "the node gave it up" : status.error().message);
  }
  for (PullDone& done : pull.waiting) post_([done = std::move(done), status] { done(status); });
  in_flight_ -= pull.admitted;
  --active_;
  pull.body.reset();
  post_([this] {
    admit_waiting();
    start_queued();
  });
}

void Puller::tick(int64_t now_ms) {
  while (!kept_.empty() && kept_.front().first <= now_ms) kept_.pop_front();
  for (const ObjectId& id : std::vector(local_.begin(), local_.end())) look_local(*find(id), now_ms);
  close_idle(now_ms);
}

}  // namespace narke::transfer
