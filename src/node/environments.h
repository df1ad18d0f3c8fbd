// What the environments of this host's workers are made of, made once each by a Python process of its own
// (narke._private.runtime_env.setup) and held while it is used.
//
// Lifecycle of one: asked for -> its process runs -> ready or failed -> forgotten when nobody has used it for a while,
// or a few seconds after it failed. The answer of the process stays on disk where all that it names is still there the
// next time: then no process runs, and the environment is ready at once. One thread, the reactor's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "node/types.h"
#include "node/zygote.h"
#include "rpc/reactor.h"

namespace narke::node {

// An environment's text begins so when something has to be made for it; others are entered as they are.
inline constexpr std::string_view kSetupMark = "{\"_setup\"";

// What the runtime_env of a request says of the workers it can use.
struct WorkerKind {
  std::string_view modules;      // names between commas: had better be imported before they are forked
  std::string_view environment;  // "": the job's
};

// Reads "+MODULES\nENVIRONMENT", or an environment's text alone. The parts point into the text.
WorkerKind kind_of(std::string_view runtime_env);

struct EnvironmentsConfig {
  std::vector<std::string> command;  // reads the text of an environment, answers as in parse_made()
  std::string log_path;              // of its error output
  int64_t keep_ms = 600'000;         // how long one that nobody uses is held
  int64_t failed_ms = 10'000;        // how long a failure is the answer
  // Where answers stay, by what the process says of them ("session", "host"); without an entry they do not.
  std::map<std::string, std::string> answer_dirs = {};
};

// What the process has made.
struct Made {
  std::string context;            // for the zygote: JSON
  Interpreter interpreter;        // no words: the node's
  std::vector<std::string> held;  // files to hold shared locks on while it is used: X.lock; X.done says that X is whole
  std::string keep;  // where the answer may stay; empty: nowhere
  std::string error;
};

// Reads pairs of texts, each ended by a zero byte: context, command (a word, repeated), cwd, hold (repeated), keep,
// error; the last is "end". Nothing when the end is not there yet.
std::optional<Made> parse_made(std::string_view bytes);

class Environments {
 public:
  // changed: some environment is ready, or has failed. spare(pid, on): a process is, or is no longer, ours.
  struct Hooks {
    std::function<void()> changed;
    std::function<void(int pid, bool on)> spare;
    std::function<void(const Interpreter&)> unused;  // no environment has it any more
    std::function<void(const std::string&)> log;
  };
  Environments(rpc::Reactor& reactor, EnvironmentsConfig config, Hooks hooks);
  ~Environments();
  Environments(const Environments&) = delete;
  Environments& operator=(const Environments&) = delete;

  // Begins to make it when it is not known.
  EnvironmentState state(const std::string& text);
  // Null unless it is ready.
  const Made* find(const std::string& text) const;
  bool is_empty() const { return records_.empty(); }
  // Forgets what nobody has used for a while.
  void tick(const std::function<bool(const std::string& text)>& is_used);

 private:
  struct Record {
    EnvironmentState state;
    Made made;
    int64_t since_ms = 0;  // when it was last used, or failed
    std::vector<int> locks;
    int pid = 0;
    int link = -1;  // to its process
    std::string answer;
  };
  void start(const std::string& text, Record& record);
  // Of the file with an answer: by the environment's text and the interpreter, which may be another one some day.
  // Empty: there is no interpreter.
  std::string name_of(const std::string& text) const;
  bool recall(const std::string& text, Record& record);
  void remember(const std::string& text, const Record& record) const;
  void on_readable(const std::string& text);
  void finish(const std::string& text, Record& record, Made made);
  bool hold(Record& record);
  void end_process(Record& record);
  void forget(std::map<std::string, Record>::iterator at);

  rpc::Reactor& reactor_;
  const EnvironmentsConfig config_;
  const Hooks hooks_;
  std::map<std::string, Record> records_;
};

}  // namespace narke::node
