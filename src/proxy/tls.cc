#include "proxy/tls.h"

#include <openssl/err.h>

namespace narke::proxy {
namespace {

std::string why() {
  char text[256] = "unknown";
  if (unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return text;
}

int give_password(char* to, int size, int, void* password) {
  const auto* text = static_cast<const std::string*>(password);
  int length = std::min(size, static_cast<int>(text->size()));
  text->copy(to, static_cast<size_t>(length));
  return length;
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::make(const TlsFiles& files) {
  SSL_CTX* raw = SSL_CTX_new(TLS_server_method());
  NARKE_CHECK(raw != nullptr);
  std::shared_ptr<TlsContext> context(new TlsContext(raw));
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(raw, give_password);
  SSL_CTX_set_default_passwd_cb_userdata(raw, const_cast<std::string*>(&files.key_password));
  auto fail = [](const std::string& what) { return Error{ErrorCode::kFailed, what + ": " + why()}; };
  if (SSL_CTX_use_certificate_chain_file(raw, files.certificate.c_str()) != 1)
    return fail("the certificate " + files.certificate + " cannot be used");
  if (SSL_CTX_use_PrivateKey_file(raw, files.key.c_str(), SSL_FILETYPE_PEM) != 1)
    return fail("the key " + files.key + " cannot be used");
  if (SSL_CTX_check_private_key(raw) != 1) return fail("the key " + files.key + " does not fit the certificate");
  if (!files.authorities.empty()) {
    if (SSL_CTX_load_verify_locations(raw, files.authorities.c_str(), nullptr) != 1)
      return fail("the authorities in " + files.authorities + " cannot be used");
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  SSL_CTX_set_default_passwd_cb_userdata(raw, nullptr);
  return context;
}

TlsFilter::TlsFilter(const TlsContext& context)
    : ssl_(SSL_new(context.get())), in_(BIO_new(BIO_s_mem())), out_(BIO_new(BIO_s_mem())) {
  NARKE_CHECK(ssl_ != nullptr && in_ != nullptr && out_ != nullptr);
  SSL_set_bio(ssl_, in_, out_);  // takes both over
  SSL_set_accept_state(ssl_);
}

bool TlsFilter::drain(std::string& wire) {
  char buffer[16 << 10];
  for (int n = BIO_read(out_, buffer, sizeof(buffer)); n > 0; n = BIO_read(out_, buffer, sizeof(buffer)))
    wire.append(buffer, static_cast<size_t>(n));
  return true;
}

bool TlsFilter::receive(std::string_view bytes, std::string& plain, std::string& wire) {
  BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
  ERR_clear_error();
  char buffer[16 << 10];
  int n = 0;
  while ((n = SSL_read(ssl_, buffer, sizeof(buffer))) > 0) plain.append(buffer, static_cast<size_t>(n));
  int error = SSL_get_error(ssl_, n);
  drain(wire);
  if (SSL_is_init_finished(ssl_) && !early_.empty()) {
    std::string early = std::move(early_);
    early_.clear();
    if (!send(early, wire)) return false;
  }
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

bool TlsFilter::send(std::string_view plain, std::string& wire) {
  if (!SSL_is_init_finished(ssl_)) {
    early_.append(plain);
    return true;
  }
  ERR_clear_error();
  while (!plain.empty()) {
    int n = SSL_write(ssl_, plain.data(), static_cast<int>(std::min<size_t>(plain.size(), 1 << 20)));
    if (n <= 0) return false;
    plain.remove_prefix(static_cast<size_t>(n));
  }
  return drain(wire);
}

}  // namespace narke::proxy
