// Tasks, leases and answers for tests of the parts that send tasks.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "worker/peer.h"
#include "worker/submitter.h"
#include "worker/testing/fake_objects.h"

namespace narke::worker::testing {

// Peers over a network, and what became of tasks that ended here.
class FakePeers {
 public:
  FakePeers(Network& network, FakeLinks& links) : network_(network), links_(links) {}

  Peer* peer(const Address& address) {
    if (unreachable) return nullptr;
    std::unique_ptr<Peer>& slot = peers_[address.worker];
    if (!slot) {
      slot = std::make_unique<Peer>();
      slot->link = network_.link(links_.self().worker, address.worker, true);
      slot->address = address;
    }
    return slot.get();
  }
  void fail(Task& task, ValuePtr error) {
    task.state = Task::State::kDone;
    failed.emplace_back(&task, text_of(error));
  }
  // The pushed calls that a program has received since the last look.
  std::vector<Mail> pushed_to(const WorkerId& worker) {
    std::vector<Mail> pushes;
    for (Mail& mail : network_.take(links_.self().worker, worker))
      if (mail.type == wire::MessageType::PushTask) pushes.push_back(std::move(mail));
    return pushes;
  }
  // The link to a program broke: its peer is gone, these calls are unanswered.
  std::vector<TaskPtr> lose(const WorkerId& worker) {
    std::vector<TaskPtr> calls = peers_.at(worker)->calls.take_all();
    graveyard_.push_back(std::move(peers_.at(worker)));
    peers_.erase(worker);
    return calls;
  }

  std::vector<std::pair<TaskPtr, std::string>> failed;
  bool unreachable = false;

 private:
  Network& network_;
  FakeLinks& links_;
  std::map<WorkerId, std::unique_ptr<Peer>> peers_;
  std::vector<std::unique_ptr<Peer>> graveyard_;
};

inline Address address_of(uint32_t worker) {
  Address address;
  address.worker = numbered<WorkerId>(worker);
  address.endpoint = "program " + std::to_string(worker);
  return address;
}

inline TaskPtr task_of(uint32_t number, CallSpecPtr spec) {
  TaskPtr task = new Task;
  task->id = numbered<TaskId>(number);
  task->retries_left = spec->max_retries;
  task->spec = std::move(spec);
  return task;
}

inline std::vector<uint32_t> numbers_of(const std::vector<Mail>& pushes) {
  std::vector<uint32_t> numbers;
  for (const Mail& push : pushes) {
    uint32_t number = 0;
    std::memcpy(&number, push.as<wire::PushTask>()->task(), sizeof(number));
    numbers.push_back(number);
  }
  return numbers;
}

inline uint32_t number_of(const Task& task) {
  uint32_t number = 0;
  std::memcpy(&number, task.id.data(), sizeof(number));
  return number;
}

}  // namespace narke::worker::testing
