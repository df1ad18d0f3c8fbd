#include "transfer/giver.h"

#include <algorithm>
#include <utility>

namespace narke::transfer {

void Giver::on_request(LinkId link, const Header& request) {
  if (!peers_.contains(link)) return;
  if (request.kind == Kind::kDone) return on_done(link, request);
  serve(link, request);
}

void Giver::serve(LinkId link, const Header& request) {
  BodyPtr body = bodies_.find(request.id);
  if (body && body->failed) return refuse(link, request, "the node did not get it itself");
  if (!body) {
    park(link, request);
    if (!bodies_.is_expected(request.id)) bodies_.pin(request.id);
    return;
  }
  if (request.kind == Kind::kAsk) return offer(link, request, body);
  bool inside = request.offset <= body->size && request.length <= body->size - request.offset;
  if (request.edition != body->edition || !inside) return refuse(link, request, "the object has changed");
  if (!body->covers(request.offset, request.length)) return park(link, request);
  give(link, request, body);
}

void Giver::park(LinkId link, const Header& request) {
  BodyPtr body = bodies_.find(request.id);
  parked_[request.id].push_back({link, request, body ? body->progress() : 0});
}

void Giver::on_changed(const ObjectId& id, const std::string& why) {
  auto parked = parked_.extract(id);
  if (parked.empty()) return;
  for (const Parked& next : parked.mapped()) {
    if (!peers_.contains(next.link)) continue;
    bool hopeless = !bodies_.find(id) && !bodies_.is_expected(id) && !why.empty();
    if (hopeless) {
      refuse(next.link, next.request, why);
    } else {
      serve(next.link, next.request);
    }
  }
}

void Giver::tick() {
  for (auto& [id, list] : parked_) {
    BodyPtr body = bodies_.find(id);
    for (Parked& next : list) {
      if (!bodies_.is_pinning(id) && (!body || body->progress() == next.progress)) continue;
      next.progress = body ? body->progress() : 0;
      io_.push(next.link, {.header = {.kind = Kind::kWait, .number = next.request.number, .id = id}, .text = {}});
    }
  }
}

void Giver::refuse(LinkId link, const Header& request, const std::string& why) {
  std::string text = why.substr(0, kMostText);
  io_.push(link, {.header = {.kind = Kind::kAbsent, .number = request.number, .id = request.id}, .text = text});
}

void Giver::offer(LinkId link, const Header& request, const BodyPtr& body) {
  Header header{.kind = Kind::kOffer, .number = request.number, .id = request.id, .length = body->size};
  header.owner = body->owner;
  header.edition = body->edition;
  std::string instead = assign(link, request, *body);
  peers_[link].asked[request.id] = body;
  io_.push(link, {.header = header, .text = instead});
}

void Giver::give(LinkId link, const Header& request, const BodyPtr& body) {
  Header header = request;
  header.kind = Kind::kData;
  header.flags = 0;
  given_bytes_ += request.length;
  peers_[link].sending.push_back(body);
  io_.push(link, {.header = header, .text = {}, .body = body->data + request.offset});
}

void Giver::on_sent(LinkId link) {
  auto peer = peers_.find(link);
  if (peer == peers_.end()) return;
  BodyPtr sent = std::move(peer->second.sending.front());
  peer->second.sending.pop_front();
}

void Giver::on_done(LinkId link, const Header& request) {
  Peer& peer = peers_[link];
  BodyPtr ended;  // goes last: giving it back may lead to other calls
  if (auto asked = peer.asked.extract(request.id)) ended = std::move(asked.mapped());
  auto share = shares_.find(request.id);
  Taker* taker = share == shares_.end() ? nullptr : find(share->second, peer.address);
  if (taker == nullptr) return;
  stop_serving(share->second, *taker);
  taker->state = (request.flags & kKept) != 0 ? TakerState::kHas : TakerState::kLost;
}

void Giver::on_closed(LinkId link) {
  auto peer = peers_.extract(link);
  if (peer.empty()) return;
  for (auto& [id, body] : peer.mapped().asked) {
    auto share = shares_.find(id);
    Taker* taker = share == shares_.end() ? nullptr : find(share->second, peer.mapped().address);
    if (taker == nullptr || taker->link != link) continue;
    stop_serving(share->second, *taker);
    if (taker->state == TakerState::kTaking) taker->state = TakerState::kLost;
  }
  for (auto& [id, list] : parked_) std::erase_if(list, [&](const Parked& next) { return next.link == link; });
  std::erase_if(parked_, [](const auto& entry) { return entry.second.empty(); });
}

// ---- who takes what from whom

// The address of the node to take it from, or empty: this one. An asker without an address is none of the cluster's
// nodes and is not recorded.
std::string Giver::assign(LinkId link, const Header& request, const Body& body) {
  const std::string& address = peers_[link].address;
  if (address.empty()) return {};
  Share& share = shares_[request.id];
  share.owner = body.owner;
  if (Taker* known = find(share, address)) {
    known->link = link;
    return again(share, *known, (request.flags & kDirect) != 0);
  }
  Taker taker{.address = address, .from = {}, .link = link};
  bool is_sent = (request.flags & kDirect) == 0 && body.size >= config_.redirect_bytes;
  Taker* other = is_sent && share.children >= config_.fan_out ? best(share) : nullptr;
  if (other != nullptr) {
    taker.from = other->address;
    taker.depth = other->depth + 1;
    ++other->children;
  } else {
    ++share.children;
  }
  share.takers.push_back(taker);
  return taker.from;
}

// It asks a second time: it got nothing where it was sent, or lost what it had. Others may be taking from it, so it
// is served from here.
std::string Giver::again(Share& share, Taker& taker, bool is_direct) {
  Taker* other = is_direct ? find(share, taker.from) : nullptr;
  if (other != nullptr && taker.served) other->state = TakerState::kLost;
  stop_serving(share, taker);
  taker.from.clear();
  taker.depth = 1;
  taker.served = true;
  taker.state = TakerState::kTaking;
  ++share.children;
  return {};
}

Giver::Taker* Giver::find(Share& share, const std::string& address) {
  auto it = std::find_if(share.takers.begin(), share.takers.end(), [&](Taker& t) { return t.address == address; });
  return it == share.takers.end() ? nullptr : &*it;
}

// Whoever has it all comes before those who are taking it, then who is nearest to this node.
Giver::Taker* Giver::best(Share& share) {
  Taker* found = nullptr;
  auto rank = [](const Taker& t) { return std::pair(t.state == TakerState::kHas ? 0 : t.depth, t.children); };
  for (Taker& taker : share.takers) {
    if (taker.state == TakerState::kLost || taker.children >= config_.fan_out) continue;
    if (found == nullptr || rank(taker) < rank(*found)) found = &taker;
  }
  return found;
}

void Giver::stop_serving(Share& share, Taker& taker) {
  if (!std::exchange(taker.served, false)) return;
  if (taker.from.empty()) {
    --share.children;
  } else if (Taker* other = find(share, taker.from)) {
    --other->children;
  }
}

std::vector<std::string> Giver::given(const ObjectId& id) {
  std::vector<std::string> addresses;
  auto share = shares_.extract(id);
  if (share.empty()) return addresses;
  for (const Taker& taker : share.mapped().takers) addresses.push_back(taker.address);
  return addresses;
}

void Giver::node_gone(const std::string& address, const Error& why) {
  for (auto& [id, share] : shares_)
    if (Taker* taker = find(share, address)) taker->state = TakerState::kLost;
  for (auto& [link, peer] : peers_)
    if (peer.address == address) io_.close(link, why);
}

void Giver::forget_owner(uint64_t owner) {
  std::erase_if(shares_, [&](const auto& entry) { return entry.second.owner == owner; });
}

}  // namespace narke::transfer
