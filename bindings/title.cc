#include "bindings/title.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>

#include <sys/prctl.h>
#include <unistd.h>

namespace narke::py {
namespace {

// Fields of /proc/self/stat, proc_pid_stat(5): counted from 0 after the name, which may hold spaces.
constexpr int kArgStart = 47 - 2, kArgEnd = 48 - 2;
constexpr size_t kThreadName = 15;

struct Area {
  char* start = nullptr;
  size_t size = 0;
};

Area read_area() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  size_t at = text.rfind(") ");
  if (at == std::string::npos) return {};
  at += 2;
  uintptr_t bounds[2] = {0, 0};
  for (int field = 0; field <= kArgEnd && at != std::string::npos; ++field) {
    if (field >= kArgStart) bounds[field - kArgStart] = std::strtoull(text.c_str() + at, nullptr, 10);
    at = text.find(' ', at);
    if (at != std::string::npos) ++at;
  }
  if (bounds[0] == 0 || bounds[1] <= bounds[0]) return {};
  return {reinterpret_cast<char*>(bounds[0]), bounds[1] - bounds[0]};
}

const Area& area() {
  static const Area found = read_area();
  return found;
}

}  // namespace

void learn_title_area() { area(); }

// Of another thread than this one it is written to a file.
static void set_main_thread_name(std::string_view title) {
  char name[kThreadName + 1] = {};
  std::memcpy(name, title.data(), std::min(title.size(), kThreadName));
  if (gettid() == getpid()) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
    return;
  }
  std::ofstream("/proc/self/task/" + std::to_string(getpid()) + "/comm") << name;
}

void set_title(std::string_view title) {
  static std::mutex mutex;
  static std::string current;
  const std::lock_guard<std::mutex> held(mutex);
  if (title == current) return;
  current = title;
  set_main_thread_name(title);
  const Area& room = area();
  if (room.size < 2) return;
  const size_t size = std::min(title.size(), room.size - 1);
  std::memcpy(room.start, title.data(), size);
  std::memset(room.start + size, 0, room.size - size);
}

}  // namespace narke::py
