#include "gateway/http_server.h"

#include <set>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own_log.h"
#include "gateway/tls_front.h"
#include "gateway/url.h"

namespace narke::gateway {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using asio::ip::tcp;
using std::chrono::seconds;

static constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
static constexpr uint32_t kHeadBytes = 16 * 1024;
static constexpr size_t kPausedConnections = 50;  // accepting goes on when so many places are free

struct HttpServer::State {
  asio::io_context& io;
  App& app;
  ServerLimits limits;
  std::vector<std::shared_ptr<tcp::acceptor>> acceptors;  // shared with their coroutines
  std::set<int> sockets;
  bool stopping = false;
};
using StatePtr = std::shared_ptr<HttpServer::State>;

namespace {

template <class T>
Request request_of(const http::message<true, T>& message, bool is_open, bool is_secure) {
  Request out;
  out.method = std::string(message.method_string());
  out.target = std::string(message.target());
  out.is_open_port = is_open;
  out.is_secure = is_secure;
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::string& value = out.headers[name];
    value += (value.empty() ? "" : ", ") + std::string(field.value());
  }
  out.wants_websocket = websocket::is_upgrade(message);
  return out;
}

void add_headers(http::fields& fields, const Response& response) {
  fields.set(http::field::server, "narke");
  fields.set(http::field::content_type, response.content_type);
  fields.set("X-Content-Type-Options", "nosniff");
  fields.set("X-Frame-Options", "DENY");
  fields.set("Referrer-Policy", "same-origin");
  fields.set("Cross-Origin-Resource-Policy", "same-origin");
  if (!response.content_type.starts_with("text/html")) fields.set(http::field::cache_control, "no-store");
  for (const auto& [name, value] : response.headers) fields.set(name, value);
}

// The client has gone: its side of the socket is closed and nothing is left to read.
bool is_gone(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

asio::awaitable<Response> ask(App& app, Request request) {
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Response)>(
      [](auto handler, App* to, Request asked) {
        auto held = std::make_shared<decltype(handler)>(std::move(handler));  // std::function copies
        to->handle(std::move(asked), [held](Response response) {
          asio::dispatch(asio::get_associated_executor(*held),
                         [held, response = std::move(response)]() mutable { (*held)(std::move(response)); });
        });
      },
      asio::use_awaitable, &app, std::move(request));
}

asio::awaitable<std::optional<std::string>> next_of(Source& source) {
  using Piece = std::optional<std::string>;
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Piece)>(
      [](auto handler, Source* from) {
        auto held = std::make_shared<decltype(handler)>(std::move(handler));
        from->next([held](Piece piece) {
          asio::dispatch(asio::get_associated_executor(*held),
                         [held, piece = std::move(piece)]() mutable { (*held)(std::move(piece)); });
        });
      },
      asio::use_awaitable, &source);
}

asio::awaitable<bool> write_whole(beast::tcp_stream& stream, const HttpServer::State& state, Response response,
                                  bool is_head, bool keep, unsigned version) {
  http::response<http::string_body> message(static_cast<http::status>(response.status), version);
  add_headers(message, response);
  message.keep_alive(keep);
  message.body() = std::move(response.body);
  message.prepare_payload();
  http::response_serializer<http::string_body> serializer(message);
  if (is_head) serializer.split(true);
  stream.expires_after(state.limits.write);
  const auto [error, size] = is_head ? co_await http::async_write_header(stream, serializer, kToken)
                                     : co_await http::async_write(stream, serializer, kToken);
  co_return !error;
}

asio::awaitable<bool> write_chunks(beast::tcp_stream& stream, const HttpServer::State& state, Response response,
                                   bool keep, unsigned version) {
  http::response<http::empty_body> message(static_cast<http::status>(response.status), version);
  add_headers(message, response);
  message.keep_alive(keep);
  message.chunked(true);
  http::response_serializer<http::empty_body> serializer(message);
  stream.expires_after(state.limits.write);
  auto [error, size] = co_await http::async_write_header(stream, serializer, kToken);
  while (!error) {
    const std::optional<std::string> piece = co_await next_of(*response.source);
    stream.expires_after(state.limits.write);
    if (!piece) {
      std::tie(error, size) = co_await asio::async_write(stream, http::make_chunk_last(), kToken);
      co_return !error;
    }
    if (piece->empty()) {
      if (is_gone(stream.socket().native_handle())) co_return false;
      continue;
    }
    std::tie(error, size) = co_await asio::async_write(stream, http::make_chunk(asio::buffer(*piece)), kToken);
  }
  co_return false;
}

using Socket = websocket::stream<beast::tcp_stream>;

// Reads until the client closes; what it says is of no interest.
asio::awaitable<void> drain(std::shared_ptr<Socket> socket) {
  beast::flat_buffer buffer(64 * 1024);
  for (;;) {
    const auto [error, size] = co_await socket->async_read(buffer, kToken);
    if (error) co_return;
    buffer.consume(buffer.size());
  }
}

