// Calls to actors by programs that hold no objects: the argument and the answers are the bytes of encoded values
// (bindings/value_form.h), and nothing is registered, counted or stored on this side.
#pragma once

#include "rpc/frame.h"

namespace narke::worker {

// Hears of one call. Told under the engine's lock, maybe from inside submit_raw(): must not call the engine.
// Lives until on_end().
class RawSink {
 public:
  virtual ~RawSink() = default;
  // One value that the call yielded; valid during the call only.
  virtual void on_item(rpc::Bytes value) = 0;
  // The call's result, or an encoded exception. Nothing follows.
  virtual void on_end(bool is_error, rpc::Bytes value) = 0;
};

}  // namespace narke::worker
