#include "tunnel/tunnels.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

#include "rpc/tls.h"

namespace narke::tunnel {
namespace {

constexpr char kMagic[8] = {'N', 'K', 'T', 'U', 'N', 'N', 'E', 'L'};
constexpr uint16_t kVersion = 1;
constexpr auto kTick = std::chrono::milliseconds(250);
constexpr int64_t kPingMs = 2'000;       // a line without other words
constexpr int64_t kSilenceMs = 8'000;    // after which a line counts as broken
constexpr int64_t kHandshakeMs = 10'000;
constexpr int64_t kDialEveryMs = 500;
constexpr int64_t kMostGraceMs = 3'600'000;
constexpr size_t kMostLines = 1024;
constexpr size_t kLineBytes = 256 << 10;  // written to a line at a time
constexpr size_t kReadBytes = 64 << 10;
constexpr int kRounds = 16;  // reads in a row of one descriptor
constexpr size_t kKeepBytes = 1 << 20;
constexpr uint32_t kMostText = 4096;

int64_t clock_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

struct WireHello {
  char magic[8];
  uint16_t version_min, version_max;
  uint32_t grace_ms;
  uint64_t received;
  uint8_t node[NodeId::kSize];
  uint8_t resumes;
  uint8_t zero[11];
};
static_assert(sizeof(WireHello) == 64);

struct WireAnswer {
  uint32_t refused;
  uint32_t text_bytes;  // the reason follows
  uint64_t received;
};
static_assert(sizeof(WireAnswer) == 16);

Error broken_handshake() { return {ErrorCode::kRefused, "the tunnel's handshake is damaged"}; }

}  // namespace

struct Tunnels::Line {
  Line(int f, const rpc::TlsKey& key, rpc::TlsStream::Side side, std::string preface)
      : fd(f), dials(side == rpc::TlsStream::Side::kClient), tls(key, f, side, std::move(preface)) {}
  ~Line() { ::close(fd); }
  size_t unsent() const { return out.size() - sent; }

  int fd;
  bool dials;
  rpc::TlsStream tls;
  Session* session = nullptr;  // null: it has not said whose it is
  bool up = false;
  ByteBuffer in, out;  // in: of the handshake
  size_t sent = 0;
  int64_t began_ms = clock_ms(), heard_ms = began_ms, said_ms = began_ms;
};

// One stream's end here.
struct Pipe {
  int fd;
  ByteBuffer pending;  // for the descriptor
  size_t written = 0;
  size_t own = 0;      // of what is pending: bytes that did not come over the stream
  bool ended = false;  // the other side has closed it: what is pending is all
  size_t unwritten() const { return pending.size() - written; }
};

struct Tunnels::Session : MuxOut {
  Session(Tunnels& tunnels, const NodeId& n, bool dials, int64_t grace)
      : home(tunnels), node(n), mux(dials, *this), grace_ms(std::clamp<int64_t>(grace, 0, kMostGraceMs)) {}
  ~Session() override {
    for (auto& [stream, pipe] : pipes) close_fd(pipe.fd);
  }

