// Builds one encoded value (bindings/value_form.h, form kPickle) without Python: what the replica's Python gets as an
// ordinary object with no parsing of its own. Opcodes are those of pickle protocol 4 (Python's pickletools module
// describes them).
//
// Calls nest: begin_tuple() ... end_tuple(), begin_list() ... end_list(). finish() gives the value's bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace narke::proxy {

class PickleWriter {
 public:
  PickleWriter();

  void none() { bytes_.push_back('N'); }
  void boolean(bool value) { bytes_.push_back(value ? '\x88' : '\x89'); }
  void integer(int64_t value);
  void bytes(std::string_view value);
  // Bytes that stay where they are: they belong at apart() of the finished value. Once for each value.
  void bytes_apart(size_t size);
  size_t apart() const { return apart_; }
  // Text; what is not UTF-8 becomes U+FFFD.
  void text(std::string_view value);
  void begin_tuple() { bytes_.push_back('('); }
  void end_tuple() { bytes_.push_back('t'); }
  void begin_list() { bytes_ += "]("; }
  void end_list() { bytes_.push_back('e'); }

  // The whole value. Nothing may be added afterwards.
  std::string finish();

 private:
  void length(char short_code, char long_code, std::string_view value);
  std::string bytes_;
  size_t apart_ = 0, apart_size_ = 0;
};

// Whether the bytes are well-formed UTF-8.
bool is_utf8(std::string_view bytes);
// The same text with every malformed byte replaced by U+FFFD.
std::string to_utf8(std::string_view bytes);

}  // namespace narke::proxy
