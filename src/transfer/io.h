// The threads that move bytes: each waits for its links by epoll and steps those that are ready.
//
// Problem: copying a GiB through a socket takes a core for half a second, which the daemon's thread cannot spare;
// deciding what is sent to whom needs the store, which only that thread may touch. So links live on a few threads
// here, and what they have to say is told to the daemon's thread as events.
// Lifecycle: make() -> connect/adopt/push/close -> destroyed: threads are joined, no event follows.
// Threads: all methods are the daemon's thread's. After a link's kClosed nothing touches memory given to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transfer/link.h"

namespace narke::transfer {

using LinkId = uint64_t;

struct Event {
  enum class Kind { kUp, kRequest, kSent, kAnswer, kClosed };
  Kind kind;
  LinkId link;
  Header header;
  std::string text;  // of an answer; of kUp: the peer's address
  Error error;       // of kClosed
};

// Puts a stream around a connected descriptor; called on an I/O thread. preface: what an asker's stream sends first;
// what a giver has read.
using Wrap = std::function<std::unique_ptr<Stream>(int fd, Side side, const rpc::Preface& preface)>;

class Io {
 public:
  // Fails when descriptors or threads are short.
  static Result<std::unique_ptr<Io>> make(const LinkConfig& config, int threads, Wrap wrap,
                                          wire::TlsUse tls = wire::TlsUse::Auto);
  ~Io();
  Io(const Io&) = delete;
  Io& operator=(const Io&) = delete;

  // Returns at once; a failure is told by kClosed.
  LinkId connect(const std::string& address);
  // A connection that was accepted, its preface read. Takes the descriptor over.
  LinkId adopt(int fd, const rpc::Preface& preface);
  // Unknown links are fine: kClosed is on its way, or was taken.
  void push(LinkId link, Outgoing outgoing);
  // kClosed follows, with this error.
  void close(LinkId link, Error why);

  int event_fd() const { return event_fd_; }  // readable when take() has something
  std::vector<Event> take();

 private:
  class Thread;
  class Mailbox;
  Io() = default;
  Thread& thread_of(LinkId link) { return *threads_[link % threads_.size()]; }

  int event_fd_ = -1;
  std::unique_ptr<Mailbox> mailbox_;
  std::vector<std::unique_ptr<Thread>> threads_;
  LinkId next_link_ = 1;
};

}  // namespace narke::transfer
