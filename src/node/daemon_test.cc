// The daemon as a process of its own, with forked workers that stand in for Python.
#include "node/daemon.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/testing/client.h"

namespace narke::node {
namespace {

using sched::kOne;
using testing::answer_of;
using testing::Client;
using testing::Received;
using wire::MessageType;

class DaemonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/narke-test-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    options_.session_dir = folder;
    options_.resources = {{"CPU", 2 * kOne}, {"GPU", 2 * kOne}};
    options_.object_store_bytes = 16 << 20;
    options_.zygote = {std::filesystem::read_symlink("/proc/self/exe").string(), "--fd"};
    options_.owner_pid = getpid();  // a test that crashes leaves nothing behind
    int owner[2];
    ASSERT_EQ(pipe(owner), 0);
    options_.owner_fd = owner[0];
    owner_ = owner[1];
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    options_.ready_fd = ready[1];
    pid_ = fork();
    if (pid_ == 0) _exit(serve());
    close(ready[1]);
    close(owner[0]);
    char said[64] = {};
    ASSERT_GT(read(ready[0], said, sizeof(said) - 1), 0);
    close(ready[0]);
    EXPECT_EQ(std::string(said), "ready " + std::to_string(pid_) + "\n");
    std::ifstream token(options_.session_dir + "/token");
    std::getline(token, token_);
  }

  void TearDown() override {
    close(owner_);
    kill(pid_, SIGTERM);
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_FALSE(std::filesystem::exists(options_.session_dir + "/sockets/node"));
    EXPECT_FALSE(std::filesystem::exists(options_.session_dir + "/spill"));
    std::filesystem::remove_all(options_.session_dir);
  }

  int serve() {
    close(owner_);
    auto daemon = Daemon::make(options_);
    if (!daemon.ok()) {
      std::fprintf(stderr, "%s\n", daemon.error().message.c_str());
      return 9;
    }
    const int status = daemon.value()->run();
    std::move(daemon).value().reset();
    return status;
  }

  std::unique_ptr<Client> driver() {
    auto client = std::make_unique<Client>(options_.session_dir + "/sockets/node", token_);
    EXPECT_TRUE(client->start());
    return client;
  }

  static std::optional<Received> await_state(Client& client, const ActorId& actor, wire::ActorState state) {
    return client.await(MessageType::ActorUpdate, [&](const Received& r) {
      const auto& update = r.as<wire::ActorUpdate>();
      return ActorId::from_wire(update.actor()) == actor && update.state() == state;
    });
  }

  Options options_;
  std::string token_;
  int pid_ = 0;
  int owner_ = -1;  // the daemon ends when this closes
};

TEST_F(DaemonTest, GrantsALeaseOnAForkedWorker) {
  auto client = driver();
  const Received reply = client->lease({{"CPU", kOne}, {"GPU", kOne}});
  const auto& lease = reply.as<wire::LeaseReply>();
  ASSERT_EQ(lease.status(), wire::LeaseStatus::Granted);
  EXPECT_TRUE(lease.worker()->endpoint()->str().starts_with("fake-"));
  ASSERT_EQ(lease.instances()->size(), 1u);
  EXPECT_EQ(lease.instances()->Get(0)->ids()->Get(0), 0);
  client->give_back(lease.lease());
  const Received resources = client->control("available_resources");
  EXPECT_EQ(answer_of(resources)["resources"].AsMap()["CPU"].AsDouble(), 2.0);
}

TEST_F(DaemonTest, StartsRestartsAndBuriesAnActor) {
  auto client = driver();
  const ActorId actor = client->create_actor("Counter", 1, "name");
  const auto alive = await_state(*client, actor, wire::ActorState::Alive);
  ASSERT_TRUE(alive);
  EXPECT_EQ(kill(alive->as<wire::ActorUpdate>().pid(), SIGKILL), 0);
  ASSERT_TRUE(await_state(*client, actor, wire::ActorState::Restarting));
  const auto again = await_state(*client, actor, wire::ActorState::Alive);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->as<wire::ActorUpdate>().incarnation(), 1);
  EXPECT_EQ(kill(again->as<wire::ActorUpdate>().pid(), SIGABRT), 0);
  const auto dead = await_state(*client, actor, wire::ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->as<wire::ActorUpdate>().cause(), wire::DeathCause::WorkerDied);
  EXPECT_NE(dead->as<wire::ActorUpdate>().message()->str().find("SIGABRT"), std::string::npos);
}

static int parent_of(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(stat), {}};
  int parent = 0;
  char state = 0;
  std::istringstream(text.substr(text.rfind(')') + 1)) >> state >> parent;
  return parent;
}

TEST_F(DaemonTest, ForksThatAZygoteTookWithItAreMadeByTheNext) {
  auto client = driver();
  const auto first = await_state(*client, client->create_actor("Counter"), wire::ActorState::Alive);
  ASSERT_TRUE(first);
  const int zygote = parent_of(first->as<wire::ActorUpdate>().pid());
  EXPECT_EQ(kill(zygote, SIGSTOP), 0);
  std::vector<ActorId> actors;
  for (int i = 0; i < 8; ++i) actors.push_back(client->create_actor("Counter", 0, "", 0));
  client->control("cluster_resources");  // the node has asked for the forks when it answers
  EXPECT_EQ(kill(zygote, SIGKILL), 0);
  for (const ActorId& actor : actors) EXPECT_TRUE(await_state(*client, actor, wire::ActorState::Alive));
}

