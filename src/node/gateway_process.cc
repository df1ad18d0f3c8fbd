#include "node/gateway_process.h"

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "node/spawn.h"

namespace narke::node {

using std::chrono::milliseconds;
using std::chrono::seconds;

static constexpr int kDefaultPort = 8265;
static constexpr int kPortsTried = 50;  // after the default one
static constexpr int kBacklog = 128;
static constexpr seconds kSoon{5};  // an end within this time counts as a failed start
static constexpr milliseconds kPause{200};
static constexpr int kMostPauses = 50;

// A listening socket on host:port (0: any port), or -errno.
static int listen_on(const std::string& host, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return -EADDRNOTAVAIL;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool bound = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, kBacklog) == 0;
  const int error = errno;
  freeaddrinfo(found);
  if (bound) return fd;
  if (fd >= 0) close(fd);
  return -error;
}

static int port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

GatewayProcess::GatewayProcess(rpc::Reactor& reactor, GatewayConfig config, std::function<void(const std::string&)> log)
    : reactor_(reactor), config_(std::move(config)), log_(std::move(log)) {}

GatewayProcess::~GatewayProcess() {
  stop();
  for (const int fd : sockets()) {
    reactor_.unwatch(fd);
    close(fd);
  }
  if (pidfd_ < 0) return;
  reactor_.unwatch(pidfd_);
  close(pidfd_);
}

std::vector<int> GatewayProcess::sockets() const {
  std::vector<int> out;
  for (const int fd : {web_, metrics_, agent_})
    if (fd >= 0) out.push_back(fd);
  return out;
}

Status GatewayProcess::bind_web() {
  if (config_.port >= 0) {
    web_ = listen_on(config_.host, config_.port);
  } else {
    for (int port = kDefaultPort; web_ < 0 && port <= kDefaultPort + kPortsTried; ++port)
      web_ = listen_on(config_.host, port);
    if (web_ < 0) web_ = listen_on(config_.host, 0);
  }
  if (web_ < 0)
    return Error{ErrorCode::kFailed, "the dashboard cannot listen on " + config_.host + ":" +
                                         std::to_string(config_.port < 0 ? kDefaultPort : config_.port) + ": " +
                                         std::strerror(-web_) +
                                         ". Choose another --dashboard-port or --dashboard-host."};
  return ok_status();
}

Status GatewayProcess::bind_one(int port, const char* what, const char* option, int* fd, int* bound) {
  *fd = listen_on(config_.host, port);
  if (*fd < 0)
    return Error{ErrorCode::kFailed, std::string(what) + " cannot be served on " + config_.host + ":" +
                                         std::to_string(port) + ": " + std::strerror(-*fd) + ". Choose another " +
                                         option + "."};
  *bound = port_of(*fd);
  return ok_status();
}

Status GatewayProcess::start() {
  if (config_.host.empty()) return ok_status();
  if (Status bound = bind_web(); !bound.ok()) return bound;
  port_ = port_of(web_);
  if (Status bound = bind_one(config_.metrics_port, "metrics", "--metrics-export-port", &metrics_, &metrics_port_);
      !bound.ok())
    return bound;
  if (config_.agent_port >= 0)
    if (Status bound = bind_one(config_.agent_port, "the agent's interface", "--dashboard-agent-listen-port", &agent_,
                                &agent_port_);
        !bound.ok())
      return bound;
  if (config_.eager)
    launch();
  else
    wait_for_client();
  return ok_status();
}

void GatewayProcess::stop() {
  if (std::exchange(stopping_, true)) return;
  if (pid_ > 0) ::kill(pid_, SIGTERM);
}

// ---- the process -------------------------------------------------------------------------------------------

void GatewayProcess::wait_for_client() {
  if (std::exchange(waiting_, true)) return;
  for (const int fd : sockets()) reactor_.watch(fd, [this] { on_client(); });
}

void GatewayProcess::on_client() {
  if (!std::exchange(waiting_, false)) return;
  for (const int fd : sockets()) reactor_.unwatch(fd);
  launch();
}

void GatewayProcess::launch() {
  if (stopping_ || pid_ > 0) return;
  SpawnOrder order;
  order.command = {config_.program,
                   "--web-fd=" + std::to_string(web_),
                   "--metrics-fd=" + std::to_string(metrics_),
                   "--agent-fd=" + std::to_string(agent_),
                   "--member=" + std::to_string(config_.is_member),
                   "--session-dir=" + config_.session_dir,
                   "--address=" + config_.address,
                   "--python=" + config_.python,
                   "--python-path=" + config_.python_path,
                   "--web-host=" + config_.host,
                   "--tls=" + config_.tls,
                   "--tls-cert=" + config_.tls_cert,
                   "--tls-key=" + config_.tls_key,
                   "--node-pid=" + std::to_string(getpid())};
  order.keep = sockets();
  order.output_path = order.error_path = config_.session_dir + "/logs/gateway.err";
  started_ = rpc::Reactor::Clock::now();
  const int error = spawn(order, &pid_);
  if (error != 0) {
    pid_ = 0;
    log_("the gateway " + config_.program + " cannot be started: " + std::strerror(error));
    return;
  }
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ >= 0) reactor_.watch(pidfd_, [this] { on_gone(); });
}

void GatewayProcess::on_gone() {
  reactor_.unwatch(pidfd_);
  close(std::exchange(pidfd_, -1));
  pid_ = 0;
  if (stopping_) return;
  const bool soon = rpc::Reactor::Clock::now() - started_ < kSoon;
  failures_ = soon ? failures_ + 1 : 0;
  log_("the gateway has ended; see gateway.err in the session's logs. Another is started.");
  reactor_.after(kPause * std::min(failures_, kMostPauses), [this] { launch(); });
}

}  // namespace narke::node
