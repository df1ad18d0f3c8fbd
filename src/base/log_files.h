// The log files of a session's folder: their names, pieces of them, and a search through all. Links are not followed,
// and no name leads out of the folder. Threads: any; functions block on the disk.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace narke {

struct LogFile {
  std::string name;  // below the folder
  uint64_t size_bytes = 0;
  int64_t modified_ms = 0;  // since 1970
};

struct LogMatch {
  std::string name, text;
  int64_t line = 0;  // from 1
};

struct LogSearch {
  std::string wanted;  // without regard to case
  std::string glob = "*";
  size_t most_matches = 500;
  uint64_t most_bytes = 64 << 20;  // looked through, of all files
};

struct LogMatches {
  std::vector<LogMatch> matches;
  bool complete = true;  // all was looked through
};

// Whether a name that a client gave leads to a file below the folder: plain steps only, no hidden ones.
bool is_log_name(std::string_view name);
// Whether `text` matches a pattern of '*', '?' and plain characters; in time linear in the pattern times the text.
bool matches_glob(std::string_view pattern, std::string_view text);
// At most 20,000, by name.
std::vector<LogFile> log_files(const std::string& folder, const std::string& glob);
// A descriptor to read the file; -1: it is no plain file that may be read. Links are not followed.
int open_plain(const std::string& path);
// At most `size` bytes from `offset` on. Fails when there is no such file.
Result<std::string> read_log(const std::string& folder, const std::string& name, uint64_t offset, size_t size);
// Where the last `lines` lines begin. Fails when there is no such file.
Result<uint64_t> log_tail(const std::string& path, uint64_t lines);
struct LogRetention {
  uint64_t total_bytes = uint64_t{2} << 30;
  int64_t keep_ms = int64_t{7} * 24 * 3600 * 1000;  // since it was written last
};
// Removes files of workers that are gone: those older than that, and the oldest while there is more than that in all.
// in_use: names that stay. Returns how many files went.
size_t prune_logs(const std::string& folder, const std::set<std::string>& in_use, const LogRetention& retention,
                  int64_t now_ms);
LogMatches search_logs(const std::string& folder, const LogSearch& search);

}  // namespace narke
