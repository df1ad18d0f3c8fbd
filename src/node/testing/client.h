// A driver for tests: talks to a daemon and waits for the frames it expects.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "node/wire.h"
#include "rpc/reactor.h"

namespace narke::node::testing {

struct Received {
  wire::MessageType type;
  uint32_t call_id;
  std::vector<uint8_t> table, raw;

  template <class T>
  const T& as() const {
    return *flatbuffers::GetRoot<T>(table.data());
  }
};

class Client : public rpc::Handler {
 public:
  Client(const std::string& socket, const std::string& token);

  // Registers as a driver; false when refused.
  bool start(const std::string& name_space = "test");
  void send(wire::MessageType type, uint32_t call_id, const Builder& table, rpc::Bytes raw = {});
  // The first frame of the type that satisfies the condition, within 10 s; frames before it stay.
  std::optional<Received> await(wire::MessageType type, std::function<bool(const Received&)> wanted = {});
  // Whether such a frame is there within the time.
  bool sees(wire::MessageType type, int within_ms);
  bool closed() const { return closed_; }
  void close();

  // One lease request and its answer.
  uint32_t ask(std::vector<std::pair<std::string, sched::Amount>> resources, const std::string& env = "",
               PgId group = {});
  Received lease(std::vector<std::pair<std::string, sched::Amount>> resources);
  void give_back(uint64_t lease);
  ActorId create_actor(const std::string& class_name, int max_restarts = 0, const std::string& name = "",
                       sched::Amount cpus = sched::kOne);
  Received control(const std::string& method, const std::function<void(flexbuffers::Builder&)>& body = {});

  const WorkerId& id() const { return id_; }
  JobId job;

 private:
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection&, const Error&) override { closed_ = true; }
  void turn(int ms);

  WorkerId id_;
  rpc::Reactor reactor_;
  std::string socket_;
  rpc::ConnectionPtr link_;
  std::deque<Received> frames_;
  uint32_t last_call_ = 0;
  bool closed_ = false;
};

// The map in a ControlReply; valid as long as the frame.
flexbuffers::Map answer_of(const Received& reply);

}  // namespace narke::node::testing
