// A node as small as engines need it: it registers programs, lends one worker for as many leases as are asked for,
// echoes Control, and records everything else. It runs on a thread of its own.
// Threads: every method may be called by any thread.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

#include "rpc/reactor.h"
#include "worker/testing/fake_links.h"

namespace narke::worker::testing {

class FakeNode : rpc::Handler {
 public:
  FakeNode() : reactor_(identity()), path_(unique_path()) {
    NARKE_CHECK(reactor_.listen(path_, [this](rpc::Connection&) -> rpc::Handler* { return this; }).ok());
    thread_ = std::thread([this] { loop(); });
  }
  ~FakeNode() override { stop(); }

  // The node is gone: its socket and all links close.
  void stop() {
    if (stopping_.exchange(true)) return;
    reactor_.wake();
    thread_.join();
    std::lock_guard held(mutex_);
    for (auto& [link, program] : programs_) link->close({ErrorCode::kDisconnected, "the fake node stops"});
    reactor_.dispatch();
    programs_.clear();
    requests_.clear();
  }

  const std::string& path() const { return path_; }
  static const char* token() { return "token"; }
  // Leases go to this worker.
  void lend(const Address& worker) {
    std::lock_guard held(mutex_);
    worker_ = worker;
  }
  // A Control method that is never answered, besides "silence".
  void never_answer(const std::string& method) {
    std::lock_guard held(mutex_);
    unanswered_ = method;
  }
  static const char* silent_method() { return "silence"; }
  // Refuses registrations with this message from now on.
  void refuse(const std::string& why) {
    std::lock_guard held(mutex_);
    refusal_ = why;
  }
  // Sends to every program.
  void send(wire::MessageType type, const flatbuffers::FlatBufferBuilder& table, rpc::Bytes raw = {}) {
    {
      std::lock_guard held(mutex_);
      for (auto& [link, program] : programs_) link->send(type, 0, table, raw);
    }
    reactor_.wake();
  }
  size_t count(wire::MessageType type) {
    std::lock_guard held(mutex_);
    return received_[type];
  }

 private:
  static rpc::Identity identity() { return {token(), "cluster", WorkerId()}; }
  static std::string unique_path() {
    static std::atomic<int> count{0};
    return "@narke-fake-node-" + std::to_string(getpid()) + "-" + std::to_string(++count);
  }

  void loop() {
    while (!stopping_) {
      {
        std::lock_guard held(mutex_);
        reactor_.flush_all();
      }
      reactor_.wait(1000);
      std::lock_guard held(mutex_);
      reactor_.dispatch();
    }
  }

  void on_open(rpc::Connection& link) override { programs_[link.shared_from_this()] = link.peer(); }
  void on_closed(rpc::Connection& link, const Error&) override { programs_.erase(link.shared_from_this()); }

  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override {
    ++received_[frame.type];
    flatbuffers::FlatBufferBuilder b;
    switch (frame.type) {
      case wire::MessageType::Register: return answer_register(link, frame);
      case wire::MessageType::RequestLease:
        requests_.emplace_back(link.shared_from_this(), frame.call_id);
        return grant_next();
      case wire::MessageType::CancelLease: return cancel_request(link, frame.as<wire::CancelLease>()->request());
      case wire::MessageType::ReturnLease: leased_ = false; return grant_next();
      case wire::MessageType::Control: {
        const auto* control = frame.as<wire::Control>();
        if (control == nullptr || control->method()->str() == silent_method() ||
            control->method()->str() == unanswered_)
          return;
        auto body = b.CreateVector(control->body()->data(), control->body()->size());
        b.Finish(wire::CreateControlReply(b, 0, 0, body));
        return link.send(wire::MessageType::ControlReply, frame.call_id, b);
      }
      case wire::MessageType::Goodbye:
        b.Finish(wire::CreateGoodbye(b));
        return link.send(wire::MessageType::Goodbye, 0, b);
      default: return;
    }
  }

  void answer_register(rpc::Connection& link, const rpc::Frame& frame) {
    flatbuffers::FlatBufferBuilder b;
    auto error = refusal_.empty() ? 0 : b.CreateString(refusal_);
    auto node = numbered<NodeId>(1).to_wire<wire::NodeId>();
    auto job = numbered<JobId>(1).to_wire<wire::JobId>();
    b.Finish(wire::CreateRegistered(b, error, &node, &job));
    link.send(wire::MessageType::Registered, frame.call_id, b);
  }

  // One worker serves one lease at a time: later requests wait.
  void grant_next() {
    if (leased_ || requests_.empty() || worker_.endpoint.empty()) return;
    auto [link, call_id] = requests_.front();
    requests_.pop_front();
    leased_ = true;
    flatbuffers::FlatBufferBuilder b;
    auto worker = worker_.to_wire(b);
    b.Finish(wire::CreateLeaseReply(b, wire::LeaseStatus::Granted, ++last_lease_, worker));
    link->send(wire::MessageType::LeaseReply, call_id, b);
  }
  void cancel_request(rpc::Connection& link, uint32_t call_id) {
    auto is_meant = [&](const auto& request) { return request.first.get() == &link && request.second == call_id; };
    if (std::erase_if(requests_, is_meant) == 0) return;  // granted already
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateLeaseReply(b, wire::LeaseStatus::Cancelled));
    link.send(wire::MessageType::LeaseReply, call_id, b);
  }

  std::mutex mutex_;
  rpc::Reactor reactor_;
  std::string path_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::map<rpc::ConnectionPtr, WorkerId> programs_;
  std::map<wire::MessageType, size_t> received_;
  std::deque<std::pair<rpc::ConnectionPtr, uint32_t>> requests_;  // link, call id
  Address worker_;
  std::string refusal_;
  std::string unanswered_;
  uint64_t last_lease_ = 0;
  bool leased_ = false;
};

}  // namespace narke::worker::testing
