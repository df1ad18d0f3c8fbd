#include "gateway/node_link.h"

#include <sys/random.h>
#include <unistd.h>

namespace narke::gateway {

static constexpr std::chrono::seconds kCallLimit{25};
static constexpr std::chrono::seconds kProbeLimit{120};  // a profile takes up to a minute

static WorkerId random_id() {
  WorkerId id;
  NARKE_CHECK(getrandom(id.data(), WorkerId::kSize, 0) == static_cast<ssize_t>(WorkerId::kSize));
  return id;
}

flexbuffers::Map ControlAnswer::map() const {
  if (body.empty() || !flexbuffers::VerifyBuffer(body.data(), body.size())) return flexbuffers::Map::EmptyMap();
  return flexbuffers::GetRoot(body.data(), body.size()).AsMap();
}

NodeLink::NodeLink(std::string token, bool here_only, std::function<void(const std::string&)> on_lost)
    : reactor_(rpc::Identity{std::move(token), "", random_id()}), here_only_(here_only), on_lost_(std::move(on_lost)) {}

NodeLink::~NodeLink() {
  if (link_) link_->set_handler(nullptr);
}

Status NodeLink::connect(const std::string& socket_path) {
  auto link = reactor_.connect(socket_path, this);
  if (!link.ok()) return link.error();
  link_ = std::move(link).value();
  flatbuffers::FlatBufferBuilder builder;
  const auto self = reactor_.identity().self.to_wire<wire::WorkerId>();
  wire::RegisterBuilder request(builder);
  request.add_kind(wire::ProgramKind::Observer);
  request.add_worker(&self);
  request.add_pid(getpid());
  builder.Finish(request.Finish());
  link_->send(wire::MessageType::Register, link_->next_call_id(), builder);
  link_->flush();
  return ok_status();
}

void NodeLink::call(const std::string& method, std::vector<uint8_t> body, Answer answer) {
  if (!link_ || link_->is_closed()) return answer({"RaySystemError", "The node is gone.", {}});
  flatbuffers::FlatBufferBuilder builder(body.size() + 128);
  const auto name = builder.CreateString(here_only_ ? "here:" + method : method);
  const auto bytes = builder.CreateVector(body);
  builder.Finish(wire::CreateControl(builder, name, bytes));
  const uint32_t id = link_->next_call_id();
  const auto limit = method == "probe" ? kProbeLimit : kCallLimit;
  waiting_[id] = {std::move(answer), method, rpc::Reactor::Clock::now() + limit};
  link_->send(wire::MessageType::Control, id, builder);
  link_->flush();
}

void NodeLink::turn() {
  reactor_.wait(0);
  reactor_.dispatch();
}

void NodeLink::tick() {
  std::vector<Waiting> late;
  const auto now = rpc::Reactor::Clock::now();
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (at->second.deadline > now) {
      ++at;
      continue;
    }
    late.push_back(std::move(at->second));
    at = waiting_.erase(at);
  }
  for (Waiting& each : late)
    each.answer({"GetTimeoutError", "The node did not answer '" + each.method + "' in time.", {}});
}

void NodeLink::on_frame(rpc::Connection& link, const rpc::Frame& frame) {
  if (frame.type == wire::MessageType::Registered) {
    const auto* reply = frame.as<wire::Registered>();
    const std::string error = reply && reply->error() ? reply->error()->str() : reply ? "" : "a malformed answer";
    if (!error.empty()) link.close({ErrorCode::kRefused, error});
    return;
  }
  const auto* reply = frame.type == wire::MessageType::ControlReply ? frame.as<wire::ControlReply>() : nullptr;
  const auto at = waiting_.find(frame.call_id);
  if (reply == nullptr || at == waiting_.end()) return;  // late answers of calls that were given up
  const Answer answer = std::move(at->second.answer);
  waiting_.erase(at);
  ControlAnswer out;
  if (reply->error_kind()) out.error_kind = reply->error_kind()->str();
  if (reply->error()) out.error = reply->error()->str();
  if (reply->body()) out.body.assign(reply->body()->begin(), reply->body()->end());
  answer(std::move(out));
}

void NodeLink::on_closed(rpc::Connection&, const Error& why) {
  auto waiting = std::exchange(waiting_, {});
  for (auto& [id, each] : waiting) each.answer({"RaySystemError", "The node is gone: " + why.message, {}});
  on_lost_(why.message);
}

}  // namespace narke::gateway
