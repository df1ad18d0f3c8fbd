#include "gateway/flame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narke::gateway {
namespace {

using ::testing::HasSubstr;

json::object frame(const char* function, int line) {
  return {{"function", function}, {"file", "/srv/program.py"}, {"line", line}};
}

json::object profile() {
  json::array stacks;
  stacks.push_back({{"count", 3}, {"frames", {frame("main", 9), frame("<lambda>", 2)}}});
  stacks.push_back({{"count", 1}, {"frames", json::array{frame("main", 9)}}});
  return {{"pid", 7}, {"stacks", std::move(stacks)}};
}

TEST(FlameTest, collapsed_stacks_have_a_line_each) {
  EXPECT_EQ(collapsed(profile()),
            "main (program.py:9);<lambda> (program.py:2) 3\n"
            "main (program.py:9) 1\n");
}

TEST(FlameTest, the_graph_shows_shares_and_escapes_names) {
  const std::string svg = flame_svg(profile(), "process 7 & more");
  EXPECT_THAT(svg, HasSubstr("process 7 &amp; more, 4 samples"));
  EXPECT_THAT(svg, HasSubstr("&lt;lambda&gt; (program.py:2): 3 samples, 75.0%"));
  EXPECT_THAT(svg, HasSubstr("main (program.py:9): 4 samples, 100.0%"));
  EXPECT_EQ(svg.find("<lambda>"), std::string::npos);
}

TEST(FlameTest, a_table_sums_up_places_and_escapes_names) {
  json::array stacks;
  for (const int bytes : {100, 28})
    stacks.push_back({{"count", bytes}, {"blocks", 2}, {"frames", {frame("main", 9), frame("<lambda>", 2)}}});
  stacks.push_back({{"count", 500}, {"blocks", 1}, {"frames", json::array{frame("main", 9)}}});
  const std::string page = memory_table({{"peak_bytes", 777}, {"stacks", std::move(stacks)}}, "a < b");
  const size_t larger = page.find("<td>500</td><td>1</td><td>main (/srv/program.py:9)</td>");
  const size_t smaller = page.find("<td>128</td><td>4</td><td>&lt;lambda&gt; (/srv/program.py:2)</td>");
  EXPECT_LT(larger, smaller);
  EXPECT_LT(smaller, page.size());
  EXPECT_THAT(page, HasSubstr("a &lt; b"));
  EXPECT_THAT(page, HasSubstr("at the peak 777"));
}

TEST(FlameTest, a_profile_of_nothing_says_so) {
  EXPECT_THAT(flame_svg({}, "process 7"), HasSubstr("nothing was met"));
  EXPECT_EQ(collapsed({}), "");
}

TEST(FlameTest, speedscope_knows_each_frame_once) {
  const json::object out = speedscope(profile(), "process 7");
  EXPECT_EQ(out.at("shared").at("frames").as_array().size(), 2u);
  const json::value& sampled = out.at("profiles").at(0);
  EXPECT_EQ(json::serialize(sampled.at("samples")), "[[0,1],[0]]");
  EXPECT_EQ(json::serialize(sampled.at("weights")), "[3,1]");
  EXPECT_EQ(sampled.at("endValue").as_int64(), 4);
}

TEST(FlameTest, a_stack_dump_names_the_holder_of_the_lock) {
  const json::object thread = {{"native_id", 12}, {"state", "R"},     {"holds_gil", true},
                               {"is_main", true}, {"name", "python"}, {"frames", json::array{frame("work", 4)}}};
  EXPECT_EQ(stack_text({{"pid", 12}, {"threads", json::array{thread}}}),
            "Process 12\nThread 12 (active+gil): \"MainThread\"\n    work (/srv/program.py:4)\n");
}

}  // namespace
}  // namespace narke::gateway
