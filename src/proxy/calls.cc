#include "proxy/calls.h"

#include <algorithm>
#include <array>

#include <sys/epoll.h>

namespace narke::proxy {
namespace {

std::string_view text_of(rpc::Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
rpc::Bytes bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

constexpr uint64_t kAcknowledgeEvery = 4;

}  // namespace

void Call::on_item(rpc::Bytes value) {
  calls_.events_.push_back({shared_from_this(), false, false, std::string(text_of(value))});
}

void Call::on_end(bool is_error, rpc::Bytes value) {
  calls_.events_.push_back({std::move(self_), true, is_error, std::string(text_of(value))});
}

Calls::Calls(worker::Engine& engine, Loop& loop) : engine_(engine), loop_(loop) {
  engine_.set_polled(true);
  loop_.add(engine_.poll_fd(), EPOLLIN, *this);
}

Calls::~Calls() { loop_.remove(engine_.poll_fd()); }

worker::CallSpecPtr Calls::method(const std::string& name, int window) {
  worker::CallSpecPtr spec = new worker::CallSpec;
  spec->method = name;
  spec->name = name;
  if (window > 0) spec->backpressure = window;
  return spec;
}

CallPtr Calls::start(const ActorId& actor, const worker::CallSpecPtr& method,
                     std::initializer_list<std::string_view> argument, CallListener& listener) {
  std::array<rpc::Bytes, kMostPieces> pieces;
  std::transform(argument.begin(), argument.end(), pieces.begin(), bytes_of);
  auto call = std::make_shared<Call>(*this, listener);
  call->self_ = call;
  call->task_ = engine_.submit_raw(actor, method, std::span(pieces).first(argument.size()), *call);
  unsent_ = true;
  return call;
}

void Calls::consumed(Call& call) {
  ++call.consumed_;
  if (call.consumed_ - call.acknowledged_ < kAcknowledgeEvery || call.task_->sink == nullptr) return;
  call.acknowledged_ = call.consumed_;
  engine_.consumed_raw(*call.task_, call.consumed_);
  unsent_ = true;
}

void Calls::abandon(Call& call) {
  call.listener_ = nullptr;
  if (call.self_) engine_.cancel_raw(*call.task_);
}

void Calls::tell() {
  while (!events_.empty()) {
    std::vector<Event> events = std::exchange(events_, {});
    for (Event& event : events) {
      CallListener* listener = event.call->listener_;
      if (listener == nullptr) continue;
      if (event.is_end)
        listener->on_end(event.is_error, bytes_of(event.bytes));
      else
        listener->on_item(bytes_of(event.bytes));
    }
  }
}

void Calls::settle() {
  tell();
  if (std::exchange(unsent_, false)) engine_.flush();
}

void Calls::on_events(uint32_t) {
  engine_.poll();
  tell();
}

}  // namespace narke::proxy
