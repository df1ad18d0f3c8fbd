// Proof of knowing the cluster's token without sending it: HMAC-SHA256 over the server's nonce (RFC 2104).
#pragma once

#include <string>
#include <string_view>

namespace narke::rpc {

inline constexpr size_t kNonceBytes = 16;

// Unpredictable bytes from the kernel.
std::string make_nonce();
std::string prove(std::string_view token, std::string_view nonce);
// In time that does not depend on where they differ.
bool is_same_proof(std::string_view a, std::string_view b);

}  // namespace narke::rpc
