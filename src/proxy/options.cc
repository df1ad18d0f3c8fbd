#include "proxy/options.h"

#include <charconv>
#include <functional>
#include <map>

namespace narke::proxy {
namespace {

using Apply = std::function<bool(Options&, const std::string&)>;

struct Option {
  const char* help;
  Apply apply;
};

template <class Number>
bool parse_number(const std::string& text, Number* out) {
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && at == end && *out >= Number{0};
}

Apply text(std::string Options::* field) {
  return [field](Options& o, const std::string& v) { return o.*field = v, true; };
}
Apply server_text(std::string ServerConfig::* field) {
  return [field](Options& o, const std::string& v) { return o.server.*field = v, true; };
}
Apply tls_text(std::string TlsFiles::* field) {
  return [field](Options& o, const std::string& v) { return o.server.tls.*field = v, true; };
}
template <class Number>
Apply number(Number ServerConfig::* field) {
  return [field](Options& o, const std::string& v) { return parse_number(v, &(o.server.*field)); };
}

const std::map<std::string, Option>& options() {
  static const std::map<std::string, Option> all = {
      {"--node-socket", {"the node's socket", text(&Options::node_socket)}},
      {"--token-file", {"file with the session's token", text(&Options::token_file)}},
      {"--session-dir", {"the session's folder", text(&Options::session_dir)}},
      {"--controller", {"id of the Serve controller actor, in hex", text(&Options::controller)}},
      {"--node-id", {"id of this node, in hex", server_text(&ServerConfig::node)}},
      {"--host", {"address to listen on", server_text(&ServerConfig::host)}},
      {"--port", {"port to listen on; 0 takes a free one", number(&ServerConfig::port)}},
      {"--keep-alive-ms", {"an idle connection is closed after this", number(&ServerConfig::keep_alive_ms)}},
      {"--head-timeout-ms", {"a request's head must be complete after this", number(&ServerConfig::head_timeout_ms)}},
      {"--body-stall-ms", {"longest pause within a body or an answer", number(&ServerConfig::body_stall_ms)}},
      {"--drain-ms", {"after SIGTERM, requests may take so long", number(&ServerConfig::drain_ms)}},
      {"--body-limit", {"most bytes of a request's body", number(&ServerConfig::body_limit)}},
      {"--access-log", {"file for a line per request", server_text(&ServerConfig::access_log)}},
      {"--ssl-key", {"private key, PEM", tls_text(&TlsFiles::key)}},
      {"--ssl-certificate", {"certificate chain, PEM", tls_text(&TlsFiles::certificate)}},
      {"--ssl-key-password", {"password of the key", tls_text(&TlsFiles::key_password)}},
      {"--ssl-authorities", {"clients must be certified by one of these, PEM", tls_text(&TlsFiles::authorities)}},
  };
  return all;
}

}  // namespace

Result<Options> parse_options(const std::vector<std::string>& arguments) {
  Options out;
  for (const std::string& argument : arguments) {
    size_t equals = argument.find('=');
    auto option = options().find(argument.substr(0, equals));
    if (option == options().end() || equals == std::string::npos)
      return Error{ErrorCode::kFailed, "unknown option " + argument + "; see narke-proxy --help"};
    if (!option->second.apply(out, argument.substr(equals + 1)))
      return Error{ErrorCode::kFailed, "bad value in " + argument + "; see narke-proxy --help"};
  }
  if (out.node_socket.empty() || out.token_file.empty() || out.controller.size() != 2 * ActorId::kSize)
    return Error{ErrorCode::kFailed, "--node-socket, --token-file and --controller are needed"};
  return out;
}

std::string usage() {
  std::string out = "narke-proxy: the HTTP proxy of Serve on one node\n\n";
  for (const auto& [name, option] : options()) out += "  " + name + "=...  " + option.help + "\n";
  return out;
}

}  // namespace narke::proxy
