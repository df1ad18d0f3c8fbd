#include "proxy/request_parser.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include <boost/beast/http/basic_parser.hpp>

namespace narke::proxy {

namespace http = boost::beast::http;
constexpr int kMostBlankLines = 4;
using boost::system::error_code;

class RequestParser::Reader final : public http::basic_parser<true> {
 public:
  explicit Reader(RequestParser& owner) : owner_(owner) {
    eager(false);
    header_limit(owner.limits_.head_bytes);
    body_limit(owner.limits_.body_bytes);
  }

 private:
  using View = boost::beast::string_view;
  static std::string_view plain(View view) { return {view.data(), view.size()}; }

  void on_request_impl(http::verb, View method, View target, int version, error_code&) override {
    owner_.head_.method = plain(method);
    owner_.head_.target = plain(target);
    owner_.head_.minor_version = version % 10;
  }
  void on_response_impl(int, View, int, error_code&) override {}
  void on_field_impl(http::field, View name, View value, error_code&) override {
    std::string lower(plain(name));
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    owner_.head_.headers.emplace_back(std::move(lower), plain(value));
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(View body, error_code&) override {
    owner_.body_.append(plain(body));
    return body.size();
  }
  // Others may end the line at a line feed within quotes.
  void on_chunk_header_impl(uint64_t, View extension, error_code& error) override {
    if (plain(extension).find_first_of("\r\n") != std::string_view::npos) error = http::error::bad_chunk_extension;
  }
  size_t on_chunk_body_impl(uint64_t, View body, error_code&) override {
    owner_.body_.append(plain(body));
    return body.size();
  }
  void on_finish_impl(error_code&) override {}

  RequestParser& owner_;
};

const std::string* RequestHead::find(std::string_view lower_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_name) return &value;
  return nullptr;
}

// RFC 3986, 3.2.2 and 3.2.3: a name or address, and a port.
static bool is_host(std::string_view value) {
  constexpr std::string_view kOthers = "-._~%!$&'()*+,;=:[]";
  return std::all_of(value.begin(), value.end(), [&](unsigned char c) {
    return (c < 0x80 && std::isalnum(c)) || kOthers.find(static_cast<char>(c)) != kOthers.npos;
  });
}

// What Beast lets pass although others may read the same bytes as another request (RFC 9112, 3.2, 6.1, 6.3); null:
// nothing.
static const char* ambiguity(const RequestHead& head) {
  size_t encodings = 0, hosts = 0, lengths = 0;
  for (const auto& [name, value] : head.headers) {
    if (name == "transfer-encoding" && (++encodings > 1 || !boost::beast::iequals(value, "chunked")))
      return "the transfer encoding is not chunked alone";
    if (name == "host" && ++hosts > 1) return "there are two hosts";
    if (name == "host" && !is_host(value)) return "the host is no host";
    if (name == "content-length" && (++lengths > 1 || value.find(',') != value.npos)) return "there are two lengths";
  }
  if (encodings > 0 && head.minor_version == 0) return "HTTP/1.0 has no transfer encodings";
  return nullptr;
}

RequestParser::RequestParser(const Limits& limits) : limits_(limits), reader_(std::make_unique<Reader>(*this)) {}
RequestParser::~RequestParser() = default;

bool RequestParser::has_head() const { return reader_->is_header_done(); }
bool RequestParser::is_done() const { return reader_->is_done() || (plain_ > 0 && plain_ == head_.content_length); }

std::string_view RequestParser::take_plain(std::string_view bytes) {
  std::string_view taken = bytes.substr(0, std::min<uint64_t>(bytes.size(), head_.content_length - plain_));
  plain_ += taken.size();
  return taken;
}

void RequestParser::set_body_limit(uint64_t bytes) {
  limits_.body_bytes = bytes;
  if (head_.content_length > bytes) {
    fault_ = Fault::kBodyTooLarge;
    reason_ = "the body is larger than this route takes";
  }
  reader_->body_limit(bytes);
}

void RequestParser::reset() {
  reader_ = std::make_unique<Reader>(*this);
  head_ = {};
  body_.clear();
  plain_ = 0;
  fault_ = Fault::kNone;
  begun_ = false;
  blank_lines_ = 0;
}

// Empty lines before a request, as some clients leave them behind a body (RFC 9112, 2.2). A few: more is no request.
size_t RequestParser::skip_blank_lines(std::string_view bytes) {
  size_t used = 0;
  for (; bytes.substr(used).starts_with("\r\n") && blank_lines_ < kMostBlankLines; ++blank_lines_) used += 2;
  return used;
}

void RequestParser::take_head() {
  head_.is_chunked = reader_->chunked();
  head_.has_length = reader_->content_length().has_value();
  head_.content_length = head_.has_length ? *reader_->content_length() : 0;
  head_.keeps_alive = reader_->keep_alive();
  head_.wants_upgrade = reader_->upgrade();
  const std::string* expect = head_.minor_version >= 1 ? head_.find("expect") : nullptr;
  head_.expects_continue = expect != nullptr && boost::beast::iequals(*expect, "100-continue");
  head_.expects_other = expect != nullptr && !head_.expects_continue;
  if (const char* why = ambiguity(head_)) {
    fault_ = Fault::kMalformed;
    reason_ = why;
  }
}

size_t RequestParser::feed(std::string_view bytes) {
  size_t used = begun_ ? 0 : skip_blank_lines(bytes);
  if (!begun_ && bytes.substr(used) == "\r") return used;  // of an empty line, or of none
  while (used < bytes.size() && fault_ == Fault::kNone && !is_done()) {
    begun_ = true;
    bool had_head = has_head();
    error_code error;
    size_t taken = reader_->put(boost::asio::const_buffer(bytes.data() + used, bytes.size() - used), error);
    used += taken;
    if (error == http::error::need_more) break;
    if (error) {
      bool large_head = error == http::error::header_limit;
      bool large_body = error == http::error::body_limit;
      fault_ = large_head ? Fault::kHeadTooLarge : large_body ? Fault::kBodyTooLarge : Fault::kMalformed;
      reason_ = error.message();
      break;
    }
    if (!had_head && has_head()) {
      take_head();
      break;
    }
    if (taken == 0) break;
  }
  return used;
}

}  // namespace narke::proxy
