#include "proxy/controller_link.h"

#include "proxy/pickle_writer.h"

namespace narke::proxy {
namespace {

constexpr int64_t kRetryMs = 100;
constexpr int64_t kReportMs = 1000;
constexpr uint8_t kBytesForm = 0x07;  // bindings/value_form.h

rpc::Bytes inside(rpc::Bytes value) {
  return !value.empty() && value[0] == kBytesForm ? value.subspan(1) : rpc::Bytes();
}

}  // namespace

// A table in pieces, as they come.
struct ControllerLink::Tables final : CallListener {
  explicit Tables(ControllerLink& link) : owner(link) {}
  void on_item(rpc::Bytes value) override {
    rpc::Bytes piece = inside(value);
    bytes.append(piece.data(), piece.size());
    owner.calls_.consumed(*call);
  }
  void on_end(bool is_error, rpc::Bytes value) override {
    call.reset();
    rpc::Bytes rest = is_error ? rpc::Bytes() : inside(value);
    bytes.append(rest.data(), rest.size());
    bool good = !is_error && (bytes.empty() || owner.router_.apply(bytes.span()).ok());
    bytes.clear();
    if (!good) {
      owner.ask_at_ms_ = owner.now_ms_ + kRetryMs;
      return;
    }
    owner.router_.pump_all(owner.now_ms_);
    owner.ask();
  }
  ControllerLink& owner;
  CallPtr call;
  ByteBuffer bytes;
};

struct ControllerLink::Report final : CallListener {
  void on_item(rpc::Bytes) override {}
  void on_end(bool, rpc::Bytes) override { call.reset(); }
  CallPtr call;
};

ControllerLink::ControllerLink(Calls& calls, Router& router, const ActorId& controller, std::string node)
    : calls_(calls),
      router_(router),
      controller_(controller),
      node_(std::move(node)),
      routes_method_(Calls::method("serve_routes", 0)),
      report_method_(Calls::method("serve_report", 0)),
      tables_(std::make_unique<Tables>(*this)),
      report_(std::make_unique<Report>()) {}

ControllerLink::~ControllerLink() {
  if (tables_->call) Calls::forget(*tables_->call);
  if (report_->call) Calls::forget(*report_->call);
}

void ControllerLink::start(int64_t now_ms) {
  now_ms_ = now_ms;
  ask();
}

void ControllerLink::ask() {
  ask_at_ms_ = -1;
  PickleWriter out;
  out.begin_tuple();
  out.integer(router_.version());
  out.end_tuple();
  tables_->call = calls_.start(controller_, routes_method_, {out.finish()}, *tables_);
}

bool ControllerLink::queues_changed() {
  uint64_t queued = 0;
  for (const auto& [key, backend] : router_.backends()) queued += backend->queue.size();
  return std::exchange(queued_, queued) != queued;
}

void ControllerLink::tick(int64_t now_ms, const Stats& stats) {
  now_ms_ = now_ms;
  if (ask_at_ms_ >= 0 && now_ms >= ask_at_ms_) ask();
  if (report_->call || (now_ms < report_at_ms_ && !queues_changed())) return;
  report_at_ms_ = now_ms + kReportMs;
  PickleWriter out;
  out.begin_tuple();
  out.text(node_);
  out.begin_list();
  for (const auto& [key, backend] : router_.backends()) {
    if (backend->queue.empty()) continue;
    out.begin_tuple();
    out.text(key);
    out.integer(static_cast<int64_t>(backend->queue.size()));
    out.end_tuple();
  }
  out.end_list();
  out.integer(stats.ongoing());
  out.text(stats.prometheus(node_));
  out.end_tuple();
  report_->call = calls_.start(controller_, report_method_, {out.finish()}, *report_);
}

}  // namespace narke::proxy
