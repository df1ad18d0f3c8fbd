// Requests that wait for the resources of one pool: fair among their holders, first come first served within one
// holder's class.
//
// The ring of holders turns by one at every grant. A class that did not fit is skipped until the next pass, so a
// pass over a backlog of a million requests of one class costs one trial.
#pragma once

#include <list>
#include <unordered_map>

#include "node/types.h"

namespace narke::node {

struct HolderLines;

// The queued requests of one holder in one class.
struct ClassLine {
  HolderLines* holder = nullptr;
  ClassPtr cls;
  Requests requests;
  std::list<ClassLine>::iterator self;
};

struct HolderLines {
  WorkerId id;
  std::list<ClassLine> lines;
  std::unordered_map<const SchedClass*, ClassLine*> by_class;
  std::list<HolderLines>::iterator self;
};

class LeaseQueue {
 public:
  Request& push(Request request);
  // Takes a request out of its line.
  Requests take(Requests::iterator request);

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  const std::list<HolderLines>& holders() const { return ring_; }

  // Offers the first request of each line, in turn among the holders, until nobody's fits. try_serve(Request&)
  // answers whether the request has got what it needs; accept(Requests) then takes it over.
  template <class TryServe, class Accept>
  void serve(uint64_t pass, TryServe&& try_serve, Accept&& accept) {
    size_t refused = 0;
    while (refused < ring_.size()) {
      const auto holder = ring_.begin();
      ClassLine* line = first_served(*holder, pass, try_serve);
      ring_.splice(ring_.end(), ring_, holder);
      refused = line ? 0 : refused + 1;
      if (line) accept(take(line->requests.begin()));
    }
  }

 private:
  template <class TryServe>
  static ClassLine* first_served(HolderLines& holder, uint64_t pass, TryServe& try_serve) {
    for (ClassLine& line : holder.lines) {
      if (line.cls->blocked_at == pass) continue;
      if (try_serve(line.requests.front())) {
        holder.lines.splice(holder.lines.end(), holder.lines, line.self);
        return &line;
      }
      line.cls->blocked_at = pass;
    }
    return nullptr;
  }

  std::list<HolderLines> ring_;
  std::unordered_map<WorkerId, HolderLines*> by_holder_;
  size_t size_ = 0;
};

}  // namespace narke::node
