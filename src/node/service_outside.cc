// Drivers outside of the cluster's network: their nodes dial the head's port, and every link goes over that line
// (src/tunnel). On the head: links from there are let in or passed on. On such a node: all links go out that way.
#include <sys/socket.h>
#include <unistd.h>

#include "node/service.h"
#include "rpc/tcp.h"

namespace narke::node {

bool Service::is_outside(const NodeId& node) const {
  const controller::Node* known = cluster_.controller().nodes.find(node);
  return known != nullptr && known->outside;
}

// Nil: whoever dials knows no more than the address.
bool Service::is_meant(const NodeId& node) const {
  return node.is_nil() || node == cluster_.self() || (cluster_.is_head() && node == rpc::head_alias());
}

// A link that came here for another node.
void Service::pass_on(const rpc::Preface& preface, int fd) {
  const NodeId session = config_.outside ? rpc::head_alias() : preface.node;
  if (tunnels_ != nullptr && tunnels_->has(session)) return tunnels_->open(session, preface, fd);
  log_("a link for node " + preface.node.hex().substr(0, 8) + " was turned away: no tunnel leads there");
  ::close(fd);
}

int Service::on_stream(const rpc::Preface& preface, std::string* first) {
  if (preface.kind == rpc::LinkKind::kTunnel) return -1;
  const bool through_tunnel = tunnels_->has(preface.node);
  if (is_meant(preface.node) || through_tunnel) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return -1;
    if (through_tunnel)
      tunnels_->open(preface.node, preface, ends[0]);
    else
      on_arrival(preface, ends[0]);
    return ends[1];
  }
  const controller::Node* node = cluster_.controller().nodes.find(preface.node);
  auto endpoint = rpc::parse_endpoint(node == nullptr ? "" : node->endpoint);
  if (!endpoint.ok()) return -1;
  auto dialled = rpc::begin_connect(endpoint.value().host, endpoint.value().port);
  *first = rpc::write_preface(preface);
  return dialled.ok() ? dialled.value() : -1;
}

void Service::on_session_over(const NodeId& node, const std::string& why) {
  if (!config_.outside) {
    node_gone(node, why);
    return settle();
  }
  const std::string text = "The connection to the cluster at " + config_.outside_of + " is lost: " + why + ".";
  for (const auto& [id, program] : programs_) {
    if (program->link == nullptr) continue;
    Builder& b = fresh();
    const auto kind = b.CreateString("error");
    const auto words = b.CreateString(text);
    b.Finish(wire::CreateNotice(b, kind, words));
    program->link->send(MessageType::Notice, 0, b);
  }
  expelled_(text);
}

// Programs that differ in Python's minor version cannot read each other's functions.
std::string Service::objection_to_python(const std::string& theirs) const {
  const auto minor = [](const std::string& version) {
    const size_t dot = version.find('.');
    return dot == std::string::npos ? version : version.substr(0, version.find('.', dot + 1));
  };
  if (theirs.empty() || config_.python.empty() || minor(theirs) == minor(config_.python)) return {};
  return "the cluster runs Python " + config_.python + " and this program Python " + theirs +
         "; functions and classes travel between equal minor versions only: use Python " + minor(config_.python);
}

}  // namespace narke::node
