// What running programs do, over HTTP: stack dumps and profiles of time and memory, by Ray's paths and for the
// dashboard's own pages.
#pragma once

#include <functional>
#include <string>

#include "gateway/app.h"
#include "gateway/node_link.h"

namespace narke::gateway {

class ProbeRoutes {
 public:
  explicit ProbeRoutes(Cluster& cluster) : cluster_(cluster) {}
  void add_to(Router& router);

 private:
  struct Aim {
    std::string what, worker_id, node_id;
    int64_t pid = 0, duration_s = 0, rate = 0, iterations = 0;
    bool idle = false, leaks = false;
  };
  using Then = std::function<void(const json::object&)>;
  // The question that a request puts; replies by itself and returns false when it makes no sense.
  static bool read_aim(const Call& call, const char* what, Aim* out);
  void ask(const Aim& aim, Reply reply, Then then);
  // The program that runs, or ran, the task of the request.
  void with_worker_of_task(const Call& call, Aim aim, std::function<void(Aim)> then);
  void worker_traceback(Call call);
  void worker_profile(Call call);
  void task_traceback(Call call);
  void task_profile(Call call);
  void memory_profile(Call call);
  void gpu_profile(Call call);
  void raw(Call call, const char* what);

  Cluster& cluster_;
};

}  // namespace narke::gateway
