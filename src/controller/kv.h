// Small values by key, in namespaces; what programs and libraries share through the cluster.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace narke::controller {

class KeyValue {
 public:
  // True when the key is new. Without `overwrite` an existing value stays.
  bool put(const std::string& name_space, const std::string& key, std::string value, bool overwrite);
  const std::string* get(const std::string& name_space, const std::string& key) const;
  // By prefix: every key that begins with `key`. Returns how many were removed.
  size_t remove(const std::string& name_space, const std::string& key, bool by_prefix);
  std::vector<std::string> keys(const std::string& name_space, const std::string& prefix) const;

 private:
  std::unordered_map<std::string, std::map<std::string, std::string>> spaces_;
};

}  // namespace narke::controller
