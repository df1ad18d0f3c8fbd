#include "node/rows.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narke::node {
namespace {

using flexbuffers::Builder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Filters = std::vector<std::array<std::string, 3>>;

std::vector<uint8_t> body(const Filters& filters, int limit = 100, int offset = 0) {
  Builder out;
  out.Map([&] {
    out.Int("limit", limit);
    out.Int("offset", offset);
    out.Vector("filters", [&] {
      for (const auto& filter : filters)
        out.Vector([&] {
          for (const std::string& part : filter) out.String(part);
        });
    });
  });
  out.Finish();
  return out.GetBuffer();
}

// Pets 0 to 5: every second one is a cat, the third has no owner.
struct Answer {
  std::vector<int64_t> numbers;
  int64_t total = 0, met = 0;
  std::string error;
};
Answer ask(const std::vector<uint8_t>& body) {
  Answer answer;
  Result<Rows> rows = Rows::parse(flexbuffers::GetRoot(body).AsMap());
  if (!rows) return answer.error = rows.error().message, answer;
  Builder out;
  Status finished = ok_status();
  out.Map([&] {
    const size_t start = out.StartVector("rows");
    for (int64_t i = 0; i < 6; ++i)
      rows.value().add(out, [i](Builder& row) {
        row.Int("number", i);
        row.String("kind", i % 2 ? "Dog" : "Cat");
        row.Bool("young", i < 2);
        if (i == 3)
          row.Null("owner");
        else
          row.String("owner", "Ann");
      });
    out.EndVector(start, false, false);
    finished = rows.value().finish(out);
  });
  if (!finished) return answer.error = finished.error().message, answer;
  out.Finish();
  const auto map = flexbuffers::GetRoot(out.GetBuffer()).AsMap();
  const auto list = map["rows"].AsVector();
  for (size_t i = 0; i < list.size(); ++i) answer.numbers.push_back(list[i].AsMap()["number"].AsInt64());
  answer.total = map["total"].AsInt64();
  answer.met = map["num_filtered"].AsInt64();
  return answer;
}

TEST(Rows, ArePaged) {
  EXPECT_THAT(ask(body({}, 2, 3)).numbers, ElementsAre(3, 4));
  EXPECT_EQ(ask(body({}, 2, 3)).total, 6);
  EXPECT_THAT(ask(body({}, 2, 9)).numbers, ElementsAre());
}

TEST(Rows, AreFiltered) {
  const Answer cats = ask(body({{"kind", "=", "cat"}, {"number", "!=", "2"}}, 1));
  EXPECT_THAT(cats.numbers, ElementsAre(0));
  EXPECT_EQ(cats.met, 2);
  EXPECT_THAT(ask(body({{"young", "=", "True"}})).numbers, ElementsAre(0, 1));
  EXPECT_THAT(ask(body({{"owner", "=", "None"}})).numbers, ElementsAre(3));
}

TEST(Rows, BadQuestionsAreRefused) {
  EXPECT_THAT(ask(body({{"colour", "=", "red"}})).error, HasSubstr("no column 'colour'"));
  EXPECT_THAT(ask(body({{"colour", "=", "red"}})).error, HasSubstr("kind, number"));
  EXPECT_THAT(ask(body({{"kind", ">", "cat"}})).error, HasSubstr("'=' or '!='"));
  EXPECT_THAT(ask(body({}, -1)).error, HasSubstr("limit must be"));
}

}  // namespace
}  // namespace narke::node
