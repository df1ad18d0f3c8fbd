#include "node/zygote.h"

#include <cstring>

#include <sys/socket.h>
#include <unistd.h>

#include "node/spawn.h"
#include "node/wire.h"

extern char** environ;

namespace narke::node {

static Error failed(const std::string& what, int error) {
  return {ErrorCode::kFailed, what + ": " + std::strerror(error)};
}

static std::vector<std::string> environment(const std::string& python_path) {
  std::vector<std::string> out;
  std::string path = "PYTHONPATH=" + python_path;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "PYTHONPATH=", 11) != 0)
      out.emplace_back(*entry);
    else
      path += (python_path.empty() ? "" : ":") + std::string(*entry + 11);
  }
  if (path.size() > 11) out.push_back(path);
  return out;
}

Zygote::~Zygote() {
  if (!link_) return;
  link_->set_handler(nullptr);
  link_->close({ErrorCode::kDisconnected, "the zygote is not needed any more"});
}

Status Zygote::start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return failed("socketpair", errno);
  SpawnOrder order;
  order.command = config_.command;
  order.command.push_back(std::to_string(ends[1]));
  order.environment = environment(config_.python_path);
  order.cwd = config_.cwd;
  order.keep = {ends[1]};
  order.output_path = config_.log_dir + "/" + config_.name + ".out";
  order.error_path = config_.log_dir + "/" + config_.name + ".err";
  const int error = spawn(order, &pid_);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return failed("cannot execute " + order.command[0] + " (option --python)", error);
  }
  link_ = reactor_.adopt(ends[0], true, this, true);
  return ok_status();
}

void Zygote::fork(const WorkerId& worker, const ForkRequest& request) {
  if (!link_) {
    out_.on_fork_failed(worker, "The zygote process is not running.", false);
    return;
  }
  Builder builder(request.config->size() + 512);
  const auto bytes = builder.CreateVector(*request.config);
  const auto id = worker.to_wire<wire::WorkerId>();
  const auto output = builder.CreateString(request.stdout_path);
  const auto errors = builder.CreateString(request.stderr_path);
  builder.Finish(wire::CreateForkWorker(builder, &id, bytes, output, errors));
  asked_[worker] = request;
  link_->send(wire::MessageType::ForkWorker, 0, builder);
}

void Zygote::on_frame(rpc::Connection&, const rpc::Frame& frame) {
  if (frame.type == wire::MessageType::Forked) {
    on_forked(frame);
  } else if (frame.type == wire::MessageType::ChildExited) {
    if (const auto* exited = frame.as<wire::ChildExited>()) out_.on_child_exited(exited->pid(), exited->status());
  }
}

void Zygote::on_forked(const rpc::Frame& frame) {
  const auto* forked = frame.as<wire::Forked>();
  if (forked == nullptr || forked->worker() == nullptr) return;
  const WorkerId worker = WorkerId::from_wire(forked->worker());
  asked_.erase(worker);
  if (forked->pid() > 0)
    out_.on_forked(worker, forked->pid());
  else
    out_.on_fork_failed(worker, "The zygote could not fork: " + text_of(forked->error()), forked->postponed());
}

void Zygote::on_closed(rpc::Connection&, const Error& why) {
  link_ = nullptr;
  for (auto& [worker, request] : std::exchange(asked_, {})) out_.on_fork_lost(worker, std::move(request));
  out_.on_zygote_gone(why.message);
}

}  // namespace narke::node
