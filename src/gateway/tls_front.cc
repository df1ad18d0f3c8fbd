#include "gateway/tls_front.h"

#include <array>
#include <string>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace narke::gateway {

namespace asio = boost::asio;
namespace ssl = asio::ssl;
using asio::ip::tcp;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kHandshake{10};
constexpr int kStalledMs = 60'000;  // a client that takes nothing for so long is gone
constexpr unsigned char kTlsHandshake = 0x16;  // RFC 8446 section 5.1
constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";  // of TLS 1.2; those of 1.3 are all good
constexpr size_t kMostHead = 4096;

// Ends what a socket waits for when its time is over.
class Deadline {
 public:
  explicit Deadline(tcp::socket& socket) : timer_(socket.get_executor(), kHandshake) {
    timer_.async_wait([&socket, live = live_](auto error) {
      boost::system::error_code ignored;  // it may have ended by itself
      if (!error && *live) socket.close(ignored);
    });
  }
  ~Deadline() { *live_ = false; }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  std::shared_ptr<bool> live_ = std::make_shared<bool>(true);  // shared with a handler that may come late
  asio::steady_timer timer_;
};

// One client: TLS outside, in the clear inside. Shared by the two directions.
struct Joint {
  Joint(tcp::socket socket, ssl::context& context) : outer(std::move(socket), context), inner(outer.get_executor()) {}
  void close() {
    boost::system::error_code ignored;  // the other direction may have been first
    outer.lowest_layer().close(ignored);
    inner.close(ignored);
  }
  ssl::stream<tcp::socket> outer;
  tcp::socket inner;
};

template <class From, class To>
asio::awaitable<void> pump(From& from, To& to) {
  std::array<char, 16 << 10> bytes;
  for (;;) {
    const auto [error, size] = co_await from.async_read_some(asio::buffer(bytes), kToken);
    if (error) co_return;
    const auto [failed, written] = co_await asio::async_write(to, asio::buffer(bytes, size), kToken);
    if (failed) co_return;
  }
}

asio::awaitable<void> inward(std::shared_ptr<Joint> joint) {
  co_await pump(joint->outer, joint->inner);
  boost::system::error_code ignored;  // the server may have closed it
  joint->inner.shutdown(tcp::socket::shutdown_send, ignored);
}

asio::awaitable<void> outward(std::shared_ptr<Joint> joint) {
  co_await pump(joint->inner, joint->outer);
  {
    const Deadline deadline(joint->outer.next_layer());
    co_await joint->outer.async_shutdown(kToken);
  }
  joint->close();
}

bool is_from_this_host(tcp::socket& socket) {
  boost::system::error_code error;
  const auto peer = socket.remote_endpoint(error), own = socket.local_endpoint(error);
  return !error && (peer.address().is_loopback() || peer.address() == own.address());
}

// The word after `name` in a request's head, as far as it holds nothing that does not belong in a URL.
std::string word_after(const std::string& head, const std::string& name) {
  const size_t at = head.find(name);
  if (at == head.npos) return {};
  const size_t begin = head.find_first_not_of(' ', at + name.size());
  if (begin == head.npos) return {};
  const std::string word = head.substr(begin, head.find_first_of(" \r\n", begin) - begin);
  for (const unsigned char c : word)
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\') return {};
  return word;
}

std::string answer_to(const std::string& head) {
  std::string host = word_after(head, "\r\nHost:");
  if (host.empty()) host = word_after(head, "\r\nhost:");
  const std::string path = word_after(head, head.starts_with("HEAD ") ? "HEAD" : "GET");
  const bool can_follow = (head.starts_with("GET ") || head.starts_with("HEAD ")) && !host.empty() &&
                          host.find('/') == host.npos && path.starts_with('/');
  const std::string text =
      "This server speaks HTTPS to other hosts: use https://" + (host.empty() ? "..." : host) + "\n";
  std::string out = can_follow ? "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://" + host + path + "\r\n"
                               : std::string("HTTP/1.1 403 Forbidden\r\n");
  out += "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n";
  return out + "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
}

asio::awaitable<void> send_away(tcp::socket& socket) {
  std::string head;
  std::array<char, kMostHead> bytes;
  while (head.find("\r\n\r\n") == head.npos && head.size() < kMostHead) {
    const auto [error, size] = co_await socket.async_read_some(asio::buffer(bytes), kToken);
    if (error) co_return;
    head.append(bytes.data(), size);
  }
  co_await asio::async_write(socket, asio::buffer(answer_to(head)), kToken);
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                    unsigned int in_size, void*) {
  static constexpr unsigned char kKnown[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_size, kKnown, sizeof(kKnown) - 1, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

struct TlsFront::Context {
  ssl::context tls{ssl::context::tls_server};
};

TlsFront::TlsFront(std::unique_ptr<Context> context, bool always) : context_(std::move(context)), always_(always) {}
TlsFront::~TlsFront() = default;

Result<std::unique_ptr<TlsFront>> TlsFront::make(const TlsFiles& files, bool always) {
  auto context = std::make_unique<Context>();
  boost::system::error_code error;
  context->tls.use_certificate_chain_file(files.certificate, error);
  if (error)
    return Error{ErrorCode::kFailed, "the certificate " + files.certificate + " cannot be used: " + error.message()};
  context->tls.use_private_key_file(files.key, ssl::context::pem, error);
  if (error) return Error{ErrorCode::kFailed, "the key " + files.key + " cannot be used: " + error.message()};
  SSL_CTX* raw = context->tls.native_handle();
  if (SSL_CTX_check_private_key(raw) != 1)
    return Error{ErrorCode::kFailed, "the key " + files.key + " does not fit the certificate " + files.certificate};
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
  NARKE_CHECK(SSL_CTX_set_cipher_list(raw, kCiphers) == 1);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(raw, choose_protocol, nullptr);
  return std::unique_ptr<TlsFront>(new TlsFront(std::move(context), always));
}

asio::awaitable<std::optional<TlsFront::Passed>> TlsFront::pass(tcp::socket socket) {
  unsigned char first = 0;
  {
    const Deadline deadline(socket);
    const auto [error] = co_await socket.async_wait(tcp::socket::wait_read, kToken);
    if (error || recv(socket.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1) co_return std::nullopt;
    if (first != kTlsHandshake && (always_ || !is_from_this_host(socket))) {
      co_await send_away(socket);
      co_return std::nullopt;
    }
  }
  if (first != kTlsHandshake) co_return Passed{std::move(socket), false};
  auto joint = std::make_shared<Joint>(std::move(socket), context_->tls);
  {
    const Deadline deadline(joint->outer.next_layer());
    const auto [error] = co_await joint->outer.async_handshake(ssl::stream_base::server, kToken);
    if (error) co_return std::nullopt;
  }
  setsockopt(joint->outer.next_layer().native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kStalledMs, sizeof(kStalledMs));
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) co_return std::nullopt;
  const auto executor = joint->outer.get_executor();
  joint->inner.assign(tcp::v4(), ends[0]);  // the library asks for a protocol; it reads and writes like any other
  tcp::socket plain(executor);
  plain.assign(tcp::v4(), ends[1]);
  asio::co_spawn(executor, inward(joint), asio::detached);
  asio::co_spawn(executor, outward(joint), asio::detached);
  co_return Passed{std::move(plain), true};
}

}  // namespace narke::gateway
