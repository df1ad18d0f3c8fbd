// One request on its way through a replica, and its answer on its way back. Belongs to its session.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "proxy/answer.h"
#include "proxy/calls.h"
#include "proxy/request_parser.h"
#include "proxy/router.h"
#include "proxy/target.h"
#include "proxy/websocket.h"

namespace narke::proxy {

class Server;
class Session;

// What a request is fed with while it runs; python/narke/serve/_private/wire.py knows the same numbers.
enum class FeedKind : int { kBody = 0, kLastBody = 1, kText = 2, kBinary = 3, kDisconnect = 4 };

class Exchange final : public Waiting, public CallListener, public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Server& server, Session& session, const Route& route, RequestHead head, const Target& target,
           bool is_websocket);
  ~Exchange() override;

  // body: the whole of it, or null when parts will be fed.
  void begin(const std::string* body);
  // ---- from the session ----
  bool takes_more() const;  // another part may be fed
  void feed(FeedKind kind, std::string_view data, uint16_t code = 0);
  void client_gone();
  void written();           // what was unsent has left
  void finished();          // its answer is complete
  void check_deadline(int64_t now_ms);
  bool is_websocket() const { return is_websocket_; }
  bool is_accepted() const { return is_accepted_; }
  bool has_ended() const { return has_ended_; }
  const std::string& request_id() const { return request_id_; }
  const RequestHead& head() const { return head_; }
  void count(int status);

  // ---- Waiting, CallListener ----
  void assigned(ReplicaPtr replica) override;
  void abandoned() override;
  const std::string& model() const override { return model_; }
  void on_item(rpc::Bytes value) override;
  void on_end(bool is_error, rpc::Bytes value) override;

 private:
  struct Feed;
  std::string encode(const std::string* body) const;
  void place();
  void release(int64_t load);
  void fail(rpc::Bytes error);
  void take(const Answer& answer);
  void take_chunks(std::string_view chunks);
  void end();
  bool may_repeat() const;

  Server& server_;
  Session* session_;          // null once the client is gone
  BackendPtr backend_;
  const std::string app_, prefix_;
  RequestHead head_;
  const std::string path_, raw_path_, query_;
  const bool is_websocket_;
  std::string request_id_, model_;
  std::string argument_;      // kept until the request runs for certain
  ReplicaPtr replica_;
  CallPtr call_;
  std::unique_ptr<Feed> feed_;
  int64_t began_ms_, deadline_ms_ = -1;
  int64_t timeout_ms_;
  std::chrono::steady_clock::time_point began_;
  int attempts_ = 0;
  uint64_t unacknowledged_ = 0;  // items whose bytes are not written yet
  bool is_waiting_ = false, is_accepted_ = false, has_started_ = false, has_ended_ = false, is_streamed_ = false;
};

}  // namespace narke::proxy
