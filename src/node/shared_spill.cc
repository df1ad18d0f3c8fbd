#include "node/shared_spill.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "node/spawn.h"

namespace narke::node {

using std::chrono::milliseconds;
using std::chrono::seconds;
using store::SpillJob;
using store::SpillPart;

static constexpr uint64_t kHeaderBytes = 32;
static constexpr uint64_t kFirstFound = uint64_t{1} << 62;
static constexpr int kMostTries = 3;
static constexpr milliseconds kPause{200};
static constexpr int kMostPauses = 25;
static constexpr seconds kRound{10};
static constexpr seconds kStuck{300};      // the process is replaced when a request has taken so long
static constexpr seconds kEndWait{5};      // it goes on clearing up when that takes longer
static constexpr size_t kReadBytes = 1 << 16;

SharedSpill::SharedSpill(rpc::Reactor& reactor, SharedSpillConfig config, std::function<void(const std::string&)> log)
    : reactor_(reactor), config_(std::move(config)), log_(std::move(log)), next_found_(kFirstFound) {
  event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  NARKE_CHECK(event_fd_ >= 0);
}

SharedSpill::~SharedSpill() {
  stopping_ = true;
  for (const auto timer : {relaunch_, watcher_})
    if (timer != 0) reactor_.cancel(timer);
  relaunch_ = 0;
  requests_.clear();
  if (config_.is_head && socket_ < 0 && pidfd_ < 0) launch();
  end_process(kEndWait);
  close(event_fd_);
}

void SharedSpill::attach(store::Server& store) {
  store_ = &store;
  if (config_.clears_on_crash) launch();
}

// ---- the store's jobs --------------------------------------------------------------------------------------

std::string SharedSpill::path_of(const NodeId& node, const ObjectId& id) { return node.hex() + "/" + id.hex(); }

void SharedSpill::start(SpillJob job) {
  SpillPart& part = job.parts.at(0);
  NARKE_CHECK(job.parts.size() == 1);
  std::string& path = paths_[job.file];
  if (path.empty()) path = path_of(config_.self, part.id);
  if (job.is_write) job.file_bytes = kHeaderBytes + part.size;
  std::string line = (job.is_write ? "write " : "read ") + path + " " + std::to_string(part.data - store_->base()) +
                     " " + std::to_string(part.size);
  ask(std::move(line), [this, job = std::move(job)](bool ok, const std::string& text) mutable {
    if (!ok) job.error = text;
    if (!ok && job.is_write) paths_.erase(job.file);
    finish(std::move(job));
  });
}

void SharedSpill::finish(SpillJob job) {
  done_.push_back(std::move(job));
  eventfd_write(event_fd_, 1);
}

void SharedSpill::remove(uint64_t file) {
  auto path = paths_.extract(file);
  if (path.empty()) return;
  ask("remove " + path.mapped(), [this](bool ok, const std::string& text) {
    if (!ok) log_("a spilled object's file stays until the cluster ends: " + text);
  });
}

std::vector<SpillJob> SharedSpill::take_done() {
  eventfd_t count = 0;
  eventfd_read(event_fd_, &count);
  return std::exchange(done_, {});
}

// ---- what other nodes have left ----------------------------------------------------------------------------

void SharedSpill::seek(const ObjectId& id, uint64_t owner, const std::vector<NodeId>& lost_at,
                       std::function<void(bool)> done) {
  std::string line = "find";
  for (const NodeId& node : lost_at) line += " " + path_of(node, id);
  ask(std::move(line), [this, id, owner, lost_at, done = std::move(done)](bool ok, const std::string& text) {
    size_t place = 0;
    unsigned long long size = 0;
    const bool found = ok && std::sscanf(text.c_str(), "%zu %llu", &place, &size) == 2 && place < lost_at.size();
    if (!ok) log_("object " + id.hex() + " cannot be looked for among what was spilled: " + text);
    if (!found) return done(false);
    const uint64_t file = next_found_++;
    paths_[file] = path_of(lost_at[place], id);
    const bool adopted = store_->adopt_spilled(id, owner, file, size);
    if (!adopted) paths_.erase(file);
    done(adopted || store_->presence(id) != store::ObjectPresence::kAbsent);
  });
}

void SharedSpill::forget(const ObjectId& id, const NodeId& node) {
  ask("remove " + path_of(node, id), [](bool, const std::string&) {});  // there may be none
}

// ---- the process -------------------------------------------------------------------------------------------

void SharedSpill::ask(std::string line, Answer answer) {
  const uint64_t number = next_request_++;
  Request& request = requests_[number];
  request = {std::move(line), std::move(answer), 1, rpc::Reactor::Clock::now()};
  if (socket_ < 0) return launch();  // sends all there are
  write(std::to_string(number) + " " + request.line + "\n");
}

void SharedSpill::launch() {
  if (pidfd_ >= 0 || relaunch_ != 0) return;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return try_again(std::string("cannot be started (socketpair: ") + std::strerror(errno) + ")");
  SpawnOrder order;
  order.command = config_.command;
  for (const int fd : {ends[1], store_->fd()}) order.command.push_back(std::to_string(fd));
  order.keep = {ends[1], store_->fd()};
  order.output_path = order.error_path = config_.error_path;
  order.new_session = true;  // it clears up after this daemon
  const int error = spawn(order, &pid_);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return try_again("cannot be started (" + config_.command[0] + ": " + std::strerror(error) + ")");
  }
  config_.spare(pid_, true);
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  socket_ = ends[0];
  if (!stopping_) {
    reactor_.watch(pidfd_, [this] { on_gone(); });
    reactor_.watch(socket_, [this] { on_socket(); });
    if (watcher_ == 0) watch_over();
  }
  outbox_.clear();
  inbox_.clear();
  std::string text = "open " + config_.storage + "\n";
  if (config_.clears_on_crash) text += "clear\n";
  for (auto& [number, request] : requests_) {
    request.since = rpc::Reactor::Clock::now();
    text += std::to_string(number) + " " + request.line + "\n";
  }
  write(text);
}

