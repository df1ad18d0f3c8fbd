#include "worker/submitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/testing/fake_tasks.h"

namespace narke::worker {
namespace {

using testing::address_of;
using ::testing::ElementsAre;
using testing::FakeLinks;
using testing::FakeObjectsOut;
using testing::FakePeers;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Mail;
using testing::Network;
using testing::number_of;
using testing::numbered;
using testing::numbers_of;
using testing::task_of;

struct FakeOut : Submitter::Out {
  FakeOut(Network& network, FakeLinks& links) : peers(network, links) {}
  Peer* peer(const Address& address) override { return peers.peer(address); }
  void fail(Task& task, ValuePtr error) override { peers.fail(task, std::move(error)); }
  void fail_worker_died(TaskPtr task, const Address& worker) override { died.emplace_back(std::move(task), worker); }
  JobId job() override { return {}; }
  FakePeers peers;
  std::vector<std::pair<TaskPtr, Address>> died;
};

constexpr uint64_t kShortNs = 10'000, kLongNs = 50'000'000;

class SubmitterTest : public ::testing::Test {
 protected:
  SubmitterTest() {
    LeaseShape shape;
    shape.resources = {{"CPU", 10'000}};
    class_ = submitter_.lease_class(shape);
  }
  CallSpecPtr spec(int max_retries = 3) {
    CallSpecPtr spec = new CallSpec;
    spec->lease_class = class_;
    spec->max_retries = max_retries;
    spec->name = "f";
    return spec;
  }
  void submit(uint32_t first, uint32_t last, int max_retries = 3) {
    for (uint32_t i = first; i <= last; ++i) submitter_.enqueue(task_of(i, spec(max_retries)));
  }
  // What the node was sent, of one type.
  std::vector<Mail> sent(wire::MessageType type) {
    for (Mail& mail : links_.sent_to_node()) to_node_.push_back(std::move(mail));
    std::vector<Mail> found;
    for (auto it = to_node_.begin(); it != to_node_.end();) {
      if (it->type != type) {
        ++it;
        continue;
      }
      found.push_back(std::move(*it));
      it = to_node_.erase(it);
    }
    return found;
  }
  void lease_reply(uint32_t call_id, wire::LeaseStatus status, uint64_t lease, uint32_t worker,
                   wire::FailureKind failure = wire::FailureKind::None, const char* message = "") {
    flatbuffers::FlatBufferBuilder b;
    auto address = address_of(worker).to_wire(b);
    auto text = b.CreateString(message);
    b.Finish(wire::CreateLeaseReply(b, status, lease, address, 0, failure, text));
    submitter_.on_lease_reply(Mail::make(wire::MessageType::LeaseReply, call_id, b).frame());
  }
  // Answers the oldest request with a worker of the lease's number.
  void grant(uint64_t lease) {
    for (Mail& mail : sent(wire::MessageType::RequestLease)) requests_.push_back(mail.call_id);
    ASSERT_FALSE(requests_.empty());
    uint32_t call_id = requests_.front();
    requests_.pop_front();
    lease_reply(call_id, wire::LeaseStatus::Granted, lease, worker_of(lease));
  }
  static uint32_t worker_of(uint64_t lease) { return static_cast<uint32_t>(100 + lease); }
  std::vector<uint32_t> pushed(uint64_t lease) {
    std::vector<uint32_t> numbers;
    for (Mail& mail : out_.peers.pushed_to(numbered<WorkerId>(worker_of(lease)))) {
      numbers.push_back(numbers_of({mail})[0]);
      call_ids_[lease].push_back(mail.call_id);
    }
    return numbers;
  }
  // The oldest call of the lease is answered.
  void answer(uint64_t lease, uint64_t duration_ns, bool unstarted = false) {
    pushed(lease);
    ASSERT_FALSE(call_ids_[lease].empty());
    Peer* peer = out_.peers.peer(address_of(worker_of(lease)));
    TaskPtr task = peer->calls.take(call_ids_[lease].front());
    call_ids_[lease].pop_front();
    ASSERT_TRUE(task);
    Lease* held = std::exchange(task->lease, nullptr);
    if (unstarted) held->stalled = true, submitter_.requeue(task);
    submitter_.on_finished(*held, duration_ns, unstarted);
  }
  void lose(uint64_t lease) {
    Lease* held = out_.peers.peer(address_of(worker_of(lease)))->lease;
    submitter_.on_worker_lost(*held, out_.peers.lose(numbered<WorkerId>(worker_of(lease))));
  }
  std::vector<uint32_t> queue() {
    std::vector<uint32_t> numbers;
    submitter_.for_each_queued([&](Task& task) { numbers.push_back(number_of(task)); });
    return numbers;
  }
  std::vector<uint64_t> returned() {
    std::vector<uint64_t> leases;
    for (Mail& mail : sent(wire::MessageType::ReturnLease)) leases.push_back(mail.as<wire::ReturnLease>()->lease());
    return leases;
  }

  Network network_;
  FakeLinks links_{network_, 1};
  FakeObjectsOut objects_out_;
  Objects objects_{links_, objects_out_};
  FakeOut out_{network_, links_};
  Submitter submitter_{links_, objects_, out_};
  LeaseClass* class_;
  std::vector<Mail> to_node_;
  std::deque<uint32_t> requests_;
  std::map<uint64_t, std::deque<uint32_t>> call_ids_;
};

TEST_F(SubmitterTest, the_same_shape_is_the_same_class) {
  LeaseShape shape;
  shape.resources = {{"CPU", 10'000}};
  EXPECT_EQ(submitter_.lease_class(shape), class_);
  shape.retriable = false;
  EXPECT_NE(submitter_.lease_class(shape), class_);
}

TEST_F(SubmitterTest, a_task_asks_for_a_lease_and_runs_on_it) {
  submit(1, 1);
  std::vector<Mail> requests = sent(wire::MessageType::RequestLease);
  ASSERT_EQ(requests.size(), 1u);
  const auto* request = requests[0].as<wire::RequestLease>();
  EXPECT_EQ(request->backlog(), 1u);
  EXPECT_EQ(request->resources()->Get(0)->amount(), 10'000);
  lease_reply(requests[0].call_id, wire::LeaseStatus::Granted, 7, worker_of(7));
  std::vector<Mail> mail = network_.take(links_.self().worker, numbered<WorkerId>(worker_of(7)));
  ASSERT_EQ(mail.size(), 2u);
  EXPECT_EQ(mail[0].type, wire::MessageType::BeginLease);
  EXPECT_EQ(mail[0].as<wire::BeginLease>()->lease(), 7u);
  EXPECT_EQ(mail[1].type, wire::MessageType::PushTask);
}

TEST_F(SubmitterTest, requests_are_bounded) {
  submit(1, 100);
  EXPECT_EQ(sent(wire::MessageType::RequestLease).size(), 32u);
}

TEST_F(SubmitterTest, one_task_at_a_time_until_their_length_is_known) {
  submit(1, 5);
  grant(1);
  EXPECT_THAT(pushed(1), ElementsAre(1));
}

TEST_F(SubmitterTest, short_tasks_are_sent_ahead) {
  submit(1, 50);
  grant(1);
  answer(1, kShortNs);
  EXPECT_EQ(pushed(1).size(), 49u);
}

TEST_F(SubmitterTest, long_tasks_are_not_sent_ahead) {
  submit(1, 50);
  grant(1);
  answer(1, kLongNs);
  EXPECT_THAT(pushed(1), ElementsAre(2));
}

TEST_F(SubmitterTest, the_depth_has_an_upper_bound) {
  submit(1, 1000);
  grant(1);
  answer(1, 1);
  EXPECT_EQ(pushed(1).size(), 256u);
}

TEST_F(SubmitterTest, work_goes_to_the_lease_with_the_least) {
  submit(1, 50);
  grant(1);
  answer(1, kShortNs);
  pushed(1);
  submit(51, 51);
  grant(2);
  submit(52, 52);
  EXPECT_THAT(pushed(2), ElementsAre(52));
}

TEST_F(SubmitterTest, what_may_not_run_twice_waits_behind_nothing) {
  submit(1, 1);
  grant(1);
  answer(1, kShortNs);
  submit(2, 3, 0);
  EXPECT_THAT(pushed(1), ElementsAre(2));
  EXPECT_THAT(queue(), ElementsAre(3));
  answer(1, kShortNs);
  EXPECT_THAT(pushed(1), ElementsAre(3));
}

TEST_F(SubmitterTest, a_lease_that_gave_a_task_back_gets_nothing_until_it_finishes_something) {
  submit(1, 1);
  grant(1);
  answer(1, kShortNs);
  submit(2, 4);
  EXPECT_THAT(pushed(1), ElementsAre(2, 3, 4));
  call_ids_[1].push_back(call_ids_[1].front()), call_ids_[1].pop_front();  // 2 runs, 3 and 4 come back
  answer(1, 0, true);
  answer(1, 0, true);
  EXPECT_THAT(pushed(1), IsEmpty());
  EXPECT_EQ(queue().size(), 2u);
  answer(1, kShortNs);
  EXPECT_EQ(pushed(1).size(), 2u);
}

TEST_F(SubmitterTest, a_stalled_lease_with_nothing_under_way_is_used_again) {
  submit(1, 1);
  grant(1);
  answer(1, 0, true);
  EXPECT_THAT(pushed(1), ElementsAre(1));
}

TEST_F(SubmitterTest, requests_are_cancelled_when_nothing_is_queued) {
  submit(1, 3);
  grant(1);
  EXPECT_EQ(class_->requests.size(), 2u);
  answer(1, kShortNs);
  EXPECT_THAT(queue(), IsEmpty());
  EXPECT_EQ(sent(wire::MessageType::CancelLease).size(), 2u);
  EXPECT_TRUE(class_->requests.empty());
}

TEST_F(SubmitterTest, a_lease_granted_after_all_goes_back_when_idle) {
  submit(1, 2);
  grant(1);
  answer(1, kShortNs);
  answer(1, kShortNs);
  grant(2);  // its request was cancelled
  EXPECT_THAT(pushed(2), IsEmpty());
  EXPECT_FALSE(submitter_.return_idle(std::chrono::milliseconds(0)));
  EXPECT_THAT(returned(), ::testing::UnorderedElementsAre(1, 2));
}

TEST_F(SubmitterTest, a_removed_task_is_not_sent) {
  TaskPtr task = task_of(1, spec());
  submitter_.enqueue(task);
  EXPECT_TRUE(submitter_.remove(*task));
  EXPECT_FALSE(submitter_.remove(*task));
  EXPECT_EQ(submitter_.queued(), 0u);
  EXPECT_EQ(sent(wire::MessageType::CancelLease).size(), 1u);
}

TEST_F(SubmitterTest, a_lease_told_twice_counts_once) {
  submit(1, 2);
  grant(1);
  Lease* first = class_->leases[0];
  grant(1);
  EXPECT_THAT(class_->leases, ElementsAre(first));
}

TEST_F(SubmitterTest, an_idle_lease_is_reclaimed_at_once) {
  submit(1, 1);
  grant(1);
  answer(1, kShortNs);
  submitter_.on_reclaim(1);
  EXPECT_THAT(returned(), ElementsAre(1));
  submitter_.on_reclaim(1);  // crossed on the way
  EXPECT_THAT(returned(), IsEmpty());
}

TEST_F(SubmitterTest, a_busy_lease_is_reclaimed_after_its_task) {
  submit(1, 1);
  grant(1);
  submitter_.on_reclaim(1);
  EXPECT_THAT(returned(), IsEmpty());
  submit(2, 2);
  answer(1, kShortNs);
  EXPECT_THAT(returned(), ElementsAre(1));
  EXPECT_THAT(queue(), ElementsAre(2));
  EXPECT_FALSE(class_->requests.empty());
}

TEST_F(SubmitterTest, only_idle_leases_go_back) {
  submit(1, 2);
  grant(1);
  grant(2);
  answer(2, kShortNs);
  EXPECT_TRUE(submitter_.return_idle(std::chrono::milliseconds(0)));
  EXPECT_THAT(returned(), ElementsAre(2));
  EXPECT_TRUE(submitter_.return_idle(std::chrono::hours(1)));
}

TEST_F(SubmitterTest, a_lost_worker_costs_its_first_task_an_attempt_and_the_others_nothing) {
  submit(1, 1);
  grant(1);
  answer(1, kShortNs);
  submit(2, 4);
  ASSERT_THAT(pushed(1), ElementsAre(2, 3, 4));
  lose(1);
  EXPECT_THAT(queue(), ElementsAre(2, 3, 4));
  std::vector<int> left;
  submitter_.for_each_queued([&](Task& task) { left.push_back(task.retries_left); });
  EXPECT_THAT(left, ElementsAre(2, 3, 3));
  std::vector<Mail> back = sent(wire::MessageType::ReturnLease);
  ASSERT_EQ(back.size(), 1u);
  EXPECT_TRUE(back[0].as<wire::ReturnLease>()->worker_failed());
  grant(2);
  EXPECT_THAT(pushed(2), ElementsAre(2, 3, 4));
}

TEST_F(SubmitterTest, a_task_without_retries_fails_with_its_worker) {
  submit(1, 1, 0);
  grant(1);
  lose(1);
  ASSERT_EQ(out_.died.size(), 1u);
  EXPECT_EQ(number_of(*out_.died[0].first), 1u);
  EXPECT_EQ(out_.died[0].second.worker, numbered<WorkerId>(worker_of(1)));
}

TEST_F(SubmitterTest, endless_retries_do_not_run_out) {
  submit(1, 1, -1);
  for (uint64_t lease = 1; lease <= 5; ++lease) {
    grant(lease);
    lose(lease);
  }
  EXPECT_THAT(queue(), ElementsAre(1));
  EXPECT_TRUE(out_.died.empty());
}

TEST_F(SubmitterTest, cancelled_tasks_of_a_lost_worker_end) {
  submit(1, 1);
  grant(1);
  answer(1, kShortNs);
  submit(2, 4);
  Peer* peer = out_.peers.peer(address_of(worker_of(1)));
  peer->calls.for_each([](Task& task) { task.cancelled = number_of(task) != 4; });
  lose(1);
  EXPECT_THAT(queue(), ElementsAre(4));
  ASSERT_EQ(out_.peers.failed.size(), 2u);
  for (auto& [task, error] : out_.peers.failed) EXPECT_THAT(error, HasSubstr("TaskCancelledError"));
}

TEST_F(SubmitterTest, a_worker_that_leaves_hands_its_tasks_on) {
  submit(1, 1);
  grant(1);
  answer(1, kShortNs);
  submit(2, 3);
  submitter_.on_worker_leaves(*class_->leases[0]);
  EXPECT_THAT(queue(), ElementsAre(2, 3));
  std::vector<Mail> back = sent(wire::MessageType::ReturnLease);
  ASSERT_EQ(back.size(), 1u);
  EXPECT_TRUE(back[0].as<wire::ReturnLease>()->worker_exiting());
}

TEST_F(SubmitterTest, a_worker_nobody_reaches_goes_back_as_failed) {
  submit(1, 1);
  out_.peers.unreachable = true;
  grant(1);
  EXPECT_EQ(sent(wire::MessageType::ReturnLease).size(), 1u);
  EXPECT_THAT(queue(), ElementsAre(1));
  EXPECT_FALSE(class_->requests.empty());
}

TEST_F(SubmitterTest, a_refused_class_fails_all_its_tasks) {
  submit(1, 3);
  std::vector<Mail> requests = sent(wire::MessageType::RequestLease);
  lease_reply(requests[0].call_id, wire::LeaseStatus::Failed, 0, 0, wire::FailureKind::Unschedulable, "no such node");
  ASSERT_EQ(out_.peers.failed.size(), 3u);
  EXPECT_THAT(out_.peers.failed[0].second, HasSubstr("TaskUnschedulableError"));
  EXPECT_THAT(out_.peers.failed[0].second, HasSubstr("no such node"));
  EXPECT_EQ(sent(wire::MessageType::CancelLease).size(), 2u);
  for (size_t i = 1; i < requests.size(); ++i) lease_reply(requests[i].call_id, wire::LeaseStatus::Cancelled, 0, 0);
  EXPECT_EQ(submitter_.queued(), 0u);
}

TEST_F(SubmitterTest, without_a_node_everything_queued_fails) {
  submit(1, 2);
  links_.node_lost = true;
  submitter_.on_node_lost("it crashed");
  ASSERT_EQ(out_.peers.failed.size(), 2u);
  EXPECT_THAT(out_.peers.failed[1].second, HasSubstr("it crashed"));
  EXPECT_EQ(submitter_.queued(), 0u);
}

// Tasks of random length, workers that die, stall, are reclaimed and granted in random order: every task ends.
TEST_F(SubmitterTest, every_task_ends_whatever_the_workers_do) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::map<uint32_t, int> answered;
    static uint32_t next_task = 1;
    static uint64_t next_lease = 1000;
    uint32_t first = next_task;
    size_t failed_before = out_.peers.failed.size() + out_.died.size();
    for (int step = 0; step < 4000; ++step) {
      if (next_task < first + 100 && random() % 3 == 0)
        submit(next_task, next_task, 2 - static_cast<int>(random() % 3)), ++next_task;
      for (Mail& mail : sent(wire::MessageType::RequestLease)) requests_.push_back(mail.call_id);
      if (!requests_.empty() && random() % 4 == 0) grant(++next_lease);
      if (class_->leases.empty()) continue;
      Lease* lease = class_->leases[random() % class_->leases.size()];
      uint64_t id = lease->id;
      pushed(id);
      switch (random() % 20) {
        case 0: lose(id); break;
        case 1: submitter_.on_reclaim(id); break;
        case 2: submitter_.on_worker_leaves(*lease); break;
        default:
          if (lease->peer->calls.size() == 0) break;
          ++answered[0];
          answer(id, random() % 2 == 0 ? kShortNs : kLongNs, random() % 10 == 0);
      }
    }
    EXPECT_EQ(submitter_.queued(), 0u);
    size_t under_way = 0;
    for (Lease* lease : class_->leases) under_way += lease->peer->calls.size();
    EXPECT_EQ(under_way, 0u);
    EXPECT_LE(out_.peers.failed.size() + out_.died.size() - failed_before, 100u);
    EXPECT_GE(answered[0], 1);
    submitter_.return_idle(std::chrono::milliseconds(0));
    EXPECT_TRUE(class_->leases.empty());
  }
}

}  // namespace
}  // namespace narke::worker
