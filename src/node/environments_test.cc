// Environments made by shell scripts that stand in for Python.
#include "node/environments.h"

#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

namespace narke::node {
namespace {

using namespace std::string_literals;
using Kind = EnvironmentState::Kind;

TEST(KindOf, PartsModulesFromTheEnvironment) {
  EXPECT_EQ(kind_of("").modules, "");
  EXPECT_EQ(kind_of("{\"a\": 1}").environment, "{\"a\": 1}");
  EXPECT_EQ(kind_of("{\"a\": 1}").modules, "");
  EXPECT_EQ(kind_of("+a,b\n{}").modules, "a,b");
  EXPECT_EQ(kind_of("+a,b\n{}").environment, "{}");
  EXPECT_EQ(kind_of("+a\n").environment, "");
  EXPECT_EQ(kind_of("+a").modules, "a");
  EXPECT_EQ(kind_of("+").environment, "");
}

TEST(ParseMade, ReadsWhatWasMade) {
  const std::string text = "context\0{}\0command\0a\0command\0b\0cwd\0/c\0hold\0/l\0end\0"s;
  EXPECT_FALSE(parse_made(std::string_view(text).substr(0, text.size() - 2)));
  const auto made = parse_made(text);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->context, "{}");
  EXPECT_EQ(made->interpreter, (Interpreter{{"a", "b"}, "/c"}));
  EXPECT_EQ(made->held, std::vector<std::string>{"/l"});
  EXPECT_FALSE(parse_made(""));
}

class EnvironmentsTest : public ::testing::Test {
 protected:
  EnvironmentsTest() : reactor_(rpc::Identity{"token", "", WorkerId()}) {
    char folder[] = "/tmp/narke-test-XXXXXX";
    folder_ = mkdtemp(folder);
  }
  ~EnvironmentsTest() override {
    environments_.reset();
    std::filesystem::remove_all(folder_);
  }

  // Each is made by this script, which has the text as its input.
  void make(const std::string& script) {
    EnvironmentsConfig config;
    config.answer_dirs = {{"host", folder_ + "/answers"}};
    config.command = {"/bin/sh", "-c", script, "sh", folder_};
    config.log_path = folder_ + "/log";
    config.keep_ms = config.failed_ms = 0;
    Environments::Hooks hooks;
    hooks.changed = [this] { changed_ = true; };
    hooks.spare = [this](int pid, bool on) { spared_ = on ? pid : 0; };
    hooks.unused = [this](const Interpreter& interpreter) { unused_ = interpreter; };
    hooks.log = [](const std::string&) {};
    environments_ = std::make_unique<Environments>(reactor_, config, hooks);
  }
  EnvironmentState settle(const std::string& text) {
    changed_ = false;
    if (environments_->state(text).kind != Kind::kPreparing) return environments_->state(text);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!changed_ && std::chrono::steady_clock::now() < deadline) {
      reactor_.wait(1000);
      reactor_.dispatch();
    }
    EXPECT_TRUE(changed_);
    return environments_->state(text);
  }

  rpc::Reactor reactor_;
  std::string folder_;
  std::unique_ptr<Environments> environments_;
  bool changed_ = false;
  int spared_ = 0;
  Interpreter unused_;
};

TEST_F(EnvironmentsTest, AreMadeOnceAndHeldWhileUsed) {
  make(
      "echo made >> $1/times; touch $1/a.lock $1/a.done; printf 'command\\0x\\0hold\\0'$1'/a.lock\\0context\\0'; cat; "
      "printf '\\0end\\0'");
  EXPECT_EQ(settle("text").kind, Kind::kReady);
  EXPECT_EQ(environments_->find("text")->context, "text");
  EXPECT_EQ(settle("text").kind, Kind::kReady);
  EXPECT_EQ(std::filesystem::file_size(folder_ + "/times"), 5u);
  EXPECT_EQ(spared_, 0);
  const int lock = open((folder_ + "/a.lock").c_str(), O_RDONLY);
  environments_->tick([](const std::string&) { return true; });
  EXPECT_NE(flock(lock, LOCK_EX | LOCK_NB), 0);
  environments_->tick([](const std::string&) { return false; });
  EXPECT_EQ(flock(lock, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(unused_, (Interpreter{{"x"}, ""}));
  EXPECT_TRUE(environments_->is_empty());
  close(lock);
}

TEST_F(EnvironmentsTest, AreReadyAtOnceWhereAnEarlierAnswerHolds) {
  const std::string script =
      "echo made >> $1/times; touch $1/a.lock $1/a.done; printf 'keep\\0host\\0hold\\0'$1'/a.lock\\0context\\0'; cat; "
      "printf '\\0end\\0'";
  make(script);
  EXPECT_EQ(settle("text").kind, Kind::kReady);
  make(script);  // another cluster, later
  EXPECT_EQ(environments_->state("text").kind, Kind::kReady);
  EXPECT_EQ(environments_->find("text")->context, "text");
  EXPECT_EQ(std::filesystem::file_size(folder_ + "/times"), 5u);
  const int lock = open((folder_ + "/a.lock").c_str(), O_RDONLY);
  EXPECT_NE(flock(lock, LOCK_EX | LOCK_NB), 0);
  close(lock);
  EXPECT_EQ(environments_->state("other").kind, Kind::kPreparing);
}

TEST_F(EnvironmentsTest, AreMadeAgainWhenWhatAnAnswerNamesIsGone) {
  make("touch $1/a.lock $1/a.done; printf 'keep\\0host\\0hold\\0'$1'/a.lock\\0context\\0'; cat; printf '\\0end\\0'");
  EXPECT_EQ(settle("text").kind, Kind::kReady);
  std::filesystem::remove(folder_ + "/a.done");
  make("printf 'error\\0made again\\0end\\0'");
  EXPECT_EQ(settle("text").error, "made again");
}

TEST_F(EnvironmentsTest, AreMadeAgainWhenTheirAnswerWasNotToBeKept) {
  make("echo made >> $1/times; touch $1/a.lock $1/a.done; printf 'hold\\0'$1'/a.lock\\0context\\0{}\\0end\\0'");
  EXPECT_EQ(settle("text").kind, Kind::kReady);
  environments_->tick([](const std::string&) { return false; });
  EXPECT_EQ(settle("text").kind, Kind::kReady);
  EXPECT_EQ(std::filesystem::file_size(folder_ + "/times"), 10u);
}

TEST_F(EnvironmentsTest, FailInTheInstallersWords) {
  make("printf 'error\\0no such package\\0end\\0'");
  const EnvironmentState state = settle("text");
  EXPECT_EQ(state.kind, Kind::kFailed);
  EXPECT_EQ(state.error, "no such package");
  EXPECT_EQ(environments_->find("text"), nullptr);
}

TEST_F(EnvironmentsTest, FailWhenNothingIsAnswered) {
  make("exit 3");
  const EnvironmentState state = settle("text");
  EXPECT_EQ(state.kind, Kind::kFailed);
  EXPECT_NE(state.error.find(folder_ + "/log"), std::string::npos);
}

TEST_F(EnvironmentsTest, FailWhenWhatWasMadeIsGone) {
  make("printf 'hold\\0'$1'/nothing\\0end\\0'");
  EXPECT_EQ(settle("text").kind, Kind::kFailed);
}

}  // namespace
}  // namespace narke::node
