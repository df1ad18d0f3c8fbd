#include "gateway/commands.h"

#include <array>
#include <memory>

#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char** environ;

namespace narke::gateway {
namespace {

namespace asio = boost::asio;

// A file without a name that holds the input; -1 when there is none to be had.
int file_of(const std::string& input) {
  const int fd = memfd_create("input", MFD_CLOEXEC);
  if (fd < 0) return -1;
  size_t at = 0;
  while (at < input.size()) {
    const ssize_t written = ::write(fd, input.data() + at, input.size() - at);
    if (written <= 0) {
      ::close(fd);
      return -1;
    }
    at += static_cast<size_t>(written);
  }
  lseek(fd, 0, SEEK_SET);
  return fd;
}

// The process's id; 0 when it cannot be started.
int spawn(std::vector<std::string>& words, int in, int out) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, pointers[0], &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? pid : 0;
}

// One program that runs; keeps itself alive by its handlers.
class Running : public std::enable_shared_from_this<Running> {
 public:
  Running(asio::io_context& io, int pid, int output, std::chrono::milliseconds limit, Commands::Done done)
      : process_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))),
        output_(io, output),
        timer_(io, limit),
        done_(std::move(done)) {}
  ~Running() {
    if (process_ >= 0) ::close(process_);
  }

  void start() {
    timer_.async_wait([self = shared_from_this()](auto error) {
      if (!error) self->end(false);
    });
    read();
  }

 private:
  void read() {
    output_.async_read_some(asio::buffer(bytes_), [self = shared_from_this()](auto error, size_t count) {
      if (self->done_ == nullptr) return;
      self->outcome_.output.append(self->bytes_.data(), count);
      if (error) return self->end(true);
      if (self->outcome_.output.size() > Commands::kMostOutput) return self->end(false);
      self->read();
    });
  }

  void end(bool in_time) {
    if (done_ == nullptr) return;
    if (!in_time && process_ >= 0) syscall(SYS_pidfd_send_signal, process_, SIGKILL, nullptr, 0);
    timer_.cancel();
    output_.close();
    outcome_.was_in_time = in_time;
    std::exchange(done_, nullptr)(std::move(outcome_));
  }

  int process_;
  asio::posix::stream_descriptor output_;
  asio::steady_timer timer_;
  std::array<char, 16 << 10> bytes_;
  CommandOutcome outcome_;
  Commands::Done done_;
};

}  // namespace

void Commands::run(std::vector<std::string> words, const std::string& input, std::chrono::milliseconds limit,
                   Done done) {
  const int in = file_of(input);
  std::array<int, 2> ends{-1, -1};
  const bool has_pipe = in >= 0 && pipe2(ends.data(), O_CLOEXEC) == 0;
  const int pid = has_pipe ? spawn(words, in, ends[1]) : 0;
  if (in >= 0) ::close(in);
  if (has_pipe) ::close(ends[1]);
  if (pid == 0) {
    if (has_pipe) ::close(ends[0]);
    asio::post(io_, [done = std::move(done)] { done({}); });
    return;
  }
  std::make_shared<Running>(io_, pid, ends[0], limit, std::move(done))->start();
}

}  // namespace narke::gateway
