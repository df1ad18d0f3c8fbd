#include "transfer/bodies.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "rpc/auth.h"

namespace narke::transfer {

int64_t clock_ns() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

bool Body::covers(uint64_t offset, uint64_t length) const {
  if (have.empty()) return true;
  if (length == 0) return true;
  for (uint64_t chunk = offset / chunk_bytes; chunk <= (offset + length - 1) / chunk_bytes; ++chunk)
    if (!have[chunk]) return false;
  return true;
}

Bodies::Bodies(store::Server& store, Post post) : store_(store), post_(std::move(post)) {
  std::memcpy(&seed_, rpc::make_nonce().data(), sizeof seed_);
}

BodyPtr Bodies::find(const ObjectId& id) const {
  auto it = bodies_.find(id);
  return it == bodies_.end() ? nullptr : it->second.lock();
}

BodyPtr Bodies::hold(Body body) {
  BodyPtr held(new Body(std::move(body)), [this](Body* last) { give_back(last); });
  bodies_[held->id] = held;
  return held;
}

void Bodies::give_back(Body* body) {
  auto it = bodies_.find(body->id);
  if (it != bodies_.end() && it->second.expired()) bodies_.erase(it);
  if (body->slot) {
    store_.unpin(*body->slot, clock_ns());
  } else {
    store_.abort_secondary(body->id, clock_ns());
  }
  delete body;
}

void Bodies::pin(const ObjectId& id) {
  if (!pinning_.insert(id).second) return;
  store_.pin(id, clock_ns(), [this, id, alive = std::weak_ptr(alive_)](const Result<store::Pinned>& pinned) {
    if (alive.expired()) return;
    post_([this, id, pinned] { on_pinned(id, pinned); });
  });
}

void Bodies::on_pinned(const ObjectId& id, const Result<store::Pinned>& pinned) {
  pinning_.erase(id);
  if (!pinned.ok()) return changed_(id, pinned.error().message);
  const store::Pinned& at = pinned.value();
  BodyPtr known = find(id);
  if (known) {  // an incoming one that was sealed meanwhile
    store_.unpin(at.slot, clock_ns());
    return changed_(id, "");
  }
  Body body{.id = id, .data = at.data, .size = at.size, .owner = at.owner, .have = {}, .slot = at.slot};
  body.edition = (seed_ ^ at.generation * 0xff51afd7ed558ccdull) + at.slot * 0x9e3779b97f4a7c15ull;
  BodyPtr held = hold(std::move(body));
  changed_(id, "");
}

BodyPtr Bodies::add(Body body) {
  expected_.erase(body.id);
  body.have.assign((body.size + body.chunk_bytes - 1) / body.chunk_bytes, false);
  body.received = std::make_unique<std::atomic<uint64_t>>(0);
  BodyPtr held = hold(std::move(body));
  changed_(held->id, "");
  return held;
}

void Bodies::mark(Body& body, uint64_t chunk) {
  body.have[chunk] = true;
  changed_(body.id, "");
}

bool Bodies::seal(Body& body) {
  body.slot = store_.seal_secondary(body.id, clock_ns()).slot;
  body.have.clear();
  changed_(body.id, "");
  return store_.presence(body.id) == store::ObjectPresence::kSealed;
}

void Bodies::settle(const ObjectId& id) {
  expected_.erase(id);
  changed_(id, "");
}

void Bodies::fail(const ObjectId& id, const std::string& why) {
  expected_.erase(id);
  if (BodyPtr body = find(id)) body->failed = true;
  changed_(id, why);
}

}  // namespace narke::transfer
