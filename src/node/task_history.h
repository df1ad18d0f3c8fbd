// The task history of the cluster, on its head: what all programs say, kept in memory and written to disk. Other nodes
// pass on what their programs say. The shell around history::TaskTable.
//
// Lifecycle: made with the service; tick() a few times a second, write() at the end.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>

#include "controller/types.h"
#include "history/query.h"
#include "history/segments.h"
#include "history/table.h"
#include "node/program.h"
#include "rpc/frame.h"

namespace narke::node {

class TaskHistory {
 public:
  TaskHistory(const std::string& folder, std::function<void(const std::string&)> log)
      : writer_(folder), log_(std::move(log)) {}

  // A TaskEvents frame. False: it is malformed, and nothing of it counts.
  bool on_events(const Program& program, const rpc::Frame& frame);
  // An actor is asked for, or has died: its constructor waits from then on, or never runs.
  void on_actor_asked(const Program& creator, const controller::ActorSpec& spec);
  void on_actor_dead(const controller::Actor& actor);
  // A program is gone: nothing more is heard of what it ran.
  void on_program_gone(const WorkerId& program, const std::string& why);
  // Writes now and then what has ended: whole chunks cost least.
  void tick();
  // Writes what has ended since the last time.
  void write();

  const history::TaskTable& table() const { return table_; }

 private:
  // What a program's records refer to.
  struct Speaker {
    history::OriginPtr origin;
    std::vector<history::NamePtr> names;
  };
  Speaker& speaker_of(const Program& program);

  history::TaskTable table_;
  history::Batch batch_;  // its memory is used again
  history::SegmentWriter writer_;
  std::function<void(const std::string&)> log_;
  std::unordered_map<WorkerId, Speaker> speakers_;
  int64_t written_us_ = 0;
  bool failed_ = false;  // the last attempt to write
};

}  // namespace narke::node
