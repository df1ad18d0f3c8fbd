// Between frames and the cores' types.
#pragma once

#include <string>
#include <vector>

#include <flatbuffers/flexbuffers.h>

#include "controller/types.h"
#include "node/core.h"
#include "rpc/frame.h"

namespace narke::node {

using Builder = flatbuffers::FlatBufferBuilder;
template <class T>
using Vector = flatbuffers::Vector<T>;

inline std::string text_of(const flatbuffers::String* text) { return text ? text->str() : std::string(); }
inline std::string bytes_of(const Vector<uint8_t>* bytes) {
  return bytes ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()) : std::string();
}

using WireResources = Vector<flatbuffers::Offset<wire::Resource>>;
ResourceSet resources_of(const WireResources* resources);
flatbuffers::Offset<WireResources> pack_resources(Builder& builder, const ResourceSet& resources);
inline rpc::Bytes as_bytes(const Builder& table) { return {table.GetBufferPointer(), table.GetSize()}; }
// [[key, operator, [values]], ...]; nothing when it is malformed.
std::optional<std::vector<sched::LabelCondition>> checked_conditions_of(const flexbuffers::Reference& list);
sched::Strategy strategy_of(const wire::Strategy* strategy);
controller::Address address_of(const wire::Address* address);

LeaseRequest lease_request_of(const wire::RequestLease& request);
// The other way; finishes the builder.
void pack_lease_request(Builder& builder, const LeaseRequest& request);
controller::ActorSpec actor_spec_of(const wire::ActorSpec& spec);

flatbuffers::Offset<wire::Address> pack_address(Builder& builder, const WorkerId& worker, const NodeId& node,
                                                const std::string& endpoint);
flatbuffers::Offset<Vector<flatbuffers::Offset<wire::Instances>>> pack_devices(Builder& builder,
                                                                               const Allocation& allocation);
void pack_actor_update(Builder& builder, const controller::Actor& actor);
// The StartActor table around the spec of a CreateActor table, whose bytes go in as they are.
void pack_start_actor(Builder& builder, const controller::ActorFrame& frame, int incarnation,
                      const Allocation& allocation);

// An id as a flatbuffers struct to point at while a table is built.
template <class Wire, class IdType>
Wire wired(const IdType& id) {
  return id.template to_wire<Wire>();
}

// A driver that only looks (the command line): no workers are begun for it, and it is no row among the jobs.
bool is_observer(const controller::Job& job);
// Whether workers are begun for it before it asks for any.
bool wants_prestart(const controller::Job& job);
// What the job's tasks and actors may hold together; empty: there is no cap.
ResourceSet cap_of(const controller::Job& job);

// A valid FlexBuffers map, or an empty one.
flexbuffers::Map map_of(const uint8_t* data, size_t size);
std::string id_text(const flexbuffers::Reference& value);  // the bytes of a blob or string

// A FlexBuffers map of strings.
flatbuffers::Offset<flatbuffers::Vector<uint8_t>> pack_labels(flatbuffers::FlatBufferBuilder& b,
                                                              const sched::Labels& labels);
sched::Labels labels_of(const flatbuffers::Vector<uint8_t>* bytes);

}  // namespace narke::node
