// A journal in a Redis server (https://redis.io/docs/latest/develop/reference/protocol-spec/), for heads that may be
// started again on another machine.
//
// Keys: NAME:records, a hash of all records; NAME:keeper, the number of the head that writes. Every change is one
// script, which Redis runs whole or not at all, and which refuses a head that another has taken over from. A connection
// that breaks is opened anew and the change sent again: to have been done twice is no harm.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include <hiredis/hiredis.h>
#include <sys/time.h>

#include "journal/journal.h"

namespace narke::journal {
namespace {

constexpr int kFormat = 1;
constexpr timeval kConnectLimit{0, 500'000};
constexpr timeval kAnswerLimit{3, 0};
constexpr int kTries = 2;  // of each command, the second over a new connection
constexpr int kLoadingTries = 60;  // while a server that was started again reads what it has kept
constexpr std::chrono::milliseconds kLoadingPause{50};
constexpr int kDefaultPort = 6379;

// ARGV: the keeper's number, how many records are put, these (field, value), then the fields that go.
constexpr char kApply[] = R"(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('TAKENOVER') end
local at = 3
for _ = 1, tonumber(ARGV[2]) do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do redis.call('HDEL', KEYS[2], ARGV[i]) end
return 'OK')";

struct Free {
  void operator()(redisContext* context) const { redisFree(context); }
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Context = std::unique_ptr<redisContext, Free>;
using Reply = std::unique_ptr<redisReply, Free>;

struct Address {
  std::string user, password, host, name = "default";
  int port = kDefaultPort, database = 0;
};

std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool read_number(std::string_view text, int* out) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), *out);
  return read.ec == std::errc() && read.ptr == text.data() + text.size() && *out >= 0;
}

