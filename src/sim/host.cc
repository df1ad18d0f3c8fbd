#include "sim/host.h"

#include <cstring>

#include "rpc/tcp.h"

namespace narke::sim {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using TimePoint = std::chrono::steady_clock::time_point;

static constexpr milliseconds kTickPeriod{250};

static int64_t us_of(TimePoint time) {
  return std::chrono::duration_cast<microseconds>(time.time_since_epoch()).count();
}

// One end of a line as a connection writes to it.
class Host::Stream : public rpc::Pipe {
 public:
  Stream(const Host& host, LinePtr line, int end) : host_(host), line_(std::move(line)), end_(end) {}
  void write(rpc::Bytes bytes) override {
    if (!host_.is_doomed()) line_->write(end_, bytes);
  }
  void close() override {
    if (!host_.is_doomed()) line_->close(end_);
  }

 private:
  const Host& host_;
  LinePtr line_;
  int end_;
};

// The head's records; they outlive its daemon.
class Host::Diary : public journal::Journal {
 public:
  explicit Diary(Host& host) : host_(host) {}
  Status load(const Visit& visit) override {
    for (const auto& [key, value] : host_.records_) visit(key.first, key.second, value);
    return ok_status();
  }
  Status apply(const std::vector<journal::Change>& changes) override {
    if (host_.doomed_ || host_.stage_.loses_records()) return ok_status();
    if (host_.stage_.dies_at_journal(host_)) {
      host_.doomed_ = true;
      if (host_.stage_.timeline().chance(500)) return ok_status();
    }
    for (const journal::Change& change : changes) {
      if (change.value)
        host_.records_[{change.table, change.key}] = *change.value;
      else
        host_.records_.erase({change.table, change.key});
    }
    return ok_status();
  }
  Status erase() override {
    host_.records_.clear();
    return ok_status();
  }
  bool outlives_head() const override { return true; }

