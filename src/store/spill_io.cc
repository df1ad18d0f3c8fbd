#include "store/spill_io.h"

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

namespace narke::store {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMagic = 0x316c6c69707372ull;
constexpr uint64_t kStep = 64ull << 20;  // bytes of one system call

struct FileHeader {
  uint64_t magic, count;
};

struct FileEntry {
  uint8_t id[ObjectId::kSize];
  uint32_t reserved;
  uint64_t position, size, checksum;
};

std::string failure(const char* what, const std::string& path, int error) {
  return std::string(what) + " " + path + ": " + strerror(error);
}

class Fd {
 public:
  Fd(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  // Errors of delayed writes appear here.
  bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

// Transfers all bytes at this position or sets errno.
template <class Call>
bool transfer(Call call, uint64_t size, uint64_t position) {
  for (uint64_t done = 0; done < size;) {
    ssize_t n = call(done, std::min(size - done, kStep), static_cast<off_t>(position + done));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO;
    if (n <= 0) return false;
    done += static_cast<uint64_t>(n);
  }
  return true;
}

bool write_all(int fd, const void* data, uint64_t size, uint64_t position) {
  auto* bytes = static_cast<const uint8_t*>(data);
  return transfer([&](uint64_t at, uint64_t n, off_t to) { return pwrite(fd, bytes + at, n, to); }, size, position);
}

bool read_all(int fd, uint8_t* data, uint64_t size, uint64_t position) {
  return transfer([&](uint64_t at, uint64_t n, off_t from) { return pread(fd, data + at, n, from); }, size, position);
}

std::vector<uint8_t> manifest_of(std::vector<SpillPart>& parts) {
  std::vector<uint8_t> bytes(sizeof(FileHeader) + parts.size() * sizeof(FileEntry));
  FileHeader header{kMagic, parts.size()};
  memcpy(bytes.data(), &header, sizeof header);
  uint64_t position = bytes.size();
  for (size_t i = 0; i < parts.size(); ++i) {
    SpillPart& part = parts[i];
    part.position = position;
    part.checksum = XXH3_64bits(part.data, part.size);
    FileEntry entry{{}, 0, part.position, part.size, part.checksum};
    memcpy(entry.id, part.id.data(), ObjectId::kSize);
    memcpy(bytes.data() + sizeof header + i * sizeof entry, &entry, sizeof entry);
    position += part.size;
  }
  return bytes;
}

class FileSpillIo : public SpillIo {
 public:
  FileSpillIo(std::string directory, int event_fd)
      : directory_(std::move(directory)), event_fd_(event_fd), thread_([this] { loop(); }) {}

  ~FileSpillIo() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
    ::close(event_fd_);
  }

  void start(SpillJob job) override {
    push([this, job = std::move(job)]() mutable { run(std::move(job)); });
  }
  void remove(uint64_t file) override {
    push([this, file] { ::unlink(path_of(file, ".spill").c_str()); });
  }
  std::vector<SpillJob> take_done() override {
    uint64_t count;
    while (::read(event_fd_, &count, sizeof count) > 0) continue;
    std::lock_guard lock(mutex_);
    return std::exchange(done_, {});
  }
  int event_fd() const override { return event_fd_; }

 private:
  std::string path_of(uint64_t file, const char* suffix) const {
    return directory_ + "/" + std::to_string(file) + suffix;
  }

  void push(std::function<void()> work) {
    {
      std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
    }
    wake_.notify_one();
  }

  void loop() {
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      auto work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
    }
  }

  void run(SpillJob job) {
    job.error = job.is_write ? write(job) : read(job);
    {
      std::lock_guard lock(mutex_);
      done_.push_back(std::move(job));
    }
    uint64_t one = 1;
    while (::write(event_fd_, &one, sizeof one) < 0 && errno == EINTR) continue;
  }

  std::string write(SpillJob& job) {
    std::string draft = path_of(job.file, ".tmp");
    std::string error = write_draft(job, draft);
    std::string path = path_of(job.file, ".spill");
    if (error.empty() && ::rename(draft.c_str(), path.c_str()) != 0) error = failure("cannot name", path, errno);
    if (!error.empty()) ::unlink(draft.c_str());
    return error;
  }

  static std::string write_draft(SpillJob& job, const std::string& path) {
    auto manifest = manifest_of(job.parts);
    job.file_bytes = spill_file_bytes(job.parts);
    Fd fd(path, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd.get() < 0) return failure("cannot create", path, errno);
    bool ok = write_all(fd.get(), manifest.data(), manifest.size(), 0);
    for (const SpillPart& part : job.parts) ok = ok && write_all(fd.get(), part.data, part.size, part.position);
    if (!ok || !fd.close()) return failure("cannot write", path, errno);
    return {};
  }

  std::string read(SpillJob& job) const {
    SpillPart& part = job.parts.at(0);
    std::string path = path_of(job.file, ".spill");
    Fd fd(path, O_RDONLY);
    if (fd.get() < 0) return failure("cannot open", path, errno);
    if (!read_all(fd.get(), part.data, part.size, part.position)) return failure("cannot read", path, errno);
    if (XXH3_64bits(part.data, part.size) != part.checksum) return path + " has changed on disk (wrong checksum)";
    return {};
  }

  std::string directory_;
  int event_fd_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::vector<SpillJob> done_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

uint64_t spill_file_bytes(const std::vector<SpillPart>& parts) {
  uint64_t bytes = sizeof(FileHeader) + parts.size() * sizeof(FileEntry);
  for (const SpillPart& part : parts) bytes += part.size;
  return bytes;
}

void clear_spill_directory(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    auto suffix = entry.path().extension();
    std::error_code ignored;  // what cannot be removed is in nobody's way: names are written anew
    if (suffix == ".spill" || suffix == ".tmp") fs::remove(entry.path(), ignored);
  }
}

Result<std::unique_ptr<SpillIo>> make_file_spill_io(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (!error) fs::permissions(directory, fs::perms::owner_all, error);
  if (error)
    return Error{ErrorCode::kFailed, "The directory for spilled objects cannot be used: " + directory + ": " +
                                         error.message() + ". Choose another one."};
  clear_spill_directory(directory);
  int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd < 0) return Error{ErrorCode::kFailed, std::string("eventfd: ") + strerror(errno)};
  return std::unique_ptr<SpillIo>(new FileSpillIo(directory, event_fd));
}

}  // namespace narke::store