// redis://[user][:password]@host[:port][/database][?name=NAME]
bool parse(std::string_view url, Address* out) {
  url.remove_prefix(kRedisScheme.size());
  if (const size_t query = url.find('?'); query != url.npos) {
    const std::string_view asked = url.substr(query + 1);
    if (!asked.starts_with("name=") || asked.size() == 5) return false;
    out->name = unescaped(asked.substr(5));
    url = url.substr(0, query);
  }
  if (const size_t slash = url.find('/'); slash != url.npos) {
    if (slash + 1 < url.size() && !read_number(url.substr(slash + 1), &out->database)) return false;
    url = url.substr(0, slash);
  }
  if (const size_t at = url.rfind('@'); at != url.npos) {
    const std::string_view who = url.substr(0, at);
    const size_t colon = std::min(who.find(':'), who.size());
    out->user = unescaped(who.substr(0, colon));
    if (colon < who.size()) out->password = unescaped(who.substr(colon + 1));
    url = url.substr(at + 1);
  }
  if (const size_t colon = url.rfind(':'); colon != url.npos && url.back() != ']') {
    if (!read_number(url.substr(colon + 1), &out->port) || out->port > 65'535) return false;
    url = url.substr(0, colon);
  }
  if (url.starts_with('[') && url.ends_with(']')) url = url.substr(1, url.size() - 2);
  out->host = url;
  return !out->host.empty();
}

class RedisJournal : public Journal {
 public:
  explicit RedisJournal(Address address) : address_(std::move(address)) {}

  Status open();
  Status load(const Visit& visit) override;
  Status apply(const std::vector<Change>& changes) override;
  Status erase() override;
  bool outlives_head() const override { return true; }

 private:
  using Words = std::vector<std::string>;
  Status connect();
  Result<Reply> once(const Words& words);
  Result<Reply> ask(const Words& words);
  Error failed(const std::string& what) const;
  std::string key(const char* part) const { return "narke:" + address_.name + ":" + part; }

  Address address_;
  Context context_;
  std::string number_;  // of this keeper
};

Error RedisJournal::failed(const std::string& what) const {
  return {ErrorCode::kDisconnected, "the journal " + address_.name + " in Redis at " + address_.host + ":" +
                                        std::to_string(address_.port) + " cannot be used: " + what};
}

Status RedisJournal::connect() {
  context_.reset(redisConnectWithTimeout(address_.host.c_str(), address_.port, kConnectLimit));
  if (!context_ || context_->err != 0) {
    const Error error = failed(context_ ? context_->errstr : "out of memory");
    context_.reset();
    return error;
  }
  redisSetTimeout(context_.get(), kAnswerLimit);
  Words login = {"AUTH"};
  if (!address_.user.empty()) login.push_back(address_.user);
  login.push_back(address_.password);
  for (const Words& words : {login, Words{"SELECT", std::to_string(address_.database)}}) {
    if (words[0] == "AUTH" && address_.password.empty()) continue;
    if (auto done = once(words); !done) {
      context_.reset();
      return done.error();
    }
  }
  return ok_status();
}

// Error kDisconnected: it may help to connect again. kOverloaded: Redis is not ready yet. kFailed: it has said no.
Result<Reply> RedisJournal::once(const Words& words) {
  std::vector<const char*> data;
  std::vector<size_t> sizes;
  for (const std::string& word : words) {
    data.push_back(word.data());
    sizes.push_back(word.size());
  }
  Reply reply(static_cast<redisReply*>(
      redisCommandArgv(context_.get(), static_cast<int>(words.size()), data.data(), sizes.data())));
  if (!reply) {
    const Error error = failed(context_->errstr);
    context_.reset();
    return error;
  }
  if (reply->type != REDIS_REPLY_ERROR) return reply;
  Error error = failed(std::string(reply->str, reply->len));
  const std::string_view said(reply->str, reply->len);
  error.code = said.starts_with("LOADING") ? ErrorCode::kOverloaded : ErrorCode::kFailed;
  return error;
}

Result<Reply> RedisJournal::ask(const Words& words) {
  Error last;
  for (int i = 0; i < kTries; ++i) {
    if (!context_)
      if (Status connected = connect(); !connected) {
        last = connected.error();
        continue;
      }
    auto reply = once(words);
    for (int j = 0; j < kLoadingTries && !reply && reply.error().code == ErrorCode::kOverloaded; ++j) {
      std::this_thread::sleep_for(kLoadingPause);
      reply = once(words);
    }
    if (reply || reply.error().code != ErrorCode::kDisconnected) return reply;
    last = reply.error();
  }
  return last;
}

Status RedisJournal::open() {
  const auto set = ask({"SET", key("format"), std::to_string(kFormat), "NX"});
  if (!set) return set.error();
  const auto format = ask({"GET", key("format")});
  if (!format) return format.error();
  const std::string found(format.value()->str ? format.value()->str : "", format.value()->len);
  if (found != std::to_string(kFormat)) {
    Error error = failed("it has format " + found + ", this release reads " + std::to_string(kFormat) +
                         "; use the release that wrote it, or another ?name=");
    error.code = ErrorCode::kRefused;
    return error;
  }
  const auto number = ask({"INCR", key("keeper")});
  if (!number) return number.error();
  number_ = std::to_string(number.value()->integer);
  return ok_status();
}

// A record's field: the table's number, one byte, then the record's key.
Status RedisJournal::load(const Visit& visit) {
  const auto all = ask({"HGETALL", key("records")});
  if (!all) return all.error();
  std::vector<std::pair<std::string, std::string>> records;
  for (size_t i = 0; i + 1 < all.value()->elements; i += 2) {
    const redisReply *field = all.value()->element[i], *value = all.value()->element[i + 1];
    if (field->len > 0) records.emplace_back(std::string(field->str, field->len), std::string(value->str, value->len));
  }
  std::sort(records.begin(), records.end());
  for (const auto& [field, value] : records) visit(static_cast<uint8_t>(field[0]), field.substr(1), value);
  return ok_status();
}

Status RedisJournal::apply(const std::vector<Change>& changes) {
  const auto field = [](const Change& change) { return static_cast<char>(change.table) + change.key; };
  Words puts, erased;
  for (const Change& change : changes) {
    (change.value ? puts : erased).push_back(field(change));
    if (change.value) puts.push_back(*change.value);
  }
  Words words = {"EVAL", kApply, "2", key("keeper"), key("records"), number_, std::to_string(puts.size() / 2)};
  words.insert(words.end(), puts.begin(), puts.end());
  words.insert(words.end(), erased.begin(), erased.end());
  const auto done = ask(words);
  if (done) return ok_status();
  if (done.error().message.find("TAKENOVER") == std::string::npos) return done.error();
  Error error = failed("another head has taken the cluster over");
  error.code = ErrorCode::kRefused;
  return error;
}

Status RedisJournal::erase() {
  const auto done = ask({"DEL", key("records")});
  return done ? ok_status() : Status(done.error());
}

}  // namespace

Result<std::unique_ptr<Journal>> open_redis(const std::string& url) {
  Address address;
  if (!parse(url, &address))
    return Error{
        ErrorCode::kFailed,
        "the journal's address is not of the form redis://[user][:password]@host[:port][/database][?name=NAME]"};
  auto journal = std::make_unique<RedisJournal>(std::move(address));
  if (Status opened = journal->open(); !opened) return opened.error();
  return std::unique_ptr<Journal>(std::move(journal));
}

}  // namespace narke::journal