void SharedSpill::write(const std::string& text) {
  outbox_ += text;
  flush();
}

void SharedSpill::flush() {
  while (!outbox_.empty()) {
    const ssize_t sent = send(socket_, outbox_.data(), outbox_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) break;  // full: see on_socket(); broken: its end is noticed by the pidfd
    outbox_.erase(0, static_cast<size_t>(sent));
  }
  if (!stopping_) reactor_.watch_for(socket_, true, !outbox_.empty());
}

void SharedSpill::on_socket() {
  char buffer[kReadBytes];
  for (;;) {
    const ssize_t got = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {  // it ends; what it may still do in the store's memory is over once it has
      reactor_.watch_for(socket_, false, false);
      ::kill(pid_, SIGKILL);
      return;
    }
    inbox_.append(buffer, static_cast<size_t>(got));
  }
  for (size_t end; (end = inbox_.find('\n')) != std::string::npos;) {
    const std::string line = inbox_.substr(0, end);
    inbox_.erase(0, end + 1);
    on_line(line);
  }
  flush();
}

// "NUMBER ok|error TEXT"
void SharedSpill::on_line(const std::string& line) {
  unsigned long long number = 0;
  char word[8];
  int length = 0;
  if (std::sscanf(line.c_str(), "%llu %7s %n", &number, word, &length) < 2) return;
  auto request = requests_.extract(number);
  if (request.empty()) return;
  failures_ = 0;
  request.mapped().answer(std::strcmp(word, "ok") == 0, line.substr(static_cast<size_t>(length)));
}

void SharedSpill::on_gone() {
  for (int* fd : {&pidfd_, &socket_}) {
    reactor_.unwatch(*fd);
    close(std::exchange(*fd, -1));
  }
  config_.spare(pid_, false);
  try_again("has ended");
}

void SharedSpill::try_again(const std::string& what) {
  if (stopping_) return;
  ++failures_;
  std::vector<Answer> given_up;
  for (auto it = requests_.begin(); it != requests_.end();) {
    const bool again = it->second.tries++ < kMostTries;
    if (!again) given_up.push_back(std::move(it->second.answer));
    it = again ? std::next(it) : requests_.erase(it);
  }
  log_("the process that spills objects " + what + "; see " + config_.error_path + ". Another is started.");
  relaunch_ = reactor_.after(kPause * std::min(failures_, kMostPauses), [this] {
    relaunch_ = 0;
    if (!requests_.empty() || config_.clears_on_crash) launch();
  });
  for (Answer& answer : given_up)
    answer(false, "the process that spills objects ends again and again; see " + config_.error_path);
}

void SharedSpill::watch_over() {
  watcher_ = reactor_.after(kRound, [this] {
    const auto now = rpc::Reactor::Clock::now();
    if (pidfd_ >= 0 && !requests_.empty() && now - requests_.begin()->second.since > kStuck) {
      log_("the process that spills objects has not answered for 300 s and is replaced");
      ::kill(pid_, SIGKILL);
    }
    watch_over();
  });
}

void SharedSpill::end_process(milliseconds limit) {
  if (socket_ < 0) return;
  reactor_.unwatch(socket_);
  reactor_.unwatch(pidfd_);
  if (config_.is_head) write("clear\n");
  shutdown(socket_, SHUT_WR);
  pollfd ended{pidfd_, POLLIN, 0};
  poll(&ended, 1, static_cast<int>(limit.count()));
  close(socket_);
  close(pidfd_);
}

}  // namespace narke::node
