#include "transfer/io.h"

#include <chrono>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace narke::transfer {
namespace {

constexpr int kLookEvery = 200;  // milliseconds between looks for late links, while there are busy ones
constexpr int64_t kTunnelStallMs = 30'000;  // a tunnel's line may be broken for a while
constexpr uint64_t kWakeUp = 0;  // epoll's word for the thread's own eventfd

int64_t clock_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

void clear(int event_fd) {
  eventfd_t count;
  eventfd_read(event_fd, &count);
}

}  // namespace

// Events of all threads for the daemon's.
class Io::Mailbox {
 public:
  explicit Mailbox(int event_fd) : event_fd_(event_fd) {}
  void add(Event event) {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    if (events_.size() == 1) eventfd_write(event_fd_, 1);
  }
  std::vector<Event> take() {
    std::lock_guard lock(mutex_);
    clear(event_fd_);
    return std::exchange(events_, {});
  }

 private:
  int event_fd_;
  std::mutex mutex_;
  std::vector<Event> events_;
};

class Io::Thread {
 public:
  Thread(const LinkConfig& config, Wrap wrap, wire::TlsUse tls, Mailbox& mailbox, int epoll, int wake)
      : config_(config),
        wrap_(std::move(wrap)),
        tls_(tls),
        mailbox_(mailbox),
        epoll_(epoll),
        wake_(wake),
        thread_([this] { loop(); }) {}
  ~Thread() {
    post([this] { stopping_ = true; });
    thread_.join();
    ::close(epoll_);
    ::close(wake_);
  }
  void post(std::function<void()> work) {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
    if (posted_.size() == 1) eventfd_write(wake_, 1);
  }
  void connect(LinkId id, const std::string& address) {
    auto dialled = dial(address, tls_);
    if (!dialled.ok()) return tell_closed(id, dialled.error());
    open(id, dialled.value().fd, Side::kAsker, dialled.value().preface);
  }
  void open(LinkId id, int fd, Side side, const rpc::Preface& preface) {
    LinkConfig config = config_;
    if (!preface.node.is_nil()) config.stall_ms += kTunnelStallMs;
    auto entry = std::make_unique<Entry>(*this, id, wrap_(fd, side, preface), side, config);
    epoll_event want{.events = EPOLLIN, .data = {.u64 = id}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, entry->link.fd(), &want) != 0)
      return tell_closed(id, {ErrorCode::kFailed, strerror(errno)});
    step(*entry_at(id, std::move(entry)));
  }
  void push(LinkId id, Outgoing outgoing) {
    auto it = links_.find(id);
    if (it == links_.end()) return;
    it->second->link.push(std::move(outgoing), clock_ms());
    pushed_.push_back(id);
  }
  void end(LinkId id, const Error& error) {
    if (links_.erase(id) != 0) tell_closed(id, error);
  }

 private:
  struct Entry : LinkOut {
    Entry(Thread& t, LinkId i, std::unique_ptr<Stream> stream, Side side, const LinkConfig& config)
        : thread(t), id(i), link(side, std::move(stream), config, *this, clock_ms()) {}
    void on_up(const std::string& peer) override { tell({Event::Kind::kUp, id, {}, peer, {}}); }
    void on_request(const Header& header) override { tell({Event::Kind::kRequest, id, header, {}, {}}); }
    void on_sent(const Header& header) override { tell({Event::Kind::kSent, id, header, {}, {}}); }
    void on_answer(const Header& header, const std::string& text) override {
      tell({Event::Kind::kAnswer, id, header, text, {}});
    }
    void tell(Event event) const { thread.mailbox_.add(std::move(event)); }

    Thread& thread;
    LinkId id;
    bool awaits_write = false;
    Link link;
  };

  Entry* entry_at(LinkId id, std::unique_ptr<Entry> entry) { return (links_[id] = std::move(entry)).get(); }
  void tell_closed(LinkId id, const Error& error) { mailbox_.add({Event::Kind::kClosed, id, {}, {}, error}); }

  void step(Entry& entry) {
    Status stepped = entry.link.step(clock_ms());
    if (!stepped.ok()) return end(entry.id, stepped.error());
    if (entry.link.has_more()) unread_.push_back(entry.id);
    if (entry.awaits_write == entry.link.wants_write()) return;
    entry.awaits_write = !entry.awaits_write;
    epoll_event want{.events = EPOLLIN | (entry.awaits_write ? EPOLLOUT : 0u), .data = {.u64 = entry.id}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, entry.link.fd(), &want);
  }

  void loop() {
    epoll_event events[64];
    while (!stopping_) {
      int count = epoll_wait(epoll_, events, 64, !unread_.empty() ? 0 : is_any_busy() ? kLookEvery : -1);
      for (LinkId id : std::exchange(unread_, {})) on_event(id);
      for (int i = 0; i < count; ++i) on_event(events[i].data.u64);
      if (int64_t now = clock_ms(); now - looked_ms_ >= kLookEvery) {
        looked_ms_ = now;
        step_all();
      }
    }
    links_.clear();
  }
  void on_event(uint64_t id) {
    if (id == kWakeUp) return run_posted();
    auto it = links_.find(id);
    if (it != links_.end()) step(*it->second);
  }
  void run_posted() {
    clear(wake_);
    std::vector<std::function<void()>> work;
    {
      std::lock_guard lock(mutex_);
      work.swap(posted_);
    }
    for (auto& next : work) next();
    for (LinkId id : std::exchange(pushed_, {})) on_event(id);  // several pushes, one write
  }
  bool is_any_busy() const {
    for (auto& [id, entry] : links_)
      if (entry->link.is_busy()) return true;
    return false;
  }
  // Those without an event may be late.
  void step_all() {
    std::vector<LinkId> ids;
    for (auto& [id, entry] : links_)
      if (entry->link.is_busy()) ids.push_back(id);
    for (LinkId id : ids) on_event(id);
  }

  LinkConfig config_;
  Wrap wrap_;
  wire::TlsUse tls_;
  Mailbox& mailbox_;
  int epoll_, wake_;
  std::unordered_map<LinkId, std::unique_ptr<Entry>> links_;
  std::vector<LinkId> pushed_;
  std::vector<LinkId> unread_;  // they have bytes that epoll does not show
  int64_t looked_ms_ = 0;
  bool stopping_ = false;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  std::thread thread_;  // last: it uses all of the above
};

