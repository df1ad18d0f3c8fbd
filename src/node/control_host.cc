// Control methods about the host of a node: what it is doing, and its log files.
#include <unistd.h>

#include "base/log_files.h"
#include "node/control.h"
#include "node/wire.h"

namespace narke::node {

static constexpr size_t kMostPiece = 256 << 10;  // bytes of a log in one answer
static constexpr int64_t kReadMs = 10'000;

// ---- what the host is doing --------------------------------------------------------------------------------

void Control::put_host(MapBuilder& out) {
  const HostStats& host = host_.look();
  out.String("node_id", cluster_.self().hex());
  out.String("ip", config_.address);
  out.String("hostname", config_.hostname);
  out.Bool("is_head", cluster_.is_head());
  out.String("metrics_target", metrics_target_);
  out.Double("cpu_percent", host.cpu_percent);
  out.Int("cores", host.cores);
  for (const auto& [key, value] :
       std::initializer_list<std::pair<const char*, uint64_t>>{{"memory_total", host.memory_total},
                                                               {"memory_available", host.memory_available},
                                                               {"disk_total", host.disk_total},
                                                               {"disk_free", host.disk_free},
                                                               {"shm_used", host.shm_used},
                                                               {"sent", host.sent},
                                                               {"received", host.received},
                                                               {"disk_read", host.disk_read},
                                                               {"disk_written", host.disk_written}})
    out.UInt(key, value);
  for (const auto& [key, value] :
       std::initializer_list<std::pair<const char*, double>>{{"sent_per_s", host.sent_per_s},
                                                             {"received_per_s", host.received_per_s},
                                                             {"disk_read_per_s", host.disk_read_per_s},
                                                             {"disk_write_per_s", host.disk_write_per_s},
                                                             {"load_1", host.load_1},
                                                             {"load_5", host.load_5},
                                                             {"load_15", host.load_15}})
    out.Double(key, value);
  const auto put_process = [&out](int pid, const std::string& worker, const char* type) {
    const ProcessStats process = process_stats(pid);
    out.Map([&] {
      out.Int("pid", pid);
      out.String("worker_id", worker);
      out.String("type", type);
      out.UInt("resident", process.resident);
      out.Double("cpu_s", process.cpu_s);
    });
  };
  const size_t processes = out.StartVector("processes");
  put_process(getpid(), "", "NODE");
  for (const auto& [id, worker] : cluster_.core().workers())
    if (worker.pid > 0) put_process(worker.pid, id.hex(), "WORKER");
  out.EndVector(processes, false, false);
  const size_t store = out.StartMap("store");
  put_store(out);
  out.EndMap(store);
}

Control::Failure Control::list_hosts(Call& call) {
  everywhere(later(call), "list_hosts", "hosts", [this](const std::vector<uint8_t>& body, const Asking::Then& then) {
    then(page_of(body, "hosts", [this](const AddRow& add) { add([this](MapBuilder& out) { put_host(out); }); }));
  });
  return {};
}

// ---- logs --------------------------------------------------------------------------------------------------

static std::string text_in(const std::vector<uint8_t>& body, const char* key) {
  const flexbuffers::Reference value = map_of(body.data(), body.size())[key];
  return value.IsString() ? value.AsString().str() : std::string();
}

// Whether the question is for another node.
bool Control::is_elsewhere(const std::vector<uint8_t>& body) const {
  const std::string node = text_in(body, "node_id");
  return !node.empty() && node != cluster_.self().hex();
}

Control::Failure Control::list_logs(Call& call) {
  const auto own = [this](const std::vector<uint8_t>& body, const Asking::Then& then) {
    const auto work = [body, folder = logs(), node = cluster_.self().hex(), ip = config_.address,
                       elsewhere = is_elsewhere(body)] {
      const std::string glob = text_in(body, "glob");
      return page_of(body, "files", [&](const AddRow& add) {
        if (elsewhere) return;
        for (const LogFile& file : log_files(folder, glob.empty() ? "*" : glob))
          add([&](MapBuilder& out) {
            out.String("name", file.name);
            out.UInt("size_bytes", file.size_bytes);
            out.Int("modified_ms", file.modified_ms);
            out.String("node_id", node);
            out.String("ip", ip);
          });
      });
    };
    out_.run_aside(work, then);
  };
  everywhere(later(call), "list_logs", "files", own);
  return {};
}

Control::Failure Control::search_logs(Call& call) {
  if (call.text("query").empty()) return {"ValueError", "Say what to look for: query."};
  const auto own = [this](const std::vector<uint8_t>& body, const Asking::Then& then) {
    const auto work = [body, folder = logs(), node = cluster_.self().hex(), ip = config_.address,
                       elsewhere = is_elsewhere(body)] {
      LogSearch search;
      search.wanted = text_in(body, "query");
      if (const std::string glob = text_in(body, "glob"); !glob.empty()) search.glob = glob;
      const LogMatches found = elsewhere ? LogMatches() : narke::search_logs(folder, search);
      return page_of(body, "matches", [&](const AddRow& add) {
        for (const LogMatch& match : found.matches)
          add([&](MapBuilder& out) {
            out.String("file", match.name);
            out.Int("line", match.line);
            out.String("text", match.text);
            out.String("node_id", node);
            out.String("ip", ip);
            out.Bool("complete", found.complete);
          });
      });
    };
    out_.run_aside(work, then);
  };
  everywhere(later(call), "search_logs", "matches", own);
  return {};
}

// A piece of one file: {name, offset, size} or {name, tail_lines}, on the node `node_id`.
Control::Failure Control::read_log(Call& call) {
  if (!is_log_name(call.text("name"))) return {"ValueError", "'" + call.text("name") + "' is no name of a log file."};
  const std::shared_ptr<Question> question = later(call);
  const auto reply = [this, question](Answer got) { answer(*question, std::move(got)); };
  if (is_elsewhere(question->body)) {
    for (const NodeId& node : other_nodes())
      if (node.hex() == call.text("node_id")) {
        out_.ask_node(node, "read_log", here_only(question->map(), 0), kReadMs, reply);
        return {};
      }
    answer(*question, {"ValueError", "There is no node " + call.text("node_id") + " that could be asked.", {}});
    return {};
  }
  const int64_t tail = call.number("tail_lines", -1), size = call.number("size", kMostPiece);
  const auto work = [folder = logs(), name = call.text("name"), tail,
                     offset = static_cast<uint64_t>(std::max<int64_t>(call.number("offset", 0), 0)),
                     size = static_cast<size_t>(std::clamp<int64_t>(size, 0, kMostPiece))]() -> Answer {
    uint64_t from = offset;
    if (tail >= 0) {
      const auto begins = log_tail(folder + "/" + name, static_cast<uint64_t>(tail));
      if (!begins) return {"ValueError", "There is no log file " + name + ".", {}};
      from = begins.value();
    }
    const auto piece = narke::read_log(folder, name, from, size);
    if (!piece) return {"ValueError", piece.error().message, {}};
    MapBuilder out;
    out.Map([&] {
      out.UInt("offset", from);
      out.Key("bytes");
      out.Blob(piece.value().data(), piece.value().size());
    });
    out.Finish();
    return {"", "", out.GetBuffer()};
  };
  out_.run_aside(work, reply);
  return {};
}

}  // namespace narke::node
