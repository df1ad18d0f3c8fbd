// Control methods whose answers come from other processes: what programs do and hold, tables of all nodes.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_set>

#include "node/control.h"
#include "node/wire.h"

namespace narke::node {

static constexpr int64_t kReferencesMs = 3'000;  // a program that is busy for longer is left out
static constexpr int64_t kTablesMs = 6'000;      // another node asks its programs meanwhile
static constexpr int64_t kProbeMs = 15'000;      // beyond the time that a profile takes
static constexpr int64_t kMostSeconds = 300;     // of a profile
static constexpr size_t kMostObjects = 1'000'000;
static constexpr int kMostDepth = 16;            // of a body

// A value as it is, under a key where it lies in a map.
static void copy_value(MapBuilder& out, const flexbuffers::Reference& value, const char* key, int depth = 0) {
  if (key != nullptr) out.Key(key);
  if (depth >= kMostDepth) return out.Null();
  if (value.IsMap()) {
    const flexbuffers::Map map = value.AsMap();
    const flexbuffers::TypedVector keys = map.Keys();
    const size_t start = out.StartMap();
    for (size_t i = 0; i < keys.size(); ++i) copy_value(out, map.Values()[i], keys[i].AsKey(), depth + 1);
    out.EndMap(start);
  } else if (value.IsAnyVector()) {
    const flexbuffers::Vector items = value.AsVector();
    const size_t start = out.StartVector();
    for (size_t i = 0; i < items.size(); ++i) copy_value(out, items[i], nullptr, depth + 1);
    out.EndVector(start, false, false);
  } else if (value.IsString() || value.IsKey()) {
    out.String(value.AsString().str());
  } else if (value.IsBlob()) {
    out.Blob(value.AsBlob().data(), value.AsBlob().size());
  } else if (value.IsBool()) {
    out.Bool(value.AsBool());
  } else if (value.IsFloat()) {
    out.Double(value.AsDouble());
  } else if (value.IsUInt()) {
    out.UInt(value.AsUInt64());
  } else if (value.IsInt()) {
    out.Int(value.AsInt64());
  } else {
    out.Null();
  }
}

// Nothing when it is no such id.
static std::optional<WorkerId> worker_of_hex(const std::string& hex) {
  if (hex.size() != 2 * WorkerId::kSize || hex.find_first_not_of("0123456789abcdef") != std::string::npos) return {};
  WorkerId id;
  for (size_t i = 0; i < WorkerId::kSize; ++i)
    id.data()[i] = static_cast<uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return id;
}

std::shared_ptr<Control::Question> Control::later(Call& call) {
  call.later = true;
  auto question = std::make_shared<Question>();  // shared by the answers that it waits for
  question->program = call.caller.id;
  question->call_id = call.id;
  flexbuffers::Builder body;
  const size_t start = body.StartMap();
  const flexbuffers::TypedVector keys = call.body.Keys();
  for (size_t i = 0; i < keys.size(); ++i) copy_value(body, call.body.Values()[i], keys[i].AsKey());
  body.EndMap(start);
  body.Finish();
  question->body = body.GetBuffer();
  return question;
}

void Control::answer(const Question& question, Answer answer) {
  reply_(question.program, question.call_id, std::move(answer));
}

flexbuffers::Map Control::Question::map() const { return flexbuffers::GetRoot(body).AsMap(); }

// ---- one program -------------------------------------------------------------------------------------------

static std::string whom_of(const ProgramName& target) {
  if (!target.worker.is_nil()) return "worker " + target.worker.hex();
  return "process " + std::to_string(target.pid);
}

// The question goes to a program of this node, or to the node that is named, or, on the head, to all nodes in turn.
Control::Failure Control::probe(Call& call) {
  ProgramName target;
  const std::string worker = call.text("worker_id");
  if (!worker.empty()) {
    const auto id = worker_of_hex(worker);
    if (!id) return {"ValueError", "'" + worker + "' is no worker id: these have 56 hexadecimal digits."};
    target.worker = *id;
  }
  target.pid = static_cast<int>(call.number("pid", 0));
  const std::string what = call.text("what");
  static const std::set<std::string> kKnown = {"stack",         "cpu_profile", "memory_profile",
                                               "torch_profile", "references",  "engine"};
  if (!kKnown.contains(what))
    return {
        "ValueError",
        "A program can be asked for its stack, cpu_profile, memory_profile, torch_profile, references or engine, not "
        "for '" +
            what + "'."};
  if (target.worker.is_nil() && target.pid <= 0) return {"ValueError", "Say which process is meant: pid or worker_id."};
  const int64_t seconds = call.number("duration", 0);
  if (seconds < 0 || seconds > kMostSeconds)
    return {"ValueError", "A profile takes 1 to " + std::to_string(kMostSeconds) + " seconds."};
  const std::shared_ptr<Question> question = later(call);
  const int64_t limit_ms = kProbeMs + seconds * 1000;
  if (const Program* here = out_.program_of(target)) {
    out_.ask_program(here->id, what, question->body, limit_ms,
                     [this, question](Answer got) { answer(*question, std::move(got)); });
    return {};
  }
  std::vector<NodeId> others = call.flag("here") ? std::vector<NodeId>() : other_nodes();
  const std::string node = call.text("node_id");
  if (!node.empty()) std::erase_if(others, [&](const NodeId& id) { return id.hex() != node; });
  probe_elsewhere(question, target, std::move(others), limit_ms);
  return {};
}

void Control::probe_elsewhere(std::shared_ptr<Question> question, ProgramName target, std::vector<NodeId> nodes,
                              int64_t limit_ms) {
  if (nodes.empty())
    return answer(*question, {"ValueError",
                              "There is no " + whom_of(target) +
                                  " among the programs of this cluster; `narke list workers` shows those there are.",
                              {}});
  const NodeId node = nodes.back();
  nodes.pop_back();
  out_.ask_node(node, "probe", here_only(question->map(), 0), limit_ms,
                [this, question, target, nodes = std::move(nodes), limit_ms](Answer got) {
                  if (got.error_kind == "ValueError" && !nodes.empty())
                    return probe_elsewhere(question, target, nodes, limit_ms);
                  answer(*question, std::move(got));
                });
}

// ---- tables of all nodes -----------------------------------------------------------------------------------

std::vector<NodeId> Control::other_nodes() const {
  std::vector<NodeId> out;
  if (!cluster_.is_head()) return out;
  for (const controller::Node& node : cluster_.controller().nodes.all())
    if (node.alive && node.id != cluster_.self()) out.push_back(node.id);
  return out;
}

// The body for another node: it answers for itself alone, with as many rows as the page may need.
std::vector<uint8_t> Control::here_only(const flexbuffers::Map& body, int64_t rows) {
  flexbuffers::Builder out;
  const size_t start = out.StartMap();
  const flexbuffers::TypedVector keys = body.Keys();
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string key = keys[i].AsKey();
    if (key == "here" || (rows > 0 && (key == "limit" || key == "offset"))) continue;
    copy_value(out, body[key.c_str()], key.c_str());
  }
  if (rows > 0) out.Int("limit", rows);
  out.Bool("here", true);
  out.EndMap(start);
  out.Finish();
  return out.GetBuffer();
}

