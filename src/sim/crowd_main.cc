// narke-crowd: plays many nodes, their workers and one driver to a real head over real sockets, and measures the head.
//
// Each node is a link of its own that joins, says twice a second that it lives, and answers what the head asks of it:
// actors start and end at once, bundles are reserved. The driver talks to the head's daemon as every driver does, and
// calls each actor over a link of its own through the nodes' door, as programs of different hosts do. At last every
// node wants to know of all others while every node's free resources change with every sign of life.
// benchmarks/crowd.py starts the head and prints the table.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/peers.h"
#include "node/wire.h"
#include "rpc/reactor.h"
#include "rpc/tcp.h"

namespace narke::sim {
namespace {

using node::Builder;
using node::wired;
using sched::kOne;
using wire::MessageType;
using Clock = std::chrono::steady_clock;

constexpr auto kBeat = std::chrono::milliseconds(500);

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "narke-crowd: %s\n", why.c_str());
  std::exit(1);
}

double seconds_since(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

template <class IdType>
IdType numbered(uint64_t number, char kind) {
  IdType id;
  std::memset(id.data(), kind, IdType::kSize);
  std::memcpy(id.data(), &number, sizeof(number));
  return id;
}

// ---- the head's process ------------------------------------------------------------------------------------

double cpu_seconds(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  unsigned long user = 0, system = 0;
  std::sscanf(text.c_str() + text.rfind(')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
              &system);
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double resident_mb(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmRSS:")) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}

// ---- a node ------------------------------------------------------------------------------------------------

class Member : public rpc::Handler {
 public:
  Member(uint64_t number, const std::string& token, const std::string& door)
      : id_(numbered<NodeId>(number, 'N')), door_(door), reactor_({token, "", node::as_program(id_)}) {
    resources_ = {
        {"CPU", 64 * kOne}, {"memory", 64'000'000'000 * kOne}, {"object_store_memory", 16'000'000'000 * kOne}};
    resources_.set("node:10.0." + std::to_string(number / 250) + "." + std::to_string(number % 250), kOne);
  }

  void join(const std::string& head) {
    auto link = reactor_.connect_tcp(head, {.kind = rpc::LinkKind::kNode}, this);
    if (!link) stop(link.error().message);
    link_ = link.value();
    Builder b(512);
    const auto id = wired<wire::NodeId>(id_);
    const auto endpoint = b.CreateString(door_);
    const auto resources = node::pack_resources(b, resources_);
    wire::JoinClusterBuilder table(b);
    table.add_node(&id);
    table.add_endpoint(endpoint);
    table.add_hostname(endpoint);
    table.add_resources(resources);
    b.Finish(table.Finish());
    link_->send(MessageType::JoinCluster, 1, b);
    turn();
  }
  void beat() {
    sched::ResourceSet free = resources_;
    if (ages_ != nullptr) {
      free.add("CPU", -static_cast<sched::Amount>(++beats_));
      said_at_.push_back(Clock::now());
    }
    Builder b(256);
    const auto total = node::pack_resources(b, resources_), available = node::pack_resources(b, free);
    b.Finish(wire::CreateNodeReport(b, total, available));
    link_->send(MessageType::NodeReport, 0, b);
    reactor_.flush_all();
  }
  // From now on what it has free changes with each beat, and it wants to know of the others. ages: how old what it is
  // told is then, in seconds, if it is one of those that look.
  void get_busy(std::map<NodeId, Member*>& all, std::vector<double>& ages, bool looks) {
    all_ = &all;
    ages_ = &ages;
    looks_ = looks;
    Builder b(32);
    b.Finish(wire::CreateWantView(b));
    link_->send(MessageType::WantView, 0, b);
    reactor_.flush_all();
  }
  const NodeId& id() const { return id_; }
  size_t told_bytes() const { return told_bytes_; }
  void turn() {
    reactor_.wait(0);
    reactor_.dispatch();
  }
  int fd() const { return reactor_.epoll_fd(); }
  bool has_joined() const { return joined_; }
  const std::string& lost() const { return lost_; }  // why the head let it go; empty: it did not

 private:
  void on_frame(rpc::Connection&, const rpc::Frame& frame) override {
    switch (frame.type) {
      case MessageType::Joined: joined_ = true; break;
      case MessageType::PlaceActor: {
        const auto* table = frame.as<wire::PlaceActor>();
        const ActorId actor = ActorId::from_wire(table->actor());
        incarnations_[actor] = table->incarnation();
        news(actor, wire::ActorNewsKind::Started);
        break;
      }
      case MessageType::EndActor:
        news(ActorId::from_wire(frame.as<wire::EndActor>()->actor()), wire::ActorNewsKind::Gone);
        break;
      case MessageType::ReserveBundles: {
        const auto* table = frame.as<wire::ReserveBundles>();
        Builder b(64);
        b.Finish(wire::CreateBundlesReserved(b, table->group(), table->attempt(), true));
        link_->send(MessageType::BundlesReserved, 0, b);
        break;
      }
      case MessageType::ClusterView:
        told_bytes_ += frame.table.size();
        if (looks_) look(*frame.as<wire::ClusterView>());
        break;
      default: break;
    }
  }
  void on_closed(rpc::Connection&, const Error& why) override { lost_ = "a node's link ended: " + why.message; }

  void look(const wire::ClusterView& view) {
    for (const wire::NodeState* state : *view.nodes()) {
      const auto at = all_->find(NodeId::from_wire(state->node()));
      if (at == all_->end() || state->total() != nullptr) continue;
      for (const wire::Resource* free : *state->available())
        at->second->told(static_cast<size_t>(resources_.get("CPU") - free->amount()), *ages_);
    }
  }
  // Another knows of this one's beat of that number.
  void told(size_t beat, std::vector<double>& ages) const {
    if (beat > 0 && beat <= said_at_.size()) ages.push_back(seconds_since(said_at_[beat - 1]));
  }

  void news(const ActorId& actor, wire::ActorNewsKind kind) {
    Builder b(256);
    const auto id = wired<wire::ActorId>(actor);
    WorkerId worker;
    std::memcpy(worker.data(), actor.data(), ActorId::kSize);
    const auto address = node::pack_address(b, worker, id_, door_);
    const auto message = b.CreateString("its node was told to end it");
    b.Finish(wire::CreateActorNews(b, &id, incarnations_[actor], kind, address, 1, 2, 0, 9, wire::DeathCause::None,
                                   message));
    link_->send(MessageType::ActorNews, 0, b);
    if (kind == wire::ActorNewsKind::Gone) incarnations_.erase(actor);
  }

  NodeId id_;
  std::string door_;
  sched::ResourceSet resources_;
  rpc::Reactor reactor_;
  rpc::ConnectionPtr link_;
  std::unordered_map<ActorId, int> incarnations_;
  bool joined_ = false;
  std::string lost_;
  std::map<NodeId, Member*>* all_ = nullptr;
  std::vector<double>* ages_ = nullptr;
  std::vector<Clock::time_point> said_at_;  // by beat since it is busy
  size_t beats_ = 0, told_bytes_ = 0;
  bool looks_ = false;
};

// ---- the workers: one answer to every call -----------------------------------------------------------------

class Workers : public rpc::Handler {
 private:
  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override {
    if (frame.type != MessageType::PushTask) return;
    Builder b(64);
    b.Finish(wire::CreateTaskReply(b, wire::TaskStatus::Done));
    link.send(MessageType::TaskReply, frame.call_id, b);
  }
  void on_closed(rpc::Connection&, const Error&) override {}
};

// ---- the driver --------------------------------------------------------------------------------------------

class Driver : public rpc::Handler {
 public:
  Driver(rpc::Reactor& reactor, const std::string& socket) : reactor_(reactor) {
    auto link = reactor.connect(socket, this);
    if (!link) stop(link.error().message);
    link_ = link.value();
    Builder b(128);
    const auto id = wired<wire::WorkerId>(reactor.identity().self);
    const auto endpoint = b.CreateString("crowd");
    wire::RegisterBuilder table(b);
    table.add_worker(&id);
    table.add_pid(getpid());
    table.add_endpoint(endpoint);
    b.Finish(table.Finish());
    link_->send(MessageType::Register, ++last_call_, b);
  }

  bool is_registered() const { return registered_; }
  size_t alive() const { return alive_; }
  size_t answered() const { return answered_; }
  size_t dead() const { return dead_; }
  size_t created() const { return created_; }
  size_t removed() const { return removed_; }

  void create_actor(uint64_t number) {
    Builder b(256);
    const auto id = wired<wire::ActorId>(numbered<ActorId>(number, 'A'));
    const auto placement = node::pack_resources(b, {{"CPU", kOne}});
    const auto name = b.CreateString("Counter");
    wire::ActorSpecBuilder spec(b);
    spec.add_actor(&id);
    spec.add_class_name(name);
    spec.add_placement_resources(placement);
    b.Finish(wire::CreateCreateActor(b, spec.Finish()));
    link_->send(MessageType::CreateActor, ++last_call_, b);
  }
  void call_actor(uint64_t number) {
    const ActorId id = numbered<ActorId>(number, 'A');
    const Place& place = places_.at(id);
    auto link = reactor_.connect_tcp(place.endpoint, {.kind = rpc::LinkKind::kProgram, .target = place.worker}, this);
    if (!link) stop(link.error().message);
    Builder b(64);
    const auto method = b.CreateString("add");
    wire::PushTaskBuilder task(b);
    task.add_method(method);
    b.Finish(task.Finish());
    link.value()->send(MessageType::PushTask, 1, b);
  }
  void kill_actor(uint64_t number) {
    Builder b(64);
    const auto id = wired<wire::ActorId>(numbered<ActorId>(number, 'A'));
    b.Finish(wire::CreateKillActor(b, &id));
    link_->send(MessageType::KillActor, 0, b);
  }
  void create_group(uint64_t number) {
    control("create_placement_group", number);
    control("wait_placement_group", number);
    waits_[last_call_] = number;
  }
  void remove_group(uint64_t number) {
    control("remove_placement_group", number);
    removals_[last_call_] = number;
  }

 private:
  struct Place {
    WorkerId worker;
    std::string endpoint;
  };

  void control(const char* method, uint64_t number) {
    const PgId id = numbered<PgId>(number, 'G');
    flexbuffers::Builder body;
    body.Map([&] {
      body.Key("pg_id");
      body.Blob(id.data(), PgId::kSize);
      body.String("strategy", number % 2 ? "SPREAD" : "PACK");
      body.Vector("bundles", [&] {
        for (int i = 0; i < 2; ++i) body.Map([&] { body.Double("CPU", 1.0); });
      });
    });
    body.Finish();
    Builder b(256);
    const auto name = b.CreateString(method);
    const auto packed = b.CreateVector(body.GetBuffer());
    b.Finish(wire::CreateControl(b, name, packed));
    link_->send(MessageType::Control, ++last_call_, b);
  }

  void on_frame(rpc::Connection& link, const rpc::Frame& frame) override {
    switch (frame.type) {
      case MessageType::Registered: registered_ = true; break;
      case MessageType::TaskReply:
        ++answered_;
        link.close({ErrorCode::kDisconnected, "it has been called"});
        break;
      case MessageType::ActorUpdate: on_update(*frame.as<wire::ActorUpdate>()); break;
      case MessageType::ControlReply: {
        const auto* reply = frame.as<wire::ControlReply>();
        if (reply->error()->size() > 0) stop(reply->error()->str());
        created_ += waits_.erase(frame.call_id);
        removed_ += removals_.erase(frame.call_id);
        break;
      }
      default: break;
    }
  }
  void on_update(const wire::ActorUpdate& update) {
    const ActorId id = ActorId::from_wire(update.actor());
    if (update.state() == wire::ActorState::Alive) {
      places_[id] = {WorkerId::from_wire(update.worker()->worker()), node::text_of(update.worker()->endpoint())};
      ++alive_;
    }
    if (update.state() == wire::ActorState::Dead) ++dead_;
  }
  void on_closed(rpc::Connection& link, const Error& why) override {
    if (&link == link_.get()) stop("the head has closed the driver's link: " + why.message);
  }

  rpc::Reactor& reactor_;
  rpc::ConnectionPtr link_;
  uint32_t last_call_ = 0;
  bool registered_ = false;
  size_t alive_ = 0, answered_ = 0, dead_ = 0, created_ = 0, removed_ = 0;
  std::unordered_map<ActorId, Place> places_;
  std::unordered_map<uint32_t, uint64_t> waits_, removals_;
};

// ---- the crowd ---------------------------------------------------------------------------------------------

struct Arguments {
  std::string session, head;
  int head_pid = 0, nodes = 100, actors = 1'000, groups = 100, idle_s = 10;
};

class Crowd {
 public:
  explicit Crowd(const Arguments& arguments)
      : arguments_(arguments),
        token_(read_token(arguments.session)),
        all_(epoll_create1(EPOLL_CLOEXEC)),
        reactor_({token_, "", numbered<WorkerId>(static_cast<uint64_t>(getpid()), 'D')}) {
    add(reactor_.epoll_fd(), nullptr);
    auto door = rpc::Door::open(reactor_, "127.0.0.1", 0,
                                [this](const rpc::Preface&, int fd) { reactor_.adopt(fd, true, &workers_); });
    if (!door.ok()) stop(door.error().message);
    door_ = std::move(door).value();
  }

  int run() {
    const double before_mb = resident_mb(arguments_.head_pid);
    const auto begun = Clock::now();
    const std::string endpoint = rpc::host_port_text("127.0.0.1", door_->port());
    for (int i = 0; i < arguments_.nodes; ++i) {
      members_.push_back(std::make_unique<Member>(static_cast<uint64_t>(i), token_, endpoint));
      Member& member = *members_.back();
      member.join(arguments_.head);
      add(member.fd(), &member);
      beats_.emplace_back(Clock::now() + kBeat, &member);
      turn(0);
    }
    until("all nodes to join", [this] { return count_joined() == members_.size(); });
    const double join_s = seconds_since(begun);
    wait(3);
    const double busy = cpu_seconds(arguments_.head_pid);
    const auto idle_begun = Clock::now();
    wait(arguments_.idle_s);
    const double idle_cpu = (cpu_seconds(arguments_.head_pid) - busy) / seconds_since(idle_begun);
    std::printf("{\"nodes\": %d, \"join_s\": %.2f, \"empty_mb\": %.1f, \"idle_mb\": %.1f, \"idle_cpu\": %.4f",
                arguments_.nodes, join_s, before_mb, resident_mb(arguments_.head_pid), idle_cpu);
    Driver driver(reactor_, arguments_.session + "/sockets/node");
    until("the driver to register", [&] { return driver.is_registered(); });
    play_actors(driver);
    play_groups(driver);
    play_busy();
    std::printf(", \"end_mb\": %.1f}\n", resident_mb(arguments_.head_pid));
    return 0;
  }

 private:
  static std::string read_token(const std::string& session) {
    std::ifstream file(session + "/token", std::ios::binary);
    std::string token((std::istreambuf_iterator<char>(file)), {});
    while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) token.pop_back();
    if (token.empty()) stop("there is no token in " + session);
    return token;
  }

  void add(int fd, Member* member) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = member;
    if (epoll_ctl(all_, EPOLL_CTL_ADD, fd, &event) != 0) stop("too many open files");
  }

  void turn(int timeout_ms) {
    epoll_event events[256];
    const int count = epoll_wait(all_, events, std::size(events), timeout_ms);
    for (int i = 0; i < count; ++i)
      if (auto* member = static_cast<Member*>(events[i].data.ptr)) member->turn();
    reactor_.wait(0);
    reactor_.dispatch();
    const auto now = Clock::now();
    while (!beats_.empty() && beats_.front().first <= now) {
      Member* member = beats_.front().second;
      beats_.pop_front();
      if (!member->lost().empty()) stop(member->lost());
      member->beat();
      beats_.emplace_back(now + kBeat, member);
    }
  }
  void wait(int seconds) {
    const auto end = Clock::now() + std::chrono::seconds(seconds);
    while (Clock::now() < end) turn(5);
  }
  template <class Condition>
  void until(const char* what, const Condition& holds) {
    const auto limit = Clock::now() + std::chrono::seconds(120);
    while (!holds()) {
      if (Clock::now() > limit) stop(std::string("120 s were too short for ") + what);
      turn(5);
    }
  }
  size_t count_joined() const {
    size_t count = 0;
    for (const auto& member : members_) count += member->has_joined();
    return count;
  }
  // Does a thing so many times, some at a time, and returns how many a second were done.
  template <class Begin, class Done>
  double pace(const char* what, int count, size_t at_once, const Begin& begin, const Done& done) {
    const auto begun = Clock::now();
    size_t started = 0;
    const auto all = static_cast<size_t>(count);
    until(what, [&] {
      while (started < all && started - done() < at_once) begin(started++);
      reactor_.flush_all();
      return done() >= all;
    });
    return count / seconds_since(begun);
  }

  void play_actors(Driver& driver) {
    const int count = arguments_.actors;
    const auto begun = Clock::now();
    const double created = pace(
        "actors to start", count, 1'000, [&](size_t i) { driver.create_actor(i); }, [&] { return driver.alive(); });
    const double called =
        pace("calls", count, 200, [&](size_t i) { driver.call_actor(i); }, [&] { return driver.answered(); });
    const double killed =
        pace("actors to end", count, 1'000, [&](size_t i) { driver.kill_actor(i); }, [&] { return driver.dead(); });
    std::printf(
        ", \"actors\": %d, \"created_per_s\": %.0f, \"called_per_s\": %.0f, \"killed_per_s\": %.0f, \"actors_per_s\": "
        "%.0f",
        count, created, called, killed, count / seconds_since(begun));
  }
  void play_groups(Driver& driver) {
    const int count = arguments_.groups;
    const double created =
        pace("groups", count, 200, [&](size_t i) { driver.create_group(i); }, [&] { return driver.created(); });
    const double removed =
        pace("groups to go", count, 200, [&](size_t i) { driver.remove_group(i); }, [&] { return driver.removed(); });
    std::printf(", \"groups\": %d, \"groups_per_s\": %.0f, \"removed_per_s\": %.0f", count, created, removed);
  }

  void play_busy() {
    std::map<NodeId, Member*> all;
    std::vector<double> ages;
    for (const auto& member : members_) all[member->id()] = member.get();
    const size_t each = std::max<size_t>(members_.size() / 8, 1);
    for (size_t i = 0; i < members_.size(); ++i) {
      members_[i]->get_busy(all, ages, i % each == 0);
      turn(0);
    }
    wait(arguments_.idle_s);  // all have been told everything once, and what is told is at its pace
    ages.clear();
    const double before = cpu_seconds(arguments_.head_pid);
    const size_t told = count_told();
    const auto begun = Clock::now();
    wait(arguments_.idle_s);
    const double lasted = seconds_since(begun);
    std::sort(ages.begin(), ages.end());
    const auto part = [&](double share) {
      return ages.empty() ? 0 : ages[static_cast<size_t>(share * static_cast<double>(ages.size() - 1))];
    };
    std::printf(", \"busy_cpu\": %.3f, \"told_kb_s\": %.1f, \"age_p50_s\": %.2f, \"age_max_s\": %.2f",
                (cpu_seconds(arguments_.head_pid) - before) / lasted,
                static_cast<double>(count_told() - told) / lasted / 1000 / arguments_.nodes, part(0.5), part(1));
  }
  size_t count_told() const {
    size_t bytes = 0;
    for (const auto& member : members_) bytes += member->told_bytes();
    return bytes;
  }

  Arguments arguments_;
  std::string token_;
  int all_;
  rpc::Reactor reactor_;  // the driver's and the workers'
  Workers workers_;
  std::unique_ptr<rpc::Door> door_;
  std::vector<std::unique_ptr<Member>> members_;
  std::deque<std::pair<Clock::time_point, Member*>> beats_;
};

bool read(int argc, char** argv, Arguments* out) {
  const std::map<std::string, std::string*> texts{{"--session", &out->session}, {"--head", &out->head}};
  const std::map<std::string, int*> numbers{{"--head-pid", &out->head_pid},
                                            {"--nodes", &out->nodes},
                                            {"--actors", &out->actors},
                                            {"--groups", &out->groups},
                                            {"--idle-s", &out->idle_s}};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (const auto text = texts.find(argv[i]); text != texts.end())
      *text->second = argv[i + 1];
    else if (const auto number = numbers.find(argv[i]); number != numbers.end())
      *number->second = std::atoi(argv[i + 1]);
    else
      return false;
  }
  return argc % 2 == 1 && !out->session.empty() && !out->head.empty() && out->head_pid > 0;
}

}  // namespace
}  // namespace narke::sim

int main(int argc, char** argv) {
  narke::sim::Arguments arguments;
  if (!narke::sim::read(argc, argv, &arguments)) {
    std::fputs(
        "usage: narke-crowd --session DIR --head HOST:PORT --head-pid PID [--nodes N] [--actors N] [--groups N] "
        "[--idle-s S]\n",
        stderr);
    return 2;
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  return narke::sim::Crowd(arguments).run();
}
