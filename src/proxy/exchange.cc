#include "proxy/exchange.h"

#include <algorithm>

#include "proxy/pickle_writer.h"
#include "proxy/server.h"
#include "proxy/session.h"

namespace narke::proxy {
namespace {

constexpr size_t kMostFeeds = 8;
constexpr size_t kHighWater = 1 << 20;  // unsent bytes at which the replica is held up
constexpr int kMostAttempts = 4;
constexpr size_t kMostIdBytes = 200;

std::string given_id(const RequestHead& head, Server& server) {
  const std::string* id = head.find("x-request-id");
  bool good = id != nullptr && !id->empty() && id->size() <= kMostIdBytes && is_utf8(*id);
  return good ? *id : server.new_request_id();
}

}  // namespace

// Parts of a request's body, or WebSocket messages, on their way to the replica.
struct Exchange::Feed final : CallListener {
  explicit Feed(Exchange& exchange) : owner(exchange) {}
  void on_item(rpc::Bytes) override {}
  void on_end(bool, rpc::Bytes) override {
    if (!calls.empty()) calls.pop_front();
    if (owner.session_ != nullptr) owner.server_.look_again(*owner.session_);
  }
  Exchange& owner;
  std::deque<CallPtr> calls;
};

Exchange::Exchange(Server& server, Session& session, const Route& route, RequestHead head, const Target& target,
                   bool is_websocket)
    : server_(server),
      session_(&session),
      backend_(route.backend),
      app_(route.app),
      prefix_(route.prefix),
      head_(std::move(head)),
      path_(target.path),
      raw_path_(target.raw_path),
      query_(target.query),
      is_websocket_(is_websocket),
      request_id_(given_id(head_, server)),
      began_ms_(server.loop().now_ms()),
      timeout_ms_(route.timeout_ms),
      began_(std::chrono::steady_clock::now()) {
  const std::string* model = head_.find("serve_multiplexed_model_id");
  if (model != nullptr && is_utf8(*model)) model_ = *model;
  server_.stats().add_ongoing(1);
}

Exchange::~Exchange() {
  server_.stats().add_ongoing(-1);
  if (is_waiting_) Router::leave(*backend_, *this);
  if (call_) server_.calls().abandon(*call_);
  if (replica_) release(-1);
  if (feed_)
    for (const CallPtr& call : feed_->calls) Calls::forget(*call);
}

std::string Exchange::encode(const std::string* body) const {
  PickleWriter out;
  out.begin_tuple();
  out.text(request_id_);
  out.text(app_);
  out.text(prefix_);
  out.boolean(is_websocket_);
  out.text(head_.method);
  out.text(path_);
  out.bytes(raw_path_);
  out.bytes(query_);
  out.begin_list();
  for (const auto& [name, value] : head_.headers) {
    out.begin_tuple();
    out.bytes(name);
    out.bytes(value);
    out.end_tuple();
  }
  out.end_list();
  out.text(session_->client_host());
  out.integer(session_->client_port());
  out.text(head_.minor_version == 0 ? "1.0" : "1.1");
  bool secure = session_->is_tls();
  out.text(is_websocket_ ? (secure ? "wss" : "ws") : secure ? "https" : "http");
  out.text(model_);
  if (body != nullptr)
    out.bytes(*body);
  else
    out.none();
  out.end_tuple();
  return out.finish();
}

void Exchange::begin(const std::string* body) {
  is_streamed_ = body == nullptr;
  argument_ = encode(body);
  if (timeout_ms_ > 0) deadline_ms_ = began_ms_ + timeout_ms_;
  place();
}

void Exchange::place() {
  is_waiting_ = true;
  Router::Placed placed = server_.router().place(*backend_, *this, server_.loop().now_ms());
  if (placed == Router::Placed::kTaken) return;
  is_waiting_ = false;
  if (placed == Router::Placed::kGone) return abandoned();
  std::string retry = std::to_string(backend_->retry_after_s);
  Header header{"retry-after", retry};
  std::string text =
      "Request dropped due to backpressure (num_queued_requests=" + std::to_string(backend_->queue.size()) +
      ", max_queued_requests=" + std::to_string(backend_->most_queued) + ").";
  session_->answer_error(backend_->full_status, text, {&header, 1});
}

void Exchange::assigned(ReplicaPtr replica) {
  is_waiting_ = false;
  ++attempts_;
  replica_ = std::move(replica);
  call_ = server_.calls().start(replica_->actor, server_.request_method(), {argument_}, *this);
}

void Exchange::abandoned() {
  is_waiting_ = false;
  if (session_ != nullptr) session_->answer_error(503, "The application was deleted before the request could run.");
}

void Exchange::release(int64_t load) {
  ReplicaPtr replica = std::move(replica_);
  replica_.reset();
  server_.router().done(*backend_, *replica, load, server_.loop().now_ms());
}

bool Exchange::takes_more() const {
  return is_accepted_ && !has_ended_ && (!feed_ || feed_->calls.size() < kMostFeeds);
}

void Exchange::feed(FeedKind kind, std::string_view data, uint16_t code) {
  if (!replica_) return;  // the handler has ended: nobody reads it
  if (!feed_) feed_ = std::make_unique<Feed>(*this);
  PickleWriter out;
  out.begin_tuple();
  out.text(request_id_);
  out.integer(static_cast<int>(kind));
  if (kind == FeedKind::kText)
    out.text(data);
  else
    out.bytes_apart(data.size());
  out.integer(code);
  out.end_tuple();
  const std::string value = out.finish();
  std::string_view head = std::string_view(value).substr(0, out.apart()), tail(value);
  tail.remove_prefix(out.apart());
  if (kind == FeedKind::kText) data = {};
  feed_->calls.push_back(server_.calls().start(replica_->actor, server_.feed_method(), {head, data, tail}, *feed_));
}

void Exchange::client_gone() {
  session_ = nullptr;
  if (!has_ended_) count(499);
}

void Exchange::finished() {
  has_ended_ = true;
  session_ = nullptr;
}

void Exchange::written() {
  for (; unacknowledged_ > 0; --unacknowledged_)
    if (call_) server_.calls().consumed(*call_);
}

void Exchange::check_deadline(int64_t now_ms) {
  if (deadline_ms_ < 0 || now_ms < deadline_ms_ || has_ended_) return;
  if (has_started_) return session_->abort();
  char seconds[32];
  std::snprintf(seconds, sizeof(seconds), "%g", static_cast<double>(timeout_ms_) / 1000);
  session_->answer_error(408, "Request " + request_id_ + " timed out after " + seconds + "s.");
}

void Exchange::on_item(rpc::Bytes value) {
  auto alive = shared_from_this();
  std::optional<Answer> answer = read_answer(value);
  if (!answer) return session_->abort();
  take(*answer);
  if (session_ == nullptr || has_ended_) return;
  ++unacknowledged_;
  if (session_->unsent() < kHighWater) written();
}

void Exchange::take(const Answer& answer) {
  is_accepted_ = true;
  argument_.clear();
  switch (answer.kind) {
    case AnswerKind::kTaken: return server_.look_again(*session_);
    case AnswerKind::kStart:
      has_started_ = true;
      count(answer.status);
      session_->answer_start(answer.status, answer.headers);
      if (!answer.body.empty()) session_->answer_chunk(answer.body);
      return;
    case AnswerKind::kChunk: return session_->answer_chunk(answer.body);
    case AnswerKind::kChunks: return take_chunks(answer.body);
    case AnswerKind::kAccept:
      has_started_ = true;
      count(101);
      return session_->accept_websocket(answer.headers);
    case AnswerKind::kText: return session_->send_message(Opcode::kText, answer.body, answer.status);
    case AnswerKind::kBinary: return session_->send_message(Opcode::kBinary, answer.body, answer.status);
    case AnswerKind::kClose: return session_->send_close(answer.status, answer.body);
    default: return session_->abort();
  }
}

void Exchange::take_chunks(std::string_view chunks) {
  while (!chunks.empty() && session_ != nullptr) {
    std::optional<std::string_view> chunk = next_chunk(chunks);
    if (!chunk) return session_->abort();
    session_->answer_chunk(*chunk);
  }
}

bool Exchange::may_repeat() const {
  constexpr std::string_view kSafe[] = {"GET", "HEAD", "OPTIONS"};
  bool is_safe = std::find(std::begin(kSafe), std::end(kSafe), head_.method) != std::end(kSafe);
  return is_safe && !has_started_ && !is_streamed_ && !argument_.empty() && attempts_ < kMostAttempts;
}

void Exchange::on_end(bool is_error, rpc::Bytes value) {
  auto alive = shared_from_this();
  call_.reset();
  if (is_error) return fail(value);
  std::optional<Answer> answer = read_answer(value);
  bool turned_away =
      answer && !is_accepted_ && (answer->kind == AnswerKind::kBusy || answer->kind == AnswerKind::kLeaving);
  if (turned_away) {
    ReplicaPtr replica = std::move(replica_);
    replica_.reset();
    server_.router().refused(*replica, answer->load, server_.loop().now_ms());
    if (answer->kind == AnswerKind::kLeaving) Router::exclude(*replica);
    return place();
  }
  release(answer ? static_cast<int64_t>(answer->load) : -1);
  if (session_ == nullptr) return;
  if (!answer || answer->kind == AnswerKind::kFailed) {
    if (has_started_) return session_->abort();
    return session_->answer_error(500, "Internal Server Error");
  }
  has_ended_ = true;
  if (answer->kind == AnswerKind::kWhole) {
    count(answer->status);
    return session_->answer_whole(answer->status, answer->headers, answer->body);
  }
  if (answer->kind == AnswerKind::kClose) return session_->send_close(answer->status, answer->body);
  if (answer->kind != AnswerKind::kEnd || !has_started_) return session_->abort();
  if (!answer->body.empty()) session_->answer_chunk(answer->body);
  session_->answer_end();
}

// The call ended in an error of the engine, or the replica could not answer it.
void Exchange::fail(rpc::Bytes error) {
  std::string_view kind = engine_error_kind(error);
  bool is_gone = kind == "ActorDiedError" || kind == "ActorUnavailableError" || kind == "OutOfMemoryError";
  ReplicaPtr replica = replica_;
  if (is_gone) Router::exclude(*replica);
  release(-1);
  if (session_ == nullptr) return;
  if (is_gone && may_repeat()) return place();
  if (has_started_) return session_->abort();
  session_->answer_error(500, is_gone ? "The replica that served the request has ended." : "Internal Server Error");
}

void Exchange::count(int status) {
  auto spent = std::chrono::steady_clock::now() - began_;
  double ms = std::chrono::duration<double, std::milli>(spent).count();
  size_t hash = backend_->key.find('#');
  server_.stats().count(prefix_, head_.method, app_, backend_->key.substr(hash + 1), status, ms);
  server_.log().add(request_id_, head_.method, path_, status, ms);
}

}  // namespace narke::proxy
