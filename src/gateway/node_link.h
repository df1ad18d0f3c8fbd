// The gateway's link to its node: control methods, asked in FlexBuffers, answered one by one.
//
// One thread. When the node is gone every open call fails and on_lost is called: without a node there is no gateway.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <flatbuffers/flexbuffers.h>

#include "base/result.h"
#include "rpc/reactor.h"

namespace narke::gateway {

struct ControlAnswer {
  std::string error_kind;  // an exception class' name; empty when the call succeeded
  std::string error;
  std::vector<uint8_t> body;

  bool ok() const { return error_kind.empty(); }
  flexbuffers::Map map() const;  // empty when there is none; valid as long as this
};

// What the parts of the gateway ask the cluster; the link, or a stand-in in tests.
class Cluster {
 public:
  using Answer = std::function<void(ControlAnswer)>;
  virtual ~Cluster() = default;
  // body: a finished FlexBuffers map. `answer` is called once, within the link's time limit.
  virtual void call(const std::string& method, std::vector<uint8_t> body, Answer answer) = 0;
};

class NodeLink : public Cluster, private rpc::Handler {
 public:
  // here_only: the node that it links to answers for itself, also where the head knows more.
  NodeLink(std::string token, bool here_only, std::function<void(const std::string&)> on_lost);
  ~NodeLink() override;

  // Connects and registers as an observer.
  Status connect(const std::string& socket_path);
  void call(const std::string& method, std::vector<uint8_t> body, Answer answer) override;

  // For the loop that drives it: readable when turn() has work.
  int fd() const { return reactor_.epoll_fd(); }
  void turn();
  // Ends calls that wait too long; a few times a second.
  void tick();

 private:
  struct Waiting {
    Answer answer;
    std::string method;
    rpc::Reactor::Clock::time_point deadline;
  };
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override;
  void on_closed(rpc::Connection& link, const Error& why) override;

  rpc::Reactor reactor_;
  const bool here_only_;
  std::function<void(const std::string&)> on_lost_;
  rpc::ConnectionPtr link_;  // shared with the reactor
  std::unordered_map<uint32_t, Waiting> waiting_;
};

// A FlexBuffers map in one expression: map_body([](auto& out) { out.Int("limit", 5); }).
template <class Fill>
std::vector<uint8_t> map_body(Fill fill) {
  flexbuffers::Builder out;
  const size_t start = out.StartMap();
  fill(out);
  out.EndMap(start);
  out.Finish();
  return out.GetBuffer();
}

}  // namespace narke::gateway
