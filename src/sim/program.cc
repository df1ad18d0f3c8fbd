#include "sim/program.h"

#include <cstring>

namespace narke::sim {

using sched::kOne;
using wire::MessageType;

const std::vector<sched::ResourceSet>& shapes() {
  static const std::vector<sched::ResourceSet> kShapes = {
      {{"CPU", kOne}},     {{"CPU", kOne / 2}},
      {{"CPU", 2 * kOne}}, {{"GPU", kOne}},
      {{"GPU", kOne / 4}}, {{"CPU", kOne}, {"GPU", kOne / 2}},
      {{"slots", kOne}},   {},
  };
  return kShapes;
}

uint64_t class_of(size_t shape, size_t strategy, uint32_t group) {
  return uint64_t{group} << 16 | strategy << 8 | shape;
}

Program::Program(Cast& cast, const WorkerId& id, int host, wire::ProgramKind kind)
    : cast_(cast), id_(id), host_(host), kind_(kind) {}

Program::~Program() {
  *lives_ = false;
  if (link_) link_->set_handler(nullptr);
}

void Program::later(int64_t us, std::function<void()> what) {
  timeline().after(us, [lives = lives_, what = std::move(what)] {
    if (*lives) what();
  });
}

// ---- words between programs --------------------------------------------------------------------------------

void Program::say(const LinePtr& line, int end, Word word, uint32_t subject, int incarnation) {
  Message message{word, {}, subject, incarnation, 0};
  line->write(end, {reinterpret_cast<const uint8_t*>(&message), sizeof(message)});
}

std::vector<Program::Message> Program::heard(std::vector<uint8_t>& in, rpc::Bytes bytes) {
  in.insert(in.end(), bytes.begin(), bytes.end());
  std::vector<Message> out(in.size() / sizeof(Message));
  std::memcpy(out.data(), in.data(), out.size() * sizeof(Message));
  in.erase(in.begin(), in.begin() + static_cast<ptrdiff_t>(out.size() * sizeof(Message)));
  return out;
}

// ---- life --------------------------------------------------------------------------------------------------

namespace {

class Stream : public rpc::Pipe {
 public:
  explicit Stream(LinePtr line) : line_(std::move(line)) {}
  void write(rpc::Bytes bytes) override { line_->write(0, bytes); }
  void close() override { line_->close(0); }

