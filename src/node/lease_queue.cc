#include "node/lease_queue.h"

namespace narke::node {

Request& LeaseQueue::push(Request request) {
  HolderLines*& holder = by_holder_[request.holder];
  if (holder == nullptr) {
    holder = &ring_.emplace_back();
    holder->id = request.holder;
    holder->self = std::prev(ring_.end());
  }
  ClassLine*& line = holder->by_class[request.cls.get()];
  if (line == nullptr) {
    line = &holder->lines.emplace_back();
    line->holder = holder;
    line->cls = request.cls;
    line->self = std::prev(holder->lines.end());
  }
  request.line = line;
  ++line->cls->pending;
  ++size_;
  return line->requests.emplace_back(std::move(request));
}

Requests LeaseQueue::take(Requests::iterator request) {
  ClassLine* line = request->line;
  HolderLines* holder = line->holder;
  Requests out;
  out.splice(out.end(), line->requests, request);
  request->line = nullptr;
  --line->cls->pending;
  --size_;
  if (!line->requests.empty()) return out;
  holder->by_class.erase(line->cls.get());
  holder->lines.erase(line->self);
  if (!holder->lines.empty()) return out;
  by_holder_.erase(holder->id);
  ring_.erase(holder->self);
  return out;
}

}  // namespace narke::node
