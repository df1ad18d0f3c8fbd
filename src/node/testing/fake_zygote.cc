#include "node/testing/fake_zygote.h"

#include <cstdlib>
#include <fstream>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/wire.h"
#include "rpc/reactor.h"

namespace narke::node::testing {

using wire::MessageType;

namespace {

// Registers, becomes any actor it is asked to be (class "Bad" fails), says so on its output, leaves when told.
class FakeWorker : public rpc::Handler {
 public:
  FakeWorker(WorkerId id, const flexbuffers::Map& config, std::string token)
      : id_(id), reactor_({std::move(token), "", id}), socket_(config["node_socket"].AsString().str()) {}

  int run() {
    auto link = reactor_.connect(socket_, this);
    if (!link.ok()) return 3;
    Builder builder;
    const auto endpoint = builder.CreateString("fake-" + std::to_string(getpid()));
    const auto id = id_.to_wire<wire::WorkerId>();
    wire::RegisterBuilder request(builder);
    request.add_kind(wire::ProgramKind::Worker);
    request.add_worker(&id);
    request.add_pid(getpid());
    request.add_endpoint(endpoint);
    builder.Finish(request.Finish());
    link.value()->send(MessageType::Register, 1, builder);
    while (status_ < 0) {
      reactor_.wait(1000);
      reactor_.dispatch();
    }
    return status_;
  }

  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override {
    if (frame.type == MessageType::ExitWorker) status_ = 0;
    if (frame.type == MessageType::StartActor) start_actor(link, frame);
    if (const int fd = link.take_fd(); fd >= 0) close(fd);
  }
  void on_closed(rpc::Connection&, const Error&) override { status_ = 4; }

 private:
  void start_actor(rpc::Connection& link, const rpc::Frame& frame) {
    const auto* start = frame.as<wire::StartActor>();
    if (start == nullptr || start->spec() == nullptr) {
      status_ = 5;
      return;
    }
    const bool ok = text_of(start->spec()->class_name()) != "Bad";
    const std::string line = "became " + text_of(start->spec()->class_name()) + "\n";
    if (write(1, line.data(), line.size()) < 0) status_ = 6;
    Builder builder;
    wire::ActorStartedBuilder started(builder);
    const auto actor = *start->spec()->actor();
    started.add_actor(&actor);
    started.add_ok(ok);
    builder.Finish(started.Finish());
    const std::string error = ok ? "" : "raised";
    link.send(MessageType::ActorStarted, 0, builder, {reinterpret_cast<const uint8_t*>(error.data()), error.size()});
  }

  WorkerId id_;
  rpc::Reactor reactor_;
  std::string socket_;
  int status_ = -1;
};

class FakeZygote : public rpc::Handler {
 public:
  explicit FakeZygote(int fd) : reactor_({}), fd_(fd) {}

  int run() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    const int children = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    link_ = reactor_.adopt(fd_, false, this, true);
    reactor_.watch(children, [this, children] {
      signalfd_siginfo info;
      while (read(children, &info, sizeof(info)) > 0) report();
    });
    while (!closed_) {
      reactor_.wait(-1);
      reactor_.dispatch();
    }
    return 0;
  }

  void on_frame(rpc::Connection&, const rpc::Frame& frame) override {
    const auto* request = frame.as<wire::ForkWorker>();
    if (request == nullptr) return;
    const WorkerId id = WorkerId::from_wire(request->worker());
    const int pid = fork();
    if (pid == 0) {
      close(fd_);
      _exit(become_worker(id, *request));
    }
    Builder builder;
    const auto wired_id = id.to_wire<wire::WorkerId>();
    builder.Finish(wire::CreateForked(builder, &wired_id, pid));
    link_->send(MessageType::Forked, 0, builder);
  }
  void on_closed(rpc::Connection&, const Error&) override { closed_ = true; }

 private:
  static void redirect(int fd, const std::string& path) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(file, fd);
    close(file);
  }

  static int become_worker(const WorkerId& id, const wire::ForkWorker& request) {
    setsid();
    redirect(1, text_of(request.stdout_path()));
    redirect(2, text_of(request.stderr_path()));
    const std::string config = bytes_of(request.config());
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    const flexbuffers::Map map = map_of(reinterpret_cast<const uint8_t*>(config.data()), config.size());
    if (map["runtime_env"].AsString().str() == "broken") return 7;
    std::ifstream file(map["token_path"].AsString().str());
    std::string token;
    std::getline(file, token);
    return FakeWorker(id, map, token).run();
  }

  void report() {
    int status = 0;
    int pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      Builder builder;
      builder.Finish(wire::CreateChildExited(builder, pid, status));
      link_->send(MessageType::ChildExited, 0, builder);
    }
  }

  rpc::Reactor reactor_;
  int fd_;
  rpc::ConnectionPtr link_;
  bool closed_ = false;
};

}  // namespace

int run_fake_zygote(int fd) { return FakeZygote(fd).run(); }

}  // namespace narke::node::testing