 private:
  LinePtr line_;
};

}  // namespace

void Program::begin(Errand errand) {
  errand_ = errand;
  Host& host = cast_.host(host_);
  const LinePtr line = cast_.stage().network().dial(
      host_, host_, [&host](const LinePtr& arrived) { return host.accept_program(arrived); });
  link_ = cast_.programs().adopt(std::make_unique<Stream>(line), false, this, true);
  std::weak_ptr<rpc::Connection> weak = link_;
  line->attach(
      0,
      [this, weak](rpc::Bytes bytes) {
        if (const auto to = weak.lock()) to->deliver(bytes);
        cast_.programs().dispatch();
      },
      [this, weak](const std::string& why) {
        if (const auto to = weak.lock()) to->deliver_end(why);
        cast_.programs().dispatch();
      });
  node::Builder b(128);
  const auto worker = node::wired<wire::WorkerId>(id_);
  const auto endpoint = b.CreateString("p");
  wire::RegisterBuilder request(b);
  request.add_kind(kind_);
  request.add_worker(&worker);
  request.add_endpoint(endpoint);
  b.Finish(request.Finish());
  send(MessageType::Register, ++last_call_, b);
  flush();
}

void Program::die() {
  if (dead_) return;
  dead_ = true;
  *lives_ = false;
  if (link_) {
    link_->set_handler(nullptr);
    link_->close({ErrorCode::kDisconnected, "its process is gone"});
    link_.reset();
  }
  for (auto& [lease, held] : held_)
    if (held.line) held.line->close(0);
  for (auto& [index, handle] : handles_)
    if (handle.line) handle.line->close(0);
  for (const auto& weak : guests_)
    if (const auto guest = weak.lock(); guest && guest->line) guest->line->close(1);
  Ledger& ledger = cast_.ledger();
  if (!actor_.is_nil()) ledger.actor_process_gone(actor_, incarnation_);
  for (const auto& [child, parent] : parent_of_) ledger.task_ends(child, Outcome::kOrphaned);
  for (auto& [index, handle] : handles_) {
    for (const uint32_t call : handle.queue) ledger.call_ends(call, Outcome::kOrphaned);
    for (const uint32_t call : handle.in_flight) ledger.call_ends(call, Outcome::kOrphaned);
  }
  for (auto& [cls, pool] : pools_)
    for (const uint32_t task : pool.waiting) ledger.task_ends(task, Outcome::kOrphaned);
  for (const auto& [lease, held] : held_)
    if (held.task >= 0) ledger.task_ends(static_cast<uint32_t>(held.task), Outcome::kOrphaned);
  cast_.programs().dispatch();
}

void Program::on_closed(rpc::Connection&, const Error&) {
  link_.reset();
  if (!dead_) cast_.on_exit(*this, 0, !left_);
}

void Program::on_frame(rpc::Connection&, const rpc::Frame& frame) {
  if (dead_) return;
  switch (frame.type) {
    case MessageType::Registered: {
      const auto* reply = frame.as<wire::Registered>();
      if (reply->error() != nullptr && reply->error()->size() > 0) return cast_.on_exit(*this, 1, false);
      registered_ = true;
      job_ = JobId::from_wire(reply->job());
      if (is_driver()) run_errand();
      break;
    }
    case MessageType::LeaseReply:
      if (!cast_.loses_answers()) on_lease_reply(frame);
      break;
    case MessageType::ReclaimLease: {
      const auto at = held_.find(frame.as<wire::ReclaimLease>()->lease());
      if (at == held_.end()) break;
      at->second.reclaimed = true;
      if (at->second.ready) give(at->second);
      break;
    }
    case MessageType::NodeGone: on_node_gone(NodeId::from_wire(frame.as<wire::NodeGone>()->node())); break;
    case MessageType::ActorUpdate: on_actor_update(frame); break;
    case MessageType::ControlReply: on_control_reply(frame); break;
    case MessageType::StartActor: become(frame); break;
    case MessageType::ExitWorker:
      asked_to_leave_ = true;
      if (running_ < 0) leave(0);
      break;
    case MessageType::Goodbye:
      left_ = true;
      cast_.on_exit(*this, 0, false);
      break;
    default: break;
  }
}

// ---- submitting --------------------------------------------------------------------------------------------

void Program::submit(uint32_t task) {
  const uint64_t cls = cast_.ledger().tasks[task].cls;
  ++open_tasks_;
  pools_[cls].waiting.push_back(task);
  serve(cls);
}

// As many requests as there are tasks without a lease, some at a time; what is asked too much is taken back.
void Program::serve(uint64_t cls) {
  constexpr size_t kMostAsked = 8;
  Pool& pool = pools_[cls];
  while (pool.asked.size() < std::min(kMostAsked, pool.waiting.size())) ask(cls);
  if (!pool.waiting.empty()) return;
  for (const uint32_t call : pool.asked) {
    node::Builder b(32);
    b.Finish(wire::CreateCancelLease(b, call));
    send(MessageType::CancelLease, 0, b);
  }
  pool.asked.clear();
}

node::LeaseRequest Program::request_of(uint64_t cls) {
  node::LeaseRequest request;
  request.resources = shapes()[cls & 0xff];
  request.task_name = "task";
  request.retriable = true;
  const size_t strategy = cls >> 8 & 0xff;
  if (const uint64_t group = cls >> 16; group > 0) {
    request.pg = groups_[group - 1].id;
    request.bundle = strategy == 0 ? -1 : static_cast<int>(strategy - 1);
    return request;
  }
  if (strategy == 1) request.strategy.kind = sched::Strategy::Kind::kSpread;
  if (strategy == 2) {
    request.strategy.kind = sched::Strategy::Kind::kAffinity;
    request.strategy.node = cast_.host(static_cast<int>(id_.data()[0]) % 3).node();
    request.strategy.soft = true;
  }
  if (strategy == 3) {
    request.strategy.kind = sched::Strategy::Kind::kLabels;
    request.strategy.hard = {{"zone", sched::LabelCondition::Kind::kIn, {"a"}}};
  }
  return request;
}

void Program::ask(uint64_t cls) {
  const uint32_t call = ++last_call_;
  calls_[call] = cls;
  pools_[cls].asked.insert(call);
  node::Builder b(256);
  node::pack_lease_request(b, request_of(cls));
  send(MessageType::RequestLease, call, b);
}

void Program::on_lease_reply(const rpc::Frame& frame) {
  const auto* reply = frame.as<wire::LeaseReply>();
  const auto at = calls_.find(frame.call_id);
  expect(at != calls_.end(), "an answer to a lease request that nobody waits for");
  const uint64_t cls = at->second;
  calls_.erase(at);
  pools_[cls].asked.erase(frame.call_id);
  expect(reply->status() != wire::LeaseStatus::Bounced, "a bounced request reached its program");
  if (reply->status() == wire::LeaseStatus::Granted) on_granted(cls, *reply);
  if (reply->status() == wire::LeaseStatus::Failed) on_refused(cls, *reply);
  serve(cls);
}

void Program::on_granted(uint64_t cls, const wire::LeaseReply& reply) {
  Held held;
  held.lease = reply.lease();
  held.cls = cls;
  held.worker = WorkerId::from_wire(reply.worker()->worker());
  held.node = NodeId::from_wire(reply.worker()->node());
  expect(!held_.contains(held.lease), "a lease was granted twice");
  Held& kept = held_[held.lease] = std::move(held);
  if (pools_[cls].waiting.empty()) return give_back(kept.lease, false);
  dial_worker(kept);
}

// The head counts this program's node as gone, its job as ended and the job's groups as removed; others hear of that
// before this node hears of its own end.
bool Program::has_ended_for_head() const {
  Host& head = cast_.host(0);
  return head.is_up() && head.service().cluster().controller().nodes.find_ended(cast_.host(host_).node()) != nullptr;
}

// A task of the class ends with the cause, if it is a good one.
void Program::on_refused(uint64_t cls, const wire::LeaseReply& reply) {
  const uint64_t group = cls >> 16;
  const bool removed = group > 0 && (groups_[group - 1].stage >= Stage_::kRemoving || has_ended_for_head());
  const std::string message = node::text_of(reply.message());
  const bool is_good = (reply.failure() == wire::FailureKind::PlacementGroupRemoved && removed) ||
                       reply.failure() == wire::FailureKind::RuntimeEnv;  // its workers died before they began
  expect(is_good, "a lease was refused without a good cause: " + message);
  Pool& pool = pools_[cls];
  if (pool.waiting.empty()) return;
  const uint32_t task = pool.waiting.front();
  pool.waiting.pop_front();
  end_task(task, Outcome::kFailed);
}

void Program::dial_worker(Held& held) {
  const uint64_t lease = held.lease;
  Program* worker = cast_.find(held.worker);
  if (worker == nullptr) {
    later(100, [this, lease] { on_worker_lost(lease); });
    return;
  }
  held.line =
      cast_.stage().network().dial(host_, worker->host(), [&cast = cast_, id = held.worker](const LinePtr& line) {
        Program* target = cast.find(id);
        return target != nullptr && target->accept(line);
      });
  held.line->attach(
      0,
      [this, lease](rpc::Bytes bytes) {
        const auto at = held_.find(lease);
        if (dead_ || at == held_.end()) return;
        for (const Message& message : heard(at->second.in, bytes)) on_worker_word(lease, message);
        flush();
      },
      [this, lease](const std::string&) {
        if (!dead_) on_worker_lost(lease);
        flush();
      });
}

void Program::on_worker_word(uint64_t lease, const Message& message) {
  const auto at = held_.find(lease);
  if (at == held_.end()) return;
  Held& held = at->second;
  if (message.word == Word::kHello) held.ready = true;
  if (message.word == Word::kDone) {
    expect(held.task == message.subject, "a worker finished another task than its own");
    held.task = -1;
    end_task(message.subject, Outcome::kDone);
  }
  if (const auto again = held_.find(lease); again != held_.end()) give(again->second);
}

// The next task, or the lease goes back. One that is called back is used once: two programs that give back what they
// have not used would do so for ever.
void Program::give(Held& held) {
  if (held.task >= 0 || !held.ready) return;
  Pool& pool = pools_[held.cls];
  if ((held.reclaimed && held.used) || pool.waiting.empty()) return give_back(held.lease, false);
  held.used = true;
  const uint32_t task = pool.waiting.front();
  pool.waiting.pop_front();
  held.task = task;
  ++cast_.ledger().tasks[task].pushed;
  say(held.line, 0, Word::kRun, task);
}

void Program::give_back(uint64_t lease, bool failed) {
  const auto at = held_.find(lease);
  if (at == held_.end()) return;
  const Held held = std::move(at->second);
  held_.erase(at);
  if (held.line) held.line->close(0);
  node::Builder b(64);
  b.Finish(wire::CreateReturnLease(b, lease, failed, false));
  send(MessageType::ReturnLease, 0, b);
  serve(held.cls);
}

void Program::on_worker_lost(uint64_t lease) {
  const auto at = held_.find(lease);
  if (at == held_.end()) return;
  const int64_t task = std::exchange(at->second.task, -1);
  give_back(lease, true);
  if (task >= 0) fail_attempt(static_cast<uint32_t>(task));
}

void Program::fail_attempt(uint32_t index) {
  const Task& task = cast_.ledger().tasks[index];
  if (task.pushed > task.max_retries) return end_task(index, Outcome::kFailed);
  pools_[task.cls].waiting.push_front(index);
  serve(task.cls);
}

void Program::end_task(uint32_t task, Outcome outcome) {
  --open_tasks_;
  cast_.ledger().task_ends(task, outcome);
  const auto at = parent_of_.find(task);
  if (at != parent_of_.end()) {
    const uint32_t parent = at->second;
    parent_of_.erase(at);
    if (--children_.at(parent) == 0 && asker_) {
      children_.erase(parent);
      node::Builder b(32);
      b.Finish(wire::CreateUnblocked(b));
      send(MessageType::Unblocked, 0, b);
      const auto asker = asker_;
      later(100, [this, asker, parent] { finish(asker, parent); });
    }
  }
  if (is_driver()) {
    look_at_groups();
    look_at_end();
  }
}

void Program::on_node_gone(const NodeId& node) {
  std::vector<uint64_t> lost;
  for (const auto& [lease, held] : held_)
    if (held.node == node) lost.push_back(lease);
  for (const uint64_t lease : lost) on_worker_lost(lease);
  for (auto& [index, handle] : handles_)
    if (handle.node == node && handle.line) {
      std::exchange(handle.line, nullptr)->close(0);
      on_actor_lost(index);
    }
}

}  // namespace narke::sim
