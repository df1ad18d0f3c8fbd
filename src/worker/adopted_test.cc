#include "worker/adopted.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace narke::worker {
namespace {

class AdoptedTest : public ::testing::Test {
 protected:
  AdoptedTest() { prctl(PR_SET_CHILD_SUBREAPER, 1); }
  ~AdoptedTest() override { prctl(PR_SET_CHILD_SUBREAPER, 0); }

  // A process that ends at once, in a session of its own or not.
  static pid_t start(bool own_session) {
    const pid_t pid = fork();
    if (pid == 0) {
      if (own_session) setsid();
      _exit(7);
    }
    return pid;
  }
  // Waits until it has ended, but not for its status.
  static void await_end(pid_t pid) {
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  }
};

// Starts a daemon as daemons are started; returns its id once it has come to this process.
pid_t start_daemon() {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t starter = fork();
  if (starter == 0) {
    setsid();
    const pid_t daemon = fork();
    if (daemon == 0) _exit(0);
    [[maybe_unused]] const ssize_t written = write(ends[1], &daemon, sizeof(daemon));
    _exit(0);
  }
  pid_t daemon = -1;
  if (read(ends[0], &daemon, sizeof(daemon)) != sizeof(daemon)) daemon = -1;
  close(ends[0]), close(ends[1]);
  waitpid(starter, nullptr, 0);
  return daemon;
}

TEST_F(AdoptedTest, daemons_that_have_ended_are_waited_for) {
  const pid_t daemon = start_daemon();
  ASSERT_GT(daemon, 0);
  await_end(daemon);
  EXPECT_EQ(reap_adopted(), 1);
  EXPECT_EQ(waitpid(daemon, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(AdoptedTest, statuses_of_own_children_stay) {
  for (const bool own_session : {false, true}) {
    const pid_t child = start(own_session);
    await_end(child);
    EXPECT_EQ(reap_adopted(), 0);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 7);
  }
}

TEST_F(AdoptedTest, children_of_other_threads_stay) {
  pid_t child = 0;
  std::thread([&child] { child = start(true); }).join();
  await_end(child);
  EXPECT_EQ(reap_adopted(), 0);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

TEST_F(AdoptedTest, nothing_is_done_while_nobody_ended) { EXPECT_EQ(reap_adopted(), 0); }

}  // namespace
}  // namespace narke::worker
