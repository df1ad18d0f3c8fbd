// Questions in words that this daemon puts to programs and other daemons, and those that other daemons put to it.
#include "node/service.h"

namespace narke::node {

static void build_control(Builder& builder, const std::string& method, const std::vector<uint8_t>& body) {
  const auto name = builder.CreateString(method);
  const auto bytes = builder.CreateVector(body);
  builder.Finish(wire::CreateControl(builder, name, bytes));
}

void Service::reply_control(const WorkerId& program, uint32_t call_id, const Answer& answer) {
  Builder& builder = fresh();
  const auto error = builder.CreateString(answer.error);
  const auto kind = builder.CreateString(answer.error_kind);
  const auto body = builder.CreateVector(answer.body);
  builder.Finish(wire::CreateControlReply(builder, error, kind, body));
  if (Program* to = find(program))
    send_to(*to, MessageType::ControlReply, call_id, builder);
  else if (is_member(as_node(program)))
    peers_.send(as_node(program), MessageType::ControlReply, call_id, builder);
}

bool Service::is_member(const NodeId& node) const {
  return node == head_ || cluster_.controller().nodes.find(node) != nullptr;
}

// ---- asking ------------------------------------------------------------------------------------------------

void Service::ask_program(const WorkerId& program, const std::string& method, const std::vector<uint8_t>& body,
                          int64_t limit_ms, Asking::Then then) {
  Program* to = find(program);
  if (to == nullptr || to->link == nullptr)
    return then({"RaySystemError", "Program " + program.hex() + " is gone.", {}});
  const uint32_t number = asking_.begin(program, method, now_ms() + limit_ms, std::move(then));
  Builder builder(body.size() + 128);
  build_control(builder, method, body);
  to->link->send(MessageType::Control, number, builder);
}

void Service::ask_node(const NodeId& node, const std::string& method, const std::vector<uint8_t>& body,
                       int64_t limit_ms, Asking::Then then) {
  const uint32_t number = asking_.begin(as_program(node), method, now_ms() + limit_ms, std::move(then));
  Builder builder(body.size() + 128);
  build_control(builder, method, body);
  if (!peers_.send(node, MessageType::Control, number, builder)) asking_.on_gone(as_program(node));
}

const Program* Service::program_of(const ProgramName& target) {
  for (const auto& [id, program] : programs_) {
    const bool is_meant = target.worker.is_nil() ? program->pid == target.pid : id == target.worker;
    if (is_meant && is_asked(*program)) return program.get();
  }
  return nullptr;
}

bool Service::is_asked(const Program& program) {
  return program.link != nullptr && program.kind != wire::ProgramKind::Observer && program.register_call == 0;
}

std::vector<WorkerId> Service::programs() {
  std::vector<WorkerId> out;
  for (const auto& [id, program] : programs_)
    if (is_asked(*program)) out.push_back(id);
  std::sort(out.begin(), out.end());
  return out;
}

// ---- answers, and questions of other daemons ---------------------------------------------------------------

bool Service::on_answer(const WorkerId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::ControlReply>();
  if (table == nullptr) return false;
  Answer answer{text_of(table->error_kind()), text_of(table->error()), {}};
  if (table->body() != nullptr) answer.body.assign(table->body()->begin(), table->body()->end());
  asking_.on_answer(from, frame.call_id, std::move(answer));
  return true;
}

void Service::on_node_question(const NodeId& from, const rpc::Frame& frame) {
  const auto* table = frame.as<wire::Control>();
  if (!is_member(from) || table == nullptr || table->method() == nullptr) return;
  const flexbuffers::Map body =
      table->body() ? map_of(table->body()->data(), table->body()->size()) : flexbuffers::Map::EmptyMap();
  Program caller;  // stands for the daemon
  caller.id = as_program(from);
  caller.kind = wire::ProgramKind::Observer;
  caller.node = from;
  control_.handle(caller, frame.call_id, table->method()->str(), body);
}

}  // namespace narke::node
