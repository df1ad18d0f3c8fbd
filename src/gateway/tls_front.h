// HTTPS in front of an HttpServer: looks at a connection's first byte, and takes the TLS off.
//
// What comes in TLS goes on in the clear over a socket pair within this process, so that the server knows nothing of
// it. What comes in the clear from another host is told the https address and nothing else; this host may talk in the
// clear, since nothing of it leaves the host.
#pragma once

#include <memory>
#include <optional>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/result.h"
#include "gateway/certificate.h"

namespace narke::gateway {

class TlsFront {
 public:
  // always: also this host's programs have to use TLS. Fails when the files cannot be used.
  static Result<std::unique_ptr<TlsFront>> make(const TlsFiles& files, bool always);
  ~TlsFront();

  struct Passed {
    boost::asio::ip::tcp::socket socket;  // bytes in the clear
    bool is_secure = false;
  };
  // The connection as the server is to see it; nothing when it has been dealt with. Waits at most ten seconds for the
  // client's part of the handshake.
  boost::asio::awaitable<std::optional<Passed>> pass(boost::asio::ip::tcp::socket socket);

 private:
  struct Context;
  TlsFront(std::unique_ptr<Context> context, bool always);
  std::unique_ptr<Context> context_;
  bool always_;
};

}  // namespace narke::gateway
