// Programs of one test and the links between them. Frames travel over real connections, wait in a mailbox at the
// receiving end, and are handled when the test says so: every link keeps its order, the links among each other
// have none. A program without a receiver only collects what it was sent.
// Threads: one.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "rpc/reactor.h"
#include "worker/links.h"

namespace narke::worker::testing {

// Ids that tests can tell apart.
template <class IdType>
IdType numbered(uint32_t number) {
  IdType id;
  std::memcpy(id.data(), &number, sizeof(number));
  return id;
}

// A frame that outlives its delivery.
struct Mail {
  wire::MessageType type = wire::MessageType::Invalid;
  uint32_t call_id = 0;
  std::vector<uint64_t> table;  // aligned as in a connection's buffer
  std::vector<uint8_t> raw;

  static Mail copy(const rpc::Frame& frame) {
    Mail mail{
        frame.type, frame.call_id, std::vector<uint64_t>(frame.table.size() / 8), {frame.raw.begin(), frame.raw.end()}};
    if (!frame.table.empty()) std::memcpy(mail.table.data(), frame.table.data(), frame.table.size());
    return mail;
  }
  // A frame as it would arrive.
  static Mail make(wire::MessageType type, uint32_t call_id, const flatbuffers::FlatBufferBuilder& b,
                   const std::string& raw = "") {
    Mail mail{type, call_id, std::vector<uint64_t>((b.GetSize() + 7) / 8), {raw.begin(), raw.end()}};
    std::memcpy(mail.table.data(), b.GetBufferPointer(), b.GetSize());
    return mail;
  }
  rpc::Frame frame() const {
    return {type, call_id, {reinterpret_cast<const uint8_t*>(table.data()), table.size() * 8}, raw};
  }
  template <class T>
  const T* as() const {
    return frame().as<T>();
  }
};

class Network {
 public:
  using Receiver = std::function<void(rpc::Connection&, const rpc::Frame&)>;

  Network() : reactor_(rpc::Identity{}) {}

  void join(const WorkerId& program, Receiver receiver) { receivers_[program] = std::move(receiver); }

  // The link from one program to another; null when there is none and `open` is false, or when `to` is gone.
  rpc::ConnectionPtr link(const WorkerId& from, const WorkerId& to, bool open) {
    auto found = ends_.find({from, to});
    if (found != ends_.end()) return found->second->link;
    if (!open || gone_.contains(to)) return nullptr;
    connect(from, to);
    return ends_[{from, to}]->link;
  }

  // Ends a program: its links close at the others' ends, nobody reaches it any more. What it sent before and is not
  // delivered yet is lost. Returns the closed ends of the others.
  std::vector<std::pair<WorkerId, rpc::ConnectionPtr>> end_program(const WorkerId& program) {
    std::vector<std::pair<WorkerId, rpc::ConnectionPtr>> closed;
    gone_.insert(program);
    for (auto it = ends_.begin(); it != ends_.end();) {
      auto [self, peer] = it->first;
      if (self != program && peer != program) {
        ++it;
        continue;
      }
      it->second->link->close({ErrorCode::kDisconnected, "the test ended it"});
      if (self != program) closed.emplace_back(self, it->second->link);
      graveyard_.push_back(std::move(it->second));
      it = ends_.erase(it);
    }
    collect();
    return closed;
  }

  // Everything sent so far reaches the mailboxes.
  void collect() {
    do {
      reactor_.flush_all();
      int events = reactor_.wait(0);
      reactor_.dispatch();
      if (events <= 0) break;
    } while (true);
  }

