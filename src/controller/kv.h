// Small values by key, in namespaces; what programs and libraries share through the cluster.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace narke::controller {

class KeyValue {
 public:
  // Told of every key that changed.
  void on_change(std::function<void(const std::string& name_space, const std::string& key)> changed) {
    changed_ = std::move(changed);
  }
  // True when the key is new. Without `overwrite` an existing value stays.
  bool put(const std::string& name_space, const std::string& key, std::string value, bool overwrite);
  const std::string* get(const std::string& name_space, const std::string& key) const;
  // By prefix: every key that begins with `key`. Returns how many were removed.
  size_t remove(const std::string& name_space, const std::string& key, bool by_prefix);
  std::vector<std::string> keys(const std::string& name_space, const std::string& prefix) const;

 private:
  std::unordered_map<std::string, std::map<std::string, std::string>> spaces_;
  std::function<void(const std::string&, const std::string&)> changed_ = [](const auto&, const auto&) {};
};

}  // namespace narke::controller