asio::awaitable<void> write_frames(std::shared_ptr<Socket> socket, std::shared_ptr<Source> source) {
  while (socket->is_open()) {
    const std::optional<std::string> piece = co_await next_of(*source);
    if (!socket->is_open()) co_return;
    if (!piece) {
      co_await socket->async_close(websocket::close_code::normal, kToken);
      co_return;
    }
    if (piece->empty()) continue;
    const auto [error, size] = co_await socket->async_write(asio::buffer(*piece), kToken);
    if (error) co_return;
  }
}

asio::awaitable<void> serve_websocket(beast::tcp_stream stream, http::request<http::empty_body> head,
                                      std::shared_ptr<Source> source) {
  const auto socket = std::make_shared<Socket>(std::move(stream));  // shared by the reader and the writer
  beast::get_lowest_layer(*socket).expires_never();
  socket->set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
  socket->read_message_max(64 * 1024);
  socket->text(true);
  const auto [error] = co_await socket->async_accept(head, kToken);
  if (error) co_return;
  asio::co_spawn(co_await asio::this_coro::executor, drain(socket), asio::detached);
  co_await write_frames(socket, std::move(source));
}

class Session {
 public:
  Session(StatePtr state, tcp::socket socket, bool is_open, bool is_secure)
      : state_(std::move(state)), stream_(std::move(socket)), is_open_(is_open), is_secure_(is_secure) {}

