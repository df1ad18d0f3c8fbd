// TLS 1.3 between the programs of one cluster, without certificates: both ends derive one key from the cluster's token
// (external PSK with ephemeral Diffie-Hellman, RFC 8446 sections 2.2 and 4.2.11), so that each proves to the other that
// it holds the token, and recorded traffic stays secret when the token becomes known later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;

namespace narke::rpc {

// The key of a cluster. Threads: any, once made.
class TlsKey {
 public:
  explicit TlsKey(std::string_view token);
  ~TlsKey();
  TlsKey(const TlsKey&) = delete;
  TlsKey& operator=(const TlsKey&) = delete;
  // Whose half of a handshake is made with it is the stream's choice.
  SSL_CTX* context() const { return context_; }

 private:
  SSL_CTX* context_;
  std::string secret_;
};

// What a read or write has done: bytes > 0 were moved; 0 bytes and no error: not now; otherwise the stream is over.
struct Moved {
  size_t bytes = 0;
  std::string error;
  bool refused = false;  // the peer is not of this cluster
};

// An encrypted stream over a connected, or connecting, socket; never waits. The handshake happens by itself in reads
// and writes. Threads: one at a time. The descriptor stays its owner's.
class TlsStream {
 public:
  enum class Side { kClient, kServer };
  // preface: leaves before everything else, as it is. The key outlives the stream.
  TlsStream(const TlsKey& key, int fd, Side side, std::string preface = {});
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  Moved read(uint8_t* to, size_t size);
  // When less than all was taken, the next call brings the same bytes again (elsewhere, or with more behind them).
  Moved write(const uint8_t* bytes, size_t size);
  // The last call goes on when the socket can be read, or written, whichever it was to do.
  bool waits_to_read() const { return wants_ == Wants::kRead; }
  bool waits_to_write() const { return wants_ == Wants::kWrite; }
  // Bytes have been taken from the socket that were not read yet: it may not become readable because of them.
  bool has_more() const;
  bool is_ready() const;  // the handshake is over

  // Of the socket; used by OpenSSL.
  long receive(char* to, size_t size);
  long send(const char* bytes, size_t size);

 private:
  enum class Wants { kNothing, kRead, kWrite };
  Moved moved(int result, size_t bytes);
  std::string why_broken(bool* refused);

  SSL* ssl_;
  int fd_;
  Side side_;
  std::string preface_;
  Wants wants_ = Wants::kNothing;
  bool ended_ = false;  // the peer has closed its side
  int error_ = 0;  // of the socket
};

}  // namespace narke::rpc
