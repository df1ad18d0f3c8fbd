#include "gateway/log_keeper.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/log_files.h"
#include "base/own_log.h"
#include "gateway/json.h"

namespace narke::gateway {

namespace fs = std::filesystem;

static constexpr size_t kShortId = 16;
static constexpr int64_t kPieceBytes = 128 << 10;
static constexpr const char* kGone = "gone-";

std::string gone_folder(const std::string& node_id) { return kGone + node_id.substr(0, kShortId); }

LogKeeper::LogKeeper(Cluster& cluster, std::string session_dir, KeepLimits limits)
    : cluster_(cluster), session_dir_(std::move(session_dir)), limits_(limits) {}

void LogKeeper::tick(int64_t now_ms) {
  if (busy_ || now_ms < next_ms_) return;
  next_ms_ = now_ms + limits_.every_ms;
  busy_ = true;
  look_at_nodes();
}

void LogKeeper::look_at_nodes() {
  cluster_.call("nodes", map_body([](auto&) {}), [this](const ControlAnswer& answer) {
    const json::object got = answer.ok() ? json_of(answer.map()) : json::object();
    std::set<std::string> alive;
    for (const json::value& value : array_at(got, "nodes")) {
      const json::object& node = value.get_object();
      const std::string id = text_at(node, "NodeID");
      if (flag_at(node, "is_head")) continue;
      if (flag_at(node, "Alive"))
        alive.insert(id);
      else if (fs::exists(kept(id)))
        publish(id);
    }
    alive_ = std::move(alive);
    if (alive_.empty())
      busy_ = false;
    else
      look_at_files();
  });
}

void LogKeeper::look_at_files() {
  cluster_.call("list_logs", map_body([](auto&) {}), [this](const ControlAnswer& answer) {
    const json::object got = answer.ok() ? json_of(answer.map()) : json::object();
    std::map<std::string, size_t> files;
    for (const json::value& value : array_at(got, "files")) {
      const json::object& file = value.get_object();
      const std::string node = text_at(file, "node_id"), name = text_at(file, "name");
      if (!alive_.contains(node) || !is_log_name(name) || name.starts_with(kGone) || ++files[node] > limits_.files)
        continue;
      const int64_t size = number_at(file, "size_bytes", 0);
      int64_t& seen = kept_to_[{node, name}];
      if (size < seen) seen = 0;  // another file has this name now
      if (size > seen) wanted_.push_back({node, name, std::max(seen, size - limits_.file_bytes)});
    }
    fetch_next();
  });
}

void LogKeeper::fetch_next() {
  if (wanted_.empty()) {
    busy_ = false;
    return;
  }
  Wanted wanted = std::move(wanted_.back());
  wanted_.pop_back();
  auto body = map_body([&](flexbuffers::Builder& out) {
    out.String("node_id", wanted.node);
    out.String("name", wanted.name);
    out.Int("offset", wanted.from);
    out.Int("size", kPieceBytes);
  });
  cluster_.call("read_log", std::move(body), [this, wanted = std::move(wanted)](const ControlAnswer& answer) {
    const flexbuffers::Reference bytes = answer.map()["bytes"];
    if (answer.ok() && bytes.IsBlob())
      take(wanted, {reinterpret_cast<const char*>(bytes.AsBlob().data()), bytes.AsBlob().size()});
    if (answer.error_kind == "RaySystemError") wanted_.clear();  // this node is gone, and the gateway with it
    fetch_next();
  });
}

void LogKeeper::take(const Wanted& wanted, std::string_view bytes) {
  const fs::path path = kept(wanted.node) + "/" + wanted.name;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const auto held = static_cast<int64_t>(fs::exists(path, error) ? fs::file_size(path, error) : 0);
  if (held > 2 * limits_.file_bytes) {  // its end is enough
    const auto end = read_log(kept(wanted.node), wanted.name, static_cast<uint64_t>(held - limits_.file_bytes),
                              static_cast<size_t>(limits_.file_bytes));
    if (end.ok()) std::ofstream(path, std::ios::binary | std::ios::trunc) << end.value();
  }
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const int64_t to = wanted.from + static_cast<int64_t>(bytes.size());
  kept_to_[{wanted.node, wanted.name}] = to;
  if (static_cast<int64_t>(bytes.size()) == kPieceBytes) wanted_.push_back({wanted.node, wanted.name, to});
}

void LogKeeper::publish(const std::string& node) {
  std::error_code error;
  const fs::path to = fs::path(session_dir_) / "logs" / gone_folder(node);
  fs::rename(kept(node), to, error);
  if (error) return complain("dashboard", "the logs of a node that is gone stay unseen: " + error.message());
  std::erase_if(kept_to_, [&](const auto& entry) { return entry.first.first == node; });
  fs::last_write_time(to, fs::file_time_type::clock::now(), error);
  prune();
}

void LogKeeper::prune() const {
  std::vector<std::pair<fs::file_time_type, fs::path>> gone;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fs::path(session_dir_) / "logs", error))
    if (entry.is_directory(error) && entry.path().filename().string().starts_with(kGone))
      gone.emplace_back(entry.last_write_time(error), entry.path());
  std::sort(gone.rbegin(), gone.rend());
  const auto oldest = fs::file_time_type::clock::now() - std::chrono::milliseconds(limits_.keep_ms);
  for (size_t i = 0; i < gone.size(); ++i)
    if (i >= limits_.nodes || gone[i].first < oldest) fs::remove_all(gone[i].second, error);
}

}  // namespace narke::gateway
