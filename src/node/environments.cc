#include "node/environments.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/spawn.h"
#include "rpc/auth.h"

namespace narke::node {

using Kind = EnvironmentState::Kind;

static constexpr size_t kMaxAnswerBytes = 4 << 20;
static constexpr int kMostAnswers = 500;  // on disk, in one folder

static int64_t now_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

WorkerKind kind_of(std::string_view runtime_env) {
  if (!runtime_env.starts_with('+')) return {{}, runtime_env};
  const size_t end = std::min(runtime_env.find('\n'), runtime_env.size());
  return {runtime_env.substr(1, end - 1), runtime_env.substr(std::min(end + 1, runtime_env.size()))};
}

std::optional<Made> parse_made(std::string_view bytes) {
  Made made;
  while (true) {
    const size_t key_end = bytes.find('\0');
    if (key_end == bytes.npos) return std::nullopt;
    const std::string_view key = bytes.substr(0, key_end);
    if (key == "end") return made;
    const size_t value_end = bytes.find('\0', key_end + 1);
    if (value_end == bytes.npos) return std::nullopt;
    const std::string value(bytes.substr(key_end + 1, value_end - key_end - 1));
    if (key == "context") made.context = value;
    if (key == "command") made.interpreter.command.push_back(value);
    if (key == "cwd") made.interpreter.cwd = value;
    if (key == "hold") made.held.push_back(value);
    if (key == "keep") made.keep = value;
    if (key == "error") made.error = value;
    bytes.remove_prefix(value_end + 1);
  }
}

Environments::Environments(rpc::Reactor& reactor, EnvironmentsConfig config, Hooks hooks)
    : reactor_(reactor), config_(std::move(config)), hooks_(std::move(hooks)) {}

Environments::~Environments() {
  for (auto& [text, record] : records_) {
    if (record.pid > 0) ::kill(-record.pid, SIGKILL);
    end_process(record);
    for (const int lock : record.locks) close(lock);
  }
}

EnvironmentState Environments::state(const std::string& text) {
  const auto at = records_.find(text);
  if (at != records_.end()) return at->second.state;
  Record& record = records_[text];
  if (recall(text, record)) return record.state;
  record.state.kind = Kind::kPreparing;
  start(text, record);
  return record.state;
}

const Made* Environments::find(const std::string& text) const {
  const auto at = records_.find(text);
  return at == records_.end() || at->second.state.kind != Kind::kReady ? nullptr : &at->second.made;
}

// ---- answers of earlier times -----------------------------------------------------------------------------------

// Text and interpreter as a hash (the texts may hold secrets, and these files outlive the cluster).
std::string Environments::name_of(const std::string& text) const {
  struct stat found{};
  if (stat(config_.command[0].c_str(), &found) != 0) return "";
  const std::string hash = rpc::prove(
      config_.command[0] + ' ' + std::to_string(found.st_size) + ' ' + std::to_string(found.st_mtim.tv_sec), text);
  std::string out;
  for (const char c : hash)
    for (const int digit : {c >> 4 & 15, c & 15}) out += "0123456789abcdef"[digit];
  return out;
}

// Whether it was made before and all of it is there: then the record is ready, with its locks.
bool Environments::recall(const std::string& text, Record& record) {
  const std::string name = name_of(text);
  if (name.empty()) return false;
  for (const auto& [place, folder] : config_.answer_dirs) {
    std::ifstream file(folder + "/" + name, std::ios::binary);
    const std::string kept(std::istreambuf_iterator<char>(file), {});
    std::optional<Made> made = parse_made(kept);
    if (!made || !made->error.empty() || made->held.empty()) continue;
    record.made = std::move(*made);
    if (hold(record)) {
      record.since_ms = now_ms();
      record.state = {Kind::kReady, ""};
      return true;
    }
    for (const int lock : record.locks) close(lock);
    record = Record();
  }
  return false;
}

// Fails in silence: it costs time, and nothing else.
void Environments::remember(const std::string& text, const Record& record) const {
  namespace fs = std::filesystem;
  const auto folder = config_.answer_dirs.find(record.made.keep);
  const std::string name = name_of(text);
  if (folder == config_.answer_dirs.end() || record.made.held.empty() || name.empty()) return;
  std::error_code error;
  fs::create_directories(folder->second, error);
  fs::permissions(folder->second, fs::perms::owner_all, error);
  if (std::distance(fs::directory_iterator(folder->second, error), {}) >= kMostAnswers)
    fs::remove_all(folder->second, error), fs::create_directory(folder->second, error);
  const std::string path = folder->second + "/" + name, made = path + "." + std::to_string(getpid());
  std::ofstream(made, std::ios::binary) << record.answer;
  fs::rename(made, path, error);
}

// A file in memory with these bytes, to be read from its beginning; or negative.
static int memory_file(const std::string& bytes) {
  const int fd = memfd_create("narke-environment", MFD_CLOEXEC);
  if (fd < 0) return -1;
  if (write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && lseek(fd, 0, SEEK_SET) == 0)
    return fd;
  close(fd);
  return -1;
}

void Environments::start(const std::string& text, Record& record) {
  int ends[2] = {-1, -1};
  const int input = memory_file(text);
  int error = input < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ? errno : 0;
  if (error == 0) {
    SpawnOrder order;
    order.command = config_.command;
    order.input = input;
    order.output = ends[1];
    order.error_path = config_.log_path;
    order.new_session = true;
    error = spawn(order, &record.pid);
  }
  for (const int fd : {input, ends[1]})
    if (fd >= 0) close(fd);
  if (error != 0) {
    if (ends[0] >= 0) close(ends[0]);
    record.pid = 0;
    record.since_ms = now_ms();
    record.state = {Kind::kFailed, config_.command[0] + " could not be started to set up a runtime environment: " +
                                       std::strerror(error)};
    return;
  }
  hooks_.spare(record.pid, true);
  record.link = ends[0];
  fcntl(record.link, F_SETFL, O_NONBLOCK);
  reactor_.watch(record.link, [this, text] { on_readable(text); });
}

void Environments::on_readable(const std::string& text) {
  const std::string key = text;  // the callback that holds `text` may go
  Record& record = records_.at(key);
  char piece[65536];
  ssize_t got;
  while ((got = read(record.link, piece, sizeof(piece))) > 0) record.answer.append(piece, static_cast<size_t>(got));
  const bool is_over = got == 0 || (errno != EAGAIN && errno != EINTR);
  std::optional<Made> made = parse_made(record.answer);
  if (!made && !is_over && record.answer.size() < kMaxAnswerBytes) return;
  if (!made) {
    made.emplace();
    made->error =
        "The process that sets up runtime environments ended without an answer; see " + config_.log_path + ".";
  }
  finish(key, record, std::move(*made));
}

void Environments::finish(const std::string& text, Record& record, Made made) {
  record.made = std::move(made);
  record.since_ms = now_ms();
  if (!record.made.error.empty()) {
    record.state = {Kind::kFailed, record.made.error};
    hooks_.log("a runtime environment could not be set up: " + record.made.error);
  } else if (hold(record)) {
    record.state = {Kind::kReady, ""};
    remember(text, record);
  } else {
    record.state = {Kind::kFailed, "What was set up for the runtime environment was removed at once; submit again. "};
  }
  record.answer.clear();
  end_process(record);
  hooks_.changed();
}

// A process that made it holds the locks until its link closes: nothing can be removed in between. Of what was made
// earlier something may be gone, or on its way.
bool Environments::hold(Record& record) {
  for (const std::string& path : record.made.held) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const std::string whole = path.substr(0, path.rfind('.')) + ".done";
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) != 0 || access(whole.c_str(), F_OK) != 0) {
      if (fd >= 0) close(fd);
      return false;
    }
    futimens(fd, nullptr);  // used now: others go first
    record.locks.push_back(fd);
  }
  return true;
}

// It ends by itself once its link is closed.
void Environments::end_process(Record& record) {
  if (record.link < 0) return;
  reactor_.unwatch(record.link);
  close(std::exchange(record.link, -1));
  hooks_.spare(std::exchange(record.pid, 0), false);
}

void Environments::forget(std::map<std::string, Record>::iterator at) {
  const Interpreter interpreter = at->second.made.interpreter;
  for (const int lock : at->second.locks) close(lock);
  records_.erase(at);
  if (interpreter.command.empty()) return;
  for (const auto& [text, record] : records_)
    if (record.made.interpreter == interpreter) return;
  hooks_.unused(interpreter);
}

void Environments::tick(const std::function<bool(const std::string& text)>& is_used) {
  const int64_t now = now_ms();
  for (auto at = records_.begin(); at != records_.end();) {
    const auto here = at++;
    Record& record = here->second;
    if (record.state.kind == Kind::kPreparing) continue;
    const bool is_ready = record.state.kind == Kind::kReady;
    if (is_ready && is_used(here->first))
      record.since_ms = now;
    else if (now - record.since_ms >= (is_ready ? config_.keep_ms : config_.failed_ms))
      forget(here);
  }
}

}  // namespace narke::node
