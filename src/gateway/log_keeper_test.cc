#include "gateway/log_keeper.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>
#include <unistd.h>

namespace narke::gateway {
namespace {

namespace fs = std::filesystem;

// A cluster of a head and members whose logs the test writes.
class FakeCluster : public Cluster {
 public:
  void call(const std::string& method, std::vector<uint8_t> body, Answer answer) override {
    const flexbuffers::Map asked = flexbuffers::GetRoot(body.data(), body.size()).AsMap();
    ControlAnswer out;
    if (method == "nodes") out.body = nodes();
    if (method == "list_logs") out.body = files();
    if (method == "read_log") out.body = piece(asked);
    answer(std::move(out));
  }

  std::map<std::string, bool> members;                         // by id, whether alive
  std::map<std::pair<std::string, std::string>, std::string> logs;  // by node and name
  int64_t read = 0;                                            // bytes that were fetched

 private:
  std::vector<uint8_t> nodes() {
    return map_body([&](flexbuffers::Builder& out) {
      out.Vector("nodes", [&] {
        const auto add = [&](const std::string& id, bool alive, bool head) {
          out.Map([&] {
            out.String("NodeID", id);
            out.Bool("Alive", alive);
            out.Bool("is_head", head);
          });
        };
        add("head", true, true);
        for (const auto& [id, alive] : members) add(id, alive, false);
      });
    });
  }

  std::vector<uint8_t> files() {
    return map_body([&](flexbuffers::Builder& out) {
      out.Vector("files", [&] {
        for (const auto& [where, text] : logs)
          out.Map([&] {
            out.String("node_id", where.first);
            out.String("name", where.second);
            out.UInt("size_bytes", text.size());
          });
      });
    });
  }

  std::vector<uint8_t> piece(const flexbuffers::Map& asked) {
    const std::string& text = logs.at({asked["node_id"].AsString().str(), asked["name"].AsString().str()});
    const std::string part = text.substr(asked["offset"].AsUInt64(), asked["size"].AsUInt64());
    read += static_cast<int64_t>(part.size());
    return map_body([&](flexbuffers::Builder& out) { out.Blob("bytes", part.data(), part.size()); });
  }
};

class LogKeeperTest : public ::testing::Test {
 protected:
  LogKeeperTest() { fs::create_directories(session_ + "/logs"); }
  ~LogKeeperTest() override { fs::remove_all(session_); }

  void round() { keeper_.tick(now_ms_ += 2'000); }
  std::string gone(const std::string& node, const std::string& name) const {
    std::ifstream file(session_ + "/logs/" + gone_folder(node) + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string session_ = (fs::temp_directory_path() / ("log_keeper_" + std::to_string(getpid()))).string();
  FakeCluster cluster_;
  LogKeeper keeper_{cluster_, session_, {.file_bytes = 300'000, .nodes = 2}};
  int64_t now_ms_ = 1;
};

TEST_F(LogKeeperTest, what_a_node_wrote_is_there_when_it_is_gone) {
  cluster_.members["m1"] = true;
  cluster_.logs[{"m1", "worker-1.out"}] = "first\n";
  cluster_.logs[{"head", "worker-9.out"}] = "the head keeps its own\n";
  round();
  cluster_.logs[{"m1", "worker-1.out"}] += "last\n";
  round();
  EXPECT_EQ(cluster_.read, 11);  // nothing twice
  EXPECT_EQ(gone("m1", "worker-1.out"), "");
  cluster_.members["m1"] = false;
  cluster_.logs.clear();
  round();
  EXPECT_EQ(gone("m1", "worker-1.out"), "first\nlast\n");
  EXPECT_FALSE(fs::exists(session_ + "/kept-logs/m1"));
}

TEST_F(LogKeeperTest, of_large_files_the_end_is_kept) {
  cluster_.members["m1"] = true;
  std::string& text = cluster_.logs[{"m1", "worker-1.out"}];
  for (int i = 0; i < 8; ++i) {
    text += std::string(400'000, 'a' + i);
    round();
  }
  cluster_.members["m1"] = false;
  cluster_.logs.clear();
  round();
  const std::string kept = gone("m1", "worker-1.out");
  EXPECT_LE(kept.size(), 1'300'000u);
  EXPECT_EQ(kept.back(), 'h');
}

TEST_F(LogKeeperTest, of_many_nodes_the_latest_are_kept) {
  for (const char* id : {"m1", "m2", "m3"}) {
    cluster_.members[id] = true;
    cluster_.logs[{id, "node.log"}] = id;
    round();
    cluster_.members[id] = false;
    round();
  }
  EXPECT_EQ(gone("m1", "node.log"), "");
  EXPECT_EQ(gone("m2", "node.log"), "m2");
  EXPECT_EQ(gone("m3", "node.log"), "m3");
}

TEST_F(LogKeeperTest, names_that_lead_out_are_not_written) {
  cluster_.members["m1"] = true;
  cluster_.logs[{"m1", "../../evil"}] = "x";
  round();
  EXPECT_EQ(cluster_.read, 0);
}

}  // namespace
}  // namespace narke::gateway
