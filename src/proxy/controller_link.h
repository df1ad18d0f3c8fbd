// The proxy's talk with the controller actor: routing tables come as they change, reports go out.
#pragma once

#include <memory>
#include <string>

#include "proxy/calls.h"
#include "proxy/router.h"
#include "proxy/stats.h"

namespace narke::proxy {

class ControllerLink final {
 public:
  // controller: the actor with the methods serve_routes and serve_report.
  ControllerLink(Calls& calls, Router& router, const ActorId& controller, std::string node);
  ~ControllerLink();

  // Asks for tables; asks again whenever one came, or the controller was away.
  void start(int64_t now_ms);
  // Now and then: repeats what failed, reports.
  void tick(int64_t now_ms, const Stats& stats);

 private:
  struct Tables;
  struct Report;
  void ask();
  bool queues_changed();

  Calls& calls_;
  Router& router_;
  const ActorId controller_;
  const std::string node_;
  worker::CallSpecPtr routes_method_, report_method_;
  std::unique_ptr<Tables> tables_;
  std::unique_ptr<Report> report_;
  int64_t ask_at_ms_ = -1, report_at_ms_ = 0, now_ms_ = 0;
  uint64_t queued_ = 0;
};

}  // namespace narke::proxy
