#include "node/package_files.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <stdlib.h>

namespace narke::node {
namespace {

class PackageFilesTest : public ::testing::Test {
 protected:
  PackageFilesTest() {
    char folder[] = "/tmp/narke-test-XXXXXX";
    folder_ = mkdtemp(folder);
  }
  ~PackageFilesTest() override { std::filesystem::remove_all(folder_); }
  size_t count() const { return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {})); }

  std::string folder_;
  WorkerId one_ = WorkerId::from_bytes(std::string(WorkerId::kSize, '1'));
  WorkerId two_ = WorkerId::from_bytes(std::string(WorkerId::kSize, '2'));
};

TEST_F(PackageFilesTest, ComeInPiecesFromSeveralAtOnce) {
  PackageFiles files(folder_);
  EXPECT_TRUE(files.put(one_, "p.zip", 0, "abc", false).ok());
  EXPECT_FALSE(files.size("p.zip").ok());
  EXPECT_TRUE(files.put(two_, "p.zip", 0, "abcdef", true).ok());
  EXPECT_TRUE(files.put(one_, "p.zip", 3, "def", true).ok());
  EXPECT_EQ(files.size("p.zip").value(), 6u);
  EXPECT_EQ(files.get("p.zip", 2, 3).value(), "cde");
  EXPECT_EQ(files.get("p.zip", 6, 3).value(), "");
}

TEST_F(PackageFilesTest, StayInTheirFolder) {
  PackageFiles files(folder_ + "/packages");
  const std::string long_name(300, 'a'), with_zero("a\0b", 3);
  for (const std::string& name : {std::string(), std::string(".."), std::string("../x"), std::string("a/b"),
                                  std::string(".hidden"), with_zero, long_name}) {
    EXPECT_FALSE(files.put(one_, name, 0, "x", true).ok()) << name;
    EXPECT_FALSE(files.get(name, 0, 1).ok()) << name;
  }
  EXPECT_EQ(count(), 0u);
}

TEST_F(PackageFilesTest, AreBounded) {
  PackageFiles files(folder_, {8, 10});
  EXPECT_FALSE(files.put(one_, "p.zip", 0, "123456789", true).ok());
  EXPECT_FALSE(files.put(one_, "p.zip", 4, "x", true).ok()) << "a piece is missing";
  EXPECT_TRUE(files.put(one_, "old.zip", 0, "12345678", true).ok());
  EXPECT_TRUE(files.put(one_, "new.zip", 0, "12345678", true).ok());
  EXPECT_FALSE(files.size("old.zip").ok());
  EXPECT_TRUE(files.size("new.zip").ok());
}

TEST_F(PackageFilesTest, LeaveNothingOfAWriterThatIsGone) {
  PackageFiles files(folder_);
  EXPECT_TRUE(files.put(one_, "p.zip", 0, "abc", false).ok());
  EXPECT_EQ(count(), 1u);
  files.on_writer_gone(one_);
  EXPECT_EQ(count(), 0u);
}

}  // namespace
}  // namespace narke::node
