// What the node may ask of a running program: what it holds, and, by the prober, what it is doing. See engine.h.
#include <csignal>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <flatbuffers/flexbuffers.h>
#include <unistd.h>

#include "worker/engine.h"
#include "worker/object_pool.h"

namespace narke::worker {
namespace {

constexpr size_t kMostQuestions = 8;       // waiting; each may take a profile's time
constexpr size_t kMostReferences = 10'000;  // told of at once

int64_t size_of(Object& object) {
  const bool is_here = object.state.load() == ObjectState::kValue || object.state.load() == ObjectState::kError;
  return is_here && object.value ? static_cast<int64_t>(object.value->bytes().size()) : -1;
}

}  // namespace

// ---- questions ---------------------------------------------------------------------------------------------

void Engine::answer_node(uint32_t call_id, const Answer& answer) {
  rpc::ConnectionPtr link = node();
  if (!link) return;
  flatbuffers::FlatBufferBuilder b(answer.body.size() + 256);
  auto error = b.CreateString(answer.error), kind = b.CreateString(answer.error_kind);
  auto body = b.CreateVector(reinterpret_cast<const uint8_t*>(answer.body.data()), answer.body.size());
  b.Finish(wire::CreateControlReply(b, error, kind, body));
  link->send(wire::MessageType::ControlReply, call_id, b);
  link->flush();
}

void Engine::on_question(const rpc::Frame& frame) {
  const auto* table = frame.as<wire::Control>();
  if (table == nullptr || table->method() == nullptr) return;
  Question question{frame.call_id, table->method()->str(), ""};
  if (table->body() != nullptr)
    question.body.assign(reinterpret_cast<const char*>(table->body()->data()), table->body()->size());
  if (question.method == "references") return answer_node(question.call_id, {Waited::kReady, "", "", references()});
  if (question.method == "engine") return answer_node(question.call_id, {Waited::kReady, "", "", describe()});
  if (question.method == "reopen_logs") return answer_node(question.call_id, reopen_logs(question.body));
  std::string refusal;
  if (!prober_) refusal = "this program is not asked what it does";
  if (questions_.size() >= kMostQuestions) refusal = "too many questions wait for an answer; ask again later";
  if (!refusal.empty()) return answer_node(question.call_id, {Waited::kReady, refusal, "RaySystemError", ""});
  questions_.push_back(std::move(question));
  if (std::exchange(is_probing_, true)) return;
  if (probing_.joinable()) probing_.join();
  try {
    probing_ = std::thread([this] { answer_questions(); });
  } catch (const std::system_error& error) {
    is_probing_ = false;
    questions_.clear();
    answer_node(frame.call_id,
                {Waited::kReady, std::string("no thread can be started: ") + error.what(), "RaySystemError", ""});
  }
}

// The node has given this worker's output files other names.
Engine::Answer Engine::reopen_logs(const std::string& body) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(body.data());
  if (!is_worker() || !flexbuffers::VerifyBuffer(bytes, body.size()))
    return {Waited::kReady, "only a worker's output lies in files of its node", "ValueError", ""};
  const flexbuffers::Map paths = flexbuffers::GetRoot(bytes, body.size()).AsMap();
  for (const auto& [key, target] : {std::pair{"stdout", 1}, {"stderr", 2}}) {
    const int file = open(paths[key].AsString().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return {Waited::kReady, std::strerror(errno), "RaySystemError", ""};
    dup2(file, target);
    close(file);
  }
  return {};
}

// On a thread of its own: a profile takes seconds, and neither the engine's lock nor Python's may be waited for.
void Engine::answer_questions() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);  // signals are the main thread's
  Lock held = lock();
  while (!questions_.empty() && !stopping_) {
    const Question question = std::move(questions_.front());
    questions_.pop_front();
    held.unlock();
    const Answer answer = prober_(question.method, question.body, probe_stops_);
    held.lock();
    answer_node(question.call_id, answer);
  }
  is_probing_ = false;
}

void Engine::end_probing() {
  probe_stops_ = true;
  if (probing_.joinable()) probing_.join();
}

// ---- what is waited for -------------------------------------------------------------------------------------

static const char* state_of(const rpc::Connection& link) {
  return link.is_closed() ? "closed" : link.is_open() ? "open" : "not open yet";
}

