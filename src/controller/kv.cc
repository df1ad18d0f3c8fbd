#include "controller/kv.h"

namespace narke::controller {

bool KeyValue::put(const std::string& name_space, const std::string& key, std::string value, bool overwrite) {
  auto& space = spaces_[name_space];
  const auto at = space.find(key);
  if (at == space.end()) {
    space.emplace(key, std::move(value));
    changed_(name_space, key);
    return true;
  }
  if (!overwrite) return false;
  at->second = std::move(value);
  changed_(name_space, key);
  return false;
}

const std::string* KeyValue::get(const std::string& name_space, const std::string& key) const {
  const auto space = spaces_.find(name_space);
  if (space == spaces_.end()) return nullptr;
  const auto at = space->second.find(key);
  return at == space->second.end() ? nullptr : &at->second;
}

size_t KeyValue::remove(const std::string& name_space, const std::string& key, bool by_prefix) {
  const auto space = spaces_.find(name_space);
  if (space == spaces_.end()) return 0;
  std::vector<std::string> doomed = by_prefix ? keys(name_space, key) : std::vector<std::string>{key};
  size_t removed = 0;
  for (const std::string& each : doomed) {
    if (space->second.erase(each) == 0) continue;
    ++removed;
    changed_(name_space, each);
  }
  return removed;
}

std::vector<std::string> KeyValue::keys(const std::string& name_space, const std::string& prefix) const {
  std::vector<std::string> out;
  const auto space = spaces_.find(name_space);
  if (space == spaces_.end()) return out;
  for (auto at = space->second.lower_bound(prefix); at != space->second.end(); ++at) {
    if (!at->first.starts_with(prefix)) break;
    out.push_back(at->first);
  }
  return out;
}

}  // namespace narke::controller
