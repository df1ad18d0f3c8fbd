#include "rpc/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "base/result.h"

namespace narke::rpc {

std::string make_nonce() {
  std::string nonce(kNonceBytes, '\0');
  NARKE_CHECK(getrandom(nonce.data(), nonce.size(), 0) == static_cast<ssize_t>(nonce.size()));
  return nonce;
}

std::string prove(std::string_view token, std::string_view nonce) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(nonce.data());
  NARKE_CHECK(HMAC(EVP_sha256(), token.data(), static_cast<int>(token.size()), data, nonce.size(), digest, &size) !=
              nullptr);
  return {reinterpret_cast<char*>(digest), size};
}

bool is_same_proof(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace narke::rpc
