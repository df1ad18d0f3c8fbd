// The pieces of a file, to its end or for as long as it grows.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "gateway/http.h"

namespace narke::gateway {

// Calls back once after a while, on the gateway's thread.
using After = std::function<void(std::chrono::milliseconds, std::function<void()>)>;

struct FileSourceOptions {
  std::string path = {};  // of a regular file; links are not followed
  uint64_t offset = 0;
  bool whole_lines = false;         // pieces end with a line's end where there is one
  bool plain = false;               // without ANSI escapes
  std::function<bool()> is_over = {};  // null: end at the end of the file; else follow until it says so
  std::chrono::milliseconds pause{100};
};

// Nothing may be there yet when it is followed.
std::shared_ptr<Source> follow_file(FileSourceOptions options, After after);

}  // namespace narke::gateway