  asio::awaitable<void> run() {
    while (!state_->stopping && co_await serve_one()) {
    }
    boost::system::error_code ignored;  // the peer may have closed first
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

 private:
  using HeadParser = http::request_parser<http::empty_body>;

  // False: the connection is over.
  asio::awaitable<bool> serve_one() {
    HeadParser parser;
    parser.header_limit(kHeadBytes);
    parser.body_limit(std::numeric_limits<uint64_t>::max());  // the App's plan bounds it
    stream_.expires_after(state_->limits.head);
    const auto [error, size] = co_await http::async_read_header(stream_, buffer_, parser, kToken);
    if (error == http::error::header_limit)
      co_return co_await refuse(parser, text_response(431, "The request's head is larger than 16 KiB."));
    if (error)
      co_return error.category() == http::make_error_code(http::error::bad_method).category() &&
              error != http::error::end_of_stream
          ? co_await refuse(parser, text_response(400, "The request is not HTTP."))
          : false;
    Request request = request_of(parser.get(), is_open_, is_secure_);
    auto target = parse_target(request.target);
    if (!target) co_return co_await refuse(parser, text_response(400, "The request's path or query is malformed."));
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    Plan plan = state_->app.plan(request);
    if (plan.refusal) co_return co_await refuse(parser, std::move(*plan.refusal));
    if (request.wants_websocket) co_return co_await upgrade(parser, std::move(request));
    co_return co_await answer(parser, std::move(request), plan);
  }

  // A body that nobody will read may follow: the connection ends unless there is none.
  asio::awaitable<bool> refuse(HeadParser& parser, Response response) {
    const bool has_body = !parser.is_done() && parser.is_header_done() &&
                          (parser.content_length_remaining().value_or(1) > 0 || parser.chunked());
    const bool keep = parser.is_header_done() && !has_body && parser.keep_alive();
    const bool written = co_await write_whole(stream_, *state_, std::move(response), false, keep, 11);
    co_return written&& keep;
  }

  asio::awaitable<bool> answer(HeadParser& parser, Request request, const Plan& plan) {
    if (parser.content_length().value_or(0) > plan.body_limit_bytes) co_return co_await refuse(parser, too_large(plan));
    if (co_await http_continue(parser)) co_return false;
    const bool keep = parser.keep_alive();
    const unsigned version = parser.get().version();
    std::optional<Response> refused;
    if (plan.body_file.empty())
      refused = co_await read_body<http::string_body>(parser, plan, request);
    else
      refused = co_await read_body<http::file_body>(parser, plan, request);
    if (refused) {
      co_await write_whole(stream_, *state_, std::move(*refused), false, false, version);
      co_return false;
    }
    const bool is_head = request.method == "HEAD";
    const std::string leftover = request.body_file;
    Response response = co_await ask(state_->app, std::move(request));
    if (!leftover.empty()) ::unlink(leftover.c_str());
    const bool stay = keep && !response.close && !state_->stopping;
    if (response.source && !is_head)
      co_return co_await write_chunks(stream_, *state_, std::move(response), stay, version) && stay;
    co_return co_await write_whole(stream_, *state_, std::move(response), is_head, stay, version) && stay;
  }

  static Response too_large(const Plan& plan) {
    return text_response(413, "The request's body is larger than " + std::to_string(plan.body_limit_bytes) +
                                  " bytes, the most that is taken here.");
  }

  // True: it failed.
  asio::awaitable<bool> http_continue(HeadParser& parser) {
    if (!beast::iequals(parser.get()[http::field::expect], "100-continue")) co_return false;
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    const auto [error, size] = co_await http::async_write(stream_, go_on, kToken);
    co_return static_cast<bool>(error);
  }

  template <class Body>
  asio::awaitable<std::optional<Response>> read_body(HeadParser& head, const Plan& plan, Request& request) {
    http::request_parser<Body> parser(std::move(head));
    parser.body_limit(plan.body_limit_bytes);
    if constexpr (std::is_same_v<Body, http::file_body>) {
      beast::error_code opened;
      parser.get().body().open(plan.body_file.c_str(), beast::file_mode::write, opened);
      if (opened) co_return text_response(500, "The upload cannot be stored: " + opened.message());
    }
    stream_.expires_after(plan.body_file.empty() ? state_->limits.body : state_->limits.upload);
    const auto [error, size] = co_await http::async_read(stream_, buffer_, parser, kToken);
    if (error && !plan.body_file.empty()) ::unlink(plan.body_file.c_str());
    if (error == http::error::body_limit) co_return too_large(plan);
    if (error == beast::error::timeout) co_return text_response(408, "The request's body did not come in time.");
    if (error) co_return text_response(400, "The request's body is malformed: " + error.message());
    if constexpr (std::is_same_v<Body, http::file_body>) {
      parser.get().body().close();
      request.body_file = plan.body_file;
    } else {
      request.body = std::move(parser.get().body());
    }
    co_return std::nullopt;
  }

  asio::awaitable<bool> upgrade(HeadParser& parser, Request request) {
    Response response = co_await ask(state_->app, std::move(request));
    if (response.status != 200 || !response.source) co_return co_await refuse(parser, std::move(response));
    co_await serve_websocket(std::move(stream_), parser.release(), std::move(response.source));
    co_return false;
  }

  StatePtr state_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{256 * 1024};
  bool is_open_, is_secure_;
};

asio::awaitable<void> serve_client(StatePtr state, tcp::socket socket, bool is_open, TlsFront* front) {
  const int fd = socket.native_handle();
  state->sockets.insert(fd);
  try {
    std::optional<TlsFront::Passed> passed;
    if (front != nullptr)
      passed = co_await front->pass(std::move(socket));
    else
      passed = TlsFront::Passed{std::move(socket)};
    if (passed) {
      Session session(state, std::move(passed->socket), is_open, passed->is_secure);
      co_await session.run();
    }
  } catch (const std::exception& error) {  // one client's trouble is not the others'
    complain("dashboard", std::string("a request failed: ") + error.what());
  }
  state->sockets.erase(fd);
}

asio::awaitable<void> accept_clients(StatePtr state, std::shared_ptr<tcp::acceptor> acceptor, bool is_open,
                                     TlsFront* front) {
  while (!state->stopping) {
    if (state->sockets.size() + kPausedConnections > state->limits.connections) {
      asio::steady_timer pause(state->io, std::chrono::milliseconds(20));
      co_await pause.async_wait(kToken);
      if (state->sockets.size() >= state->limits.connections) continue;
    }
    auto [error, socket] = co_await acceptor->async_accept(kToken);
    if (error == asio::error::operation_aborted) co_return;
    if (error) {  // out of descriptors, most likely
      asio::steady_timer pause(state->io, std::chrono::milliseconds(100));
      co_await pause.async_wait(kToken);
      continue;
    }
    asio::co_spawn(state->io, serve_client(state, std::move(socket), is_open, front), asio::detached);
  }
}

}  // namespace

HttpServer::HttpServer(asio::io_context& io, App& app, ServerLimits limits)
    : state_(std::make_shared<State>(State{io, app, limits, {}, {}, false})) {}

HttpServer::~HttpServer() { stop(); }

void HttpServer::serve(int listening_fd, bool is_open, TlsFront* front) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  getsockname(listening_fd, reinterpret_cast<sockaddr*>(&address), &size);
  const auto protocol = address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4();
  auto acceptor = std::make_shared<tcp::acceptor>(state_->io, protocol, listening_fd);
  state_->acceptors.push_back(acceptor);
  asio::co_spawn(state_->io, accept_clients(state_, acceptor, is_open, front), asio::detached);
}

void HttpServer::stop() {
  if (std::exchange(state_->stopping, true)) return;
  boost::system::error_code ignored;  // closing twice is no harm
  for (const auto& acceptor : state_->acceptors) acceptor->close(ignored);
  for (const int fd : state_->sockets) ::shutdown(fd, SHUT_RDWR);
}

}  // namespace narke::gateway
