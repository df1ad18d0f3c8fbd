#include "gateway/supervisor.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/job_record.h"
#include "gateway/process_tree.h"
#include "gateway/text.h"

extern char** environ;

namespace narke::gateway {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kTailBytes = 20'000;  // of a failed job's log, in its message
constexpr size_t kSetupBytes = 1 << 20;
constexpr milliseconds kLastGrace{500};  // for what the entry point has left running, before it is killed
constexpr milliseconds kSweepPause{20};

using Environment = std::map<std::string, std::string>;

Environment own_environment() {
  Environment out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != text.npos) out[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return out;
}

void add_variables(Environment& to, const json::object& more) {
  for (const auto& [name, value] : more) {
    if (!value.is_string()) continue;
    to[std::string(name)] =
        expand_variables(std::string(value.get_string()), [&](const std::string& asked) -> std::optional<std::string> {
          const auto at = to.find(asked);
          return at == to.end() ? std::nullopt : std::optional(at->second);
        });
  }
}

std::vector<std::string> entries_of(const Environment& environment) {
  std::vector<std::string> out;
  for (const auto& [name, value] : environment) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::string tail_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const auto size = static_cast<size_t>(file.tellg());
  const size_t wanted = std::min(size, kTailBytes);
  file.seekg(static_cast<std::streamoff>(size - wanted));
  std::string out(wanted, '\0');
  file.read(out.data(), static_cast<std::streamsize>(wanted));
  out.resize(static_cast<size_t>(file.gcount()));
  return out;
}

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options) : dir_(options.dir), node_pid_(options.node_pid) {}
  ~Supervisor() {
    for (const int fd : {signals_, node_})
      if (fd >= 0) close(fd);
  }

  int run() {
    if (!load() || !watch()) return 1;
    if (set_up() && start()) supervise();
    sweep();
    save();
    return 0;
  }

 private:
  bool load() {
    const auto record = read_file(dir_ + "/job.json"), launch = read_file(dir_ + "/launch.json");
    auto parsed = record ? job_record_of(*record) : std::nullopt;
    auto value = launch ? parse_json(*launch) : std::nullopt;
    if (!parsed || !value || !value->is_object()) return false;
    record_ = std::move(*parsed);
    launch_ = value->get_object();
    environment_ = own_environment();
    log_ = text_at(launch_, "log");
    cwd_ = text_at(launch_, "cwd");
    record_.supervisor_pid = getpid();
    return true;
  }

  bool watch() {
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&signals, signal);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    signals_ = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    node_ = static_cast<int>(syscall(SYS_pidfd_open, node_pid_, 0));
    return signals_ >= 0 && node_ >= 0;
  }

  void save() { write_private_file(dir_ + "/job.json", json::serialize(to_json(record_))).ok(); }

  void fail(const std::string& message, const char* kind) {
    record_.end("FAILED", valid_utf8(message), kind, epoch_now_ms());
  }

  // Runs a program as a child in a session of its own. Returns its pid, or -errno.
  int spawn(std::vector<std::string> command, int in, int out, int err, const std::string& cwd) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, err, 2);
    if (!cwd.empty()) posix_spawn_file_actions_addchdir_np(&actions, cwd.c_str());
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    std::vector<std::string> entries = entries_of(environment_);
    int pid = 0;
    const int error = posix_spawn(&pid, command[0].c_str(), &actions, &attributes, pointers(command).data(),
                                  pointers(entries).data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error != 0 ? -error : pid;
  }

  // ---- the environment

  bool set_up() {
    const json::value* setup = launch_.if_contains("setup");
    if (setup && setup->is_array() && !setup->get_array().empty() && !run_setup(setup->get_array())) return false;
    if (const json::value* variables = launch_.if_contains("env"); variables && variables->is_object())
      add_variables(environment_, variables->get_object());
    add_variables(environment_, setup_variables_);
    return true;
  }

  bool run_setup(const json::array& words) {
    std::vector<std::string> command;
    for (const json::value& word : words) command.emplace_back(word.get_string());
    const std::string in_path = dir_ + "/setup.in", out_path = dir_ + "/setup.out", err_path = dir_ + "/setup.err";
    const json::value* input = launch_.if_contains("setup_input");
    if (!write_private_file(in_path, input ? json::serialize(*input) : "{}").ok()) return false;
    const int in = open(in_path.c_str(), O_RDONLY | O_CLOEXEC);
    const int out = open(out_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const int err = open(err_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    main_ = spawn(command, in, out, err, "");
    for (const int fd : {in, out, err}) close(fd);
    if (main_ < 0) {
      fail("runtime_env setup failed: " + command[0] + ": " + std::strerror(-main_), "RUNTIME_ENV_SETUP_FAILURE");
      return false;
    }
    const bool ended = wait_for_main(milliseconds(1000 * number_at(launch_, "setup_limit_s", 600)));
    return ended ? take_setup(out_path, err_path) : false;
  }

  bool take_setup(const std::string& out_path, const std::string& err_path) {
    if (record_.is_over()) return false;
    if (stopping_) return give_up();
    const std::string errors = tail_of(err_path);
    const auto printed = read_file(out_path);
    const auto value = printed && printed->size() < kSetupBytes ? parse_json(*printed) : std::nullopt;
    if (status_ != 0 || !value || !value->is_object()) {
      fail("runtime_env setup failed: Failed to set up the runtime environment of the job.\n" + errors,
           "RUNTIME_ENV_SETUP_FAILURE");
      return false;
    }
    const json::object& answer = value->get_object();
    if (const std::string cwd = text_at(answer, "cwd"); !cwd.empty()) cwd_ = cwd;
    if (const json::value* variables = answer.if_contains("env"); variables && variables->is_object())
      setup_variables_ = variables->get_object();
    return true;
  }

  // ---- the entry point

  // It was stopped before it began.
  bool give_up() {
    record_.end("STOPPED", "Job was intentionally stopped.", "", epoch_now_ms());
    return false;
  }

  bool start() {
    turn(0);
    if (record_.is_over()) return false;
    if (stopping_) return give_up();
    record_.status = "RUNNING";  // said first: what the entry point does must not be seen before
    record_.message = "Job is currently running.";
    save();
    const int out = open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const bool has_bash = access("/bin/bash", X_OK) == 0;
    // An entry point is a command line by contract (Ray's Jobs API); it is one argument here, never part of another.
    main_ = spawn({has_bash ? "/bin/bash" : "/bin/sh", "-c", record_.entrypoint}, in, out, out, cwd_);
    for (const int fd : {in, out}) close(fd);
    if (main_ < 0) {
      fail(std::string("The entry point could not be started: ") + std::strerror(-main_),
           "JOB_ENTRYPOINT_COMMAND_START_ERROR");
      return false;
    }
    record_.driver_pid = main_;
    save();
    return true;
  }

  void supervise() {
    wait_for_main(milliseconds::max());
    if (record_.is_over()) return;
    const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
    record_.exit_code = code;
    if (stopping_)
      record_.end("STOPPED", "Job was intentionally stopped.", "", epoch_now_ms());
    else if (code == 0)
      record_.end("SUCCEEDED", "Job finished successfully.", "", epoch_now_ms());
    else
      fail("Job entrypoint command failed with exit code " + std::to_string(code) +
               ", last available logs (truncated to 20,000 chars):\n" + tail_of(log_),
           "JOB_ENTRYPOINT_COMMAND_ERROR");
  }

  // Until the main child has ended. False: it was given up, and the record says why.
  bool wait_for_main(milliseconds limit) {
    const bool limited = limit != milliseconds::max();
    const Clock::time_point end = limited ? Clock::now() + limit : Clock::time_point::max();
    while (main_ > 0) {
      if (limited && Clock::now() >= end) {
        kill(-main_, SIGKILL);
        fail("runtime_env setup failed: it did not end in time.", "RUNTIME_ENV_SETUP_FAILURE");
        return false;
      }
      if (stopping_ && Clock::now() >= kill_at_) kill_all(SIGKILL);
      turn(limited || stopping_ ? 100 : -1);
    }
    return true;
  }

  void turn(int timeout_ms) {
    pollfd ready[2] = {{signals_, POLLIN, 0}, {node_, POLLIN, 0}};
    poll(ready, 2, timeout_ms);
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof(info)) == sizeof(info))
      if (info.ssi_signo != SIGCHLD) begin_stop();
    reap();
    if (ready[1].revents != 0 && !record_.is_over()) {
      fail("The node that ran the job has ended.", "JOB_SUPERVISOR_ACTOR_DIED");
      kill_all(SIGKILL);
    }
  }

  void begin_stop() {
    if (std::exchange(stopping_, true)) return;
    const int grace_s = static_cast<int>(number_at(launch_, "stop_grace_s", 3));
    kill_at_ = Clock::now() + std::chrono::seconds(grace_s);
    kill_all(SIGTERM);
  }

  void reap() {
    int status = 0;
    for (int pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
      if (pid == main_) {
        status_ = status;
        main_ = 0;
      }
  }

  void kill_all(int signal) {
    for (const int pid : descendants_of(getpid())) kill(pid, signal);
  }

  // What the job has started and left behind: asked to end, then made to.
  void sweep() {
    const Clock::time_point killing = Clock::now() + kLastGrace;
    for (bool asked = false;;) {
      reap();
      if (descendants_of(getpid()).empty()) return;
      if (!std::exchange(asked, true)) kill_all(SIGTERM);
      if (Clock::now() >= killing) kill_all(SIGKILL);
      pollfd nothing{-1, 0, 0};
      poll(&nothing, 1, static_cast<int>(kSweepPause.count()));
    }
  }

  std::string dir_, log_, cwd_;
  int node_pid_;
  JobRecord record_;
  json::object launch_, setup_variables_;
  Environment environment_;
  int signals_ = -1, node_ = -1;
  int main_ = 0;  // the child that is waited for; 0 when it has ended
  int status_ = 0;
  bool stopping_ = false;
  Clock::time_point kill_at_;
};

}  // namespace

int supervise(const SupervisorOptions& options) { return Supervisor(options).run(); }

}  // namespace narke::gateway
