#include "gateway/records.h"

#include <algorithm>
#include <memory>

namespace narke::gateway {

static constexpr size_t kMostKeys = 1'000;

static std::string bytes_of(const flexbuffers::Reference& value) {
  if (!value.IsBlob()) return value.AsString().str();
  return {reinterpret_cast<const char*>(value.AsBlob().data()), value.AsBlob().size()};
}

void read_records(Cluster& cluster, const std::string& space, const std::string& prefix,
                  std::function<void(const std::string& error, Records)> done) {
  auto body = map_body([&](flexbuffers::Builder& out) {
    out.String("namespace", space);
    out.String("prefix", prefix);
  });
  cluster.call("kv_keys", std::move(body), [&cluster, space, done = std::move(done)](const ControlAnswer& answer) {
    if (!answer.ok()) return done(answer.error, {});
    struct Gathered {
      Records records;
      size_t open = 0;
    };
    const auto gathered = std::make_shared<Gathered>();  // shared by the answers to come
    const flexbuffers::Vector keys = answer.map()["keys"].AsVector();
    gathered->open = std::min<size_t>(keys.size(), kMostKeys);
    if (gathered->open == 0) return done("", {});
    for (size_t i = 0, count = gathered->open; i < count; ++i) {
      const std::string key = bytes_of(keys[i]);
      auto wanted = map_body([&](flexbuffers::Builder& out) {
        out.String("namespace", space);
        out.Blob("key", key.data(), key.size());
      });
      cluster.call("kv_get", std::move(wanted), [gathered, key, done](const ControlAnswer& got) {
        const flexbuffers::Reference value = got.map()["value"];
        if (got.ok() && value.IsBlob())
          if (auto parsed = parse_json(bytes_of(value)); parsed && parsed->is_object())
            gathered->records[key] = std::move(parsed->get_object());
        if (--gathered->open == 0) done("", std::move(gathered->records));
      });
    }
  });
}

}  // namespace narke::gateway
