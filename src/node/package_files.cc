#include "node/package_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace narke::node {

namespace fs = std::filesystem;

static constexpr size_t kMaxName = 200;
static constexpr uint64_t kMaxPiece = 16 << 20;

static Error invalid(const std::string& what) { return {ErrorCode::kFailed, what}; }

static bool is_plain(const std::string& name) {
  if (name.empty() || name.size() > kMaxName || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-' || c == '+' || c == '!';
  });
}

Result<std::string> PackageFiles::path_of(const std::string& name) const {
  if (folder_.empty()) return invalid("This node keeps no packages.");
  if (is_plain(name)) return folder_ + "/" + name;
  return invalid("'" + name +
                 "' is no name of a package: letters, digits and . _ - + ! only, not beginning with a dot.");
}

std::string PackageFiles::draft_of(const WorkerId& writer, const std::string& name) const {
  return folder_ + "/." + writer.hex().substr(0, 16) + "-" + name;
}

Result<uint64_t> PackageFiles::size(const std::string& name) const {
  auto path = path_of(name);
  if (!path.ok()) return path.error();
  std::error_code error;
  const uint64_t bytes = fs::file_size(path.value(), error);
  if (error) return invalid("There is no package " + name + ": it was not uploaded, or is gone.");
  return bytes;
}

Status PackageFiles::put(const WorkerId& writer, const std::string& name, uint64_t offset, const std::string& data,
                         bool is_last) {
  auto path = path_of(name);
  if (!path.ok()) return path.error();
  if (offset + data.size() > limits_.package_bytes || data.size() > kMaxPiece)
    return invalid("The package " + name + " is larger than " + std::to_string(limits_.package_bytes >> 20) +
                   " MiB. Leave files out with 'excludes'.");
  std::error_code error;
  if (fs::create_directories(folder_, error)) fs::permissions(folder_, fs::perms::owner_all, error);
  const std::string draft = draft_of(writer, name);
  const int begin = offset == 0 ? O_TRUNC : 0;
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | begin, 0600);
  if (fd < 0) return invalid("The package " + name + " cannot be stored: " + std::strerror(errno) + ".");
  if (offset == 0) drafts_.emplace(writer, name);
  const bool fits = lseek(fd, 0, SEEK_END) == static_cast<off_t>(offset);
  const bool written = fits && write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size());
  const std::string why = fits ? std::strerror(errno) : "a piece of it is missing";
  close(fd);
  if (!written) return invalid("The package " + name + " cannot be stored: " + why + ".");
  if (!is_last) return ok_status();
  fs::rename(draft, path.value(), error);
  if (error) return invalid("The package " + name + " cannot be stored: " + error.message() + ".");
  make_room();
  return ok_status();
}

Result<std::string> PackageFiles::get(const std::string& name, uint64_t offset, uint64_t size) const {
  auto path = path_of(name);
  if (!path.ok()) return path.error();
  const int fd = open(path.value().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return invalid("There is no package " + name + ": it was not uploaded, or is gone.");
  if (offset == 0) futimens(fd, nullptr);  // read now: others go first
  std::string out(std::min(size, kMaxPiece), '\0');
  const ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
  close(fd);
  if (got < 0) return invalid("The package " + name + " cannot be read: " + std::strerror(errno) + ".");
  out.resize(static_cast<size_t>(got));
  return out;
}

void PackageFiles::on_writer_gone(const WorkerId& writer) {
  const auto [begin, end] = drafts_.equal_range(writer);
  std::error_code gone_already;
  for (auto at = begin; at != end; ++at) fs::remove(draft_of(writer, at->second), gone_already);
  drafts_.erase(writer);
}

void PackageFiles::make_room() const {
  struct File {
    fs::file_time_type used;
    uint64_t bytes;
    fs::path path;
  };
  std::vector<File> files;
  uint64_t total = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (entry.path().filename().string().front() == '.' || !entry.is_regular_file(error)) continue;
    files.push_back({entry.last_write_time(error), entry.file_size(error), entry.path()});
    total += files.back().bytes;
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.used < b.used; });
  for (size_t i = 0; i + 1 < files.size() && total > limits_.folder_bytes; ++i) {
    fs::remove(files[i].path, error);
    total -= files[i].bytes;
  }
}

}  // namespace narke::node