static int64_t number_in(const flexbuffers::Map& map, const char* key) {
  return map[key].IsNumeric() ? map[key].AsInt64() : 0;
}

// Own rows and those of other nodes, chosen there already, as one page. A node that does not answer is named.
void Control::combine(const Question& question, const std::string& method, const std::string& key,
                      const std::vector<Answer>& answers) {
  flexbuffers::Builder out;
  const flexbuffers::Map body = question.map();
  int64_t skip = number_in(body, "offset"),
          left = body["limit"].IsNumeric() ? number_in(body, "limit") : Rows::kMostRows;
  int64_t total = 0, met = 0;
  std::string silent;
  const size_t start = out.StartMap();
  const size_t rows = out.StartVector(key.c_str());
  for (const Answer& each : answers) {
    if (!each.error_kind.empty()) {
      if (each.error_kind == "ValueError") return answer(question, each);  // a filter that is wrong everywhere
      silent += (silent.empty() ? "" : " ") + each.error;
      continue;
    }
    const flexbuffers::Map map = map_of(each.body.data(), each.body.size());
    total += number_in(map, "total");
    met += number_in(map, "num_filtered");
    const flexbuffers::Vector part = map[key].IsAnyVector() ? map[key].AsVector() : flexbuffers::Vector::EmptyVector();
    for (size_t i = 0; i < part.size(); ++i) {
      if (skip > 0) {
        --skip;
      } else if (left > 0) {
        copy_value(out, part[i], nullptr);
        --left;
      }
    }
  }
  out.EndVector(rows, false, false);
  out.Int("total", total);
  out.Int("num_filtered", met);
  if (!silent.empty()) out.String("partial_failure_warning", "What follows is not all, " + method + ": " + silent);
  out.EndMap(start);
  out.Finish();
  answer(question, {"", "", out.GetBuffer()});
}

