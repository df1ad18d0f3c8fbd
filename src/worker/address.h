// Where a program (driver or worker) can be reached.
#pragma once

#include <string>

#include "base/id.h"
#include "schema/narke_generated.h"

namespace narke::worker {

struct Address {
  WorkerId worker;
  NodeId node;
  std::string endpoint;  // path of the program's socket

  static Address from_wire(const wire::Address* wire) {
    Address address;
    if (wire == nullptr) return address;
    address.worker = WorkerId::from_wire(wire->worker());
    address.node = NodeId::from_wire(wire->node());
    if (wire->endpoint() != nullptr) address.endpoint = wire->endpoint()->str();
    return address;
  }
  flatbuffers::Offset<wire::Address> to_wire(flatbuffers::FlatBufferBuilder& b) const {
    auto path = b.CreateSharedString(endpoint);
    auto w = worker.to_wire<wire::WorkerId>();
    auto n = node.to_wire<wire::NodeId>();
    return wire::CreateAddress(b, &w, &n, path);
  }
};

}  // namespace narke::worker