  void add(StreamId stream, int fd, const std::string& first) {
    Pipe& pipe = pipes.emplace(stream, Pipe{fd, {}}).first->second;
    pipe.pending.append(first.data(), first.size());
    pipe.own = first.size();
    home.reactor_.watch(fd, [this, stream] {
      ++home.depth_;
      move(stream);
      home.flush(*this);
      --home.depth_;
      home.settle();
    });
    move(stream);
  }
  // Both ways, as far as that goes now.
  void move(StreamId stream) {
    const auto at = pipes.find(stream);
    if (at == pipes.end()) return;
    Pipe& pipe = at->second;
    if (!write(stream, pipe) || (!pipe.ended && !read(stream, pipe))) return drop(stream);
    if (pipe.ended && pipe.unwritten() == 0) return drop(stream);
    home.reactor_.watch_for(pipe.fd, !pipe.ended && mux.room(stream) > 0, pipe.unwritten() > 0);
  }
  bool write(StreamId stream, Pipe& pipe) {
    while (pipe.unwritten() > 0) {
      const ssize_t n =
          send(pipe.fd, pipe.pending.data() + pipe.written, pipe.unwritten(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      const auto written = static_cast<size_t>(n);
      const size_t own = std::min(written, pipe.own);
      pipe.written += written;
      pipe.own -= own;
      mux.used(stream, written - own);
    }
    pipe.pending.clear();
    pipe.pending.shrink_above(kKeepBytes);
    pipe.written = 0;
    return true;
  }
  bool read(StreamId stream, Pipe& pipe) {
    uint8_t bytes[kReadBytes];
    for (int round = 0; round < kRounds; ++round) {
      const size_t room = std::min(mux.room(stream), sizeof(bytes));
      if (room == 0) return true;
      const ssize_t n = recv(pipe.fd, bytes, room, MSG_DONTWAIT);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      if (n == 0) return false;
      mux.send(stream, Bytes(bytes, static_cast<size_t>(n)));
    }
    return true;
  }
  void drop(StreamId stream) {
    const auto at = pipes.find(stream);
    if (at == pipes.end()) return;
    close_fd(at->second.fd);
    pipes.erase(at);
    mux.close(stream);
  }
  void close_fd(int fd) {
    home.reactor_.unwatch(fd);
    ::close(fd);
  }

  // MuxOut
  void on_open(StreamId stream, const rpc::Preface& preface) override {
    std::string first;
    const int fd = home.out_.on_stream(preface, &first);
    if (fd < 0) return mux.close(stream);
    add(stream, fd, first);
  }
  void on_data(StreamId stream, Bytes bytes) override {
    const auto at = pipes.find(stream);
    if (at == pipes.end()) return;
    at->second.pending.append(bytes.data(), bytes.size());
    move(stream);
  }
  void on_credit(StreamId stream) override { move(stream); }
  void on_close(StreamId stream) override {
    const auto at = pipes.find(stream);
    if (at == pipes.end()) return;
    at->second.ended = true;
    move(stream);
  }
  void on_bye(const std::string& why) override { over = why.empty() ? "it has left" : why; }

  Tunnels& home;
  NodeId node;
  Mux mux;
  int64_t grace_ms;
  std::string over;  // not empty: the session is, and why
  std::map<StreamId, Pipe> pipes;
  Line* line = nullptr;
  int64_t broken_ms = clock_ms();  // without a line since then
  std::string broken_why;
  // Of the side that dials:
  std::string host_port;
  NodeId self;
  std::function<void(const std::string&)> up;
  bool was_up = false;
  int64_t dialled_ms = 0;
};

Tunnels::Tunnels(rpc::Reactor& reactor, TunnelsOut& out, Log log)
    : reactor_(reactor), out_(out), log_(std::move(log)) {}

Tunnels::~Tunnels() {
  ++depth_;
  if (timer_ != 0) reactor_.cancel(timer_);
  for (auto& [node, session] : sessions_) {
    if (session->line == nullptr || !session->line->up) continue;
    session->mux.bye("it has left");
    [[maybe_unused]] const Status told = write_line(*session->line);  // who does not hear it waits for its grace
  }
  for (auto& [fd, line] : lines_) reactor_.unwatch(fd);
  lines_.clear();
  sessions_.clear();
}

// ---- lines

void Tunnels::add_line(std::unique_ptr<Line> line, Session* session) {
  const int fd = line->fd;
  line->session = session;
  if (session != nullptr) session->line = line.get();
  lines_[fd] = std::move(line);
  reactor_.watch(fd, [this, fd] { on_line(fd); });
  arm();
}

void Tunnels::serve(int fd) {
  if (lines_.size() >= kMostLines) {
    ::close(fd);
    return log_("a tunnel was turned away: there are " + std::to_string(kMostLines) + " already");
  }
  add_line(std::make_unique<Line>(fd, reactor_.tls_key(), rpc::TlsStream::Side::kServer, ""), nullptr);
}

void Tunnels::on_line(int fd) {
  const auto at = lines_.find(fd);
  if (at == lines_.end()) return;
  ++depth_;
  Line& line = *at->second;
  Status moved = read_line(line);
  if (moved.ok()) moved = write_line(line);
  if (!moved.ok()) lose_line(line, moved.error());
  --depth_;
  settle();
}

Status Tunnels::read_line(Line& line) {
  uint8_t bytes[kReadBytes];
  for (int round = 0; round < kRounds; ++round) {
    const rpc::Moved moved = line.tls.read(bytes, sizeof(bytes));
    if (!moved.error.empty()) return Error{moved.refused ? ErrorCode::kRefused : ErrorCode::kDisconnected, moved.error};
    if (moved.bytes == 0) return ok_status();
    line.heard_ms = clock_ms();
    if (Status taken = take_bytes(line, Bytes(bytes, moved.bytes)); !taken.ok()) return taken;
  }
  // Others have their turn. What TLS has taken from the socket already, epoll does not tell of.
  if (line.tls.has_more()) reactor_.after(std::chrono::milliseconds(0), [this, fd = line.fd] { on_line(fd); });
  return ok_status();
}

Status Tunnels::write_line(Line& line) {
  for (int round = 0; round < kRounds; ++round) {
    if (line.unsent() == 0) {
      line.out.clear();
      line.sent = 0;
      if (line.up) line.session->mux.fill(line.out, kLineBytes);
      if (line.unsent() == 0) break;
    }
    const rpc::Moved moved = line.tls.write(line.out.data() + line.sent, line.unsent());
    if (!moved.error.empty()) return Error{moved.refused ? ErrorCode::kRefused : ErrorCode::kDisconnected, moved.error};
    if (moved.bytes == 0) break;
    line.said_ms = clock_ms();
    line.sent += moved.bytes;
  }
  const bool due = line.unsent() > 0 || (line.up && line.session->mux.has_output());
  reactor_.watch_for(line.fd, true, line.tls.waits_to_write() || (due && !line.tls.waits_to_read()));
  return ok_status();
}

Status Tunnels::take_bytes(Line& line, Bytes bytes) {
  if (!line.up) {
    line.in.append(bytes.data(), bytes.size());
    Status taken = line.dials ? take_answer(line) : take_hello(line);
    if (!taken.ok() || !line.up) return taken;
    const ByteBuffer rest = std::move(line.in);
    return line.session->mux.feed(rest.span());
  }
  Status fed = line.session->mux.feed(bytes);
  if (!fed.ok()) line.session->over = fed.error().message;
  return fed;
}

// The side that serves: whose line is it?
Status Tunnels::take_hello(Line& line) {
  WireHello hello;
  if (line.in.size() < sizeof(hello)) return ok_status();
  std::memcpy(&hello, line.in.data(), sizeof(hello));
  line.in.drop_front(sizeof(hello));
  if (std::memcmp(hello.magic, kMagic, sizeof(kMagic)) != 0) return broken_handshake();
  const NodeId node = NodeId::from_bytes({reinterpret_cast<const char*>(hello.node), NodeId::kSize});
  if (hello.version_min > kVersion || hello.version_max < kVersion) {
    answer(line, nullptr,
           "the cluster's tunnel speaks version " + std::to_string(kVersion) + ", this program " +
               std::to_string(hello.version_min) + " to " + std::to_string(hello.version_max) +
               ": use matching releases of narke");
    return ok_status();
  }
  const auto known = sessions_.find(node);
  if (hello.resumes != 0 && (known == sessions_.end() || !known->second->over.empty())) {
    answer(line, nullptr,
           "the cluster has given up on this program, whose line was broken for too long, or was restarted");
    return ok_status();
  }
  if (hello.resumes == 0 && known != sessions_.end())
    return Error{ErrorCode::kRefused, "a node of this id is here already"};
  if (known == sessions_.end()) {
    sessions_.emplace(node, std::make_unique<Session>(*this, node, false, hello.grace_ms));
    log_("node " + node.hex().substr(0, 8) + " outside of the cluster's network has dialled in");
  }
  Session& session = *sessions_.at(node);
  if (Line* old = std::exchange(session.line, nullptr)) close_line(*old);
  if (Status resumed = session.mux.resume(hello.received); !resumed.ok()) return resumed;
  line.session = &session;
  session.line = &line;
  answer(line, &session, "");
  line.up = true;
  return ok_status();
}

void Tunnels::answer(Line& line, const Session* session, const std::string& refusal) {
  const WireAnswer out{refusal.empty() ? 0u : 1u, static_cast<uint32_t>(refusal.size()),
                       session == nullptr ? 0 : session->mux.received()};
  line.out.append(&out, sizeof(out));
  line.out.append(refusal.data(), refusal.size());
}

// The side that dials.
Status Tunnels::take_answer(Line& line) {
  WireAnswer reply;
  if (line.in.size() < sizeof(reply)) return ok_status();
  std::memcpy(&reply, line.in.data(), sizeof(reply));
  if (reply.text_bytes > kMostText) return broken_handshake();
  if (line.in.size() < sizeof(reply) + reply.text_bytes) return ok_status();
  const std::string text(reinterpret_cast<const char*>(line.in.data()) + sizeof(reply), reply.text_bytes);
  line.in.drop_front(sizeof(reply) + reply.text_bytes);
  if (reply.refused != 0) return Error{ErrorCode::kRefused, text};
  Session& session = *line.session;
  if (Status resumed = session.mux.resume(reply.received); !resumed.ok()) return resumed;
  line.up = session.was_up = true;
  if (session.up) std::exchange(session.up, nullptr)("");
  return ok_status();
}

void Tunnels::close_line(Line& line) {
  reactor_.unwatch(line.fd);
  lines_.erase(line.fd);
}

// A session goes on without a line for a while; not when it never had one, or when it was refused.
void Tunnels::lose_line(Line& line, const Error& why) {
  Session* session = line.session;
  const bool dials = line.dials, was_up = line.up;
  close_line(line);
  if (session == nullptr) return log_("a tunnel was not let in: " + why.message);
  session->line = nullptr;
  if (was_up) session->broken_ms = clock_ms();  // not at each vain attempt
  session->broken_why = why.message;
  const bool is_final = why.code == ErrorCode::kRefused || (dials && !session->was_up);
  if (is_final && session->over.empty()) session->over = why.message;
}

// ---- sessions

void Tunnels::dial(const std::string& host_port, const NodeId& self, int64_t grace_ms,
                   std::function<void(const std::string& error)> up) {
  ++depth_;
  auto session = std::make_unique<Session>(*this, rpc::head_alias(), true, grace_ms);
  session->host_port = host_port;
  session->self = self;
  session->up = std::move(up);
  Session& kept = *(sessions_[rpc::head_alias()] = std::move(session));
  arm();
  try_dial(kept);
  --depth_;
  settle();
}

void Tunnels::try_dial(Session& session) {
  session.dialled_ms = clock_ms();
  auto to = rpc::parse_endpoint(session.host_port);
  auto fd = to.ok() ? rpc::begin_connect(to.value().host, to.value().port) : Result<int>(to.error());
  if (!fd.ok()) {
    if (!session.was_up) session.over = fd.error().message;
    session.broken_why = fd.error().message;
    return;
  }
  rpc::Preface preface{.kind = rpc::LinkKind::kTunnel};
  preface.tls = true;  // a line leaves the host, whatever its address looks like from here
  auto line = std::make_unique<Line>(fd.value(), reactor_.tls_key(), rpc::TlsStream::Side::kClient,
                                     rpc::write_preface(preface));
  WireHello hello{};
  std::memcpy(hello.magic, kMagic, sizeof(kMagic));
  hello.version_min = hello.version_max = kVersion;
  hello.grace_ms = static_cast<uint32_t>(session.grace_ms);
  hello.received = session.mux.received();
  std::memcpy(hello.node, session.self.data(), NodeId::kSize);
  hello.resumes = session.was_up;
  line->out.append(&hello, sizeof(hello));
  Line& added = *line;
  add_line(std::move(line), &session);
  reactor_.watch_for(added.fd, true, true);
}

void Tunnels::open(const NodeId& node, const rpc::Preface& preface, int fd) {
  const auto at = sessions_.find(node);
  if (at == sessions_.end() || !at->second->over.empty()) {
    ::close(fd);
    return;
  }
  ++depth_;
  at->second->add(at->second->mux.open(preface), fd, "");
  flush(*at->second);
  --depth_;
  settle();
}

void Tunnels::end(const NodeId& node, const std::string& why) {
  const auto at = sessions_.find(node);
  if (at == sessions_.end()) return;
  if (at->second->over.empty()) at->second->over = why;
  settle();
}

void Tunnels::flush(Session& session) {
  if (session.line == nullptr || !session.line->up) return;
  if (Status written = write_line(*session.line); !written.ok()) lose_line(*session.line, written.error());
}

void Tunnels::arm() {
  if (timer_ == 0 && !(lines_.empty() && sessions_.empty())) timer_ = reactor_.after(kTick, [this] { tick(); });
}

void Tunnels::tick() {
  timer_ = 0;
  ++depth_;
  const int64_t now = clock_ms();
  std::vector<Line*> late;
  for (auto& [fd, line] : lines_)
    if (line->up ? now - line->heard_ms > kSilenceMs : now - line->began_ms > kHandshakeMs) late.push_back(line.get());
  for (Line* line : late)
    lose_line(*line, {ErrorCode::kTimeout, "nothing has been heard for " + std::to_string(kSilenceMs / 1000) + " s"});
  for (auto& [node, session] : sessions_) tick_session(*session, now);
  --depth_;
  arm();
  settle();
}

void Tunnels::tick_session(Session& session, int64_t now) {
  if (session.line != nullptr) {
    if (!session.line->up) return;
    session.mux.acknowledge();
    if (now - session.line->said_ms > kPingMs) session.mux.ping();
    return flush(session);
  }
  if (!session.over.empty()) return;
  if (now - session.broken_ms > session.grace_ms)
    session.over =
        "its line has been broken for " + std::to_string(session.grace_ms / 1000) + " s (" + session.broken_why + ")";
  else if (!session.host_port.empty() && now - session.dialled_ms >= kDialEveryMs)
    try_dial(session);
}

// Sessions that are over end here, when nothing of theirs is under way.
void Tunnels::settle() {
  if (depth_ != 0) return;
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    if (at->second->over.empty()) {
      ++at;
      continue;
    }
    const std::unique_ptr<Session> session = std::move(at->second);
    at = sessions_.erase(at);
    if (Line* line = session->line) {
      session->mux.bye(session->over);
      [[maybe_unused]] const Status told = write_line(*line);
      close_line(*line);
    }
    ++depth_;
    if (session->up)
      std::exchange(session->up, nullptr)(session->over);
    else
      out_.on_session_over(session->node, session->over);
    --depth_;
    at = sessions_.begin();
  }
}

}  // namespace narke::tunnel
