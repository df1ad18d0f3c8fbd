#include "gateway/file_source.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log_files.h"
#include "gateway/text.h"

namespace narke::gateway {

static constexpr size_t kPieceBytes = 128 * 1024;

namespace {

class FileSource : public Source, public std::enable_shared_from_this<FileSource> {
 public:
  FileSource(FileSourceOptions options, After after)
      : options_(std::move(options)), after_(std::move(after)), offset_(options_.offset) {}
  ~FileSource() override {
    if (fd_ >= 0) close(fd_);
  }

  void next(Next next) override {
    // Asked before reading, so that what was written last is still read.
    const bool over = !options_.is_over || options_.is_over();
    std::string piece = read_piece(over);
    if (!piece.empty()) {
      piece = without_marks(std::move(piece));
      return next(valid_utf8(options_.plain ? without_ansi(piece) : piece));
    }
    if (over) return next(std::nullopt);
    // Shared with the timer: the client may leave meanwhile.
    after_(options_.pause, [self = shared_from_this(), next = std::move(next)] { next(std::string()); });
  }

 private:
  std::string read_piece(bool over) {
    if (fd_ < 0) fd_ = open_plain(options_.path);
    if (fd_ < 0) return {};
    struct stat status{};
    if (fstat(fd_, &status) == 0 && static_cast<uint64_t>(status.st_size) < offset_) offset_ = 0;  // cut short
    std::string piece(kPieceBytes, '\0');
    const ssize_t size = pread(fd_, piece.data(), piece.size(), static_cast<off_t>(offset_));
    piece.resize(size > 0 ? static_cast<size_t>(size) : 0);
    if (!over || piece.size() == kPieceBytes) cut_at_line(&piece);
    offset_ += piece.size();
    return piece;
  }

  // Keeps characters whole, and lines where that is asked for.
  void cut_at_line(std::string* piece) const {
    const size_t end = piece->rfind('\n');
    if (end != piece->npos)
      piece->resize(end + 1);
    else if (options_.whole_lines && piece->size() < kPieceBytes)
      piece->clear();
  }

  FileSourceOptions options_;
  After after_;
  uint64_t offset_;
  int fd_ = -1;
};

}  // namespace

std::shared_ptr<Source> follow_file(FileSourceOptions options, After after) {
  return std::make_shared<FileSource>(std::move(options), std::move(after));
}

}  // namespace narke::gateway
