#include "base/json_text.h"

#include <gtest/gtest.h>

namespace narke {

TEST(JsonText, EscapesWhatJsonDoesNotAllowInAString) {
  EXPECT_EQ(json_text(""), R"("")");
  EXPECT_EQ(json_text(R"(a "b" \c)"), R"("a \"b\" \\c")");
  EXPECT_EQ(json_text(std::string_view("\n\0\x1f", 3)), R"("\u000a\u0000\u001f")");
}

TEST(JsonText, LeavesAllElseAsItIs) { EXPECT_EQ(json_text("\u00e4 / \x7f \u20ac"), "\"\u00e4 / \x7f \u20ac\""); }

}  // namespace narke
