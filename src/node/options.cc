#include "node/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>

namespace narke::node {

namespace {

Error invalid(const std::string& what) { return {ErrorCode::kFailed, what + " See narke-node --help."}; }

template <class Number>
bool parse_number(const std::string& text, Number* out) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && at == end;
}

bool split(const std::string& text, std::string* name, std::string* value) {
  const size_t at = text.find('=');
  if (at == 0 || at == std::string::npos) return false;
  *name = text.substr(0, at);
  *value = text.substr(at + 1);
  return true;
}

bool set_resource(const std::string& text, sched::ResourceSet* resources) {
  std::string name, value;
  double amount = 0;
  if (!split(text, &name, &value) || !parse_number(value, &amount)) return false;
  if (!(amount >= 0) || amount > 9e14) return false;
  resources->set(name, static_cast<sched::Amount>(std::llround(amount * sched::kOne)));
  return true;
}

bool set_label(const std::string& text, sched::Labels* labels) {
  std::string key, value;
  if (!split(text, &key, &value)) return false;
  (*labels)[key] = value;
  return true;
}

bool set_labels(const std::string& text, sched::Labels* labels) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    if (!set_label(text.substr(at, end - at), labels)) return false;
    at = end + 1;
  }
  return true;
}

bool parse_tls(const std::string& text, wire::TlsUse* out) {
  const std::map<std::string, wire::TlsUse> words = {
      {"auto", wire::TlsUse::Auto}, {"on", wire::TlsUse::Always}, {"off", wire::TlsUse::Never}};
  const auto at = words.find(text);
  if (at != words.end()) *out = at->second;
  return at != words.end();
}

struct Option {
  const char* value;  // what it takes; null: a switch
  const char* help;
  std::function<bool(Options&, const std::string&)> apply;
};

using OptionTable = std::map<std::string, Option>;

// Where it serves HTTP.
OptionTable dashboard_options() {
  using std::string;
  return {
      {"--dashboard-host",
       {"HOST", "serve the REST interface and the dashboard on this address; none by default",
        [](Options& o, const string& v) {
          o.dashboard_host = v;
          return true;
        }}},
      {"--dashboard-port",
       {"PORT", "their port; 8265 or the next free one by default",
        [](Options& o, const string& v) {
          return parse_number(v, &o.dashboard_port) && o.dashboard_port >= 0 && o.dashboard_port < 65536;
        }}},
      {"--metrics-port",
       {"PORT", "where metrics are served, on the dashboard's address; any free one by default",
        [](Options& o, const string& v) {
          return parse_number(v, &o.metrics_port) && o.metrics_port >= 0 && o.metrics_port < 65536;
        }}},
      {"--agent-port",
       {"PORT", "a second port for the REST interface, where Ray's agents have theirs; none by default",
        [](Options& o, const string& v) {
          return parse_number(v, &o.agent_port) && o.agent_port >= 0 && o.agent_port < 65536;
        }}},
      {"--dashboard-eager",
       {nullptr, "start the gateway at once and not with the first request",
        [](Options& o, const string&) {
          o.dashboard_eager = true;
          return true;
        }}},
      {"--tls-cert",
       {"FILE", "certificate chain (PEM) for HTTPS; one of the cluster's own by default",
        [](Options& o, const string& v) {
          o.tls_cert = v;
          return !v.empty();
        }}},
      {"--tls-key",
       {"FILE", "its key (PEM)",
        [](Options& o, const string& v) {
          o.tls_key = v;
          return !v.empty();
        }}},
      {"--gateway",
       {"PATH", "the program narke-gateway; beside this one by default",
        [](Options& o, const string& v) {
          o.gateway = v;
          return !v.empty();
        }}},
  };
}

// What the node is and has.
OptionTable node_options() {
  using std::string;
  return {
      {"--session-dir",
       {"DIR", "where the socket, token, logs and spill files live; required",
        [](Options& o, const string& v) {
          o.session_dir = v;
          return !v.empty();
        }}},
      {"--spill-dir",
       {"DIR", "where objects go to when memory is short, its own folder; default: spill in the session's",
        [](Options& o, const string& v) {
          o.spill_dir = v;
          return !v.empty() && v.front() == '/';
        }}},
      {"--resource",
       {"NAME=AMOUNT", "an amount of CPU, GPU, memory or a custom resource; may be repeated",
        [](Options& o, const string& v) { return set_resource(v, &o.resources); }}},
      {"--object-store-memory",
       {"BYTES", "size of the object store; default 30% of the memory",
        [](Options& o, const string& v) { return parse_number(v, &o.object_store_bytes); }}},
      {"--python",
       {"PATH", "the Python interpreter of workers; default python3",
        [](Options& o, const string& v) {
          o.python = v;
          return !v.empty();
        }}},
      {"--python-path",
       {"PATHS", "put in front of workers' PYTHONPATH",
        [](Options& o, const string& v) {
          o.python_path = v;
          return true;
        }}},
      {"--zygote",
       {"WORD", "a word of the command that forks workers; may be repeated",
        [](Options& o, const string& v) {
          o.zygote.push_back(v);
          return true;
        }}},
      {"--label",
       {"KEY=VALUE", "a label of this node; may be repeated",
        [](Options& o, const string& v) { return set_label(v, &o.labels); }}},
      {"--labels",
       {"KEY=VALUE,...", "several labels", [](Options& o, const string& v) { return set_labels(v, &o.labels); }}},
      {"--owner-pid",
       {"PID", "end when this process ends",
        [](Options& o, const string& v) { return parse_number(v, &o.owner_pid) && o.owner_pid > 0; }}},
      {"--owner-fd",
       {"FD", "end when the other end of this descriptor closes",
        [](Options& o, const string& v) { return parse_number(v, &o.owner_fd) && o.owner_fd >= 0; }}},
      {"--ready-fd",
       {"FD", "where to write 'ready PID' once the socket listens",
        [](Options& o, const string& v) { return parse_number(v, &o.ready_fd) && o.ready_fd >= 0; }}},
      {"--max-workers",
       {"N", "most worker processes at once; default: as many as memory, processes and open files allow",
        [](Options& o, const string& v) { return parse_number(v, &o.max_workers) && o.max_workers > 0; }}},
  };
}

