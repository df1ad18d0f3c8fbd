#include "store/client.h"

#include <algorithm>
#include <utility>

#include <sched.h>

namespace narke::store {
namespace {

constexpr uint64_t kOwnExtent = 1u << 20;  // objects from this size on get an extent of exactly their size
constexpr uint64_t kMaxChunk = 16u << 20;
constexpr uint64_t kMaxCache = 3ull << 29;  // 1.5 GiB
constexpr int kRounds = 1000;
const char kForked[] =
    "This process was forked from a program that uses the object store and cannot use it itself; start it "
    "with "
    "the spawn method, or make it a task.";

wire::MessageType type_of(wire::StoreMessage message) { return static_cast<wire::MessageType>(message); }

template <class Build>
void send_table(Transport& transport, wire::StoreMessage message, Build build) {
  flatbuffers::FlatBufferBuilder builder(128);
  builder.Finish(build(builder));
  transport.send(type_of(message), builder);
}

}  // namespace

Result<std::unique_ptr<Client>> Client::make(int fd, Transport& transport) {
  auto mapping = Mapping::open(fd);
  if (!mapping.ok()) return mapping.error();
  return std::unique_ptr<Client>(new Client(std::move(mapping).value(), transport));
}

Client::Client(std::shared_ptr<Mapping> mapping, Transport& transport)
    : mapping_(std::move(mapping)),
      transport_(transport),
      cache_limit_(std::min(kMaxCache, capacity_bytes() / 2) / kBlockAlign * kBlockAlign) {}

// The node takes back what is left when it sees the program's end.
Client::~Client() = default;

uint64_t Client::capacity_bytes() const { return mapping_->arena().capacity_bytes(); }

bool Client::attached() {
  if (mapping_->client() != kNoClient) return true;
  if (!std::exchange(attach_sent_, true))
    send_table(transport_, wire::StoreMessage::Attach, [](auto& b) { return wire::CreateStoreAttach(b); });
  return false;
}

// ---- writing
// -----------------------------------------------------------------------------------------------

CreateResult Client::try_create(const ObjectId& id, uint64_t size, uint64_t owner) {
  using Status = CreateResult::Status;
  if (mapping_->in_fork()) return {Status::kFull, nullptr, kForked};
  flush();
  if (!attached()) return {Status::kWait, nullptr, {}};
  Arena& arena = mapping_->arena();
  if (arena.find(id)) {
    forget_acquire(id);
    return {Status::kExists, nullptr, {}};
  }
  CreateResult result;
  uint64_t block = size > capacity_bytes() ? size : block_bytes(size);
  auto offset = allocate(id, block, result);
  if (!offset) return result;
  auto claim = arena.claim(id, mapping_->client(), *offset, size, owner);
  if (claim.outcome != Arena::Claim::kClaimed) {
    free_block({*offset, block});
    if (claim.outcome == Arena::Claim::kExists) return {Status::kExists, nullptr, {}};
    return {Status::kFull, nullptr,
            "No entry left in the index of this node's object store for object " + id.hex() + "; it has " +
                std::to_string(arena.slot_count()) +
                ". Put small values together into larger objects, or delete references that are not needed."};
  }
  writing_[id] = {claim.slot, *offset, block};
  return {Status::kOk, arena.data(*offset), {}};
}

// A block from the space this client has; asks the node for more when there is none.
std::optional<uint64_t> Client::allocate(const ObjectId& id, uint64_t block, CreateResult& result) {
  auto asked = asked_.find(id);
  if (asked != asked_.end() && asked->second.refused) {
    result = {CreateResult::Status::kFull, nullptr, std::move(asked->second.error)};
    asked_.erase(asked);
    return std::nullopt;
  }
  if (asked != asked_.end() && asked->second.granted.size >= block) {
    Extent granted = asked_.extract(asked).mapped().granted;
    if (granted.size > block) free_block({granted.offset + block, granted.size - block});
    return granted.offset;
  }
  if (auto offset = space_.allocate(block)) {
    if (asked != asked_.end()) forget_acquire(id);
    return offset;
  }
  if (asked == asked_.end()) acquire(id, block);
  return std::nullopt;
}

void Client::acquire(const ObjectId& id, uint64_t block) {
  asked_[id].size = block;
  uint64_t wanted = block;
  if (block < kOwnExtent) wanted = std::max(block, std::min(kMaxChunk, capacity_bytes() / 64));
  auto wire_id = id.to_wire<wire::ObjectId>();
  send_table(transport_, wire::StoreMessage::Acquire,
             [&](auto& b) { return wire::CreateStoreAcquire(b, &wire_id, wanted, block); });
}

bool Client::seal(const ObjectId& id) {
  auto writing = writing_.extract(id);
  if (writing.empty() || mapping_->in_fork()) return false;
  uint32_t slot = writing.mapped().slot;
  Control seen = mapping_->arena().control(slot);
  if (seen.state != SlotState::kWriting) return false;
  return mapping_->arena().change(slot, seen, {SlotState::kSealed, seen.maker, seen.generation});
}

void Client::abort(const ObjectId& id) {
  auto writing = writing_.extract(id);
  if (writing.empty() || mapping_->in_fork()) return;
  mapping_->arena().free_slot(writing.mapped().slot);
  free_block({writing.mapped().offset, writing.mapped().block});
}

void Client::forget(const ObjectId& id) {
  if (mapping_->in_fork()) return;
  forget_acquire(id);
  forget_fetch(id);
}

void Client::forget_acquire(const ObjectId& id) {
  auto asked = asked_.extract(id);
  if (asked.empty() || asked.mapped().refused) return;
  if (asked.mapped().granted.size != 0) return free_block(asked.mapped().granted);
  send_forget(id, false);
}

void Client::forget_fetch(const ObjectId& id) {
  auto fetching = fetching_.extract(id);
  if (fetching.empty()) return;
  const Fetching& answer = fetching.mapped();
  if (!answer.answered) return send_forget(id, true);
  if (answer.status == wire::FetchStatus::Pinned) send_unpin({answer.slot});
}

void Client::send_forget(const ObjectId& id, bool fetch) {
  auto wire_id = id.to_wire<wire::ObjectId>();
  send_table(transport_, wire::StoreMessage::Forget,
             [&](auto& b) { return wire::CreateStoreForget(b, &wire_id, fetch); });
}

// ---- reading
// -----------------------------------------------------------------------------------------------

GetResult Client::get(const ObjectId& id) {
  using Status = GetResult::Status;
  if (mapping_->in_fork()) return {Status::kAbsent, {}, {}};
  if (!mapping_->arena().find(id)) {
    forget_fetch(id);
    return {Status::kAbsent, {}, {}};
  }
  flush();
  if (!attached()) return {Status::kWait, {}, {}};
  return mapping_->has_bit() ? pin_by_bit(id) : pin_by_node(id);
}

View Client::view_of(uint32_t slot) const {
  Arena& arena = mapping_->arena();
  return {arena.data(arena.at(slot).offset.load()), arena.at(slot).size.load(), slot};
}

GetResult Client::pin_by_bit(const ObjectId& id) {
  Arena& arena = mapping_->arena();
  for (int round = 0; round < kRounds; ++round) {
    auto found = arena.find(id);
    if (!found || found->control.state == SlotState::kWriting) return {GetResult::Status::kAbsent, {}, {}};
    if (found->control.state == SlotState::kSpilled) return fetch(id);
    if (found->control.state == SlotState::kEvicting) {  // a moment of the node's
      sched_yield();
      continue;
    }
    mapping_->pin(found->slot);
    Control now = arena.control(found->slot);
    if (now.state == SlotState::kSealed && now.generation == found->control.generation) {
      arena.touch(found->slot);
      if (!fetching_.empty()) forget_fetch(id);
      return {GetResult::Status::kOk, view_of(found->slot), {}};
    }
    mapping_->unpin(found->slot);
  }
  return fetch(id);
}

GetResult Client::pin_by_node(const ObjectId& id) {
  auto found = mapping_->arena().find(id);
  if (!found || found->control.state == SlotState::kWriting) return {GetResult::Status::kAbsent, {}, {}};
  if (found->control.state == SlotState::kSealed && mapping_->pin_again(found->slot))
    return {GetResult::Status::kOk, view_of(found->slot), {}};
  return fetch(id);
}

GetResult Client::fetch(const ObjectId& id) {
  auto it = fetching_.find(id);
  if (it != fetching_.end() && !it->second.answered) return {GetResult::Status::kWait, {}, {}};
  if (it != fetching_.end()) {
    Fetching answer = std::move(it->second);
    fetching_.erase(it);
    return take_fetched(answer);
  }
  fetching_[id];
  auto wire_id = id.to_wire<wire::ObjectId>();
  send_table(transport_, wire::StoreMessage::Fetch, [&](auto& b) { return wire::CreateStoreFetch(b, &wire_id); });
  return {GetResult::Status::kWait, {}, {}};
}

GetResult Client::take_fetched(Fetching& answer) {
  if (answer.status == wire::FetchStatus::Full) return {GetResult::Status::kFull, {}, std::move(answer.error)};
  if (answer.status != wire::FetchStatus::Pinned) return {GetResult::Status::kAbsent, {}, {}};
  // The node's pin is this view's, or, when the program has a pin of its own, superfluous from now on.
  bool surplus = mapping_->pin_again(answer.slot);
  if (!surplus) mapping_->pin(answer.slot);
  surplus |= mapping_->has_bit();
  View view = view_of(answer.slot);
  if (surplus) send_unpin({answer.slot});
  return {GetResult::Status::kOk, view, {}};
}

ObjectState Client::state(const ObjectId& id) const {
  auto found = mapping_->in_fork() ? std::nullopt : mapping_->arena().find(id);
  if (!found) return ObjectState::kAbsent;
  switch (found->control.state) {
    case SlotState::kWriting: return ObjectState::kWriting;
    case SlotState::kSealed: return ObjectState::kSealed;
    default: return ObjectState::kSpilled;
  }
}

uint64_t Client::size_of(const ObjectId& id) const {
  auto found = mapping_->in_fork() ? std::nullopt : mapping_->arena().find(id);
  return found ? mapping_->arena().at(found->slot).size.load() : 0;
}

// ---- freeing
// -----------------------------------------------------------------------------------------------

void Client::erase(const ObjectId& id) {
  if (mapping_->in_fork()) return;
  if (writing_.contains(id)) return abort(id);
  Arena& arena = mapping_->arena();
  auto found = arena.find(id);
  if (!found || found->control.state == SlotState::kWriting) return;
  auto [slot, seen] = *found;
  Extent block{arena.at(slot).offset.load(), block_bytes(arena.at(slot).size.load())};
  bool marked = seen.state == SlotState::kSealed && seen.maker == mapping_->client() &&
                arena.change(slot, seen, {SlotState::kDeleting, seen.maker, seen.generation});
  if (marked && !arena.has_readers(slot)) {
    arena.free_slot(slot);
    return free_block(block);
  }
  auto wire_id = id.to_wire<wire::ObjectId>();
  send_table(transport_, wire::StoreMessage::Delete,
             [&, slot = slot](auto& b) { return wire::CreateStoreDelete(b, &wire_id, marked ? slot : ~0u); });
}

// Keeps free space for coming objects, up to a limit.
void Client::free_block(Extent block) {
  if (space_.overlaps_free(block)) return;  // only a node that gave the same space twice gets here
  space_.free(block);
  if (space_.free_bytes() > cache_limit_) give_back(space_.take(cache_limit_));
}

void Client::give_back(const std::vector<Extent>& extents) {
  std::vector<wire::Extent> out;
  for (Extent extent : extents) out.emplace_back(extent.offset, extent.size);
  send_table(transport_, wire::StoreMessage::Return,
             [&](auto& b) { return wire::CreateStoreReturn(b, b.CreateVectorOfStructs(out)); });
}

void Client::send_unpin(const std::vector<uint32_t>& slots) {
  send_table(transport_, wire::StoreMessage::Unpin,
             [&](auto& b) { return wire::CreateStoreUnpin(b, b.CreateVector(slots)); });
}

void Client::flush() {
  if (mapping_->has_bit() || mapping_->in_fork()) return;
  auto slots = mapping_->take_released();
  if (!slots.empty()) send_unpin(slots);
}

// ---- answers
// -----------------------------------------------------------------------------------------------

bool Client::on_frame(const rpc::Frame& frame) {
  flush();
  switch (static_cast<wire::StoreMessage>(frame.type)) {
    case wire::StoreMessage::Attached:
      if (auto* m = frame.as<wire::StoreAttached>(); m && attach_sent_ && m->client() < kServer)
        if (mapping_->client() == kNoClient) mapping_->set_client(m->client());
      return true;
    case wire::StoreMessage::Granted:
      if (auto* m = frame.as<wire::StoreGranted>(); m && m->id() && m->extent()) on_granted(*m);
      return true;
    case wire::StoreMessage::Refused:
      if (auto* m = frame.as<wire::StoreRefused>(); m && m->id()) on_refused(*m);
      return true;
    case wire::StoreMessage::Reclaim: give_back(space_.take(0)); return true;
    case wire::StoreMessage::Fetched:
      if (auto* m = frame.as<wire::StoreFetched>(); m && m->id()) on_fetched(*m);
      return true;
    default: return false;
  }
}

void Client::on_granted(const wire::StoreGranted& message) {
  Extent extent{message.extent()->offset(), message.extent()->size()};
  if (extent.size == 0 || extent.end() < extent.offset || extent.end() > capacity_bytes()) return;
  auto asked = asked_.find(ObjectId::from_wire(message.id()));
  // A large extent is kept for its object, so that another thread's does not take it.
  if (asked != asked_.end() && asked->second.size >= kOwnExtent && asked->second.granted.size == 0) {
    asked->second.granted = extent;
    return;
  }
  if (asked != asked_.end() && asked->second.granted.size == 0) asked_.erase(asked);
  // Not bounded here: what was asked for must be there when its caller comes back.
  if (!space_.overlaps_free(extent)) space_.free(extent);
}

void Client::on_refused(const wire::StoreRefused& message) {
  auto asked = asked_.find(ObjectId::from_wire(message.id()));
  if (asked == asked_.end() || asked->second.granted.size != 0) return;
  asked->second.refused = true;
  if (message.message()) asked->second.error = message.message()->str();
}

void Client::on_fetched(const wire::StoreFetched& message) {
  bool pinned = message.status() == wire::FetchStatus::Pinned && message.slot() < mapping_->arena().slot_count();
  auto it = fetching_.find(ObjectId::from_wire(message.id()));
  if (it == fetching_.end() || it->second.answered) {
    if (pinned) send_unpin({message.slot()});
    return;
  }
  it->second.answered = true;
  it->second.status = pinned ? message.status() : std::max(message.status(), wire::FetchStatus::Absent);
  it->second.slot = message.slot();
  if (message.message()) it->second.error = message.message()->str();
}

}  // namespace narke::store
