// The engine's life, and how its threads wait. See engine.h.
#include "worker/engine.h"

#include <csignal>
#include <system_error>

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "worker/adopted.h"

namespace narke::worker {
namespace {

constexpr auto kTick = std::chrono::milliseconds(1);
constexpr auto kSignalCheck = std::chrono::milliseconds(100);
constexpr auto kBlockedAfter = std::chrono::milliseconds(2);
constexpr auto kReplyIsLate = std::chrono::milliseconds(500);
constexpr auto kReapPeriod = std::chrono::seconds(5);
constexpr auto kLongTask = std::chrono::milliseconds(5);
constexpr int kQuietTicks = 3;
constexpr auto kRegisterLimit = std::chrono::seconds(30);

rpc::Identity identity_of(const EngineConfig& config) {
  WorkerId self = config.worker;
  if (self.is_nil()) NARKE_CHECK(getrandom(self.data(), WorkerId::kSize, 0) == WorkerId::kSize);
  return {config.token, "", self};
}

int ms_until(Deadline deadline) {
  if (deadline == kNoDeadline) return -1;
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count() + 1;
  return static_cast<int>(std::clamp<long>(left, 0, 1 << 30));
}

// A driver has a link to every actor it calls, and there may be thousands. What a program sets itself stays.
void raise_descriptor_limit() {
  constexpr rlim_t kWanted = 65'536;
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= kWanted) return;
  files.rlim_cur = std::min(files.rlim_max, kWanted);
  setrlimit(RLIMIT_NOFILE, &files);
}

int shorter(int a, int b) { return a < 0 ? b : b < 0 ? a : std::min(a, b); }

}  // namespace

Running& running_here() {
  static thread_local Running running;
  return running;
}

Engine::Engine(const EngineConfig& config)
    : reactor_(identity_of(config)),
      kind_(config.kind),
      session_dir_(config.session_dir),
      objects_(*this, *this),
      submitter_(*this, objects_, *this),
      actors_(*this, objects_, *this),
      executor_(objects_, [this] { return leader_ == Leader::kThread; }) {
  self_.worker = reactor_.identity().self;
  if (records_events_) executor_.set_log(&task_log_);
  executor_.set_gathers([this] { return may_gather(); });
  process_unique_.resize(12);
  NARKE_CHECK(getrandom(process_unique_.data(), process_unique_.size(), 0) == 12);
  token_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  NARKE_CHECK(token_fd_ >= 0);
}

Result<std::unique_ptr<Engine>> Engine::connect(const EngineConfig& config) {
  std::unique_ptr<Engine> engine(new Engine(config));
  Status started = engine->start(config);
  if (!started) return started.error();
  return engine;
}

Status Engine::start(const EngineConfig& config) {
  if (kind_ == wire::ProgramKind::Driver) raise_descriptor_limit();
  {
    Lock held = lock();
    if (Status s = listen(); !s) return s;
    Result<rpc::ConnectionPtr> node = reactor_.connect(config.node_socket, this);
    if (!node)
      return Error{ErrorCode::kDisconnected, "no node runs at " + config.node_socket + " (" + node.error().message +
                                                 "); start one with narke.init() or `narke start --head`"};
    node_ = node.value();
  }
  if (Status s = register_here(config); !s) return s;
  return start_background();
}

Status Engine::listen() {
  self_.endpoint = "@narke-program-" + self_.worker.hex().substr(0, 40);
  return reactor_.listen(self_.endpoint, [this](rpc::Connection&) -> rpc::Handler* { return this; });
}

// Daemons that user code started and that have ended would stay until the worker does.
static void keep_reaping(rpc::Reactor& reactor) {
  reactor.after(kReapPeriod, [&reactor] {
    reap_adopted();
    keep_reaping(reactor);
  });
}