// `own` is this node's part of the table; asked elsewhere too unless the body says `here`.
void Control::everywhere(std::shared_ptr<Question> question, const std::string& method, const std::string& key,
                         Own own) {
  struct Gathering {
    std::vector<Answer> answers;
    size_t open = 0;
  };
  const flexbuffers::Map body = question->map();
  const std::vector<NodeId> others = body["here"].IsBool() ? std::vector<NodeId>() : other_nodes();
  const int64_t limit = body["limit"].IsNumeric() ? number_in(body, "limit") : Rows::kMostRows;
  const std::vector<uint8_t> part =
      here_only(body, std::clamp<int64_t>(limit, 0, Rows::kMostRows) + number_in(body, "offset"));
  if (others.empty()) return own(question->body, [this, question](Answer got) { answer(*question, std::move(got)); });
  const auto all = std::make_shared<Gathering>();  // shared by the answers to come
  all->answers.resize(others.size() + 1);
  all->open = others.size() + 1;
  const auto at = [this, all, question, method, key](size_t place) {
    return [this, all, question, method, key, place](Answer got) {
      all->answers[place] = std::move(got);
      if (--all->open == 0) combine(*question, method, key, all->answers);
    };
  };
  own(part, at(0));
  for (size_t i = 0; i < others.size(); ++i) out_.ask_node(others[i], method, part, kTablesMs, at(i + 1));
}

// A page of this node's rows, for a body that outlives the call.
Answer Control::page_of(const std::vector<uint8_t>& body, const char* key,
                        const std::function<void(const AddRow&)>& each) {
  Result<Rows> rows = Rows::parse(map_of(body.data(), body.size()));
  if (!rows) return {"ValueError", rows.error().message, {}};
  flexbuffers::Builder out;
  const size_t map = out.StartMap();
  const size_t start = out.StartVector(key);
  each([&](const Rows::Put& put) { rows.value().add(out, put); });
  out.EndVector(start, false, false);
  const Status finished = rows.value().finish(out);
  out.EndMap(map);
  out.Finish();
  return finished ? Answer{"", "", out.GetBuffer()} : Answer{"ValueError", finished.error().message, {}};
}

Control::Failure Control::list_workers(Call& call) {
  everywhere(later(call), "list_workers", "workers",
             [this](const std::vector<uint8_t>& body, const Asking::Then& then) {
               then(page_of(body, "workers", [this](const AddRow& add) {
                 const auto& workers = cluster_.core().workers();
                 std::vector<WorkerId> ids;
                 for (const auto& [id, worker] : workers) ids.push_back(id);
                 std::sort(ids.begin(), ids.end());
                 for (const WorkerId& id : ids) add([&](MapBuilder& out) { put_worker(out, workers.at(id)); });
                 for (const WorkerId& id : out_.programs())
                   if (const Program* program = out_.program_of({id, 0}); program->kind == wire::ProgramKind::Driver)
                     add([&](MapBuilder& out) { put_driver(out, *program); });
               }));
             });
  return {};
}

// What each node does and what waits there, as text.
Control::Failure Control::describe_nodes(Call& call) {
  everywhere(later(call), "describe_nodes", "nodes",
             [this](const std::vector<uint8_t>& body, const Asking::Then& then) {
               then(page_of(body, "nodes", [this](const AddRow& add) {
                 add([this](MapBuilder& out) {
                   out.String("node_id", cluster_.self().hex());
                   out.String("text", cluster_.describe());
                 });
               }));
             });
  return {};
}

void Control::put_driver(MapBuilder& out, const Program& driver) {
  Worker row;
  row.id = driver.id;
  row.job = driver.job;
  row.pid = driver.pid;
  row.state = WorkerState::kLeased;
  put_worker(out, row, "DRIVER");
}

// ---- references --------------------------------------------------------------------------------------------

static std::string text_in(const flexbuffers::Map& map, const char* key) {
  return map[key].IsString() ? map[key].AsString().str() : std::string();
}

