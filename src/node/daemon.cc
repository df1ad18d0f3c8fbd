#include "node/daemon.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "node/host_limits.h"
#include "node/memory_guard.h"
#include "node/shared_spill.h"

namespace narke::node {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

static constexpr milliseconds kMemoryPeriod{250};
static constexpr double kMemoryMargin = 0.05;  // below the threshold: no more workers are started
static constexpr milliseconds kTickPeriod{250};
static constexpr size_t kTokenBytes = 32;
static constexpr sched::Amount kStoreShare = 3'000;  // of the memory, in 1/10,000

static Error failed(const std::string& what) { return {ErrorCode::kFailed, what + ": " + std::strerror(errno)}; }

static std::string random_hex(size_t bytes) {
  std::string raw(bytes, '\0'), out;
  NARKE_CHECK(getrandom(raw.data(), bytes, 0) == static_cast<ssize_t>(bytes));
  static constexpr char kDigits[] = "0123456789abcdef";
  for (const unsigned char byte : raw) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

static int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// ---- start -------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Daemon>> Daemon::make(const Options& options) {
  std::unique_ptr<Daemon> daemon(new Daemon(options));
  if (Status started = daemon->start(); !started.ok()) return started.error();
  return daemon;
}

Status Daemon::start() {
  node_ = random_node_id();
  if (Status prepared = prepare_session(); !prepared.ok()) return prepared;
  // Blocked before any thread begins, so that the store's threads do not take them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signals_ = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);

  reactor_ = std::make_unique<rpc::Reactor>(rpc::Identity{token_, cluster_id_, as_program(node_), options_.tls});
  if (Status opened = open_door(); !opened.ok()) return opened;
  service_ = std::make_unique<Service>(*reactor_, service_config(), [this](const std::string& m) { log(m); });
  ZygoteConfig zygote;
  zygote.command = options_.zygote;
  zygote.python_path = options_.python_path;
  zygote.log_dir = path("logs");
  if (zygote.command.empty()) zygote.command = {options_.python, "-m", "narke._private.zygote", "--fd"};
  processes_ = std::make_unique<Processes>(*reactor_, std::move(zygote), *service_);
  if (!options_.outside)  // nothing runs there
    if (Status started = processes_->start(); !started.ok()) return started;
  if (Status made = make_store(); !made.ok()) return made;
  service_->attach(*processes_, *store_);
  if (!options_.spill_storage.empty()) share_spill(options_.spill_storage);
  if (!options_.join.empty() && options_.spill_dir.empty() && !options_.outside)
    service_->on_spill_storage([this](const std::string& storage) { share_spill(storage); });
  if (Status listening = reactor_->listen(path("sockets/node"), [this](rpc::Connection&) { return service_.get(); });
      !listening.ok())
    return listening;
  reactor_->watch(signals_, [this] { on_signal(); });
  if (Status watching = watch_owner(); !watching.ok()) return watching;
  if (Status serving = start_gateway(); !serving.ok()) return serving;
  tick();
  store_tick();
  guard_memory();
  if (door_) {
    tunnels_ = std::make_unique<tunnel::Tunnels>(*reactor_, service_->tunnels_out(),
                                                 [this](const std::string& message) { log(message); });
    service_->attach_tunnels(*tunnels_);
    if (!options_.outside)
      if (Status made = make_transfers(); !made.ok()) return made;
    service_->begin_rounds();
  }
  service_->on_expelled([this](const std::string& why) { begin_stop(why); });
  if (!options_.journal.empty()) {
    auto journal = journal::Journal::open(options_.journal);
    if (!journal.ok()) return journal.error();
    if (options_.new_journal)
      if (Status erased = journal.value()->erase(); !erased) return erased;
    if (Status resumed = service_->resume(std::move(journal).value()); !resumed.ok()) return resumed;
  }
  if (Status joining = join_cluster(); !joining.ok()) return joining;
  log("ready, pid " + std::to_string(getpid()) + ", resources " + options_.resources.text());
  return ok_status();
}

// The port is known before anything else is: it is part of every address that this host's programs give away.
Status Daemon::open_door() {
  if (options_.port < 0) return ok_status();
  const std::string& host = options_.bind.empty() ? options_.address : options_.bind;
  auto opened = rpc::Door::open(
      *reactor_, host, options_.port,
      [this](const rpc::Preface& preface, int fd) { service_->on_arrival(preface, fd); },
      [this](const std::string& message) { log(message); });
  if (!opened.ok()) return opened.error();
  door_ = std::move(opened).value();
  return open_client_door();
}

// The port that Ray's clients know. It is not needed: it may be another cluster's.
Status Daemon::open_client_door() {
  if (options_.client_port < 0 || options_.client_port == door_->port()) return ok_status();
  const std::string& host = options_.bind.empty() ? options_.address : options_.bind;
  auto opened = rpc::Door::open(
      *reactor_, host, options_.client_port,
      [this](const rpc::Preface& preface, int fd) {
        if (preface.kind == rpc::LinkKind::kTunnel) return service_->on_arrival(preface, fd);
        ::close(fd);
      },
      [this](const std::string& message) { log(message); });
  if (opened.ok())
    client_door_ = std::move(opened).value();
  else
    log("drivers from outside come through port " + std::to_string(door_->port()) + " only: " + opened.error().message);
  return ok_status();
}

Status Daemon::make_transfers() {
  transfer::TransferConfig config;
  config.address = service_->endpoint();
  config.tls = options_.tls;
  config.through_tunnel = options_.outside;
  config.log = [this](const std::string& message) { log(message); };
  auto transfers = transfer::Transfers::make(*reactor_, *store_, token_, config);
  if (!transfers.ok()) return transfers.error();
  transfers_ = std::move(transfers).value();
  service_->attach_transfers(*transfers_);
  return ok_status();
}

Status Daemon::join_cluster() {
  if (options_.join.empty()) {
    say_ready();
    return ok_status();
  }
  const auto joined = [this](std::string error) {
    if (error.empty() && options_.outside)
      if (Status made = make_transfers(); !made.ok()) error = made.error().message;
    if (error.empty()) return say_ready();
    const std::string text = "The cluster at " + options_.join + " could not be joined: " + error;
    say_ready(text);
    status_ = 1;
    begin_stop(text);
  };
  if (!options_.outside) {
    service_->join(options_.join, joined);
    return ok_status();
  }
  tunnels_->dial(options_.join, node_, options_.grace_ms, [this, joined](const std::string& error) {
    if (!error.empty()) return joined(error);
    service_->join(rpc::routed_endpoint(service_endpoint(), rpc::head_alias()), joined);
  });
  return ok_status();
}

Status Daemon::prepare_session() {
  std::error_code error;
  for (const char* folder : {"logs", "sockets"})
    if (!error) fs::create_directories(path(folder), error);
  if (error)
    return Error{ErrorCode::kFailed,
                 "cannot make the session directory " + options_.session_dir + ": " + error.message()};
  log_.open(path("logs/narke-node.log"), "raylet");
  std::ofstream(path("node_id")) << node_.hex() << "\n";
  std::ifstream existing(path("token"), std::ios::binary);
  token_.assign(std::istreambuf_iterator<char>(existing), {});
  const auto space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  token_.erase(std::find_if_not(token_.rbegin(), token_.rend(), space).base(), token_.end());
  token_.erase(token_.begin(), std::find_if_not(token_.begin(), token_.end(), space));
  if (!token_.empty()) return ok_status();
  token_ = random_hex(kTokenBytes);
  const int fd = open(path("token").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return failed("cannot write " + path("token"));
  const bool written = write(fd, token_.data(), token_.size()) == static_cast<ssize_t>(token_.size());
  close(fd);
  return written ? ok_status() : Status(failed("cannot write " + path("token")));
}

Status Daemon::make_store() {
  store::ServerConfig config;
  config.capacity_bytes = static_cast<uint64_t>(options_.resources.get("object_store_memory") / sched::kOne);
  config.spill_dir = options_.spill_dir.empty() ? path("spill") : options_.spill_dir;
  if (!options_.spill_dir.empty()) {  // whoever clears up after a crash finds it there
    std::error_code error;
    fs::remove(path("spill"), error);
    fs::create_symlink(options_.spill_dir, path("spill"), error);
    if (error) return failed("cannot link " + path("spill") + " to " + options_.spill_dir);
  }
  auto made = store::Server::make(config, *service_);
  if (!made.ok()) return made.error();
  store_ = std::move(made).value();
  reactor_->watch(store_->event_fd(), [this] { store_tick(); });
  return ok_status();
}

// Objects go to storage that all nodes reach.
void Daemon::share_spill(const std::string& storage) {
  SharedSpillConfig config;
  config.storage = storage;
  config.self = node_;
  config.command = {options_.python, "-c",
                    "import sys; sys.path.insert(0, sys.argv[1]); from narke._private import spiller; spiller.main()",
                    options_.python_path};
  config.error_path = path("logs/spiller.err");
  config.is_head = options_.join.empty();
  config.spare = [this](int pid, bool on) { processes_->spare(pid, on); };
  config.clears_on_crash = config.is_head && options_.journal.empty();
  auto spill = std::make_unique<SharedSpill>(*reactor_, std::move(config), [this](const std::string& m) { log(m); });
  spill->attach(*store_);
  service_->attach_spill(*spill);
  store_->spill_to(std::move(spill));
}

Status Daemon::start_gateway() {
  GatewayConfig config;
  config.host = options_.dashboard_host;
  config.port = options_.dashboard_port;
  config.metrics_port = options_.metrics_port;
  config.agent_port = options_.agent_port;
  config.is_member = !options_.join.empty();
  config.eager = options_.dashboard_eager;
  config.program = options_.gateway;
  if (config.program.empty()) config.program = fs::read_symlink("/proc/self/exe").parent_path() / "narke-gateway";
  config.session_dir = options_.session_dir;
  config.address = options_.address;
  config.python = options_.python;
  config.python_path = options_.python_path;
  static constexpr const char* kUses[] = {"auto", "on", "off"};
  config.tls = kUses[static_cast<int>(options_.tls)];
  config.tls_cert = options_.tls_cert;
  config.tls_key = options_.tls_key;
  gateway_ = std::make_unique<GatewayProcess>(*reactor_, std::move(config), [this](const std::string& m) { log(m); });
  if (Status started = gateway_->start(); !started.ok()) return started;
  service_->set_metrics_target(metrics_target());
  return ok_status();
}

std::string Daemon::metrics_target() const {
  const std::string& host = options_.dashboard_host;
  if (gateway_->metrics_port() == 0 || rpc::is_loopback(host)) return "";
  const bool is_any = host == "0.0.0.0" || host == "::";
  return (is_any ? options_.address : host) + ":" + std::to_string(gateway_->metrics_port());
}

ServiceConfig Daemon::service_config() {
  ServiceConfig config;
  const auto memory = memory_use();
  const uint64_t total = memory ? memory->total_bytes : 1ull << 30;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  sched::ResourceSet& resources = options_.resources;
  if (options_.object_store_bytes == 0) options_.object_store_bytes = total / sched::kOne * kStoreShare;
  resources.set("object_store_memory", static_cast<sched::Amount>(options_.object_store_bytes) * sched::kOne);
  if (resources.get("memory") == 0)
    resources.set("memory",
                  static_cast<sched::Amount>(total - std::min(total, options_.object_store_bytes)) * sched::kOne);
  resources.set("node:" + options_.address, sched::kOne);
  if (options_.join.empty()) resources.set("node:__internal_head__", sched::kOne);

  const int cpus = static_cast<int>(resources.get("CPU") / sched::kOne);
  config.node.node = node_;
  std::memcpy(&config.node.lease_base, node_.data(), sizeof(config.node.lease_base));
  config.node.lease_base = config.node.lease_base >> 1 & ~uint64_t{0xffffffff};
  config.is_head = options_.join.empty();
  config.outside = options_.outside;
  config.python = options_.python_version;
  if (options_.outside) {
    config.outside_of = options_.join;
    config.door = service_endpoint();
    config.grace_ms = options_.grace_ms;
  } else if (door_) {
    config.endpoint = service_endpoint();
  }
  config.node.resources = options_.outside ? sched::ResourceSet() : resources;
  config.node.labels = options_.labels;
  config.node.labels["ray.io/node-id"] = config.node.node.hex();
  config.node.prestart_limit = std::min(cpus, cores);
  config.node.max_starting = cores * 2;
  const WorkerBound bound = worker_bound(host_limits(total));
  config.node.max_workers = options_.max_workers == 0 ? bound.count : options_.max_workers;
  config.node.max_workers_reason = options_.max_workers == 0 ? bound.reason : "option --max-workers";
  config.node.idle_keep = cpus;
  config.spill_storage = options_.spill_storage;
  config.session_dir = options_.session_dir;
  config.socket_path = path("sockets/node");
  config.token_path = path("token");
  config.address = options_.address;
  char host[256] = "localhost";
  gethostname(host, sizeof(host) - 1);
  config.hostname = host;
  config.setup_command = {options_.python, "-c",
                          "import sys; sys.path.insert(0, sys.argv[1]); "
                          "from narke._private.runtime_env import setup; setup.main()",
                          options_.python_path, options_.session_dir};
  return config;
}

std::string Daemon::service_endpoint() const { return rpc::host_port_text(options_.address, door_->port()); }

void Daemon::say_ready(const std::string& error) {
  if (options_.ready_fd < 0) return;
  std::string line = error.empty() ? "ready " + std::to_string(getpid()) : "error " + error;
  std::replace(line.begin(), line.end(), '\n', ' ');
  if (error.empty() && gateway_->port() != 0)
    line += " dashboard=" + std::to_string(gateway_->port()) + " metrics=" + std::to_string(gateway_->metrics_port()) +
            " agent=" + std::to_string(gateway_->agent_port());
  line += '\n';
  if (write(options_.ready_fd, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    log("nobody reads the ready descriptor: " + std::string(std::strerror(errno)));
  close(options_.ready_fd);
}

Status Daemon::watch_owner() {
  if (options_.owner_pid > 0) {
    owner_ = static_cast<int>(syscall(SYS_pidfd_open, options_.owner_pid, 0));
    if (owner_ < 0) return failed("the owner, process " + std::to_string(options_.owner_pid) + ", cannot be watched");
    reactor_->watch(owner_, [this] { begin_stop("its owner has ended"); });
  }
  if (options_.owner_fd >= 0) {
    fcntl(options_.owner_fd, F_SETFD, FD_CLOEXEC);
    fcntl(options_.owner_fd, F_SETFL, fcntl(options_.owner_fd, F_GETFL) | O_NONBLOCK);
    reactor_->watch(options_.owner_fd, [this] {
      char byte;
      const ssize_t got = read(options_.owner_fd, &byte, 1);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) begin_stop("its owner has closed the link");
    });
  }
  return ok_status();
}

// ---- run ---------------------------------------------------------------------------------------------------

int Daemon::run() {
  while (!stopping_) {
    reactor_->wait(-1);
    reactor_->dispatch();
  }
  shut_down();
  return status_;
}

void Daemon::on_signal() {
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGCHLD)
      processes_->reap();
    else
      on_told_to_stop(std::string("signal ") + strsignal(static_cast<int>(info.ssi_signo)));
  }
}

void Daemon::tick() {
  service_->tick();
  reactor_->after(kTickPeriod, [this] { tick(); });
}

void Daemon::store_tick() {
  reactor_->cancel(store_timer_);
  const int next_ms = store_->tick(steady_ns());
  store_timer_ = reactor_->after(milliseconds(next_ms), [this] { store_tick(); });
}

void Daemon::guard_memory() {
  if (const auto use = memory_use()) {
    if (use->share() > options_.memory_threshold - kMemoryMargin)
      service_->hold_starts(use->text(), 2 * kMemoryPeriod.count());
    if (use->share() > options_.memory_threshold) service_->relieve_memory(use->text());
  }
  reactor_->after(kMemoryPeriod, [this] { guard_memory(); });
}

// ---- stop --------------------------------------------------------------------------------------------------

// A second time means: at once.
void Daemon::on_told_to_stop(const std::string& why) {
  if (!service_->ask_to_leave(why)) begin_stop(why);
}

void Daemon::begin_stop(const std::string& why) {
  if (std::exchange(stopping_, true)) return;
  log("stopping: " + why);
}

void Daemon::shut_down() {
  gateway_->stop();
  processes_->stop();
  processes_->kill_all();
  service_->stop();
  service_->drop_journal();
  reactor_->flush_all();
  std::error_code ignored;  // what cannot be removed was removed already
  fs::remove(path("sockets/node"), ignored);
  const bool in_file = !options_.journal.empty() && !options_.journal.starts_with(journal::kRedisScheme);
  if (in_file)  // it was stopped on purpose: nobody is to go on with it
    for (const char* part : {"", "-wal", "-shm"}) fs::remove(options_.journal + part, ignored);
  log("stopped");
}

Daemon::~Daemon() {
  door_.reset();
  client_door_.reset();
  tunnels_.reset();
  transfers_.reset();
  gateway_.reset();
  service_.reset();
  store_.reset();  // before processes_: its spill process may be started once more, to clear up
  processes_.reset();
  reactor_.reset();
  std::error_code ignored;
  fs::remove_all(path("spill"), ignored);
  if (!options_.spill_dir.empty()) fs::remove_all(options_.spill_dir, ignored);
  for (const int fd : {signals_, owner_})
    if (fd >= 0) close(fd);
}

void Daemon::log(const std::string& message) { log_.write(message); }

}  // namespace narke::node