Result<std::unique_ptr<Io>> Io::make(const LinkConfig& config, int threads, Wrap wrap, wire::TlsUse tls) {
  auto io = std::unique_ptr<Io>(new Io());
  io->event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  io->mailbox_ = std::make_unique<Mailbox>(io->event_fd_);
  for (int i = 0; i < threads; ++i) {
    int epoll = epoll_create1(EPOLL_CLOEXEC), wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event readable{.events = EPOLLIN, .data = {.u64 = kWakeUp}};
    if (io->event_fd_ < 0 || epoll < 0 || wake < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &readable) != 0)
      return Error{ErrorCode::kFailed, std::string("The threads of object transfers could not be made: ") +
                                           strerror(errno) + ". Raise the limit on open files (ulimit -n)."};
    io->threads_.push_back(std::make_unique<Thread>(config, wrap, tls, *io->mailbox_, epoll, wake));
  }
  return io;
}

Io::~Io() {
  threads_.clear();
  if (event_fd_ >= 0) ::close(event_fd_);
}

LinkId Io::connect(const std::string& address) {
  LinkId id = next_link_++;
  Thread& thread = thread_of(id);
  thread.post([&thread, id, address] { thread.connect(id, address); });
  return id;
}

LinkId Io::adopt(int fd, const rpc::Preface& preface) {
  LinkId id = next_link_++;
  Thread& thread = thread_of(id);
  thread.post([&thread, id, fd, preface] { thread.open(id, fd, Side::kGiver, preface); });
  return id;
}

void Io::push(LinkId link, Outgoing outgoing) {
  Thread& thread = thread_of(link);
  thread.post([&thread, link, outgoing = std::move(outgoing)] { thread.push(link, outgoing); });
}

void Io::close(LinkId link, Error why) {
  Thread& thread = thread_of(link);
  thread.post([&thread, link, why = std::move(why)] { thread.end(link, why); });
}

std::vector<Event> Io::take() { return mailbox_->take(); }

}  // namespace narke::transfer
