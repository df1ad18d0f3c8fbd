#include "proxy/router.h"

#include <algorithm>

#include <flatbuffers/flexbuffers.h>

namespace narke::proxy {
namespace {

constexpr size_t kMostModels = 64;

bool has_model(const Replica& replica, const std::string& model) {
  return std::find(replica.models.begin(), replica.models.end(), model) != replica.models.end();
}

bool has_room(const Replica& replica, int64_t now_ms) {
  return !replica.is_gone && replica.mine < replica.most_ongoing && replica.busy_until_ms <= now_ms;
}

// Leaves only those that are good, if any is.
template <class Good>
void prefer(std::vector<const ReplicaPtr*>& replicas, Good good) {
  if (std::any_of(replicas.begin(), replicas.end(), [&](const ReplicaPtr* each) { return good(**each); }))
    std::erase_if(replicas, [&](const ReplicaPtr* each) { return !good(**each); });
}

ReplicaPtr read_replica(const flexbuffers::Map& map, const Backend& old) {
  flexbuffers::Blob actor = map["actor"].AsBlob();
  std::string id = map["id"].AsString().str();
  if (actor.size() != ActorId::kSize || id.empty()) return nullptr;
  ActorId actor_id = ActorId::from_bytes({reinterpret_cast<const char*>(actor.data()), actor.size()});
  ReplicaPtr replica;
  for (const ReplicaPtr& known : old.replicas)
    if (known->id == id && known->actor == actor_id) replica = known;
  if (!replica) replica = std::make_shared<Replica>();
  replica->id = id;
  replica->actor = actor_id;
  replica->most_ongoing = static_cast<uint32_t>(std::clamp<int64_t>(map["max"].AsInt64(), 1, 1 << 30));
  replica->is_gone = false;
  replica->node = map["node"].AsString().str();
  replica->models.clear();
  flexbuffers::Vector models = map["models"].AsVector();
  for (size_t i = 0; i < models.size() && i < kMostModels; ++i) replica->models.push_back(models[i].AsString().str());
  return replica;
}

bool read_backend(const flexbuffers::Map& map, Backend& out, const Backend& old) {
  out.most_queued = static_cast<int>(map["max_queued"].AsInt64());
  out.full_status = static_cast<int>(map["status"].AsInt64());
  out.retry_after_s = static_cast<int>(map["retry_after_s"].AsInt64());
  if (out.full_status < 400 || out.full_status > 599) return false;
  flexbuffers::Vector replicas = map["replicas"].AsVector();
  for (size_t i = 0; i < replicas.size(); ++i) {
    ReplicaPtr replica = read_replica(replicas[i].AsMap(), old);
    if (!replica) return false;
    out.replicas.push_back(std::move(replica));
  }
  return true;
}

bool is_prefix_of(std::string_view prefix, std::string_view path) {
  if (prefix == "/") return true;
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

}  // namespace

Status Router::apply(rpc::Bytes table) {
  const Error damaged{ErrorCode::kRefused, "the routing table is damaged"};
  if (table.empty() || !flexbuffers::VerifyBuffer(table.data(), table.size())) return damaged;
  flexbuffers::Map root = flexbuffers::GetRoot(table.data(), table.size()).AsMap();
  flexbuffers::Vector deployments = root["deployments"].AsVector();
  flexbuffers::Vector routes = root["routes"].AsVector();
  std::map<std::string, BackendPtr> backends;
  std::vector<std::pair<Backend*, Backend>> changes;
  for (size_t i = 0; i < deployments.size(); ++i) {
    flexbuffers::Map map = deployments[i].AsMap();
    std::string key = map["key"].AsString().str();
    auto known = backends_.find(key);
    BackendPtr backend = known == backends_.end() ? std::make_shared<Backend>() : known->second;
    backend->key = key;
    Backend fresh;
    if (key.empty() || !read_backend(map, fresh, *backend)) return damaged;
    changes.emplace_back(backend.get(), std::move(fresh));
    backends[key] = std::move(backend);
  }
  std::vector<Route> found;
  for (size_t i = 0; i < routes.size(); ++i) {
    flexbuffers::Map map = routes[i].AsMap();
    auto backend = backends.find(map["deployment"].AsString().str());
    std::string prefix = map["prefix"].AsString().str();
    if (backend == backends.end() || !prefix.starts_with('/')) return damaged;
    found.push_back({std::move(prefix), map["app"].AsString().str(), backend->second, map["timeout_ms"].AsInt64(),
                     map["body_limit"].AsUInt64()});
  }
  for (auto& [backend, fresh] : changes) {
    for (const ReplicaPtr& replica : fresh.replicas) replica->is_local = node_.empty() || replica->node == node_;
    for (const ReplicaPtr& old : backend->replicas)
      if (std::find(fresh.replicas.begin(), fresh.replicas.end(), old) == fresh.replicas.end()) old->is_gone = true;
    backend->replicas = std::move(fresh.replicas);
    backend->most_queued = fresh.most_queued;
    backend->full_status = fresh.full_status;
    backend->retry_after_s = fresh.retry_after_s;
  }
  std::sort(found.begin(), found.end(), [](const Route& a, const Route& b) {
    return a.prefix.size() != b.prefix.size() ? a.prefix.size() > b.prefix.size() : a.prefix < b.prefix;
  });
  routes_ = std::move(found);
  std::map<std::string, BackendPtr> before = std::exchange(backends_, std::move(backends));
  version_ = root["version"].AsInt64();
  for (auto& [key, backend] : before) {
    if (backends_.contains(key)) continue;
    backend->is_gone = true;
    for (const ReplicaPtr& replica : backend->replicas) replica->is_gone = true;
    for (Waiting* request : std::exchange(backend->queue, {})) request->abandoned();
  }
  return ok_status();
}

const Route* Router::find(std::string_view path) const {
  for (const Route& route : routes_)
    if (is_prefix_of(route.prefix, path)) return &route;
  return nullptr;
}

ReplicaPtr Router::pick(Backend& backend, const std::string& model, int64_t now_ms) {
  static thread_local std::vector<const ReplicaPtr*> free;
  free.clear();
  for (const ReplicaPtr& replica : backend.replicas)
    if (has_room(*replica, now_ms)) free.push_back(&replica);
  if (free.empty()) return nullptr;
  if (!model.empty()) prefer(free, [&](const Replica& replica) { return has_model(replica, model); });
  prefer(free, [](const Replica& replica) { return replica.is_local; });
  const ReplicaPtr* best = free[0];
  if (free.size() > 1) {
    size_t a = random_() % free.size();
    size_t b = random_() % (free.size() - 1);
    if (b >= a) ++b;
    best = (*free[a])->load() <= (*free[b])->load() ? free[a] : free[b];
  }
  ReplicaPtr replica = *best;
  ++replica->mine;
  if (!model.empty() && !has_model(*replica, model) && replica->models.size() < kMostModels)
    replica->models.push_back(model);
  return replica;
}

Router::Placed Router::place(Backend& backend, Waiting& request, int64_t now_ms) {
  if (backend.is_gone) return Placed::kGone;
  if (backend.queue.empty())
    if (ReplicaPtr replica = pick(backend, request.model(), now_ms)) {
      request.assigned(std::move(replica));
      return Placed::kTaken;
    }
  size_t most = backend.most_queued < 0 ? kMostQueued : static_cast<size_t>(backend.most_queued);
  if (backend.queue.size() >= most) return Placed::kFull;
  backend.queue.push_back(&request);
  return Placed::kTaken;
}

void Router::leave(Backend& backend, Waiting& request) { std::erase(backend.queue, &request); }

void Router::done(Backend& backend, Replica& replica, int64_t load, int64_t now_ms) {
  --replica.mine;
  if (load >= 0) {
    replica.others = load > replica.mine ? static_cast<uint32_t>(load) - replica.mine : 0;
    replica.refusals = 0;
    replica.busy_until_ms = 0;
  }
  if (!backend.queue.empty()) pump(backend, now_ms);
}

void Router::refused(Replica& replica, uint32_t load, int64_t now_ms) {
  --replica.mine;
  replica.others = load > replica.mine ? load - replica.mine : 0;
  int64_t pause = std::min(kFirstPauseMs << std::min(replica.refusals, 10), kLongestPauseMs);
  ++replica.refusals;
  replica.busy_until_ms = now_ms + pause;
}

void Router::pump(Backend& backend, int64_t now_ms) {
  while (!backend.queue.empty()) {
    Waiting* first = backend.queue.front();
    ReplicaPtr replica = pick(backend, first->model(), now_ms);
    if (!replica) return;
    backend.queue.pop_front();
    first->assigned(std::move(replica));
  }
}

void Router::pump_all(int64_t now_ms) {
  std::vector<BackendPtr> all;
  for (auto& [key, backend] : backends_)
    if (!backend->queue.empty()) all.push_back(backend);
  for (const BackendPtr& backend : all) pump(*backend, now_ms);
}

int64_t Router::next_due_ms(int64_t now_ms) const {
  int64_t first = -1;
  for (const auto& [key, backend] : backends_) {
    if (backend->queue.empty()) continue;
    for (const ReplicaPtr& replica : backend->replicas) {
      if (replica->is_gone || replica->mine >= replica->most_ongoing || replica->busy_until_ms <= now_ms) continue;
      if (first < 0 || replica->busy_until_ms < first) first = replica->busy_until_ms;
    }
  }
  return first;
}

}  // namespace narke::proxy
