// The controller's state as records that a journal keeps: FlexBuffers maps, one for each job, actor, group, node, key.
//
// Reading ignores fields it does not know and gives those that are missing their defaults, so that neighbouring
// releases read each other's records.
#pragma once

#include <string>

#include "controller/types.h"

namespace narke::controller {

std::string save(const Job& job);
std::string save(const Actor& actor);
std::string save(const PlacementGroup& group);
std::string save(const Node& node);
// False: the bytes are no such record.
bool load(const std::string& bytes, Job* out);
bool load(const std::string& bytes, Actor* out);
bool load(const std::string& bytes, PlacementGroup* out);
bool load(const std::string& bytes, Node* out);

}  // namespace narke::controller
