// A certificate for this gateway, issued by an authority of the cluster's own.
//
// The authority signs once: its key is not kept, so nobody can issue further certificates in its name. Whoever trusts
// `ca.pem` trusts this one server. Elliptic curve P-256; RFC 5280.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace narke::gateway {

// Paths of PEM files.
struct TlsFiles {
  std::string certificate, key;
};

// Those in `folder`, made (0600) when they are not there or end within a week: ca.pem, server.pem, server.key.
// names: host names and literal addresses by which clients reach this server.
Result<TlsFiles> own_certificate(const std::string& folder, const std::vector<std::string>& names);

}  // namespace narke::gateway
