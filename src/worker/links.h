// How the parts of the worker library reach the outside: the node and other programs. One implementation in the
// engine, a recording one in tests.
#pragma once

#include "rpc/connection.h"
#include "worker/address.h"

namespace narke::worker {

class Links {
 public:
  virtual ~Links() = default;
  // The link to a program, opened when there is none; null when nobody answers there.
  virtual rpc::ConnectionPtr program(const Address& address) = 0;
  // An open link to a program by its id, or null.
  virtual rpc::ConnectionPtr open_program(const WorkerId& worker) = 0;
  // Where the program at the other end of a link can be reached, as far as it has said so.
  virtual Address address_of(const rpc::Connection& link) = 0;
  // The link to the node; null once it is lost.
  virtual rpc::ConnectionPtr node() = 0;
  virtual const Address& self() = 0;
};

}  // namespace narke::worker