Status Engine::register_here(const EngineConfig& config) {
  flatbuffers::FlatBufferBuilder b(512);
  auto worker = self_.worker.to_wire<wire::WorkerId>();
  auto endpoint = b.CreateString(self_.endpoint);
  auto job_config =
      b.CreateVector(reinterpret_cast<const uint8_t*>(config.job_config.data()), config.job_config.size());
  b.Finish(wire::CreateRegister(b, kind_, &worker, getpid(), endpoint, job_config));
  Status result = Error{ErrorCode::kTimeout, "the node did not answer the registration"};
  bool answered = false;
  Lock held = lock();
  call_node(wire::MessageType::Register, b, {}, [&](const rpc::Frame* frame) {
    answered = true;
    const auto* reply = frame == nullptr ? nullptr : frame->as<wire::Registered>();
    if (reply == nullptr) {
      result = Error{ErrorCode::kDisconnected, "the node closed the connection during registration: " + stop_reason_};
      return;
    }
    if (reply->error() != nullptr && reply->error()->size() > 0) {
      result = Error{ErrorCode::kRefused, reply->error()->str()};
      return;
    }
    self_.node = NodeId::from_wire(reply->node());
    job_ = JobId::from_wire(reply->job());
    if (reply->endpoint() != nullptr && reply->endpoint()->size() > 0) self_.endpoint = reply->endpoint()->str();
    if (reply->door() != nullptr) door_ = reply->door()->str();
    reactor_.set_tls_use(reply->tls());
    task_log_.set_job(job_);
    if (reply->config() != nullptr)
      job_config_.assign(reinterpret_cast<const char*>(reply->config()->data()), reply->config()->size());
    result = ok_status();
    if (!reply->store_fd()) return;
    int fd = node_->take_fd();
    auto store = store::Client::make(fd, *this);
    if (store)
      store_ = std::move(store).value();
    else
      result = store.error();
  });
  wait(held, [&] { return answered; }, Clock::now() + kRegisterLimit);
  if (is_worker()) keep_reaping(reactor_);
  return result;
}

