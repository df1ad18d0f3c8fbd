// Settings of a node's transfers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "schema/narke_generated.h"
#include "transfer/io.h"

namespace narke::transfer {

struct TransferConfig {
  std::string address;                 // "host:port" at which other nodes reach this one's data connections
  uint64_t chunk_bytes = 1 << 20;      // larger objects are asked for in pieces of this size
  uint64_t window_bytes = 4 << 20;     // asked for on one connection before the first of it has come
  int connections = 4;                 // most to one peer
  int threads = 2;                     // that move bytes
  uint64_t pull_bytes = 0;             // most bytes of objects on their way here; 0: a quarter of the store
  size_t most_pulls = 256;             // under way at a time; others wait in order
  int64_t stall_ms = 10'000;           // a peer that sends nothing for so long is given up
  int64_t idle_ms = 30'000;            // a connection without use is closed after this
  int64_t keep_ms = 1'000;             // an object that came is pinned for so long, so that who asked finds it
  int fan_out = 1;                     // nodes that take one object from this one at a time
  uint64_t redirect_bytes = 16 << 20;  // smaller objects are given to everybody
  bool through_tunnel = false;         // other nodes are not where they say: take each object from whom has it
  wire::TlsUse tls = wire::TlsUse::Auto;  // which connections are encrypted
  Wrap wrap;                           // default: TCP, with TLS where the preface says so
  std::function<void(const std::string&)> log;  // something a person should read; may be empty
};

}  // namespace narke::transfer
