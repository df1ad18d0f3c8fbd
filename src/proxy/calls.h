// Calls to replicas and the controller over the engine, in the loop's terms: answers are told at the end of the
// engine's dispatch, when calling it again is allowed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/loop.h"
#include "worker/engine.h"

namespace narke::proxy {

// Hears of one call. Told until on_end(), or until the call is abandoned.
class CallListener {
 public:
  virtual ~CallListener() = default;
  virtual void on_item(rpc::Bytes value) = 0;
  virtual void on_end(bool is_error, rpc::Bytes value) = 0;
};

class Calls;

class Call final : public worker::RawSink, public std::enable_shared_from_this<Call> {
 public:
  Call(Calls& calls, CallListener& listener) : calls_(calls), listener_(&listener) {}
  void on_item(rpc::Bytes value) override;
  void on_end(bool is_error, rpc::Bytes value) override;

 private:
  friend class Calls;
  Calls& calls_;
  CallListener* listener_;
  worker::TaskPtr task_;
  std::shared_ptr<Call> self_;  // until the end
  uint64_t consumed_ = 0, acknowledged_ = 0;
};
using CallPtr = std::shared_ptr<Call>;

class Calls final : public Watcher {
 public:
  Calls(worker::Engine& engine, Loop& loop);
  ~Calls() override;

  // Items beyond `window` wait at the replica until consumed() was called; 0: no limit.
  static worker::CallSpecPtr method(const std::string& name, int window);

  // `argument`: an encoded value, in up to kMostPieces pieces.
  CallPtr start(const ActorId& actor, const worker::CallSpecPtr& method,
                std::initializer_list<std::string_view> argument, CallListener& listener);
  static constexpr size_t kMostPieces = 3;
  // One more item of the call is used up.
  void consumed(Call& call);
  // The listener hears nothing more; the call is cancelled where it runs.
  void abandon(Call& call);
  // The same without cancelling it.
  static void forget(Call& call) { call.listener_ = nullptr; }
  // At the end of each turn: tells what came meanwhile and sends what is buffered.
  void settle();

  void on_events(uint32_t events) override;

 private:
  friend class Call;
  struct Event {
    CallPtr call;
    bool is_end, is_error;
    std::string bytes;
  };
  void tell();

  worker::Engine& engine_;
  Loop& loop_;
  std::vector<Event> events_;
  bool unsent_ = false;
};

}  // namespace narke::proxy
