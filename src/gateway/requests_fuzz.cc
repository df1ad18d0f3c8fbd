// What strangers send is read by these functions before anything is known of them.
// Invariants: nothing crashes, decoded paths never lead upwards, cleaned text is valid for JSON.
#include <string_view>

#include "base/log_files.h"
#include "gateway/guard.h"
#include "gateway/job_record.h"
#include "gateway/router.h"
#include "gateway/text.h"
#include "gateway/url.h"

using namespace narke::gateway;  // only this file's

static void check_target(std::string_view text) {
  const auto target = parse_target(text);
  if (!target) return;
  NARKE_CHECK(target->path.front() == '/');
  NARKE_CHECK(("/" + target->path + "/").find("/../") == std::string::npos);
  NARKE_CHECK(target->path.find('\0') == std::string::npos);
}

static void check_guard(std::string_view text) {
  static const Guard guard({"a token that is not guessed", {"host"}});
  Request request;
  request.path = "/api/jobs/";
  const std::string value(text);
  for (const char* name : {"host", "cookie", "authorization", "origin"}) request.headers[name] = value;
  NARKE_CHECK(guard.refusal(request).has_value());
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_target(text);
  check_target("/" + std::string(text));
  check_guard(text);
  host_of(text);
  cookie_of(text, "a");
  narke::matches_glob(text.substr(0, size / 2), text.substr(size / 2));
  const std::string clean = valid_utf8(text);
  NARKE_CHECK(parse_json(json::serialize(json::string(clean))).has_value());
  NARKE_CHECK(valid_utf8(clean) == clean);
  without_ansi(text);
  if (const auto value = parse_json(text)) {
    const auto request = parse_job_request(*value);
    if (request.ok()) NARKE_CHECK(request.value().submission_id.find('/') == std::string::npos);
  }
  return 0;
}
