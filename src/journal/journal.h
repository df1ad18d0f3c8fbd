// What the head must not forget: records by table and key, in a file or in a Redis server.
//
// Changes are applied all or none, so an end at any moment leaves a state that was once true. A program that is
// killed loses nothing that apply() returned for; nor does a host that loses power, where `sync` is asked for.
// Applying the same changes again is no harm, so a caller may when it does not know what became of them.
// One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

  // where: the path of a file, made when it is not there; or redis://[user][:password]@host[:port][/database]
  // [?name=NAME], where `name` tells clusters apart that share a server. sync: wait for the disk at each apply(); a
  // Redis server has settings of its own for that.
  // Fails when the file is no journal, is in use, or cannot be written, or the server cannot be reached.
  static Result<std::unique_ptr<Journal>> open(const std::string& where, bool sync = false);
  virtual ~Journal() = default;

  // Every record there is.
  virtual Status load(const Visit& visit) = 0;
  // kRefused: another head keeps this journal now, and this one must end. Otherwise it may be tried again later.
  virtual Status apply(const std::vector<Change>& changes) = 0;
  // Nothing of it is to be taken up again.
  virtual Status erase() = 0;
  // Whether it is kept for another head when this one is stopped on purpose.
  virtual bool outlives_head() const = 0;
};

inline constexpr std::string_view kRedisScheme = "redis://";
// By Journal::open().
Result<std::unique_ptr<Journal>> open_redis(const std::string& url);

}  // namespace narke::journal
