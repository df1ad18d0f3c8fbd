// What a program tells its node about one attempt of a task: one record says all that it knows, later ones say more.
//
// Plain bytes, little endian, copied as they are into messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/id.h"

namespace narke::history {

enum class Kind : uint8_t { kTask, kActorTask, kActorCreation, kProfile };

// In the order in which they are gone through; the last two are final.
enum class State : uint8_t { kPendingArgs, kPendingNode, kSubmitted, kRunning, kFinished, kFailed };
inline bool is_final(State state) { return state >= State::kFinished; }

// A record kFinished without began_us is a submitter's: it has the answer, and the worker says the rest.
struct Record {
  uint8_t task[TaskId::kSize];
  uint8_t parent[TaskId::kSize];
  uint8_t actor[ActorId::kSize];
  // Microseconds since 1970; 0: not known (yet).
  int64_t created_us, ready_us, pushed_us, began_us, ended_us;
  uint32_t name;     // index in the names of the link
  uint32_t failure;  // from 1, in the failures of the message; 0: none. Of a profile event: its extra data
  int32_t attempt;
  Kind kind;
  State state;
  uint16_t reserved;
};
static_assert(sizeof(Record) == 120);

// Ids nil, times unknown, everything else 0.
inline void clear(Record& record) {
  std::memset(static_cast<void*>(&record), 0xff, offsetof(Record, created_us));
  std::memset(&record.created_us, 0, sizeof(record) - offsetof(Record, created_us));
}
// The part of a task's id that its maker counts up.
inline uint64_t number_of(const TaskId& task) {
  uint64_t number;
  std::memcpy(&number, task.data(), sizeof(number));
  return number;
}
inline Record blank_record() {
  Record record;
  clear(record);
  return record;
}

// As the state API of Ray spells them.
std::string_view name_of(Kind kind);
std::string_view name_of(State state);

}  // namespace narke::history
