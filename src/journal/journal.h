// What the head must not forget: records by table and key, on disk.
//
// Changes are applied all or none, so an end at any moment leaves a state that was once true. A program that is
// killed loses nothing that apply() returned for; nor does a host that loses power, where `sync` is asked for.
// One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace narke::journal {

struct Change {
  int table = 0;
  std::string key;
  std::optional<std::string> value;  // nothing: the record is gone
};

class Journal {
 public:
  using Visit = std::function<void(int table, const std::string& key, const std::string& value)>;

  // where: the path of a file, made when it is not there. sync: wait for the disk at each apply().
  // Fails when the file is no journal, is in use, or cannot be written.
  static Result<std::unique_ptr<Journal>> open(const std::string& where, bool sync = false);
  virtual ~Journal() = default;

  // Every record there is.
  virtual Status load(const Visit& visit) = 0;
  virtual Status apply(const std::vector<Change>& changes) = 0;
};

}  // namespace narke::journal
