// The processes below one.
#pragma once

#include <string>
#include <vector>

namespace narke::gateway {

std::vector<int> children_of(int pid);
// Children, and theirs, each after its parent. What ends meanwhile is left out.
std::vector<int> descendants_of(int pid);
// The name of a process' program, at most 15 characters; "" when it is gone.
std::string program_of(int pid);

}  // namespace narke::gateway
