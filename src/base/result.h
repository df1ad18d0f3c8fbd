// Result<T>: a value or an Error that says what happened, to what, and what to do next.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

namespace narke {

// A code exists only where a caller reacts to it.
enum class ErrorCode {
  kFailed,        // will fail again
  kDisconnected,  // the peer is gone
  kOverloaded,    // try later
  kTimeout,
  kNotFound,
  kRefused,  // bad token, bad version
};

struct Error {
  ErrorCode code = ErrorCode::kFailed;
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}
  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  const T& value() const& { return std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

struct Unit {};
using Status = Result<Unit>;
inline Status ok_status() { return Unit{}; }

}  // namespace narke

// A broken invariant of ours: say where and stop.
#define NARKE_CHECK(condition)                                                                      \
  do {                                                                                              \
    if (!(condition)) [[unlikely]] {                                                                \
      std::fprintf(stderr, "narke: %s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                                 \
    }                                                                                               \
  } while (0)
