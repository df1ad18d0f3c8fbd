#include "gateway/remote_log.h"

#include "gateway/json.h"
#include "gateway/text.h"

namespace narke::gateway {
namespace {

constexpr std::chrono::milliseconds kPause{300};
constexpr int64_t kPieceBytes = 128 << 10;

class RemoteSource : public Source, public std::enable_shared_from_this<RemoteSource> {
 public:
  RemoteSource(Cluster& cluster, RemoteLog log, After after)
      : cluster_(cluster), log_(std::move(log)), after_(std::move(after)) {}

  void open(std::function<void(std::shared_ptr<Source>, const std::string&)> then) {
    ask(log_.tail_lines >= 0, 0, [self = shared_from_this(), then = std::move(then)](const ControlAnswer& answer) {
      if (!answer.ok()) return then(nullptr, answer.error);
      self->offset_ = answer.map()["offset"].AsInt64();
      then(self, "");
    });
  }

  void next(Next next) override {
    ask(false, kPieceBytes,
        [self = shared_from_this(), next = std::move(next)](const ControlAnswer& answer) { self->give(answer, next); });
  }

 private:
  void ask(bool tail, int64_t size, Cluster::Answer answer) {
    cluster_.call("read_log", map_body([&](flexbuffers::Builder& out) {
                    out.String("node_id", log_.node_id);
                    out.String("name", log_.name);
                    out.Int("size", size);
                    if (tail)
                      out.Int("tail_lines", log_.tail_lines);
                    else
                      out.Int("offset", offset_);
                  }),
                  std::move(answer));
  }

  void give(const ControlAnswer& answer, const Next& next) {
    const flexbuffers::Reference bytes = answer.map()["bytes"];
    if (!answer.ok() || !bytes.IsBlob()) return next(std::nullopt);  // the node or the file is gone
    std::string piece(reinterpret_cast<const char*>(bytes.AsBlob().data()), bytes.AsBlob().size());
    const size_t end = piece.rfind('\n');
    const bool may_grow = log_.follow || static_cast<int64_t>(piece.size()) == kPieceBytes;
    if (may_grow && end != piece.npos) piece.resize(end + 1);
    if (may_grow && end == piece.npos && static_cast<int64_t>(piece.size()) < kPieceBytes) piece.clear();
    offset_ += static_cast<int64_t>(piece.size());
    if (piece.empty() && !log_.follow) return next(std::nullopt);
    // Shared with the timer: the client may leave meanwhile.
    if (piece.empty()) return after_(kPause, [self = shared_from_this(), next] { next(std::string()); });
    piece = without_marks(std::move(piece));
    next(valid_utf8(log_.plain ? without_ansi(piece) : piece));
  }

  Cluster& cluster_;
  RemoteLog log_;
  After after_;
  int64_t offset_ = 0;
};

}  // namespace

void open_remote_log(Cluster& cluster, RemoteLog log, After after,
                     std::function<void(std::shared_ptr<Source>, const std::string& error)> then) {
  std::make_shared<RemoteSource>(cluster, std::move(log), std::move(after))->open(std::move(then));
}

}  // namespace narke::gateway