Status Engine::start_background() {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Status started = ok_status();
  try {
    background_ = std::thread([this] { background_loop(); });
  } catch (const std::system_error& error) {
    started = Error{ErrorCode::kOverloaded, std::string("no thread can be started for the engine (") + error.what() +
                                                "); see pid_max, ulimit -u and pids.max"};
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void Engine::disconnect(std::chrono::milliseconds grace) {
  {
    Lock held = lock();
    if (!stopped_ && node() != nullptr && kind_ == wire::ProgramKind::Driver) {
      send_task_events();
      submitter_.return_idle(std::chrono::milliseconds(0));  // those workers leave by themselves, and clean up
      flatbuffers::FlatBufferBuilder b(16);
      b.Finish(wire::CreateGoodbye(b));
      node_->send(wire::MessageType::Goodbye, 0, b);
      wait(held, [this] { return goodbye_ || stopped_; }, Clock::now() + grace);
    }
    reactor_.flush_all();
    stopping_ = true;
    stopped_ = true;
    background_deep_ = false;
    background_cv_.notify_all();
    for (Waiter* waiter : waiters_) waiter->cv.notify_one();
    reactor_.wake();
  }
  log_cv_.notify_all();
  end_probing();
  if (background_.joinable()) background_.join();
}

Engine::~Engine() {
  disconnect(std::chrono::milliseconds(0));
  end_everything();
  if (token_fd_ >= 0) ::close(token_fd_);
}

// Tasks, their arguments and their results hold each other until they end: what is still pending ends here.
void Engine::end_everything() {
  const std::string why = "this program has disconnected (shutdown() was called)";
  Lock held = lock();
  std::vector<TaskPtr> streams;
  for (auto& [id, task] : streams_) streams.emplace_back(task);
  node_calls_.clear();
  for (auto& [link, peer] : links_)
    for (TaskPtr& task : peer->calls.take_all()) {
      task->lease = nullptr;
      fail(*task, make_failure("RaySystemError", why, task->id.hex()));
    }
  submitter_.on_node_lost(why);
  actors_.on_node_lost(why);
  objects_.end_pending(why);
  waiting_.clear();
  for (auto& [id, task] : std::exchange(streams_, {})) task->unref();
  for (TaskPtr& task : streams)  // nobody reads on
    if (task->stream)
      for (ObjectPtr& item : std::exchange(task->stream->items, {})) objects_.drop_use(*item);
}

// ---- leader and followers ----

int Engine::lead(Lock& lock, int timeout_ms) {
  leader_ = Leader::kThread;
  ++lead_count_;
  reactor_.flush_all();
  lock.unlock();
  int n = spin_.pays() ? spin_.look([this] { return reactor_.wait(0); }, sched_yield) : 0;
  if (n <= 0) {
    const auto began = Clock::now();
    n = reactor_.wait(timeout_ms);
    spin_.slept(began, Clock::now());
  }
  lock.lock();
  leader_ = Leader::kNone;
  dispatch_arrived();
  return n;
}

// Handles what wait() saw and wakes whoever waited for it.
void Engine::dispatch_arrived() {
  dispatching_ = true;
  reactor_.dispatch();
  dispatching_ = false;
  serve_waiters();
}

void Engine::serve_waiters() {
  for (Waiter* waiter : waiters_) {
    if (waiter->done || !(stopped_ || (*waiter->ready)())) continue;
    waiter->done = true;
    waiter->cv.notify_one();
  }
}

// After buffering something outside of a dispatch: another thread that waits would not send it.
void Engine::flush_if_needed() {
  if (may_gather()) return;
  if (polled_ || leader_ == Leader::kThread) return reactor_.flush_all();
  if (leader_ != Leader::kBackground || background_asked_) return;
  background_asked_ = true;  // it sends what follows within a tick
  reactor_.wake();
}

// Someone else must lead when this thread stops waiting.
void Engine::leave_wait(Lock&) {
  if (leader_ != Leader::kNone) return;
  for (Waiter* waiter : waiters_)
    if (!waiter->done) return waiter->cv.notify_one();
  if (background_deep_) {
    background_deep_ = false;
    background_cv_.notify_one();
  }
}

bool Engine::interrupted(Lock& lock) {
  if (!interrupt_check_) return false;
  lock.unlock();
  bool stop = interrupt_check_();
  lock.lock();
  return stop;
}

void Engine::send_blocked(bool blocked) {
  blocked_ += blocked ? 1 : -1;
  if (blocked_ != (blocked ? 1 : 0)) return;
  executor_.set_blocked(blocked);
  if (blocked) executor_.give_back_queued();
  rpc::ConnectionPtr link = node();
  if (!link) return;
  flatbuffers::FlatBufferBuilder b(16);
  if (blocked)
    b.Finish(wire::CreateBlocked(b));
  else
    b.Finish(wire::CreateUnblocked(b));
  link->send(blocked ? wire::MessageType::Blocked : wire::MessageType::Unblocked, 0, b);
  link->flush();
}

Waited Engine::wait(Lock& lock, const std::function<bool()>& ready, Deadline deadline) {
  if (ready()) return Waited::kReady;
  bool may_block = kind_ == wire::ProgramKind::Worker && running_here().call != nullptr;
  // A signal may come just before the wait begins: where one may end it, it is looked for now and then.
  bool heeds_signals = interrupt_check_ && (may_block || kind_ == wire::ProgramKind::Driver);
  bool said_blocked = false;
  const auto patience = running_here().awaits_reply ? kReplyIsLate : kBlockedAfter;
  auto began = Clock::now();
  Waited result = Waited::kReady;
  Waiter self;
  self.ready = &ready;
  while (true) {
    if (stopped_) {
      result = Waited::kStopped;
      break;
    }
    auto now = Clock::now();
    if (now >= deadline) {
      result = Waited::kTimeout;
      break;
    }
    if (may_block && !said_blocked && now - began >= patience) {
      send_blocked(true);
      said_blocked = true;
    }
    bool watch_block = may_block && !said_blocked && patience == kBlockedAfter;
    if (leader_ == Leader::kNone) {
      int slice_ms = watch_block ? 2 : heeds_signals ? static_cast<int>(kSignalCheck.count()) : -1;
      int n = lead(lock, shorter(ms_until(deadline), slice_ms));
      if (ready()) break;
      bool look = n <= 0 ? heeds_signals && !watch_block : std::exchange(interrupt_due_, false);
      if (look && interrupted(lock)) {
        result = Waited::kInterrupted;
        break;
      }
      continue;
    }
    if (leader_ == Leader::kBackground && !background_asked_) {
      background_asked_ = true;
      reactor_.wake();
    }
    reactor_.flush_all();  // what this thread asks for leaves now: the leader may sleep long
    waiters_.push_back(&self);
    auto until = std::min(deadline, now + (watch_block ? std::chrono::milliseconds(2) : kSignalCheck));
    bool timed_out = self.cv.wait_until(lock, until) == std::cv_status::timeout;
    std::erase(waiters_, &self);
    if (self.done) {
      if (stopped_ && !ready()) result = Waited::kStopped;
      break;
    }
    if (ready()) break;
    if (timed_out && interrupted(lock)) {
      result = Waited::kInterrupted;
      break;
    }
  }
  if (said_blocked) send_blocked(false);
  leave_wait(lock);
  return result;
}

// ---- the background thread ----

void Engine::background_tick() {
  if (leader_ == Leader::kNone) reactor_.flush_all();
  if (!executor_.has_queued() || executor_.running() == 0) return;
  if (Clock::now() - executor_.last_began() > kLongTask) executor_.give_back_queued();
}

void Engine::background_loop() {
  Lock held = lock();
  uint64_t seen = lead_count_;
  int quiet = 0;
  auto sleep_deep = [&] {
    background_deep_ = true;
    background_cv_.wait(held, [this] { return !background_deep_ || stopping_; });
    quiet = 0;
  };
  while (!stopping_) {
    if (polled_ && leader_ == Leader::kNone) {  // an event loop watches the sockets
      background_asked_ = false;
      help_event_loop(held);
      quiet = 0;
      continue;
    }
    if (leader_ == Leader::kNone && lead_count_ == seen && !background_asked_) {
      leader_ = Leader::kBackground;
      reactor_.flush_all();
      int limit_ms = executor_.has_queued() ? 2 : -1;
      held.unlock();
      reactor_.wait(limit_ms);
      held.lock();
      leader_ = Leader::kNone;
      dispatch_arrived();
      background_tick();
      if (!background_asked_) continue;
    }
    for (Waiter* waiter : waiters_)
      if (leader_ == Leader::kNone && !waiter->done) {
        waiter->cv.notify_one();
        break;
      }
    bool same_leader = leader_ == Leader::kThread && lead_count_ == seen;
    background_asked_ = false;
    seen = lead_count_;
    background_tick();
    quiet = same_leader ? quiet + 1 : 0;
    if (quiet > kQuietTicks)
      sleep_deep();
    else
      background_cv_.wait_for(held, kTick);
  }
}

// ---- leaving ----

void Engine::leave() {
  Lock held = lock();
  leaving_ = true;
  executor_.set_leaving();
  executor_.give_back_queued();
  serve_waiters();
  reactor_.wake();
}

void Engine::leave_at_once() {
  {
    Lock held = lock();
    executor_.set_leaving();
    executor_.give_back_all();
  }
  leave();
}

void Engine::became_ready() {
  if (!dispatching_ && leader_ != Leader::kNone) reactor_.wake();
}

}  // namespace narke::worker