  // Handles the oldest frame of a link chosen by chance; false when nothing is under way.
  bool deliver_one(std::mt19937& random) {
    collect();
    std::vector<End*> full;
    for (auto& [key, end] : ends_)
      if (!end->box.empty() && receivers_.contains(key.first)) full.push_back(end.get());
    if (full.empty()) return false;
    handle(*full[random() % full.size()]);
    return true;
  }
  void deliver_all() {
    std::mt19937 random(1);
    while (deliver_one(random)) {
    }
  }
  // Handles the oldest frame from one program at another. REQUIRES: there is one.
  void deliver(const WorkerId& from, const WorkerId& to) {
    collect();
    auto found = ends_.find({to, from});
    NARKE_CHECK(found != ends_.end() && !found->second->box.empty());
    handle(*found->second);
  }

  // What lies in the mailbox of `to` from `from`, taken out.
  std::vector<Mail> take(const WorkerId& from, const WorkerId& to) {
    collect();
    auto found = ends_.find({to, from});
    if (found == ends_.end()) return {};
    std::vector<Mail> mail(std::make_move_iterator(found->second->box.begin()),
                           std::make_move_iterator(found->second->box.end()));
    found->second->box.clear();
    return mail;
  }
  size_t waiting(const WorkerId& from, const WorkerId& to) {
    collect();
    auto found = ends_.find({to, from});
    return found == ends_.end() ? 0 : found->second->box.size();
  }
  // Visits every frame that is not delivered yet.
  void for_each_mail(const std::function<void(const Mail&)>& visit) {
    collect();
    for (auto& [key, end] : ends_)
      for (const Mail& mail : end->box) visit(mail);
  }

 private:
  struct End : rpc::Handler {
    WorkerId self;
    rpc::ConnectionPtr link;
    std::deque<Mail> box;
    void on_frame(rpc::Connection&, const rpc::Frame& frame) override { box.push_back(Mail::copy(frame)); }
    void on_closed(rpc::Connection&, const Error&) override {}
  };

  void connect(const WorkerId& from, const WorkerId& to) {
    int fds[2];
    NARKE_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    add_end(from, to, fds[0]);
    add_end(to, from, fds[1]);
  }
  void add_end(const WorkerId& self, const WorkerId& peer, int fd) {
    auto end = std::make_unique<End>();
    end->self = self;
    end->link = reactor_.adopt(fd, false, end.get(), true);
    end->link->set_peer(peer);
    ends_[{self, peer}] = std::move(end);
  }
  void handle(End& end) {
    Mail mail = std::move(end.box.front());
    end.box.pop_front();
    rpc::ConnectionPtr link = end.link;
    receivers_.at(end.self)(*link, mail.frame());
  }

  rpc::Reactor reactor_;
  std::map<WorkerId, Receiver> receivers_;
  std::map<std::pair<WorkerId, WorkerId>, std::unique_ptr<End>> ends_;  // (whose end, who is at the other)
  std::vector<std::unique_ptr<End>> graveyard_;  // the reactor still tells them of their end
  std::set<WorkerId> gone_;
};

// One program's view of the network. The node is the program node_id().
class FakeLinks : public Links {
 public:
  FakeLinks(Network& network, uint32_t number) : network_(network) {
    self_.worker = numbered<WorkerId>(number);
    self_.endpoint = "program " + std::to_string(number);
  }
  static WorkerId node_id() { return numbered<WorkerId>(0xeeeeeeee); }

  rpc::ConnectionPtr program(const Address& address) override {
    return network_.link(self_.worker, address.worker, true);
  }
  rpc::ConnectionPtr open_program(const WorkerId& worker) override {
    return network_.link(self_.worker, worker, false);
  }
  Address address_of(const rpc::Connection& link) override {
    Address address;
    address.worker = link.peer();
    return address;
  }
  rpc::ConnectionPtr node() override { return node_lost ? nullptr : network_.link(self_.worker, node_id(), true); }
  const Address& self() override { return self_; }
  // What the node was sent since the last look.
  std::vector<Mail> sent_to_node() { return network_.take(self_.worker, node_id()); }

  bool node_lost = false;

 private:
  Network& network_;
  Address self_;
};

}  // namespace narke::worker::testing
