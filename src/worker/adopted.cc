#include "worker/adopted.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace narke::worker {
namespace {

namespace fs = std::filesystem;

// Whether some child has ended and was not waited for; nothing is taken.
bool has_ended_child() {
  siginfo_t info{};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

bool is_adopted_and_ended(pid_t pid) {
  std::string stat;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/stat"), stat);
  const size_t name_end = stat.rfind(')');
  char state = 0;
  int parent = 0, group = 0, session = 0;
  if (name_end == std::string::npos ||
      std::sscanf(stat.c_str() + name_end + 1, " %c %d %d %d", &state, &parent, &group, &session) != 4)
    return false;
  return state == 'Z' && parent == getpid() && session != pid && session != getsid(0);
}

}  // namespace

int reap_adopted() {
  if (!has_ended_child()) return 0;
  int reaped = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc", error)) {
    const int pid = std::atoi(entry.path().filename().c_str());  // 0: not of a process
    if (pid > 0 && is_adopted_and_ended(pid) && waitpid(pid, nullptr, WNOHANG) == pid) ++reaped;
  }
  return reaped;
}

}  // namespace narke::worker
