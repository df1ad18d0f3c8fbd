// The gateway itself: every request passes the guard, finds its route, and is answered by the part that owns it.
#pragma once

#include <string>

#include "gateway/guard.h"
#include "gateway/router.h"

namespace narke::gateway {

class Gateway : public App {
 public:
  // upload_dir: where bodies of uploads are written until their handler moves them.
  Gateway(GuardConfig guard, std::string upload_dir);

  Router& router() { return router_; }
  const Guard& guard() const { return guard_; }
  // Answers what no route does: the dashboard's files.
  void set_fallback(std::function<Response(const Request&)> fallback) { fallback_ = std::move(fallback); }

  Plan plan(const Request& head) override;
  void handle(Request request, Reply reply) override;

 private:
  std::optional<Response> refusal(const Request& head, const Router::Match& match) const;

  Guard guard_;
  Router router_;
  std::string upload_dir_;
  std::function<Response(const Request&)> fallback_;
  uint64_t uploads_ = 0;
};

}  // namespace narke::gateway
