// narke-gateway: HTTP for one node; started by narke-node, which binds its sockets.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/own_log.h"
#include "gateway/http_server.h"
#include "gateway/job_routes.h"
#include "gateway/library_routes.h"
#include "gateway/log_keeper.h"
#include "gateway/log_routes.h"
#include "gateway/metric_routes.h"
#include "gateway/pages.h"
#include "gateway/probe_routes.h"
#include "gateway/serve_routes.h"
#include "gateway/state_routes.h"
#include "gateway/tls_front.h"
#include "rpc/tcp.h"

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace narke::gateway;  // this is the program of that module

namespace {

constexpr std::chrono::milliseconds kTick{250};
constexpr int kTicksToTrim = 20;
constexpr int kMappedBytes = 256 << 10;  // what is larger goes back to the system when it is freed

using Options = std::map<std::string, std::string>;

Options options_of(int argc, char** argv) {
  Options out;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = word.find('=');
    if (word.starts_with("--") && equals != word.npos) out[word.substr(2, equals - 2)] = word.substr(equals + 1);
  }
  return out;
}

std::string token_of(const std::string& session_dir) {
  std::string token = read_file(session_dir + "/token").value_or("");
  while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back()))) token.pop_back();
  return token;
}

// Names of this host, and those that $NARKE_DASHBOARD_ALLOWED_HOSTS allows (comma separated; ".example.org": all
// below).
std::set<std::string> own_hosts() {
  std::set<std::string> out;
  char name[256] = "";
  if (gethostname(name, sizeof(name) - 1) == 0) out.insert(name);
  const char* allowed = std::getenv("NARKE_DASHBOARD_ALLOWED_HOSTS");
  std::string text = allowed ? allowed : "";
  if (std::getenv("KUBERNETES_SERVICE_HOST")) text += ",.svc,.svc.cluster.local";
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    if (end > at) out.insert(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

class Program {
 public:
  explicit Program(Options options)
      : options_(std::move(options)),
        session_(options_["session-dir"]),
        token_(token_of(session_)),
        link_(token_, is_member(), [this](const std::string& why) { on_node_lost(why); }),
        gateway_({token_, own_hosts()}, session_ + "/packages"),
        jobs_(jobs_config(), link_),
        job_routes_(jobs_, link_, gateway_.guard(), after(), session_ + "/packages"),
        state_routes_(link_, job_routes_, gateway_.guard()),
        log_routes_(link_, jobs_, after()),
        metric_routes_(link_, {session_, options_["address"], std::atoi(options_["node-pid"].c_str()), is_member()}),
        log_keeper_(link_, session_),
        probe_routes_(link_),
        commands_(io_),
        serve_routes_(link_, commands_, python()),
        library_routes_(link_, job_routes_, gateway_.guard(), commands_, python()),
        pages_({files_dir(), fs::path(session_).filename(), is_member()}, gateway_.guard(), link_),
        server_(io_, gateway_),
        signals_(io_, SIGTERM, SIGINT),
        node_(io_, dup(link_.fd())),
        ticker_(io_) {}

  int run() {
    if (token_.empty()) return fail("the session has no token");
    std::error_code error;
    fs::create_directories(session_ + "/packages", error);
    if (const auto connected = link_.connect(session_ + "/sockets/node"); !connected.ok())
      return fail(connected.error().message);
    add_routes();
    if (const auto fronted = make_front(); !fronted.ok()) return fail(fronted.error().message);
    server_.serve(std::atoi(options_["web-fd"].c_str()), false, front_.get());
    server_.serve(std::atoi(options_["metrics-fd"].c_str()), true);
    if (const int agent = std::atoi(options_["agent-fd"].c_str()); agent > 0) server_.serve(agent, false, front_.get());
    signals_.async_wait([this](auto, int) { stop(0); });
    await_node();
    tick();
    io_.run();
    return status_;
  }

 private:
  // Of a node that is not the head, which tells of its host alone: figures, logs, stacks, health.
  bool is_member() { return options_["member"] == "1"; }

  void add_routes() {
    Router& router = gateway_.router();
    log_routes_.add_to(router);
    metric_routes_.add_to(router);
    probe_routes_.add_to(router);
    pages_.add_to(gateway_);
    if (is_member()) return;
    jobs_.load();
    job_routes_.add_to(router);
    state_routes_.add_to(router);
    serve_routes_.add_to(router);
    library_routes_.add_to(router);
    learn_session();
  }

  static std::string beside(const char* program) { return fs::read_symlink("/proc/self/exe").parent_path() / program; }
  std::string files_dir() { return beside("../dashboard"); }

  // Where the dashboard listens on loopback alone, nothing leaves the host.
  narke::Status make_front() {
    const std::string use = options_["tls"];
    if (use == "off" || (use != "on" && narke::rpc::is_loopback(options_["web-host"]))) return narke::ok_status();
    TlsFiles files{options_["tls-cert"], options_["tls-key"]};
    if (files.certificate.empty()) {
      const std::set<std::string> hosts = own_hosts();
      std::vector<std::string> names(hosts.begin(), hosts.end());
      names.push_back(options_["address"]);
      const auto own = own_certificate(session_ + "/tls", names);
      if (!own.ok()) return own.error();
      files = own.value();
    }
    auto made = TlsFront::make(files, use == "on");
    if (!made.ok()) return made.error();
    front_ = std::move(made).value();
    return narke::ok_status();
  }

  ServeConfig python() { return {options_["python"], options_["python-path"], session_}; }

  JobsConfig jobs_config() {
    JobsConfig out;
    out.session_dir = session_;
    out.supervisor = beside("narke-job");
    out.python = options_["python"];
    out.python_path = options_["python-path"];
    out.node_pid = std::atoi(options_["node-pid"].c_str());
    out.node_ip = options_["address"];
    return out;
  }

  After after() {
    return [this](std::chrono::milliseconds delay, std::function<void()> then) {
      auto timer = std::make_shared<asio::steady_timer>(io_, delay);  // held by its own handler
      timer->async_wait([timer, then = std::move(then)](auto) { then(); });
    };
  }

  int fail(const std::string& what) {
    narke::complain("dashboard", what);
    return 1;
  }

  void learn_session() {
    link_.call("session_info", map_body([](auto&) {}),
               [this](const ControlAnswer& answer) { jobs_.set_node(text_at(json_of(answer.map()), "node_id")); });
  }

  void await_node() {
    node_.async_wait(asio::posix::descriptor_base::wait_read, [this](auto error) {
      if (error || status_ >= 0) return;
      link_.turn();
      await_node();
    });
    link_.turn();
  }

  void tick() {
    link_.tick();
    if (!is_member()) jobs_.tick();
    metric_routes_.tick();
    if (!is_member()) log_keeper_.tick(epoch_now_ms());
    if (++ticks_ % kTicksToTrim == 0) malloc_trim(0);
    ticker_.expires_after(kTick);
    ticker_.async_wait([this](auto error) {
      if (!error) tick();
    });
  }

  void on_node_lost(const std::string& why) {
    if (status_ < 0) narke::complain("dashboard", "the node is gone: " + why);
    stop(0);
  }

  void stop(int status) {
    if (status_ >= 0) return;
    status_ = status;
    server_.stop();
    io_.stop();
  }

  Options options_;
  std::string session_, token_;
  asio::io_context io_{1};
  NodeLink link_;
  Gateway gateway_;
  Jobs jobs_;
  JobRoutes job_routes_;
  StateRoutes state_routes_;
  LogRoutes log_routes_;
  MetricRoutes metric_routes_;
  LogKeeper log_keeper_;
  ProbeRoutes probe_routes_;
  Commands commands_;
  ServeRoutes serve_routes_;
  LibraryRoutes library_routes_;
  Pages pages_;
  std::unique_ptr<TlsFront> front_;  // null: clients talk in the clear
  HttpServer server_;
  asio::signal_set signals_;
  asio::posix::stream_descriptor node_;
  asio::steady_timer ticker_;
  int ticks_ = 0;
  int status_ = -1;
};

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  umask(0077);
  mallopt(M_ARENA_MAX, 1);  // one thread does nearly everything
  mallopt(M_MMAP_THRESHOLD, kMappedBytes);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  Options options = options_of(argc, argv);
  for (const char* name : {"session-dir", "web-fd", "metrics-fd", "node-pid"})
    if (!options.contains(name)) {
      std::fprintf(stderr, "narke-gateway is started by narke-node; --%s is missing\n", name);
      return 2;
    }
  Program program(std::move(options));
  return program.run();
}