TEST_F(DaemonTest, ReportsAFailedInitWithItsException) {
  auto client = driver();
  const ActorId actor = client->create_actor("Bad");
  const auto dead = await_state(*client, actor, wire::ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->as<wire::ActorUpdate>().cause(), wire::DeathCause::InitFailed);
  EXPECT_EQ(std::string(dead->raw.begin(), dead->raw.end()), "raised");
}

TEST_F(DaemonTest, SendsWorkersOutputToTheDriver) {
  auto client = driver();
  client->create_actor("Talker");
  const auto lines = client->await(MessageType::LogLines);
  ASSERT_TRUE(lines);
  const auto* line = lines->as<wire::LogLines>().lines()->Get(0);
  EXPECT_EQ(line->text()->str(), "became Talker");
  EXPECT_EQ(line->name()->str(), "Talker");
  EXPECT_FALSE(line->is_error());
}

TEST_F(DaemonTest, ExplainsAWorkerThatCannotStart) {
  auto client = driver();
  const uint32_t call = client->ask({{"CPU", kOne}}, "broken");
  const auto reply = client->await(MessageType::LeaseReply, [call](const Received& r) { return r.call_id == call; });
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->as<wire::LeaseReply>().failure(), wire::FailureKind::RuntimeEnv);
  EXPECT_NE(reply->as<wire::LeaseReply>().message()->str().find("exited with code 7"), std::string::npos);
}

TEST_F(DaemonTest, TellsHowAWorkerEnded) {
  auto client = driver();
  const Received reply = client->lease({{"CPU", kOne}});
  const auto* worker = reply.as<wire::LeaseReply>().worker();
  EXPECT_EQ(kill(std::stoi(worker->endpoint()->str().substr(5)), SIGKILL), 0);
  const std::string id(WorkerId::from_wire(worker->worker()).view());
  const Received fate = client->control("worker_fate", [&](flexbuffers::Builder& body) {
    body.Key("worker_id");
    body.Blob(id.data(), id.size());
  });
  EXPECT_EQ(answer_of(fate)["cause"].AsString().str(), "killed");
  EXPECT_EQ(answer_of(fate)["signal"].AsInt32(), 9);
}

TEST_F(DaemonTest, ReservesAPlacementGroupAndFreesIt) {
  auto client = driver();
  const std::string id(18, 'g');
  const auto name_group = [&](flexbuffers::Builder& body) {
    body.Key("pg_id");
    body.Blob(id.data(), id.size());
  };
  client->control("create_placement_group", [&](flexbuffers::Builder& body) {
    name_group(body);
    body.String("strategy", "PACK");
    body.Vector("bundles", [&] { body.Map([&] { body.Double("CPU", 2); }); });
  });
  EXPECT_EQ(answer_of(client->control("wait_placement_group", name_group))["state"].AsString().str(), "CREATED");
  EXPECT_TRUE(answer_of(client->control("available_resources"))["resources"].AsMap()["CPU"].IsNull());
  client->ask({{"CPU", kOne}}, "", PgId::from_bytes(id));
  EXPECT_TRUE(client->await(MessageType::LeaseReply));
  EXPECT_TRUE(answer_of(client->control("remove_placement_group", name_group))["removed"].AsBool());
  EXPECT_EQ(answer_of(client->control("available_resources"))["resources"].AsMap()["CPU"].AsDouble(), 2.0);
}

TEST_F(DaemonTest, AnswersGoodbyeOnceTheWorkersAreGone) {
  auto client = driver();
  client->lease({{"CPU", kOne}});
  Builder builder;
  builder.Finish(wire::CreateGoodbye(builder));
  client->send(MessageType::Goodbye, 77, builder);
  const auto reply = client->await(MessageType::Goodbye);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->call_id, 77u);
  auto other = driver();
  EXPECT_EQ(answer_of(other->control("list_jobs"))["jobs"].AsVector().size(), 2u);
}

TEST_F(DaemonTest, EndsWithItsOwner) {
  auto client = driver();
  const Received reply = client->lease({{"CPU", kOne}});
  const int worker = std::stoi(reply.as<wire::LeaseReply>().worker()->endpoint()->str().substr(5));
  EXPECT_EQ(kill(worker, 0), 0);
  close(std::exchange(owner_, dup(0)));
  siginfo_t info;
  EXPECT_EQ(waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(client->await(MessageType::LogLines));
  EXPECT_TRUE(client->closed());
}

TEST_F(DaemonTest, RefusesAWrongTokenAndMalformedFrames) {
  Client stranger(options_.session_dir + "/sockets/node", "wrong");
  EXPECT_FALSE(stranger.start());
  auto client = driver();
  Builder builder;
  builder.Finish(wire::CreateGoodbye(builder));
  client->send(MessageType::KillActor, 0, builder);
  EXPECT_FALSE(client->await(MessageType::ActorUpdate));
  EXPECT_TRUE(client->closed());
}

}  // namespace
}  // namespace narke::node
