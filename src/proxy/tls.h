// TLS as a filter between bytes on the wire and bytes in the clear; the socket is its owner's business.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <openssl/ssl.h>

#include "base/result.h"

namespace narke::proxy {

struct TlsFiles {
  std::string key, certificate, key_password, authorities;  // paths (but the password); authorities may be empty
  bool is_set() const { return !key.empty() && !certificate.empty(); }
};

class TlsContext {
 public:
  // authorities given: clients must show a certificate signed by one of them.
  static Result<std::shared_ptr<TlsContext>> make(const TlsFiles& files);
  ~TlsContext() { SSL_CTX_free(context_); }
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  SSL_CTX* get() const { return context_; }

 private:
  explicit TlsContext(SSL_CTX* context) : context_(context) {}
  SSL_CTX* context_;
};

class TlsFilter {
 public:
  explicit TlsFilter(const TlsContext& context);
  ~TlsFilter() { SSL_free(ssl_); }
  TlsFilter(const TlsFilter&) = delete;
  TlsFilter& operator=(const TlsFilter&) = delete;

  // Bytes from the wire: appends what they say to `plain` and what must be answered to `wire`. False: broken.
  bool receive(std::string_view bytes, std::string& plain, std::string& wire);
  // Encrypts. Before the handshake is over the bytes are kept until then.
  bool send(std::string_view plain, std::string& wire);

 private:
  bool drain(std::string& wire);
  SSL* ssl_;
  BIO* in_;
  BIO* out_;
  std::string early_;
};

}  // namespace narke::proxy
