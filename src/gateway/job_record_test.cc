#include "gateway/job_record.h"

#include <gtest/gtest.h>

#include "gateway/supervisor.h"
#include "gateway/text.h"

namespace narke::gateway {
namespace {

Result<JobRequest> parse(const char* text) { return parse_job_request(parse_json(text).value()); }

TEST(JobRequest, TakesEveryField) {
  const auto request = parse(R"({"entrypoint": "python a.py", "submission_id": "mine", "metadata": {"a": "b"},
      "runtime_env": {"env_vars": {"K": "v"}}, "entrypoint_num_cpus": 1, "entrypoint_num_gpus": 0,
      "entrypoint_memory": 100, "entrypoint_resources": {"TPU": 0.5}, "unknown": null})");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request.value().submission_id, "mine");
  EXPECT_EQ(request.value().resources, (Amounts{{"CPU", 1}, {"memory", 100}, {"TPU", 0.5}}));
}

TEST(JobRequest, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "JSON object"},
      {"{}", "entrypoint"},
      {R"({"entrypoint": 5})", "entrypoint must be a string"},
      {R"({"entrypoint": ""})", "entrypoint"},
      {R"({"entrypoint": "x", "submission_id": "../x"})", "submission_id"},
      {R"({"entrypoint": "x", "submission_id": ".hidden"})", "submission_id"},
      {R"({"entrypoint": "x", "metadata": {"a": 1}})", "metadata"},
      {R"({"entrypoint": "x", "runtime_env": []})", "runtime_env"},
      {R"({"entrypoint": "x", "runtime_env": {"env_vars": {"A": 1}}})", "env_vars"},
      {R"({"entrypoint": "x", "runtime_env": {"env_vars": {"A=B": "1"}}})", "env_vars"},
      {R"({"entrypoint": "x", "entrypoint_num_cpus": "1"})", "entrypoint_num_cpus"},
      {R"({"entrypoint": "x", "entrypoint_num_cpus": -1})", "entrypoint_num_cpus"},
      {R"({"entrypoint": "x", "entrypoint_resources": {"A": "1"}})", "entrypoint_resources"},
  };
  for (const auto& [text, word] : cases) {
    const auto request = parse(text);
    ASSERT_FALSE(request.ok()) << text;
    EXPECT_NE(request.error().message.find(word), std::string::npos) << request.error().message;
  }
}

TEST(JobRecord, SurvivesItsFile) {
  JobRecord record;
  record.submission_id = "a";
  record.entrypoint = "echo";
  record.metadata["k"] = "v";
  record.resources["CPU"] = 2;
  record.supervisor_pid = 7;
  record.exit_code = -9;
  record.end("FAILED", "killed", "JOB_ENTRYPOINT_COMMAND_ERROR", 5);
  const auto again = job_record_of(json::serialize(to_json(record)));
  ASSERT_TRUE(again);
  EXPECT_EQ(to_json(*again), to_json(record));
  EXPECT_FALSE(job_record_of("{"));
  EXPECT_FALSE(job_record_of("{}"));
}

TEST(JobRecord, DetailsHideSecretsFromBrowsers) {
  JobRecord record;
  record.runtime_env = {{"env_vars", {{"PASSWORD", "hush"}}}, {"working_dir", "gcs://x.zip"}};
  EXPECT_EQ(json::serialize(job_details(record, "", false)).find("hush"), std::string::npos);
  EXPECT_NE(json::serialize(job_details(record, "", true)).find("hush"), std::string::npos);
  EXPECT_EQ(job_details(record, "", true).size(), 15u);  // exactly Ray's fields
}

TEST(SubmissionId, IsNew) {
  EXPECT_TRUE(new_submission_id().starts_with("raysubmit_"));
  EXPECT_NE(new_submission_id(), new_submission_id());
}

TEST(Variables, AreExpanded) {
  const auto lookup = [](const std::string& name) -> std::optional<std::string> {
    return name == "A" ? std::optional<std::string>("1") : std::nullopt;
  };
  EXPECT_EQ(expand_variables("$A ${A} $B ${B} ${ $", lookup), "1 1 $B ${B} ${ $");
  EXPECT_EQ(expand_variables("x$Ay${A}y", lookup), "x$Ay1y");
}

TEST(Text, BecomesValid) {
  EXPECT_EQ(valid_utf8("a\xff"
                       "b\xc3\xa4\xe2\x82"),
            "a\xEF\xBF\xBD"
            "b\xc3\xa4\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xed\xa0\x80").size(), 9u);  // a surrogate
  EXPECT_EQ(valid_utf8("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(without_marks("\x01narke-speaker:A\none\n\x01x\ntwo"), "one\ntwo");
  EXPECT_EQ(without_ansi("\x1b[1;31mred\x1b[0m"), "red");
}

}  // namespace
}  // namespace narke::gateway
