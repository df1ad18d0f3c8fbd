#include "transfer/transfer.h"

#include <algorithm>
#include <utility>

namespace narke::transfer {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);

// key: shared by the threads that make streams, for as long as they run.
Wrap wrap_with(std::shared_ptr<const rpc::TlsKey> key) {
  return [key = std::move(key)](int fd, Side side, const rpc::Preface& preface) {
    const std::string first = side == Side::kAsker ? rpc::write_preface(preface) : std::string();
    return preface.tls ? tls_stream(*key, fd, first) : plain_stream(fd, first);
  };
}

}  // namespace

Result<std::unique_ptr<Transfers>> Transfers::make(rpc::Reactor& reactor, store::Server& store,
                                                   const std::string& token, TransferConfig config) {
  if (config.address.size() > kMostAddress)
    return Error{ErrorCode::kFailed, "The node's address " + config.address + " is longer than " +
                                         std::to_string(kMostAddress) + " bytes; use its number."};
  config.chunk_bytes = std::clamp<uint64_t>(config.chunk_bytes, 4096, kMostData);
  config.connections = std::max(config.connections, 1);
  config.threads = std::max(config.threads, 1);
  config.fan_out = std::max(config.fan_out, 1);
  config.most_pulls = std::max<size_t>(config.most_pulls, 1);
  if (!config.wrap) config.wrap = wrap_with(std::make_shared<const rpc::TlsKey>(token));
  LinkConfig link{.token = token, .address = config.address, .stall_ms = config.stall_ms};
  auto io = Io::make(link, config.threads, config.wrap, config.tls);
  if (!io.ok()) return io.error();
  auto transfers = std::unique_ptr<Transfers>(new Transfers(reactor, store, std::move(config)));
  transfers->start(std::move(io).value());
  return transfers;
}

Transfers::Transfers(rpc::Reactor& reactor, store::Server& store, TransferConfig config)
    : reactor_(reactor), store_(store), config_(std::move(config)) {}

void Transfers::start(std::unique_ptr<Io> io) {
  io_ = std::move(io);
  auto post = [this](std::function<void()> work) { this->post(std::move(work)); };
  bodies_ = std::make_unique<Bodies>(store_, post);
  giver_ = std::make_unique<Giver>(*io_, *bodies_, config_);
  puller_ = std::make_unique<Puller>(*io_, *bodies_, store_, config_, post);
  bodies_->on_change([this](const ObjectId& id, const std::string& why) { giver_->on_changed(id, why); });
  reactor_.watch(io_->event_fd(), [this] { on_events(); });
}

Transfers::~Transfers() {
  reactor_.unwatch(io_->event_fd());
  is_closing_ = true;
  if (post_timer_ != 0) reactor_.cancel(post_timer_);
  if (tick_timer_ != 0) reactor_.cancel(tick_timer_);
  io_.reset();  // its threads use the arena
  puller_.reset();
  giver_.reset();
}

void Transfers::serve(int fd, bool tls) { io_->adopt(fd, {.kind = rpc::LinkKind::kData, .target = {}, .tls = tls}); }

void Transfers::pull(const ObjectId& id, const std::vector<std::string>& sources, uint64_t owner, PullDone done) {
  puller_->pull(id, sources, owner, std::move(done));
  arm();
}

void Transfers::forget(const ObjectId& id) { puller_->forget(id); }

std::vector<std::string> Transfers::given(const ObjectId& id) { return giver_->given(id); }

void Transfers::forget_owner(uint64_t owner) { giver_->forget_owner(owner); }

void Transfers::node_gone(const std::string& address, const std::string& why) {
  Error error{ErrorCode::kDisconnected, "its node is gone: " + why};
  giver_->node_gone(address, error);
  puller_->node_gone(address, error);
}

TransferStats Transfers::stats() const { return {puller_->pulls(), puller_->taken_bytes(), giver_->given_bytes()}; }

// ---- events

void Transfers::on_events() {
  for (const Event& event : io_->take()) on_event(event);
  run_posted();
  arm();
}

void Transfers::on_event(const Event& event) {
  switch (event.kind) {
    case Event::Kind::kUp: return giver_->on_up(event.link, event.text);
    case Event::Kind::kRequest: return giver_->on_request(event.link, event.header);
    case Event::Kind::kSent: return giver_->on_sent(event.link);
    case Event::Kind::kAnswer: return puller_->on_answer(event.link, event.header, event.text);
    case Event::Kind::kClosed:
      if (event.error.code == ErrorCode::kRefused && config_.log)
        config_.log("A data connection was ended: " + event.error.message + ".");
      giver_->on_closed(event.link);
      puller_->on_closed(event.link, event.error);
  }
}

void Transfers::post(std::function<void()> work) {
  if (is_closing_) return;
  posted_.push_back(std::move(work));
  if (post_timer_ == 0)
    post_timer_ = reactor_.after(std::chrono::milliseconds(0), [this] {
      post_timer_ = 0;
      run_posted();
    });
}

void Transfers::run_posted() {
  while (!posted_.empty())
    for (auto& next : std::exchange(posted_, {})) next();
  arm();
}

// The clock runs only while something may become late.
void Transfers::arm() {
  if (tick_timer_ != 0 || (giver_->is_idle() && puller_->is_idle())) return;
  tick_timer_ = reactor_.after(kTick, [this] { tick(); });
}

void Transfers::tick() {
  tick_timer_ = 0;
  giver_->tick();
  puller_->tick(clock_ms());
  run_posted();
}

}  // namespace narke::transfer
