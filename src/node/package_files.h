// The packages that programs bring to the cluster: files of the head's session, named by their content.
//
// Written in pieces by one program each, complete when the last piece is there. The gateway puts what is uploaded to it
// into the same folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/id.h"
#include "base/result.h"

namespace narke::node {

struct PackageLimits {
  uint64_t package_bytes = 512ull << 20;
  uint64_t folder_bytes = 16ull << 30;  // beyond it, those that were read longest ago go
};

class PackageFiles {
 public:
  explicit PackageFiles(std::string folder, PackageLimits limits = {}) : folder_(std::move(folder)), limits_(limits) {}

  // Bytes of a package; nothing when it is not here.
  Result<uint64_t> size(const std::string& name) const;
  // Adds a piece; offset 0 begins anew. The last one makes the package complete.
  Status put(const WorkerId& writer, const std::string& name, uint64_t offset, const std::string& data, bool is_last);
  // At most `size` bytes from `offset`.
  Result<std::string> get(const std::string& name, uint64_t offset, uint64_t size) const;
  // What it had begun to write is removed.
  void on_writer_gone(const WorkerId& writer);

 private:
  Result<std::string> path_of(const std::string& name) const;
  std::string draft_of(const WorkerId& writer, const std::string& name) const;
  void make_room() const;

  const std::string folder_;
  const PackageLimits limits_;
  std::multimap<WorkerId, std::string> drafts_;  // names
};

}  // namespace narke::node
