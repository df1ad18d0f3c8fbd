#include "node/zygote.h"

#include <cstring>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/wire.h"

extern char** environ;

namespace narke::node {

static Error failed(const std::string& what, int error) {
  return {ErrorCode::kFailed, what + ": " + std::strerror(error)};
}

static std::vector<std::string> environment(const std::string& python_path) {
  std::vector<std::string> out;
  std::string path = "PYTHONPATH=" + python_path;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "PYTHONPATH=", 11) != 0)
      out.emplace_back(*entry);
    else
      path += (python_path.empty() ? "" : ":") + std::string(*entry + 11);
  }
  if (path.size() > 11) out.push_back(path);
  return out;
}

static std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

namespace {

// The child's descriptors and signals: `fd` stays open, the logs are its output, no signal is blocked.
class SpawnPlan {
 public:
  SpawnPlan(int fd, const std::string& log_dir) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_adddup2(&actions_, fd, fd);  // onto itself: clears close-on-exec
    add_output(1, log_dir + "/zygote.out");
    add_output(2, log_dir + "/zygote.err");
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  int run(int* pid, std::vector<std::string> command, std::vector<std::string> env) {
    return posix_spawnp(pid, command[0].c_str(), &actions_, &attributes_, pointers(command).data(),
                        pointers(env).data());
  }

 private:
  void add_output(int fd, const std::string& path) {
    posix_spawn_file_actions_addopen(&actions_, fd, path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  }
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

Zygote::~Zygote() {
  if (link_) link_->set_handler(nullptr);
}

Status Zygote::start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return failed("socketpair", errno);
  std::vector<std::string> command = config_.command;
  command.push_back(std::to_string(ends[1]));
  const int error = SpawnPlan(ends[1], config_.log_dir).run(&pid_, command, environment(config_.python_path));
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return failed("cannot execute " + command[0] + " (option --python)", error);
  }
  link_ = reactor_.adopt(ends[0], true, this, true);
  return ok_status();
}

void Zygote::fork(const WorkerId& worker, const ForkRequest& request) {
  if (!link_) {
    out_.on_fork_failed(worker, "The zygote process is not running.", false);
    return;
  }
  Builder builder(request.config->size() + 512);
  const auto bytes = builder.CreateVector(*request.config);
  const auto id = worker.to_wire<wire::WorkerId>();
  const auto output = builder.CreateString(request.stdout_path);
  const auto errors = builder.CreateString(request.stderr_path);
  builder.Finish(wire::CreateForkWorker(builder, &id, bytes, output, errors));
  asked_[worker] = request;
  link_->send(wire::MessageType::ForkWorker, 0, builder);
}

void Zygote::on_frame(rpc::Connection&, const rpc::Frame& frame) {
  if (frame.type == wire::MessageType::Forked) {
    on_forked(frame);
  } else if (frame.type == wire::MessageType::ChildExited) {
    if (const auto* exited = frame.as<wire::ChildExited>()) out_.on_child_exited(exited->pid(), exited->status());
  }
}

void Zygote::on_forked(const rpc::Frame& frame) {
  const auto* forked = frame.as<wire::Forked>();
  if (forked == nullptr || forked->worker() == nullptr) return;
  const WorkerId worker = WorkerId::from_wire(forked->worker());
  asked_.erase(worker);
  if (forked->pid() > 0)
    out_.on_forked(worker, forked->pid());
  else
    out_.on_fork_failed(worker, "The zygote could not fork: " + text_of(forked->error()), forked->postponed());
}

void Zygote::on_closed(rpc::Connection&, const Error& why) {
  link_ = nullptr;
  for (auto& [worker, request] : std::exchange(asked_, {})) out_.on_fork_lost(worker, std::move(request));
  out_.on_zygote_gone(why.message);
}

}  // namespace narke::node
