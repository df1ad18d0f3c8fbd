#include "gateway/process_tree.h"

#include <fstream>

namespace narke::gateway {

std::vector<int> children_of(int pid) {
  std::vector<int> out;
  const std::string name = std::to_string(pid);
  std::ifstream file("/proc/" + name + "/task/" + name + "/children");
  for (int child = 0; file >> child;) out.push_back(child);
  return out;
}

std::vector<int> descendants_of(int pid) {
  std::vector<int> out;
  for (const int child : children_of(pid)) {
    out.push_back(child);
    const std::vector<int> below = descendants_of(child);
    out.insert(out.end(), below.begin(), below.end());
  }
  return out;
}

std::string program_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace narke::gateway
