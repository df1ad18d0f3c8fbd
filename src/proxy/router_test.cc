#include "proxy/router.h"

#include <flatbuffers/flexbuffers.h>
#include <gtest/gtest.h>

namespace narke::proxy {
namespace {

struct Row {
  std::string id;
  int most;
  std::vector<std::string> models = {};
  std::string node = "here";
};

ActorId actor_of(const std::string& id) {
  std::string bytes = id;
  bytes.resize(ActorId::kSize, 'x');
  return ActorId::from_bytes(bytes);
}

std::vector<uint8_t> table(int version, const std::vector<Row>& replicas, int most_queued = -1,
                           const std::vector<std::string>& prefixes = {"/"}) {
  flexbuffers::Builder b;
  b.Map([&] {
    b.Int("version", version);
    b.Vector("deployments", [&] {
      b.Map([&] {
        b.String("key", "app#d");
        b.Int("max_queued", most_queued);
        b.Int("status", 503);
        b.Int("retry_after_s", 1);
        b.Vector("replicas", [&] {
          for (const Row& row : replicas)
            b.Map([&] {
              b.String("id", row.id);
              ActorId actor = actor_of(row.id);
              b.Blob("actor", actor.data(), ActorId::kSize);
              b.Int("max", row.most);
              b.String("node", row.node);
              b.Vector("models", [&] {
                for (const std::string& model : row.models) b.String(model);
              });
            });
        });
      });
    });
    b.Vector("routes", [&] {
      for (const std::string& prefix : prefixes)
        b.Map([&] {
          b.String("prefix", prefix);
          b.String("app", "app");
          b.String("deployment", "app#d");
          b.Int("timeout_ms", 0);
          b.Int("body_limit", 0);
        });
    });
  });
  b.Finish();
  return b.GetBuffer();
}

struct Request : Waiting {
  explicit Request(std::string m = "") : wanted(std::move(m)) {}
  void assigned(ReplicaPtr to) override { replica = std::move(to); }
  void abandoned() override { gone = true; }
  const std::string& model() const override { return wanted; }
  std::string wanted;
  ReplicaPtr replica;
  bool gone = false;
};

class RouterTest : public ::testing::Test {
 protected:
  void apply(const std::vector<uint8_t>& bytes) { ASSERT_TRUE(router.apply({bytes.data(), bytes.size()}).ok()); }
  Backend& backend() { return *router.backends().at("app#d"); }
  Router::Placed place(Request& request, int64_t now_ms = 0) { return router.place(backend(), request, now_ms); }
  Router router{7};
};

TEST_F(RouterTest, the_longest_prefix_wins) {
  apply(table(1, {}, -1, {"/", "/a", "/a/b"}));
  EXPECT_EQ(router.find("/a/b/c")->prefix, "/a/b");
  EXPECT_EQ(router.find("/a/bc")->prefix, "/a");
  EXPECT_EQ(router.find("/ab")->prefix, "/");
  apply(table(2, {}, -1, {"/a"}));
  EXPECT_EQ(router.find("/b"), nullptr);
}

TEST_F(RouterTest, of_two_replicas_the_less_loaded_is_taken) {
  apply(table(1, {{"r1", 10, {}}, {"r2", 10, {}}}));
  Request first;
  place(first);
  for (int i = 0; i < 5; ++i) {
    Request next;
    place(next);
    EXPECT_NE(next.replica, first.replica);
    router.done(backend(), *next.replica, -1, 0);
  }
}

TEST(Router, replicas_of_the_same_node_are_preferred_while_they_have_room) {
  Router router(7, "here");
  const std::vector<uint8_t> bytes = table(1, {{"far", 9, {}, "there"}, {"near", 1, {}, "here"}});
  ASSERT_TRUE(router.apply(bytes).ok());
  Backend& backend = *router.backends().at("app#d");
  Request first, second;
  router.place(backend, first, 0);
  router.place(backend, second, 0);
  EXPECT_EQ(first.replica->id, "near");
  EXPECT_EQ(second.replica->id, "far");
}

TEST_F(RouterTest, what_others_do_there_counts) {
  apply(table(1, {{"r1", 10, {}}, {"r2", 10, {}}}));
  Request probe;
  place(probe);
  ReplicaPtr busy = probe.replica;
  router.done(backend(), *busy, 8, 0);
  for (int i = 0; i < 4; ++i) {
    Request next;
    place(next);
    EXPECT_NE(next.replica, busy);
  }
}

TEST_F(RouterTest, requests_wait_when_all_replicas_are_full_and_go_in_order) {
  apply(table(1, {{"r1", 1, {}}}));
  Request a, b, c;
  place(a);
  EXPECT_EQ(place(b), Router::Placed::kTaken);
  EXPECT_EQ(place(c), Router::Placed::kTaken);
  EXPECT_EQ(b.replica, nullptr);
  router.done(backend(), *a.replica, 0, 0);
  EXPECT_NE(b.replica, nullptr);
  EXPECT_EQ(c.replica, nullptr);
}

TEST_F(RouterTest, the_queue_is_bounded) {
  apply(table(1, {}, 1));
  Request a, b;
  EXPECT_EQ(place(a), Router::Placed::kTaken);
  EXPECT_EQ(place(b), Router::Placed::kFull);
  Router::leave(backend(), a);
  EXPECT_EQ(place(b), Router::Placed::kTaken);
}

TEST_F(RouterTest, a_replica_that_refused_is_left_alone_for_a_while) {
  apply(table(1, {{"r1", 10, {}}}));
  Request a;
  place(a);
  router.refused(*a.replica, 10, 100);
  Request b;
  place(b, 100);
  EXPECT_EQ(b.replica, nullptr);
  EXPECT_EQ(router.next_due_ms(100), 100 + kFirstPauseMs);
  router.pump_all(100 + kFirstPauseMs);
  EXPECT_NE(b.replica, nullptr);
}

TEST_F(RouterTest, a_new_replica_takes_what_waits) {
  apply(table(1, {}));
  Request a;
  place(a);
  apply(table(2, {{"r1", 1, {}}}));
  router.pump_all(0);
  EXPECT_NE(a.replica, nullptr);
}

TEST_F(RouterTest, an_excluded_replica_gets_nothing) {
  apply(table(1, {{"r1", 5, {}}}));
  Request a, b;
  place(a);
  Router::exclude(*a.replica);
  place(b);
  EXPECT_EQ(b.replica, nullptr);
}

TEST_F(RouterTest, counts_survive_a_new_table) {
  apply(table(1, {{"r1", 1, {}}}));
  Request a, b;
  place(a);
  apply(table(2, {{"r1", 1, {}}, {"r2", 1, {}}}));
  place(b);
  EXPECT_EQ(b.replica->id, "r2");
}

TEST_F(RouterTest, a_replica_with_the_model_is_preferred) {
  apply(table(1, {{"r1", 9, {}}, {"r2", 9, {"m"}}, {"r3", 9, {}}}));
  for (int i = 0; i < 4; ++i) {
    Request request("m");
    place(request);
    EXPECT_EQ(request.replica->id, "r2");
  }
  Request first("n"), second("n");
  place(first);
  place(second);
  EXPECT_EQ(first.replica, second.replica);
}

TEST_F(RouterTest, requests_of_a_deleted_deployment_are_abandoned) {
  apply(table(1, {}));
  Request a;
  place(a);
  flexbuffers::Builder b;
  b.Map([&] {
    b.Int("version", 2);
    b.Vector("deployments", [] {});
    b.Vector("routes", [] {});
  });
  b.Finish();
  BackendPtr old = router.backends().at("app#d");
  apply(b.GetBuffer());
  EXPECT_TRUE(a.gone);
  Request late;
  EXPECT_EQ(router.place(*old, late, 0), Router::Placed::kGone);
}

TEST_F(RouterTest, a_damaged_table_changes_nothing) {
  apply(table(1, {{"r1", 1, {}}}));
  std::vector<uint8_t> bytes = table(2, {{"r2", 1, {}}});
  bytes.resize(bytes.size() / 2);
  EXPECT_FALSE(router.apply({bytes.data(), bytes.size()}).ok());
  EXPECT_FALSE(router.apply({}).ok());
  EXPECT_EQ(router.version(), 1);
  EXPECT_EQ(backend().replicas[0]->id, "r1");
}

}  // namespace
}  // namespace narke::proxy
