// Work that waits for the disk, done beside the reactor's thread: one piece after another.
//
// Lifecycle: made and destroyed on the reactor's thread; what is under way then is finished, its answer dropped.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "node/asking.h"
#include "rpc/reactor.h"

namespace narke::node {

class Errands {
 public:
  explicit Errands(rpc::Reactor& reactor) : reactor_(reactor) {}
  ~Errands();
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;

  // `work` runs on another thread, `then` on the reactor's; at once with an error when too much waits.
  void run(std::function<Answer()> work, Asking::Then then);

 private:
  struct Errand {
    std::function<Answer()> work;
    Asking::Then then;
    Answer answer;
  };
  void start();
  void work();
  void finish();

  rpc::Reactor& reactor_;
  int event_ = -1;  // made with the first errand, as is the thread
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Errand> waiting_, done_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace narke::node
