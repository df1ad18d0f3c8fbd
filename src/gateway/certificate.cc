#include "gateway/certificate.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

namespace narke::gateway {
namespace {

constexpr long kValidSeconds = 10L * 365 * 86'400;
constexpr long kWeekSeconds = 7L * 86'400;
constexpr long kSkewSeconds = 86'400;  // clients' clocks may be behind

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* it) const {
    Free(it);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;

bool is_address(const std::string& name) {
  in6_addr buffer;
  return inet_pton(AF_INET, name.c_str(), &buffer) == 1 || inet_pton(AF_INET6, name.c_str(), &buffer) == 1;
}

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  NARKE_CHECK(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Everything but what depends on its use.
Certificate blank(const Key& key, const std::string& name) {
  Certificate out(X509_new());
  unsigned char serial[16];
  NARKE_CHECK(RAND_bytes(serial, sizeof(serial)) == 1);
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial, sizeof(serial), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(out.get()));
  BN_free(number);
  X509_set_version(out.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(out.get()), -kSkewSeconds);
  X509_gmtime_adj(X509_getm_notAfter(out.get()), kValidSeconds);
  X509_set_pubkey(out.get(), key.get());
  X509_NAME* subject = X509_get_subject_name(out.get());
  const auto* text = reinterpret_cast<const unsigned char*>(name.data());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, text, static_cast<int>(name.size()), -1, 0);
  return out;
}

Certificate make_authority(const Key& key) {
  Certificate out = blank(key, "Narke cluster authority");
  X509_set_issuer_name(out.get(), X509_get_subject_name(out.get()));
  add_extension(out.get(), out.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(out.get(), out.get(), NID_key_usage, "critical,keyCertSign");
  add_extension(out.get(), out.get(), NID_subject_key_identifier, "hash");
  NARKE_CHECK(X509_sign(out.get(), key.get(), EVP_sha256()) > 0);
  return out;
}

// Host names that would change the meaning of the list are left out.
std::string alternatives(const std::vector<std::string>& names) {
  std::string out = "DNS:localhost,IP:127.0.0.1,IP:::1";
  for (const std::string& name : names) {
    if (name.empty() || name[0] == '.' || name.find_first_of(", \t\n:/") != name.npos) {
      if (is_address(name)) out += ",IP:" + name;
      continue;
    }
    out += (is_address(name) ? ",IP:" : ",DNS:") + name;
  }
  return out;
}

Certificate make_server(const Key& key, const Certificate& authority, const Key& authority_key,
                        const std::vector<std::string>& names) {
  Certificate out = blank(key, "Narke gateway");
  X509_set_issuer_name(out.get(), X509_get_subject_name(authority.get()));
  add_extension(out.get(), authority.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(out.get(), authority.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(out.get(), authority.get(), NID_ext_key_usage, "serverAuth");
  add_extension(out.get(), authority.get(), NID_subject_alt_name, alternatives(names));
  add_extension(out.get(), authority.get(), NID_authority_key_identifier, "keyid");
  NARKE_CHECK(X509_sign(out.get(), authority_key.get(), EVP_sha256()) > 0);
  return out;
}

// In one step, for the owner only.
template <class Write>
Status write_file(const std::string& path, Write write) {
  const std::string draft = path + ".draft";
  const int fd = ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  FILE* file = fd < 0 ? nullptr : fdopen(fd, "w");
  bool written = file != nullptr && write(file) == 1;
  if (file != nullptr) written = std::fclose(file) == 0 && written;
  if (written && std::rename(draft.c_str(), path.c_str()) == 0) return ok_status();
  return Error{ErrorCode::kFailed, "the certificate file " + path + " cannot be written: " + std::strerror(errno)};
}

bool is_good(const TlsFiles& files) {
  FILE* file = std::fopen(files.certificate.c_str(), "r");
  if (file == nullptr || access(files.key.c_str(), R_OK) != 0) {
    if (file != nullptr) std::fclose(file);
    return false;
  }
  const Certificate certificate(PEM_read_X509(file, nullptr, nullptr, nullptr));
  std::fclose(file);
  if (!certificate) return false;
  time_t then = time(nullptr) + kWeekSeconds;
  return X509_cmp_time(X509_get0_notAfter(certificate.get()), &then) > 0;
}

}  // namespace

Result<TlsFiles> own_certificate(const std::string& folder, const std::vector<std::string>& names) {
  TlsFiles out{folder + "/server.pem", folder + "/server.key"};
  if (is_good(out)) return out;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const Key authority_key(EVP_EC_gen("P-256")), key(EVP_EC_gen("P-256"));
  NARKE_CHECK(authority_key && key);
  const Certificate authority = make_authority(authority_key);
  const Certificate server = make_server(key, authority, authority_key, names);
  const auto write_key = [&](FILE* to) {
    return PEM_write_PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  };
  if (Status done = write_file(out.key, write_key); !done) return done.error();
  const auto write_authority = [&](FILE* to) { return PEM_write_X509(to, authority.get()); };
  if (Status done = write_file(folder + "/ca.pem", write_authority); !done) return done.error();
  const auto write_chain = [&](FILE* to) {
    return PEM_write_X509(to, server.get()) == 1 ? PEM_write_X509(to, authority.get()) : 0;
  };
  if (Status done = write_file(out.certificate, write_chain); !done) return done.error();
  return out;
}

}  // namespace narke::gateway
