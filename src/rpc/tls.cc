#include "rpc/tls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "base/result.h"
#include "rpc/auth.h"

namespace narke::rpc {
namespace {

constexpr char kLabel[] = "narke cluster tls 1.3";  // also what the key is called in handshakes
constexpr size_t kLabelBytes = sizeof(kLabel) - 1;
constexpr size_t kReadAheadBytes = 64 << 10;
constexpr size_t kMostBytesOfCall = 1 << 20;
constexpr unsigned char kCipher[] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256

// A session that stands for the key; OpenSSL takes it over.
SSL_SESSION* session_of(SSL* ssl) {
  const auto& secret = *static_cast<const std::string*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  SSL_SESSION* session = SSL_SESSION_new();
  NARKE_CHECK(session != nullptr);
  const auto* bytes = reinterpret_cast<const unsigned char*>(secret.data());
  NARKE_CHECK(SSL_SESSION_set1_master_key(session, bytes, secret.size()) == 1 &&
              SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, kCipher)) == 1 &&
              SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1);
  return session;
}

int offer_key(SSL* ssl, const EVP_MD* digest, const unsigned char** name, size_t* name_size, SSL_SESSION** session) {
  *session = nullptr;
  if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256) return 1;  // a retry with another hash: no key fits
  *name = reinterpret_cast<const unsigned char*>(kLabel);
  *name_size = kLabelBytes;
  *session = session_of(ssl);
  return 1;
}

int find_key(SSL* ssl, const unsigned char* name, size_t name_size, SSL_SESSION** session) {
  const bool known = name_size == kLabelBytes && std::memcmp(name, kLabel, kLabelBytes) == 0;
  *session = known ? session_of(ssl) : nullptr;
  return 1;
}

// OpenSSL's way to the socket: through the stream, never waiting, never raising SIGPIPE.
int bio_write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const long sent = static_cast<TlsStream*>(BIO_get_data(bio))->send(bytes, static_cast<size_t>(size));
  if (sent < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* to, int size) {
  BIO_clear_retry_flags(bio);
  const long got = static_cast<TlsStream*>(BIO_get_data(bio))->receive(to, static_cast<size_t>(size));
  if (got < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO_METHOD* make_bio_method() {
  BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "narke socket");
  NARKE_CHECK(method != nullptr && BIO_meth_set_write(method, bio_write) == 1 &&
              BIO_meth_set_read(method, bio_read) == 1 && BIO_meth_set_ctrl(method, bio_control) == 1);
  return method;
}

BIO* make_bio(TlsStream* stream) {
  static BIO_METHOD* const method = make_bio_method();
  BIO* bio = BIO_new(method);
  NARKE_CHECK(bio != nullptr);
  BIO_set_data(bio, stream);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace

TlsKey::TlsKey(std::string_view token) : secret_(prove(token, {kLabel, kLabelBytes})) {
  context_ = SSL_CTX_new(TLS_method());
  NARKE_CHECK(context_ != nullptr);
  SSL_CTX_set_app_data(context_, &secret_);
  NARKE_CHECK(SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION) == 1 &&
              SSL_CTX_set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256") == 1 &&
              SSL_CTX_set1_groups_list(context_, "X25519") == 1 && SSL_CTX_set_num_tickets(context_, 0) == 1);
  SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_read_ahead(context_, 1);
  SSL_CTX_set_default_read_buffer_len(context_, kReadAheadBytes);
  SSL_CTX_set_psk_use_session_callback(context_, offer_key);
  SSL_CTX_set_psk_find_session_callback(context_, find_key);
}

TlsKey::~TlsKey() { SSL_CTX_free(context_); }

TlsStream::TlsStream(const TlsKey& key, int fd, Side side, std::string preface)
    : ssl_(SSL_new(key.context())), fd_(fd), side_(side), preface_(std::move(preface)) {
  NARKE_CHECK(ssl_ != nullptr);
  BIO* bio = make_bio(this);
  SSL_set_bio(ssl_, bio, bio);  // takes it over
  if (side == Side::kServer)
    SSL_set_accept_state(ssl_);
  else
    SSL_set_connect_state(ssl_);
}

TlsStream::~TlsStream() { SSL_free(ssl_); }

bool TlsStream::has_more() const { return SSL_has_pending(ssl_) != 0; }
bool TlsStream::is_ready() const { return SSL_is_init_finished(ssl_) != 0; }

long TlsStream::receive(char* to, size_t size) {
  const long got = recv(fd_, to, size, MSG_DONTWAIT);
  if (got == 0) ended_ = true;
  if (got < 0 && errno == EINTR) errno = EAGAIN;
  if (got < 0 && errno != EAGAIN) error_ = errno;
  return got;
}

long TlsStream::send(const char* bytes, size_t size) {
  while (!preface_.empty()) {
    const long sent = ::send(fd_, preface_.data(), preface_.size(), MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) error_ = errno;
    if (sent < 0 && errno == EINTR) errno = EAGAIN;
    if (sent < 0) return -1;
    preface_.erase(0, static_cast<size_t>(sent));
  }
  const long sent = ::send(fd_, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && errno == EINTR) errno = EAGAIN;
  if (sent < 0 && errno != EAGAIN) error_ = errno;
  return sent;
}

Moved TlsStream::read(uint8_t* to, size_t size) {
  ERR_clear_error();
  size_t bytes = 0;
  return moved(SSL_read_ex(ssl_, to, std::min(size, kMostBytesOfCall), &bytes), bytes);
}

Moved TlsStream::write(const uint8_t* data, size_t size) {
  ERR_clear_error();
  size_t bytes = 0;
  return moved(SSL_write_ex(ssl_, data, std::min(size, kMostBytesOfCall), &bytes), bytes);
}

Moved TlsStream::moved(int result, size_t bytes) {
  wants_ = Wants::kNothing;
  if (result == 1) return {bytes, {}, false};
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ: wants_ = Wants::kRead; return {};
    case SSL_ERROR_WANT_WRITE: wants_ = Wants::kWrite; return {};
    default: break;
  }
  Moved over;
  over.error = why_broken(&over.refused);
  ERR_clear_error();
  return over;
}

// What a person can do something about; OpenSSL's words stand behind it.
std::string TlsStream::why_broken(bool* refused) {
  const unsigned long code = ERR_peek_error();
  const int reason = code == 0 ? 0 : ERR_GET_REASON(code);
  const bool alerted = ERR_GET_LIB(code) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET;
  if (error_ != 0) return strerror(error_);
  if (is_ready()) return ended_ ? "the peer closed the connection" : "the encrypted link was disturbed";
  if (ended_ && !alerted) return "the peer closed the connection instead of beginning TLS";
  *refused = true;
  const char* words = code == 0 ? nullptr : ERR_reason_error_string(code);
  const std::string detail = words == nullptr ? "" : std::string(" (") + words + ")";
  if (alerted) return "the peer refuses the encrypted link: it holds another token than this program" + detail;
  if (reason == SSL_R_BINDER_DOES_NOT_VERIFY) return "the peer does not know this cluster's token";
  if (side_ == Side::kServer) return "the peer offers no key of this cluster" + detail;
  return "the peer does not answer in TLS: it is no node of this version, or was started with --tls=off" + detail;
}

}  // namespace narke::rpc
