#include "node/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

extern char** environ;

namespace narke::node {

static std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

namespace {

class Plan {
 public:
  explicit Plan(const SpawnOrder& order) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    for (const int fd : order.keep) put(fd, fd);  // onto itself: clears close-on-exec
    if (order.input >= 0)
      put(order.input, 0);
    else
      posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    if (order.output >= 0)
      put(order.output, 1);
    else
      add_file(1, order.output_path);
    add_file(2, order.error_path);
    if (!order.cwd.empty()) posix_spawn_file_actions_addchdir_np(&actions_, order.cwd.c_str());
    sigset_t none, ordinary;
    sigemptyset(&none);
    sigemptyset(&ordinary);
    // A shell's "program &" ignores SIGINT, which cancels tasks; this daemon ignores SIGPIPE: neither is passed on.
    for (const int number : {SIGPIPE, SIGINT, SIGQUIT, SIGTERM, SIGCHLD}) sigaddset(&ordinary, number);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &ordinary);
    const int session = order.new_session ? POSIX_SPAWN_SETSID : 0;
    posix_spawnattr_setflags(&attributes_,
                             static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | session));
  }
  ~Plan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  void put(int from, int to) { posix_spawn_file_actions_adddup2(&actions_, from, to); }
  void add_file(int fd, const std::string& path) {
    posix_spawn_file_actions_addopen(&actions_, fd, path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  }
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

int spawn(const SpawnOrder& order, int* pid) {
  const Plan plan(order);
  std::vector<char*> environment = pointers(order.environment);
  return posix_spawnp(pid, order.command[0].c_str(), plan.actions(), plan.attributes(), pointers(order.command).data(),
                      order.environment.empty() ? environ : environment.data());
}

}  // namespace narke::node
