// narke-proxy: the HTTP proxy of Serve on one node. See --help. Prints "listening on PORT" once it does.
//
// SIGTERM: takes no new connections and ends when nothing is under way. Ends at once when its parent does.
#include <csignal>
#include <cstdio>
#include <fstream>

#include <flatbuffers/flexbuffers.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "proxy/controller_link.h"
#include "proxy/options.h"

namespace narke::proxy {
namespace {

// Told of SIGTERM and SIGINT in the loop.
class Signals final : public Watcher {
 public:
  Signals(Loop& loop, std::function<void()> callback) : loop_(loop), callback_(std::move(callback)) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    NARKE_CHECK(fd_ >= 0);
    loop_.add(fd_, /*EPOLLIN*/ 1, *this);
  }
  ~Signals() override {
    loop_.remove(fd_);
    ::close(fd_);
  }
  void on_events(uint32_t) override {
    signalfd_siginfo info;
    while (::read(fd_, &info, sizeof(info)) == sizeof(info)) {
    }
    callback_();
  }

 private:
  Loop& loop_;
  std::function<void()> callback_;
  int fd_;
};

std::string read_token(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  file >> token;
  return token;
}

std::string job_config() {
  flexbuffers::Builder b;
  b.Map([&] {
    b.String("namespace", "_ray_internal_serve_proxy");
    b.String("entrypoint", "narke-proxy");
    b.Bool("log_to_driver", false);
    b.Bool("observer", true);  // no job of a user's: no worker is started for it, no list shows it
  });
  b.Finish();
  return {b.GetBuffer().begin(), b.GetBuffer().end()};
}

bool parse_actor(const std::string& hex, ActorId* out) {
  for (size_t i = 0; i < ActorId::kSize; ++i) {
    unsigned byte = 0;
    if (std::sscanf(hex.c_str() + 2 * i, "%2x", &byte) != 1) return false;
    out->data()[i] = static_cast<uint8_t>(byte);
  }
  return true;
}

int fail(const std::string& why) {
  std::fprintf(stderr, "narke-proxy: %s\n", why.c_str());
  return 1;
}

int serve(const Options& options, worker::Engine& engine, const ActorId& controller) {
  Loop loop;
  Calls calls(engine, loop);
  Router router(static_cast<uint64_t>(::getpid()), options.server.node);
  auto made = Server::make(options.server, loop, calls, router);
  if (!made) return fail(made.error().message);
  std::unique_ptr<Server> server = std::move(made).value();
  ControllerLink link(calls, router, controller, options.server.node);
  Signals signals(loop, [&] { server->drain(); });
  engine.set_node_lost_hook([&] { loop.stop(); });
  link.start(loop.now_ms());
  std::printf("listening on %d\n", server->port());
  std::fflush(stdout);
  int64_t next_link_ms = 0;
  loop.on_turn([&] {
    if (loop.now_ms() >= next_link_ms) {
      next_link_ms = loop.now_ms() + 100;
      link.tick(loop.now_ms(), server->stats());
    }
    return server->turn();
  });
  loop.run();
  return 0;
}

int run(const Options& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  ActorId controller;
  if (!parse_actor(options.controller, &controller)) return fail("--controller is not an actor's id");
  worker::EngineConfig config;
  config.kind = wire::ProgramKind::Driver;
  config.node_socket = options.node_socket;
  config.token = read_token(options.token_file);
  config.session_dir = options.session_dir;
  config.job_config = job_config();
  auto engine = worker::Engine::connect(config);
  if (!engine) return fail(engine.error().message);
  return serve(options, *engine.value(), controller);
}

}  // namespace
}  // namespace narke::proxy

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const std::string& argument : arguments)
    if (argument == "--help") {
      std::fputs(narke::proxy::usage().c_str(), stdout);
      return 0;
    }
  auto options = narke::proxy::parse_options(arguments);
  if (!options) {
    std::fprintf(stderr, "narke-proxy: %s\n", options.error().message.c_str());
    return 2;
  }
  return narke::proxy::run(options.value());
}