// Where it is and whom it belongs to.
OptionTable cluster_options() {
  using std::string;
  return {
      {"--address",
       {"IP", "this host's address as others see it; default 127.0.0.1",
        [](Options& o, const string& v) {
          o.address = v;
          return !v.empty();
        }}},
      {"--port",
       {"PORT", "listen for other hosts; 0 takes any free port; without it no other host can reach this node",
        [](Options& o, const string& v) { return parse_number(v, &o.port) && o.port >= 0 && o.port <= 65535; }}},
      {"--bind",
       {"IP", "the address to listen on; default: that of --address",
        [](Options& o, const string& v) {
          o.bind = v;
          return !v.empty();
        }}},
      {"--tls",
       {"USE", "encrypt links to other hosts: auto (those that leave this host; the default), on (all), off (none)",
        [](Options& o, const string& v) { return parse_tls(v, &o.tls); }}},
      {"--outside",
       {nullptr, "with --join: for a driver that can reach only that port of the head, and cannot be reached",
        [](Options& o, const string&) {
          o.outside = true;
          return true;
        }}},
      {"--grace-ms",
       {"MS", "with --outside: how long the line to the head may be broken; default 30000",
        [](Options& o, const string& v) { return parse_number(v, &o.grace_ms) && o.grace_ms >= 0; }}},
      {"--client-port",
       {"PORT", "a second port for nodes outside of the network, if it is free",
        [](Options& o, const string& v) {
          return parse_number(v, &o.client_port) && o.client_port > 0 && o.client_port <= 65535;
        }}},
      {"--python-version",
       {"VERSION", "that of the workers: programs of another minor version are refused",
        [](Options& o, const string& v) {
          o.python_version = v;
          return true;
        }}},
  };
}

// What the head keeps, and which head this node has.
OptionTable head_options() {
  using std::string;
  return {
      {"--journal",
       {"FILE",
        "the head keeps the cluster's state there, and goes on with what is there when it starts. An address "
        "redis://... is given by the environment variable NARKE_JOURNAL, since it may hold a password",
        [](Options& o, const string& v) {
          o.journal = v;
          return !v.empty();
        }}},
      {"--new-journal",
       {nullptr, "what the journal holds is not gone on with",
        [](Options& o, const string&) {
          o.new_journal = true;
          return true;
        }}},
      {"--join",
       {"HOST:PORT",
        "join the cluster of the head that listens there; needs --port, and the cluster's token in the "
        "session directory",
        [](Options& o, const string& v) {
          o.join = v;
          return v.find(':') != string::npos;
        }}},
      {"--head",
       {nullptr, "this node begins a cluster (the default without --join)",
        [](Options& o, const string&) {
          o.head = true;
          return true;
        }}},
  };
}

const OptionTable& options() {
  static const OptionTable table = [] {
    OptionTable all = node_options();
    all.merge(cluster_options());
    all.merge(head_options());
    all.merge(dashboard_options());
    return all;
  }();
  return table;
}

}  // namespace

std::string usage() {
  std::string out = "narke-node: the daemon of one host\n\n";
  for (const auto& [name, option] : options())
    out += "  " + name + (option.value ? " " + std::string(option.value) : "") + "\n      " + option.help + "\n";
  return out;
}

Result<Options> parse_options(const std::vector<std::string>& arguments, const char* memory_threshold) {
  Options out;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i], value;
    const size_t equals = name.find('=');
    const bool inlined = equals != std::string::npos;
    if (inlined) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const auto option = options().find(name);
    if (option == options().end()) return invalid("Unknown option " + name + ".");
    if (option->second.value && !inlined) {
      if (++i == arguments.size()) return invalid("Option " + name + " needs a value: " + option->second.value + ".");
      value = arguments[i];
    }
    if ((!option->second.value && inlined) || !option->second.apply(out, value))
      return invalid("Invalid value '" + value + "' for option " + name + ".");
  }
  if (out.session_dir.empty()) return invalid("Option --session-dir is missing.");
  if (out.head && !out.join.empty()) return invalid("A node is the head or joins one: give --head or --join.");
  if (!out.join.empty() && out.port < 0) return invalid("Option --join needs --port.");
  if (out.tls_cert.empty() != out.tls_key.empty())
    return invalid("A certificate and its key come together: give --tls-cert and --tls-key.");
  if (out.outside && out.join.empty()) return invalid("Option --outside needs --join.");
  if (memory_threshold != nullptr) {
    const bool valid = parse_number(std::string(memory_threshold), &out.memory_threshold);
    if (!valid || !(out.memory_threshold > 0 && out.memory_threshold <= 1))
      return invalid("NARKE_MEMORY_THRESHOLD must be a number above 0 and at most 1.");
  }
  return out;
}

}  // namespace narke::node
