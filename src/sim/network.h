// Simulated streams between programs, as TCP shows them: bytes come in order and once, late or never; a stream that
// loses some is broken, and each end learns of it in its own time.
//
// Partitioned hosts hear nothing of each other; what was written waits, and after kGiveUpUs both ends give up. A host
// that is stalled takes its bytes later. A program's end is heard at once; a host's that loses power only by silence.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "rpc/frame.h"
#include "sim/timeline.h"

namespace narke::sim {

constexpr int64_t kGiveUpUs = 10 * kSecond;  // without an acknowledgement (rpc::prepare_stream)

class Network;

class Line : public std::enable_shared_from_this<Line> {
 public:
  Line(Network& network, int a, int b) : network_(network), ends_{{a, {}, {}}, {b, {}, {}}} {}

  // Who listens at an end.
  void attach(int end, std::function<void(rpc::Bytes)> on_bytes, std::function<void(const std::string&)> on_end) {
    ends_[end].on_bytes = std::move(on_bytes);
    ends_[end].on_end = std::move(on_end);
  }

  void write(int end, rpc::Bytes bytes);
  // By one end, in order: the other hears of it after what was written.
  void close(int end);
  // Lost on the way: each end hears of it in its own time, what is under way never comes.
  void cut(const std::string& why);
  // One end's program or host is gone without a word: nothing is delivered to it any more.
  void forget(int end) { ends_[end].on_bytes = nullptr, ends_[end].on_end = nullptr; }
  int host(int end) const { return ends_[end].host; }
  bool is_over() const { return over_; }

 private:
  friend class Network;
  struct End {
    int host = 0;
    std::function<void(rpc::Bytes)> on_bytes;
    std::function<void(const std::string& why)> on_end;
  };
  struct Packet {
    std::vector<uint8_t> bytes;
    bool is_end = false;
    int64_t due_us = 0;
  };
  struct Way {  // to an end
    std::deque<Packet> under_way;
    int64_t last_us = 0;
    bool closed = false;  // by the writer
  };
  void post(int to, std::vector<uint8_t> bytes, bool is_end);
  void arrive(int to);
  void look_again(int to, int64_t at_us);
  void end_at(int to, const std::string& why);

  Network& network_;
  End ends_[2];
  Way ways_[2];
  bool accepted_ = false;  // by end 1; what was written to it before waits
  bool over_ = false;      // cut: nothing moves any more
};
using LinePtr = std::shared_ptr<Line>;

class Network {
 public:
  Network(Timeline& timeline, size_t hosts) : timeline_(timeline), stalled_until_us_(hosts) {}

  // A stream from host a (end 0) to host b (end 1), whose program accepts it when it has come so far, or does not
  // (false).
  using Accept = std::function<bool(const LinePtr& line)>;
  LinePtr dial(int a, int b, Accept accept);
  // Nobody of `side` hears anybody else, and the other way.
  void part(const std::set<int>& side);
  void heal();
  bool is_parted(int a, int b) const { return a != b && side_.contains(a) != side_.contains(b); }
  void stall(int host, int64_t for_us);
  int64_t stalled_until_us(int host) const { return stalled_until_us_[static_cast<size_t>(host)]; }
  // More delay on every way between hosts.
  void slow_down(int64_t extra_us) { extra_us_ = extra_us; }
  // The same between two hosts alone; 0: no more.
  void slow_between(int a, int b, int64_t extra_us) { slow_between_[{std::min(a, b), std::max(a, b)}] = extra_us; }
  void all_swift() { slow_down(0), slow_between_.clear(); }
  // A random stream between two hosts breaks. False: there is none.
  bool cut_one();
  // A host loses power: the other ends hear nothing.
  void silence(int host);

 private:
  friend class Line;
  int64_t delay_us(int from, int to);
  void knock(const LinePtr& line, Accept accept);
  void watch(const LinePtr& line);
  std::vector<LinePtr> lines_between_hosts();

  Timeline& timeline_;
  std::vector<std::weak_ptr<Line>> lines_;  // between two hosts
  size_t sweep_at_ = 1024;
  std::set<int> side_;
  uint64_t parting_ = 0;
  std::vector<int64_t> stalled_until_us_;
  int64_t extra_us_ = 0;
  std::map<std::pair<int, int>, int64_t> slow_between_;
};

}  // namespace narke::sim
