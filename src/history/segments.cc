#include "history/segments.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace narke::history {
namespace {

namespace fs = std::filesystem;
constexpr char kMagic[] = "NARKE-TASKS-1\n";
constexpr size_t kMagicSize = sizeof(kMagic) - 1;
constexpr uint32_t kMostBlockBytes = 256 << 20;
constexpr std::string_view kPrefix = "tasks-", kSuffix = ".narke";

struct Segment {
  uint64_t number;
  fs::path path;
};

// In the order in which they were written.
std::vector<Segment> segments_in(const fs::path& folder) {
  std::vector<Segment> out;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    const std::string digits = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
    if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    out.push_back({std::stoull(digits), entry.path()});
  }
  std::sort(out.begin(), out.end(), [](const Segment& a, const Segment& b) { return a.number < b.number; });
  return out;
}

Error failed(const std::string& what) { return {ErrorCode::kFailed, what + ": " + std::strerror(errno)}; }

}  // namespace

SegmentWriter::~SegmentWriter() {
  if (fd_ >= 0) close(fd_);
}

Status SegmentWriter::begin() {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return Error{ErrorCode::kFailed, "cannot make " + folder_ + ": " + error.message()};
  trim();
  char name[48];
  std::snprintf(name, sizeof(name), "/tasks-%010llu.narke", static_cast<unsigned long long>(last_number_ + 1));
  const std::string path = folder_ + name;
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (fd_ < 0) return failed("cannot make " + path);
  ++last_number_;
  size_ = kMagicSize;
  if (write(fd_, kMagic, kMagicSize) == static_cast<ssize_t>(kMagicSize)) return ok_status();
  const Error error_of_write = failed("cannot write " + path);
  close(fd_);
  fd_ = -1;
  return error_of_write;
}

// Removes the oldest files until the new one has room, and those that are too old.
void SegmentWriter::trim() {
  std::vector<Segment> segments = segments_in(folder_);
  if (!segments.empty()) last_number_ = std::max(last_number_, segments.back().number);
  uint64_t total = limits_.segment_bytes;
  const auto now = fs::file_time_type::clock::now();
  std::error_code ignored;  // a file that somebody else removed needs no removing
  for (auto at = segments.rbegin(); at != segments.rend(); ++at) {
    total += fs::file_size(at->path, ignored);
    const bool is_old = now - fs::last_write_time(at->path, ignored) > std::chrono::milliseconds(limits_.keep_ms);
    if (total > limits_.total_bytes || is_old) fs::remove(at->path, ignored);
  }
}

Status SegmentWriter::append(const std::string& block) {
  if (folder_.empty()) return ok_status();
  if (fd_ >= 0 && size_ + block.size() > limits_.segment_bytes && size_ > kMagicSize) {
    close(fd_);
    fd_ = -1;
  }
  if (fd_ < 0)
    if (Status begun = begin(); !begun) return begun;
  auto block_size = static_cast<uint32_t>(block.size());
  const iovec parts[] = {{&block_size, sizeof(block_size)}, {const_cast<char*>(block.data()), block.size()}};
  const size_t size = sizeof(block_size) + block.size();
  if (writev(fd_, parts, 2) == static_cast<ssize_t>(size)) {
    size_ += size;
    return ok_status();
  }
  const Error error = failed("cannot write the task history in " + folder_);
  if (ftruncate(fd_, static_cast<off_t>(size_)) != 0) {  // half a block would end the file for readers
    close(fd_);
    fd_ = -1;
  }
  return error;
}

static bool read_file(const fs::path& path, TaskTable* table) {
  std::ifstream file(path, std::ios::binary);
  char magic[kMagicSize];
  if (!file.read(magic, kMagicSize) || std::memcmp(magic, kMagic, kMagicSize) != 0) return false;
  std::string block;
  uint32_t size = 0;
  while (file.read(reinterpret_cast<char*>(&size), sizeof(size))) {
    if (size > kMostBlockBytes) return false;
    block.resize(size);
    Chunk chunk;
    if (!file.read(block.data(), size) || !Chunk::decode(block, &chunk)) return false;
    table->load(std::move(chunk));
  }
  return file.gcount() == 0;
}

Status read_segments(const std::string& folder, TaskTable* table, size_t* skipped) {
  std::vector<Segment> segments = segments_in(folder);
  if (segments.empty()) segments = segments_in(fs::path(folder) / "history");
  if (segments.empty())
    return Error{ErrorCode::kNotFound, "There is no task history in " + folder +
                                           ": give a session's folder, such as /tmp/narke-<uid>/session_<time>, or "
                                           "the folder `history` in one."};
  *skipped = 0;
  for (const Segment& segment : segments) *skipped += !read_file(segment.path, table);
  return ok_status();
}

}  // namespace narke::history
