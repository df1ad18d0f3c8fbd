#include "node/task_history.h"

#include <algorithm>
#include <chrono>

#include "node/wire.h"

namespace narke::node {

static constexpr int64_t kWriteEveryUs = 500'000;
static constexpr uint32_t kMostNames = 1 << 20;  // of one program

static int64_t epoch_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

TaskHistory::Speaker& TaskHistory::speaker_of(const Program& program) {
  Speaker& speaker = speakers_[program.id];
  if (!speaker.origin)
    speaker.origin =
        std::make_shared<history::Origin>(history::Origin{program.id, program.node, program.job, program.pid});
  return speaker;
}

static bool read_names(const wire::TaskEvents& events, std::vector<history::NamePtr>* names) {
  if (events.reset()) names->clear();
  if (events.names() == nullptr) return true;
  for (const wire::TaskName* each : *events.names()) {
    if (each->index() != names->size() || each->index() >= kMostNames) return false;
    auto name = std::make_shared<history::Name>();
    name->name = text_of(each->name());
    name->function = text_of(each->function());
    if (each->resources() != nullptr)
      for (const wire::Resource* resource : *each->resources())
        if (resource->name() != nullptr) name->resources.emplace_back(resource->name()->str(), resource->amount());
    names->push_back(std::move(name));
  }
  return true;
}

static std::vector<history::FailurePtr> failures_of(const wire::TaskEvents& events) {
  std::vector<history::FailurePtr> out{nullptr};
  if (events.failures() == nullptr) return out;
  for (const wire::TaskFailure* each : *events.failures())
    out.push_back(
        std::make_shared<history::Failure>(history::Failure{text_of(each->type()), text_of(each->message())}));
  return out;
}

bool TaskHistory::on_events(const Program& program, const rpc::Frame& frame) {
  const auto* events = frame.as<wire::TaskEvents>();
  if (events == nullptr || !history::Batch::decode(frame.raw, &batch_)) return false;
  Speaker& speaker = speaker_of(program);
  if (!read_names(*events, &speaker.names)) return false;
  const std::vector<history::FailurePtr> failures = failures_of(*events);
  const auto is_told = [&](const history::Record& record) {
    return record.name < speaker.names.size() && record.failure < failures.size();
  };
  if (!std::ranges::all_of(batch_.common(), is_told) || !std::ranges::all_of(batch_.whole(), is_told)) return false;
  table_.count_lost(events->dropped());
  table_.add(speaker.origin, batch_, speaker.names, failures);
  return true;
}

// The task that stands for an actor's constructor; src/worker/task_log.cc makes the same.
static TaskId creation_of(const ActorId& actor) {
  TaskId task;
  std::memcpy(task.data() + TaskId::kSize - ActorId::kSize, actor.data(), ActorId::kSize);
  return task;
}

void TaskHistory::on_actor_asked(const Program& creator, const controller::ActorSpec& spec) {
  history::Record record = history::blank_record();
  std::memcpy(record.task, creation_of(spec.id).data(), TaskId::kSize);
  std::memcpy(record.parent + TaskId::kSize - JobId::kSize, creator.job.data(), JobId::kSize);
  std::memcpy(record.actor, spec.id.data(), ActorId::kSize);
  record.created_us = epoch_us();
  record.kind = history::Kind::kActorCreation;
  record.state = history::State::kPendingNode;
  auto name = std::make_shared<history::Name>();
  name->name = name->function = spec.class_name + ".__init__";
  for (const ResourceSet::Entry& entry : spec.placement.entries())
    name->resources.emplace_back(entry.name, entry.amount);
  table_.add(speaker_of(creator).origin, record, name, nullptr);
}

void TaskHistory::on_actor_dead(const controller::Actor& actor) {
  const char* cause = wire::EnumNameDeathCause(actor.cause);
  table_.end_attempt(creation_of(actor.spec.id), actor.incarnation, epoch_us(),
                     std::make_shared<history::Failure>(
                         history::Failure{"ACTOR_CREATION_FAILED", std::string(cause) + ": " + actor.message}));
}

void TaskHistory::on_program_gone(const WorkerId& program, const std::string& why) {
  speakers_.erase(program);
  if (table_.under_way() == 0) return;
  table_.end_program(program, epoch_us(), std::make_shared<history::Failure>(history::Failure{"WORKER_DIED", why}));
}

void TaskHistory::tick() {
  if (epoch_us() - written_us_ >= kWriteEveryUs) write();
}

void TaskHistory::write() {
  written_us_ = epoch_us();
  for (const std::string& block : table_.take_unwritten()) {
    const Status written = writer_.append(block);
    if (!written && !failed_) log_("the task history is not written: " + written.error().message);
    failed_ = !written;
  }
}

}  // namespace narke::node
