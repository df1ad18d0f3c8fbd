#include "node/log_follower.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

namespace narke::node {

static constexpr std::chrono::milliseconds kPause{10};
static constexpr size_t kMaxLine = 8 * 1024;
static constexpr size_t kReadSize = 64 * 1024;
static constexpr int64_t kMaxPerRead = 1024 * 1024;  // of one file in one go: others get their turn

static std::string name_of(const WorkerId& worker, bool is_error) {
  return "worker-" + worker.hex().substr(0, 16) + (is_error ? ".err" : ".out");
}

std::string LogFollower::path(const std::string& log_dir, const WorkerId& worker, bool is_error) {
  return log_dir + "/" + name_of(worker, is_error);
}

LogFollower::LogFollower(rpc::Reactor& reactor, std::string log_dir, LogOut& out, LogLimits limits)
    : reactor_(reactor), log_dir_(std::move(log_dir)), out_(out), limits_(limits) {
  if (log_dir_.empty()) return;
  inotify_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify_ < 0) return;
  inotify_add_watch(inotify_, log_dir_.c_str(), IN_MODIFY);
  reactor_.watch(inotify_, [this] { on_events(); });
}

LogFollower::~LogFollower() {
  if (inotify_ >= 0) {
    reactor_.unwatch(inotify_);
    close(inotify_);
  }
}

void LogFollower::follow(const WorkerId& worker) {
  if (log_dir_.empty()) return;
  for (const bool is_error : {false, true})
    files_[name_of(worker, is_error)] = {worker, is_error, path(log_dir_, worker, is_error), 0, -1, "", ""};
}

std::set<std::string> LogFollower::names() const {
  std::set<std::string> out;
  for (const auto& [name, file] : files_) out.insert(name);
  return out;
}

void LogFollower::collect_events() {
  alignas(inotify_event) char events[16 * 1024];
  ssize_t size = 0;
  while ((size = ::read(inotify_, events, sizeof(events))) > 0) {
    for (char* at = events; at < events + size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      if (event->mask & IN_Q_OVERFLOW) {
        for (const auto& [name, file] : files_) dirty_.insert(name);
      } else if (event->len > 0 && std::strncmp(event->name, "worker-", 7) == 0) {
        const std::string_view name = event->name;
        dirty_.insert(std::string(name.ends_with(".1") ? name.substr(0, name.size() - 2) : name));
      }
      at += sizeof(inotify_event) + event->len;
    }
  }
}

void LogFollower::on_events() {
  collect_events();
  if (!dirty_.empty()) schedule();
}

void LogFollower::schedule() {
  if (std::exchange(scheduled_, true)) return;
  reactor_.after(kPause, [this] {
    scheduled_ = false;
    read_dirty();
  });
}

void LogFollower::read_dirty() {
  std::vector<LogText> lines;
  for (const std::string& name : std::exchange(dirty_, {}))
    if (const auto at = files_.find(name); at != files_.end()) read(at->second, lines);
  if (!lines.empty()) out_.on_lines(lines);
}

void LogFollower::read(File& file, std::vector<LogText>& lines) {
  bool more = false;
  if (file.rotated_to >= 0) {
    struct stat status{};
    const bool has_moved = stat(file.path.c_str(), &status) == 0 && status.st_size > 0;
    more = read_on(file, file.path + ".1", file.rotated_to, lines);
    if (has_moved && !more) file.rotated_to = -1;  // nothing more is written there
  }
  if (!more && file.rotated_to < 0) {
    more = read_on(file, file.path, file.read_to, lines);
    if (!more && file.read_to >= limits_.most_bytes) rotate(file);
  }
  if (!more) return;
  dirty_.insert(file.path.substr(log_dir_.size() + 1));
  schedule();
}

// True: there may be more.
bool LogFollower::read_on(File& file, const std::string& path, int64_t& read_to, std::vector<LogText>& lines) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::string buffer(kReadSize, '\0');
  const int64_t enough = read_to + kMaxPerRead;
  ssize_t size = 0;
  while (read_to < enough && (size = pread(fd, buffer.data(), buffer.size(), read_to)) > 0) {
    read_to += size;
    cut(file, {buffer.data(), static_cast<size_t>(size)}, lines);
  }
  close(fd);
  return size > 0;
}

// What was read to its end so far is called name.1, older ones count up, the oldest goes.
void LogFollower::rotate(File& file) {
  if (!rotate_log(file.path, limits_.backups)) return;
  file.rotated_to = std::exchange(file.read_to, 0);
  out_.on_rotated(file.worker);
}

void LogFollower::cut(File& file, std::string_view bytes, std::vector<LogText>& lines) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const size_t room = kMaxLine - file.partial.size();
    const size_t take = std::min({end, bytes.size(), room});
    file.partial.append(bytes.substr(0, take));
    bytes.remove_prefix(take);
    const bool ended = !bytes.empty() && bytes.front() == '\n';
    if (ended) bytes.remove_prefix(1);
    if (ended || file.partial.size() >= kMaxLine) take_line(file, lines);
  }
}

void LogFollower::take_line(File& file, std::vector<LogText>& lines) {
  std::string line = std::exchange(file.partial, {});
  if (line.starts_with(kSpeakerMark))
    file.speaker = line.substr(kSpeakerMark.size());
  else
    lines.push_back({file.worker, file.is_error, std::move(line), file.speaker});
}

void LogFollower::finish(const WorkerId& worker) {
  std::vector<LogText> lines;
  if (inotify_ >= 0) collect_events();
  for (const bool is_error : {false, true}) {
    const std::string name = name_of(worker, is_error);
    const auto at = files_.find(name);
    if (at == files_.end()) continue;
    File& file = at->second;
    int64_t before = -1;
    const auto read_so_far = [&file] { return file.read_to + std::max<int64_t>(file.rotated_to, 0); };
    while ((dirty_.erase(name) > 0 || inotify_ < 0) && read_so_far() != before) {
      before = read_so_far();
      read(file, lines);
    }
    if (!file.partial.empty()) take_line(file, lines);
    files_.erase(at);
  }
  if (!lines.empty()) out_.on_lines(lines);
}

void LogFollower::drain() {
  if (inotify_ >= 0)
    collect_events();
  else
    for (const auto& [name, file] : files_) dirty_.insert(name);
  read_dirty();
}

std::string LogFollower::tail(const std::string& log_dir, const WorkerId& worker, size_t most_bytes) {
  const int fd = open(path(log_dir, worker, true).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  const off_t size = lseek(fd, 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(most_bytes));
  std::string out(static_cast<size_t>(size - from), '\0');
  const ssize_t got = pread(fd, out.data(), out.size(), from);
  close(fd);
  out.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return out;
}

}  // namespace narke::node
