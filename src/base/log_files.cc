#include "base/log_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace narke {

namespace fs = std::filesystem;

static constexpr size_t kMostFiles = 20'000, kMostName = 500, kPieceBytes = 64 << 10;
static constexpr size_t kShownBytes = 500;  // of a matching line

bool is_log_name(std::string_view name) {
  if (name.empty() || name.size() > kMostName) return false;
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    const std::string_view step = name.substr(at, end - at);
    if (step.empty() || step[0] == '.' || step.find('\0') != step.npos) return false;
    at = end + 1;
  }
  return true;
}

bool matches_glob(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = pattern.npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<LogFile> log_files(const std::string& folder, const std::string& glob) {
  std::vector<LogFile> out;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (!at->is_regular_file(error) || at->is_symlink(error)) continue;
    LogFile file;
    file.name = fs::relative(at->path(), folder, error);
    struct stat status{};
    if (!matches_glob(glob, file.name) || lstat(at->path().c_str(), &status) != 0) continue;
    file.size_bytes = static_cast<uint64_t>(status.st_size);
    file.modified_ms = int64_t{status.st_mtim.tv_sec} * 1000 + status.st_mtim.tv_nsec / 1'000'000;
    out.push_back(std::move(file));
    if (out.size() >= kMostFiles) break;
  }
  std::sort(out.begin(), out.end(), [](const LogFile& a, const LogFile& b) { return a.name < b.name; });
  return out;
}

int open_plain(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat status{};
  if (fd >= 0 && (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))) {
    close(fd);
    return -1;
  }
  return fd;
}

Result<std::string> read_log(const std::string& folder, const std::string& name, uint64_t offset, size_t size) {
  const int fd = is_log_name(name) ? open_plain(folder + "/" + name) : -1;
  if (fd < 0) return Error{ErrorCode::kNotFound, "There is no log file " + name + "."};
  std::string out(size, '\0');
  const ssize_t got = pread(fd, out.data(), size, static_cast<off_t>(offset));
  close(fd);
  out.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return out;
}

Result<uint64_t> log_tail(const std::string& path, uint64_t lines) {
  const int fd = open_plain(path);
  if (fd < 0) return Error{ErrorCode::kNotFound, path + " is not there, or is no plain file"};
  struct stat status{};
  fstat(fd, &status);
  auto at = static_cast<uint64_t>(status.st_size);
  const uint64_t end = at;
  if (lines == 0) at = 0;  // nothing is looked for
  std::string piece;
  uint64_t found = 0, begins = lines == 0 ? end : 0;
  while (at > 0 && found < lines) {
    const uint64_t size = std::min<uint64_t>(kPieceBytes, at);
    piece.resize(size);
    at -= size;
    if (pread(fd, piece.data(), size, static_cast<off_t>(at)) != static_cast<ssize_t>(size)) break;
    for (size_t i = size; i-- > 0 && found < lines;)
      if (piece[i] == '\n' && at + i + 1 != end && ++found == lines) begins = at + i + 1;
  }
  close(fd);
  return begins;
}

size_t prune_logs(const std::string& folder, const std::set<std::string>& in_use, const LogRetention& retention,
                  int64_t now_ms) {
  std::vector<LogFile> files = log_files(folder, "worker-*");
  std::sort(files.begin(), files.end(),
            [](const LogFile& a, const LogFile& b) { return a.modified_ms < b.modified_ms; });
  uint64_t total = 0;
  for (const LogFile& file : files) total += file.size_bytes;
  size_t removed = 0;
  for (const LogFile& file : files) {
    const bool is_old = file.modified_ms < now_ms - retention.keep_ms;
    if (in_use.contains(file.name) || (!is_old && total <= retention.total_bytes)) continue;
    total -= file.size_bytes;
    removed += unlink((folder + "/" + file.name).c_str()) == 0;
  }
  return removed;
}

static std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

LogMatches search_logs(const std::string& folder, const LogSearch& search) {
  LogMatches out;
  const std::string wanted = lower(search.wanted);
  uint64_t searched = 0;
  for (const LogFile& each : log_files(folder, search.glob)) {
    std::ifstream file(folder + "/" + each.name, std::ios::binary);
    int64_t number = 0;
    for (std::string line; out.complete && std::getline(file, line);) {
      ++number;
      if (line.starts_with('\x01')) continue;  // a worker's mark of whose output follows
      searched += line.size() + 1;
      out.complete = searched < search.most_bytes && out.matches.size() < search.most_matches;
      if (lower(line).find(wanted) == std::string::npos) continue;
      out.matches.push_back({each.name, line.substr(0, kShownBytes), number});
    }
    if (!out.complete) break;
  }
  return out;
}

}  // namespace narke
