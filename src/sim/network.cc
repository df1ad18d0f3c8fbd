#include "sim/network.h"

#include <algorithm>

namespace narke::sim {

// ---- a stream ----------------------------------------------------------------------------------------------

void Line::write(int end, rpc::Bytes bytes) {
  const int to = 1 - end;
  if (over_ || ways_[to].closed || bytes.empty()) return;
  // Now and then what was written in one piece comes in two.
  if (bytes.size() > 16 && network_.timeline_.chance(20)) {
    const size_t split = 1 + network_.timeline_.below(bytes.size() - 1);
    post(to, {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(split)}, false);
    bytes = bytes.subspan(split);
  }
  post(to, {bytes.begin(), bytes.end()}, false);
}

void Line::close(int end) {
  const int to = 1 - end;
  forget(end);
  if (over_ || ways_[to].closed) return;
  ways_[to].closed = true;
  post(to, {}, true);
}

void Line::post(int to, std::vector<uint8_t> bytes, bool is_end) {
  Way& way = ways_[to];
  way.last_us = std::max(way.last_us, network_.timeline_.now_us() + network_.delay_us(host(1 - to), host(to)));
  way.under_way.push_back({std::move(bytes), is_end, way.last_us});
  look_again(to, way.last_us);
}

void Line::look_again(int to, int64_t at_us) {
  network_.timeline_.at(at_us, [self = shared_from_this(), to] { self->arrive(to); });
}

void Line::arrive(int to) {
  std::deque<Packet>& packets = ways_[to].under_way;
  if (network_.is_parted(host(0), host(1))) return;  // heal() looks again
  if (to == 1 && !accepted_) return;                 // so does knock()
  if (const int64_t until = network_.stalled_until_us(host(to)); until > network_.timeline_.now_us()) {
    if (!packets.empty()) look_again(to, until);
    return;
  }
  while (!over_ && !packets.empty() && packets.front().due_us <= network_.timeline_.now_us()) {
    const Packet packet = std::move(packets.front());
    packets.pop_front();
    if (packet.is_end)
      end_at(to, "the peer closed the connection");
    else if (ends_[to].on_bytes)
      std::function<void(rpc::Bytes)>(ends_[to].on_bytes)(packet.bytes);  // a copy: the end may go meanwhile
  }
}

void Line::end_at(int to, const std::string& why) {
  const auto on_end = std::exchange(ends_[to].on_end, nullptr);
  ends_[to].on_bytes = nullptr;
  if (on_end) on_end(why);
}

void Line::cut(const std::string& why) {
  if (std::exchange(over_, true)) return;
  for (const int end : {0, 1}) {
    const int64_t later = network_.timeline_.chance(700) ? 0 : network_.timeline_.between(0, kGiveUpUs);
    network_.timeline_.after(network_.timeline_.between(0, 2 * kMs) + later,
                             [self = shared_from_this(), end, why] { self->end_at(end, why); });
  }
}

// ---- all of them -------------------------------------------------------------------------------------------

LinePtr Network::dial(int a, int b, Accept accept) {
  auto line = std::make_shared<Line>(*this, a, b);
  if (a != b) {
    lines_.push_back(line);
    if (lines_.size() > sweep_at_) {
      std::erase_if(lines_, [](const auto& each) { return each.expired(); });
      sweep_at_ = std::max<size_t>(1024, 2 * lines_.size());
    }
    if (is_parted(a, b)) watch(line);
  }
  timeline_.after(delay_us(a, b), [this, line, accept = std::move(accept)] { knock(line, accept); });
  return line;
}

void Network::knock(const LinePtr& line, Accept accept) {
  if (line->over_ || !line->ends_[0].on_end) return;
  const int64_t now = timeline_.now_us(), stalled = stalled_until_us(line->host(1));
  if (is_parted(line->host(0), line->host(1)) || stalled > now) {
    const int64_t again = std::max(stalled, now + 200 * kMs);
    timeline_.at(again, [this, line, accept = std::move(accept)] { knock(line, accept); });
    return;
  }
  if (accept(line)) {
    line->accepted_ = true;
    return line->look_again(1, now);
  }
  timeline_.after(delay_us(line->host(1), line->host(0)), [line] { line->end_at(0, "nobody answers"); });
}

int64_t Network::delay_us(int from, int to) {
  if (from == to) return timeline_.between(10, 40);
  const int64_t spike = timeline_.chance(5) ? timeline_.between(0, 50 * kMs) : 0;
  const auto slow = slow_between_.find({std::min(from, to), std::max(from, to)});
  return timeline_.between(80, 300) + spike + (extra_us_ ? timeline_.between(0, extra_us_) : 0) +
         (slow == slow_between_.end() ? 0 : slow->second);
}

std::vector<LinePtr> Network::lines_between_hosts() {
  std::vector<LinePtr> out;
  for (const auto& each : lines_)
    if (LinePtr line = each.lock(); line && !line->over_) out.push_back(std::move(line));
  return out;
}

// One that is parted for so long breaks.
void Network::watch(const LinePtr& line) {
  timeline_.after(kGiveUpUs, [this, line, parting = parting_] {
    if (parting == parting_ && is_parted(line->host(0), line->host(1))) line->cut("no acknowledgement came for 10 s");
  });
}

void Network::part(const std::set<int>& side) {
  heal();
  side_ = side;
  for (const LinePtr& line : lines_between_hosts())
    if (is_parted(line->host(0), line->host(1))) watch(line);
}

void Network::heal() {
  side_.clear();
  ++parting_;
  for (const LinePtr& line : lines_between_hosts())
    for (const int to : {0, 1}) {
      if (!line->ways_[to].under_way.empty()) line->look_again(to, timeline_.now_us() + delay_us(0, 1));
    }
}

void Network::stall(int host, int64_t for_us) {
  int64_t& until = stalled_until_us_[static_cast<size_t>(host)];
  until = std::max(until, timeline_.now_us() + for_us);
}

bool Network::cut_one() {
  const std::vector<LinePtr> lines = lines_between_hosts();
  if (lines.empty()) return false;
  lines[timeline_.below(lines.size())]->cut("the connection was reset");
  return true;
}

void Network::silence(int host) {
  for (const LinePtr& line : lines_between_hosts())
    for (const int end : {0, 1}) {
      if (line->host(end) != host || line->host(1 - end) == host) continue;
      line->over_ = true;
      line->forget(end);
      timeline_.after(kGiveUpUs, [line, end] { line->end_at(1 - end, "no acknowledgement came for 10 s"); });
    }
}

}  // namespace narke::sim
