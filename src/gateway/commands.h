// Programs run beside the loop: their input is given, their output collected, all within one time limit.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

namespace narke::gateway {

struct CommandOutcome {
  bool was_in_time = false;  // false: it was killed at the limit, or could not be started
  std::string output;        // standard output, at most kMostOutput bytes
};

class Commands {
 public:
  static constexpr size_t kMostOutput = 16 << 20;
  using Done = std::function<void(CommandOutcome)>;

  explicit Commands(boost::asio::io_context& io) : io_(io) {}
  // words: the program's path and its arguments. input: its standard input. `done` is called once, later, on the
  // loop's thread. Its standard error is the caller's. Whoever waits for children of this process reaps it.
  void run(std::vector<std::string> words, const std::string& input, std::chrono::milliseconds limit, Done done);

 private:
  boost::asio::io_context& io_;
};

}  // namespace narke::gateway