 private:
  Host& host_;
};

Host::Host(Stage& stage, int index, sched::ResourceSet resources, sched::Labels labels)
    : stage_(stage),
      index_(index),
      endpoint_("h" + std::to_string(index) + ":1"),
      resources_(std::move(resources)),
      labels_(std::move(labels)) {}

Host::~Host() = default;

// ---- life --------------------------------------------------------------------------------------------------

node::ServiceConfig Host::config(bool is_head) {
  node::ServiceConfig config;
  config.node.node = node_;
  std::memcpy(&config.node.lease_base, node_.data(), sizeof(config.node.lease_base));
  config.node.lease_base = config.node.lease_base >> 1 & ~uint64_t{0xffffffff};
  config.node.resources = resources_;
  config.node.labels = labels_;
  config.node.labels["ray.io/node-id"] = node_.hex();
  config.node.prestart_limit = 2;
  config.node.max_workers = 64;
  config.node.idle_keep = 4;
  config.address = "h" + std::to_string(index_);
  config.hostname = config.address;
  config.endpoint = endpoint_;
  config.is_head = is_head;
  config.head_wait_ms = 60'000;
  config.new_worker_id = [this] { return stage_.timeline().id<WorkerId>(); };
  return config;
}

void Host::boot(const std::string& head) {
  ++boots_;
  doomed_ = false;
  left_.clear();
  node_ = stage_.timeline().id<NodeId>();
  reactor_ = std::make_unique<rpc::Reactor>(rpc::Identity{"token", "cluster", node::as_program(node_)},
                                            static_cast<rpc::Surroundings*>(this));
  service_ = std::make_unique<node::Service>(*reactor_, config(head.empty()), [this](const std::string& text) {
    stage_.note("h" + std::to_string(index_) + ": " + text);
  });
  service_->attach(*this, *this);
  tick();
  service_->begin_rounds();
  if (head.empty()) {
    const Status resumed = service_->resume(std::make_unique<Diary>(*this));
    NARKE_CHECK(resumed.ok());
  } else {
    service_->on_expelled([this](const std::string& why) { left_ = why.empty() ? "?" : why; });
    service_->join(head, [this](const std::string& error) { left_ = error; });
  }
  pump();
}

void Host::crash(bool power) {
  if (!is_up()) return;
  const auto lines = std::exchange(lines_, {});
  service_.reset();
  reactor_.reset();
  timer_us_ = 0;
  if (power) stage_.network().silence(index_);
  for (const auto& [weak, end] : lines)
    if (const LinePtr line = weak.lock()) line->close(end);
}

void Host::tick() {
  service_->tick();
  reactor_->after(kTickPeriod, [this] { tick(); });
}

void Host::pump() {
  if (!is_up()) return;
  reactor_->dispatch();
  if (doomed_) return stage_.on_daemon_left(*this, "it was killed while it wrote its journal");
  if (!left_.empty()) return stage_.on_daemon_left(*this, std::exchange(left_, ""));
  stage_.on_step(*this);
  schedule();
}

void Host::schedule() {
  const auto due = reactor_->next_due();
  if (!due) return;
  const int64_t at = std::max(us_of(*due), stage_.timeline().now_us() + 1);
  if (timer_us_ != 0 && timer_us_ <= at) return;
  timer_us_ = at;
  stage_.timeline().at(at, [this, at, boots = boots_] {
    if (boots != boots_ || timer_us_ != at) return;
    timer_us_ = 0;
    const int64_t stalled = stage_.network().stalled_until_us(index_);
    if (stalled <= stage_.timeline().now_us()) return pump();
    timer_us_ = stalled;
    stage_.timeline().at(stalled, [this, stalled, boots] {
      if (boots != boots_ || timer_us_ != stalled) return;
      timer_us_ = 0;
      pump();
    });
  });
}

TimePoint Host::now() { return TimePoint(microseconds(stage_.timeline().now_us())); }

// ---- streams -----------------------------------------------------------------------------------------------

// The frame that the bytes begin with, for the trace.
static std::string frame_name(rpc::Bytes bytes) {
  rpc::FrameHeader header;
  if (bytes.size() < sizeof(header)) return "bytes";
  std::memcpy(&header, bytes.data(), sizeof(header));
  return wire::EnumNameMessageType(static_cast<wire::MessageType>(header.type));
}

rpc::ConnectionPtr Host::join(const LinePtr& line, int end, rpc::Handler* handler, bool trusted) {
  const rpc::ConnectionPtr connection =
      reactor_->adopt(std::make_unique<Stream>(*this, line, end), end == 1, handler, trusted);
  const std::weak_ptr<rpc::Connection> weak = connection;
  line->attach(
      end,
      [this, weak, from = line->host(1 - end)](rpc::Bytes bytes) {
        if (const rpc::ConnectionPtr to = weak.lock()) {
          if (stage_.traces())
            stage_.trace("h" + std::to_string(index_) + " hears h" + std::to_string(from) + ", " +
                         to->peer().hex().substr(0, 8) + ": " + frame_name(bytes));
          to->deliver(bytes);
          pump();
        }
      },
      [this, weak](const std::string& why) {
        if (const rpc::ConnectionPtr to = weak.lock()) {
          to->deliver_end(why);
          pump();
        }
      });
  if (lines_.size() > 64 && lines_.size() % 64 == 0)
    std::erase_if(lines_, [](const auto& each) { return each.first.expired(); });
  lines_.emplace_back(line, end);
  return connection;
}

Result<rpc::ConnectionPtr> Host::connect(rpc::Reactor&, const std::string& host_port, const std::string& preface,
                                         rpc::Handler* handler) {
  const NodeId wanted =
      rpc::read_preface({reinterpret_cast<const uint8_t*>(preface.data()), preface.size()}).value().node;
  Host* target = stage_.host_at(host_port);
  if (target == nullptr) return Error{ErrorCode::kFailed, "no such host: " + host_port};
  const LinePtr line = stage_.network().dial(index_, target->index_, [target, wanted](const LinePtr& arrived) {
    if (!target->is_up() || (!wanted.is_nil() && wanted != target->node_)) return false;
    target->join(arrived, 1, &target->service_->node_links(), false);
    target->pump();
    return true;
  });
  return join(line, 0, handler, false);
}

bool Host::accept_program(const LinePtr& line) {
  if (!is_up()) return false;
  join(line, 1, service_.get(), true);
  return true;
}

// ---- processes ---------------------------------------------------------------------------------------------

void Host::kill_after(const WorkerId& worker, int delay_ms) {
  stage_.timeline().after(delay_ms * kMs, [this, worker, boots = boots_] {
    if (boots == boots_ && is_up()) stage_.kill_worker(*this, worker);
  });
}

void Host::on_process_gone(const WorkerId& worker, const node::Fate& fate) {
  if (!is_up()) return;
  static_cast<node::ProcessesOut&>(*service_).on_process_gone(worker, fate);
  pump();
}

void Host::on_process_failed(const WorkerId& worker, bool postponed) {
  if (!is_up()) return;
  static_cast<node::ProcessesOut&>(*service_).on_process_failed(worker, "the host has no room", postponed);
  pump();
}

}  // namespace narke::sim