// For whoever wants to know why a program waits: its tasks, its calls to actors, its links.
std::string Engine::describe() {
  std::string text = "program " + self_.worker.hex().substr(0, 8) + (blocked_ > 0 ? ", blocked" : "") +
                     (leaving_ ? ", leaving" : "") + ", " + std::to_string(node_calls_.size()) +
                     " questions to the node\n" + executor_.describe() + submitter_.describe() + objects_.describe();
  actors_.for_each([&](Actor& actor) {
    text += "actor " + actor.id.hex().substr(0, 8) + " " + wire::EnumNameActorState(actor.state) + ": " +
            std::to_string(actor.queue.size()) + " queued, " + std::to_string(actor.in_doubt.size()) + " in doubt" +
            (actor.peer == nullptr ? ", not connected\n" : "\n");
  });
  for (const auto& [link, peer] : links_) {
    text += "link to " + peer->address.worker.hex().substr(0, 8) + " of " + peer->address.node.hex().substr(0, 8) +
            ": " + state_of(*link) + ", " + std::to_string(peer->calls.size()) + " calls, " +
            std::to_string(link->unsent_bytes()) + " bytes unsent\n";
    peer->calls.for_each([&](const Task& task) {
      text += "  call " + std::to_string(task.call_id) + " " + task.id.hex().substr(0, 16) + "\n";
    });
  }
  flexbuffers::Builder out;
  out.Map([&] { out.String("text", text); });
  out.Finish();
  const std::vector<uint8_t>& bytes = out.GetBuffer();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- references --------------------------------------------------------------------------------------------

// How many uses of each object are arguments of tasks under way, and how many lie in other objects' values.
Engine::UseCounts Engine::count_uses() {
  UseCounts counts;
  const auto add_task = [&](const Task& task) {
    for (const Arg& arg : task.args)
      if (arg.ref) ++counts.by_tasks[arg.ref.get()];
    for (const ObjectPtr& ref : task.nested) ++counts.by_tasks[ref.get()];
  };
  submitter_.for_each_queue([&](std::deque<TaskPtr>& queue) {
    for (const TaskPtr& task : queue) add_task(*task);
  });
  actors_.for_each([&](Actor& actor) {
    for (const TaskPtr& task : actor.queue) add_task(*task);
  });
  for (auto& [link, peer] : links_) peer->calls.for_each(add_task);
  for_each_object([&](Object& object) {
    if (Object::Extra* extra = object.find_extra())
      for (const ObjectPtr& inner : extra->contained) ++counts.in_objects[inner.get()];
    return true;
  });
  return counts;
}

static const char* status_of(const Object& object) {
  switch (object.state.load()) {
    case ObjectState::kPending: break;
    case ObjectState::kValue:
    case ObjectState::kStore: return "FINISHED";
    case ObjectState::kError: return "FAILED";
  }
  if (object.producer == nullptr) return "NIL";
  switch (object.producer->state) {
    case Task::State::kWaiting: return "PENDING_ARGS_AVAIL";
    case Task::State::kQueued: return "PENDING_NODE_ASSIGNMENT";
    case Task::State::kSent: return "SUBMITTED_TO_WORKER";
    case Task::State::kDone: return "FINISHED";
  }
  return "NIL";
}

// The word of Ray's memory report for what keeps an object.
const char* Engine::reference_type(const Object& object, const Object::Extra* extra, const UseCounts& counts) {
  if (extra != nullptr && extra->is_actor) return "ACTOR_HANDLE";
  const auto count = [&](const std::unordered_map<const Object*, int>& in) {
    const auto at = in.find(&object);
    return at == in.end() ? 0 : at->second;
  };
  const int by_tasks = count(counts.by_tasks), in_objects = count(counts.in_objects);
  if (by_tasks > 0) return "USED_BY_PENDING_TASK";
  if (object.uses.load() > in_objects) return "LOCAL_REFERENCE";
  return in_objects > 0 ? "CAPTURED_IN_OBJECT" : "UNKNOWN_STATUS";
}

std::string Engine::references() {
  const UseCounts counts = count_uses();
  flexbuffers::Builder out;
  size_t told = 0;
  const size_t map = out.StartMap();
  const size_t list = out.StartVector("references");
  for_each_object([&](Object& object) {
    const Object::Extra* extra = object.find_extra();
    int borrowers = 0;
    if (extra != nullptr)
      for (const auto& [id, count] : extra->borrowers) borrowers += count > 0;
    if (object.uses.load() <= 0 && borrowers == 0) return true;
    if (++told > kMostReferences) return false;
    const std::string owner = object.owned || extra == nullptr ? self_.worker.hex() : extra->owner.worker.hex();
    out.Map([&] {
      out.String("object_id", object.id.hex());
      out.Int("object_size", size_of(object));
      out.String("reference_type", reference_type(object, extra, counts));
      out.String("task_status", status_of(object));
      out.String("call_site", extra == nullptr ? "" : extra->call_site);
      out.String("owner_id", owner);
      out.Int("local_uses", object.uses.load());
      out.Int("borrowers", borrowers);
      out.Int("attempt_number", object.producer == nullptr ? 0 : object.producer->attempt);
    });
    return true;
  });
  out.EndVector(list, false, false);
  out.UInt("total", told);
  out.EndMap(map);
  out.Finish();
  const std::vector<uint8_t>& bytes = out.GetBuffer();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void Engine::note_call_site(Object& object, std::string site) {
  Lock held = lock();
  object.extra().call_site = std::move(site);
}

std::string Engine::call_site(Object& object) {
  Lock held = lock();
  const Object::Extra* extra = object.find_extra();
  return extra == nullptr ? std::string() : extra->call_site;
}

}  // namespace narke::worker