void Control::put_object(MapBuilder& out, const std::string& id, const store::ObjectInfo* stored) {
  out.String("object_id", id);
  out.String("ip", config_.address);
  out.String("node_id", cluster_.self().hex());
  out.Bool("sealed", stored == nullptr || stored->sealed);
  out.Bool("spilled", stored != nullptr && stored->spilled);
  out.Bool("pinned", stored != nullptr && stored->pinned);
  out.Bool("in_store", stored != nullptr);
}

// One that a program holds; what it does not know of its size the store does.
void Control::put_reference(MapBuilder& out, const Program& program, const flexbuffers::Map& row,
                            const store::ObjectInfo* stored) {
  put_object(out, text_in(row, "object_id"), stored);
  const std::string type = text_in(row, "reference_type");
  const bool is_read = stored != nullptr && stored->pinned && type == "LOCAL_REFERENCE";
  const int64_t known = number_in(row, "object_size");
  out.Int("object_size", stored != nullptr ? static_cast<int64_t>(stored->size_bytes) : known);
  out.String("reference_type", is_read ? "PINNED_IN_MEMORY" : type);
  out.String("task_status", text_in(row, "task_status"));
  out.String("call_site", text_in(row, "call_site"));
  out.String("owner_id", text_in(row, "owner_id"));
  out.Int("local_uses", number_in(row, "local_uses"));
  out.Int("borrowers", number_in(row, "borrowers"));
  out.Int("attempt_number", number_in(row, "attempt_number"));
  out.String("type", program.kind == wire::ProgramKind::Driver ? "DRIVER" : "WORKER");
  out.Int("pid", program.pid);
  out.String("worker_id", program.id.hex());
  out.String("job_id", program.job.hex());
}

// One in the store that no program of this node refers to: its owner is elsewhere, or it is a copy.
void Control::put_unreferenced(MapBuilder& out, const store::ObjectInfo& object) {
  put_object(out, object.id.hex(), &object);
  out.UInt("object_size", object.size_bytes);
  out.String("reference_type", object.pinned ? "PINNED_IN_MEMORY" : "UNKNOWN_STATUS");
  out.String("task_status", object.sealed ? "FINISHED" : "RUNNING");
  for (const char* key : {"call_site", "owner_id", "worker_id", "job_id"}) out.String(key, "");
  for (const char* key : {"local_uses", "borrowers", "attempt_number", "pid"}) out.Int(key, 0);
  out.String("type", object.secondary ? "COPY" : "WORKER");
}

void Control::own_objects(const std::vector<uint8_t>& body, const Asking::Then& then) {
  struct Gathering {
    std::vector<std::pair<WorkerId, Answer>> answers;
    size_t open = 0;
  };
  const auto finish = [this, body, then](const Gathering& gathered) {
    std::map<std::string, store::ObjectInfo> stored;
    for (const store::ObjectInfo& object : store_()->list(kMostObjects)) stored.emplace(object.id.hex(), object);
    then(page_of(body, "objects", [&](const AddRow& add) {
      std::unordered_set<std::string> seen;
      for (const auto& [id, answer] : gathered.answers) {
        const Program* program = out_.program_of({id, 0});
        const flexbuffers::Map map = map_of(answer.body.data(), answer.body.size());
        if (program == nullptr || !map["references"].IsAnyVector()) continue;
        const flexbuffers::Vector rows = map["references"].AsVector();
        for (size_t i = 0; i < rows.size(); ++i) {
          const flexbuffers::Map row = rows[i].AsMap();
          const auto at = stored.find(*seen.insert(text_in(row, "object_id")).first);
          add([&](MapBuilder& out) { put_reference(out, *program, row, at == stored.end() ? nullptr : &at->second); });
        }
      }
      for (const auto& [id, object] : stored)
        if (!seen.contains(id)) add([&](MapBuilder& out) { put_unreferenced(out, object); });
    }));
  };
  const auto gathered = std::make_shared<Gathering>();  // shared by the answers to come
  const std::vector<WorkerId> programs = out_.programs();
  gathered->open = programs.size();
  if (programs.empty()) return finish(*gathered);
  for (const WorkerId& id : programs)
    out_.ask_program(id, "references", body, kReferencesMs, [gathered, finish, id](Answer got) {
      gathered->answers.emplace_back(id, std::move(got));
      if (--gathered->open == 0) finish(*gathered);
    });
}

Control::Failure Control::list_objects(Call& call) {
  everywhere(later(call), "list_objects", "objects",
             [this](const std::vector<uint8_t>& body, const Asking::Then& then) { own_objects(body, then); });
  return {};
}

}  // namespace narke::node
