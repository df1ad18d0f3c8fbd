// The life of one submitted job's processes, in a process of its own (narke-job).
//
// It is started for a job, prepares its environment, runs the entry point in a session of its own, writes down what
// became of it, and ends when nothing that the job started is left: it is the subreaper of all of it. It outlives the
// gateway and ends with the node. SIGTERM asks it to stop the job.
#pragma once

#include <cctype>
#include <string>

namespace narke::gateway {

struct SupervisorOptions {
  std::string dir;   // of the job: job.json, launch.json
  int node_pid = 0;  // the job ends with this process
};

// What launch.json holds: log (path), cwd, env (object of strings, over this process' own), setup (argv; [] for none),
// setup_input (object, given to it on stdin), setup_limit_s, stop_grace_s.
//
// The setup prints {"cwd": ..., "env": {...}} or fails, and its error output becomes the job's message.
int supervise(const SupervisorOptions& options);

// $NAME and ${NAME} replaced by what `lookup` knows; unknown names stay as they are.
template <class Lookup>
std::string expand_variables(const std::string& text, Lookup lookup) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$') {
      out += text[i];
      continue;
    }
    const bool braced = i + 1 < text.size() && text[i + 1] == '{';
    size_t begin = i + (braced ? 2 : 1), end = begin;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_')) ++end;
    const bool whole = end > begin && (!braced || (end < text.size() && text[end] == '}'));
    const auto value = whole ? lookup(text.substr(begin, end - begin)) : decltype(lookup(text))();
    if (!value) {
      out += text[i];
      continue;
    }
    out += *value;
    i = braced ? end : end - 1;
  }
  return out;
}

}  // namespace narke::gateway
